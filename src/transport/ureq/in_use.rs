//! A connection during one exchange.

use std::io;
use std::sync::Arc;

use ::ureq::Error;
use ::ureq::unversioned::transport::{Buffers, LazyBuffers, NextTimeout, Transport};

use super::connection::Connection;
use super::current;
use super::idle::{Destination, Idle};

/// Keeps to the time of the exchange. Idle when that is over, if it can be used again.
#[derive(Debug)]
pub(super) struct InUse {
    /// `None` once it is idle: then nobody asks for more here.
    connection: Option<Connection>,
    no_buffers: LazyBuffers,
    to: Destination,
    idle: Arc<Idle>,
    /// Whether the peer takes nothing more. It may have said why, so its answer is still read.
    is_unheard: bool,
}

impl InUse {
    pub(super) fn new(connection: Connection, to: Destination, idle: Arc<Idle>) -> Self {
        Self {
            connection: Some(connection),
            no_buffers: LazyBuffers::new(1, 1),
            to,
            idle,
            is_unheard: false,
        }
    }

    fn connection(&mut self) -> Result<&mut Connection, Error> {
        self.connection.as_mut().ok_or(Error::ConnectionFailed)
    }
}

impl Transport for InUse {
    fn buffers(&mut self) -> &mut dyn Buffers {
        match &mut self.connection {
            Some(connection) => connection.buffers(),
            None => &mut self.no_buffers,
        }
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = current::within(timeout)?;
        current::sends();
        if self.is_unheard {
            return Ok(());
        }
        match self.connection()?.transmit_output(amount, timeout) {
            Err(Error::Io(error)) if is_hang_up(&error) => {
                self.is_unheard = true;
                Ok(())
            }
            other => other,
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = current::within(timeout)?;
        let connection = self.connection()?;
        if let Some(full) = full(connection.buffers()) {
            return Err(Error::LargeResponseHeader(full, full));
        }
        match connection.await_input(timeout) {
            // ureq takes these for the end of a body that is ended by closing the connection. Over TLS, an end that is
            // not announced may be anybody's.
            Err(Error::Io(error))
                if is_hang_up(&error)
                    || (error.kind() == io::ErrorKind::UnexpectedEof && connection.is_tls()) =>
            {
                Err(Error::Other(error.into()))
            }
            other => other,
        }
    }

    /// Asked when an exchange is over, to keep the connection if it is. It is kept elsewhere.
    fn is_open(&mut self) -> bool {
        if !self.is_unheard {
            if let Some(connection) = self.connection.take() {
                self.idle.put(self.to.clone(), connection);
            }
        }
        false
    }

    fn is_tls(&self) -> bool {
        self.connection.as_ref().is_some_and(Transport::is_tls)
    }
}

/// The size of a buffer that has no room, and yet is not all that is needed to go on.
fn full(buffers: &mut dyn Buffers) -> Option<usize> {
    let held = buffers.input().len();
    (held > 0 && buffers.input_append_buf().is_empty()).then_some(held)
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}
