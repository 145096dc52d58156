//! TCP connections that cost few system calls: one probe before each use, and no timer that is set anew for each wait.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ::ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport,
};
use ::ureq::{Error, Timeout};

use super::buffers::GrowingBuffers;
use super::{current, look_up};
use crate::addresses::AddressFilter;

#[derive(Debug)]
pub(super) struct SocketConnector {
    filter: Option<AddressFilter>,
}

impl SocketConnector {
    pub(super) fn new(filter: Option<AddressFilter>) -> Self {
        Self { filter }
    }
}

impl<In: Transport> Connector<In> for SocketConnector {
    type Out = Either<In, Socket>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        // A proxy has connected already.
        if let Some(chained) = chained {
            return Ok(Some(Either::A(chained)));
        }
        let addresses = look_up::addresses(details, self.filter.as_ref())?;
        let stream = connect_to_any(&addresses, current::within(details.timeout)?)?;
        if details.config.no_delay() {
            stream.set_nodelay(true)?;
        }
        let buffers = GrowingBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        Ok(Some(Either::B(Socket {
            peer: stream.peer_addr().ok(),
            stream,
            buffers,
            read_timeout: None,
            write_timeout: None,
        })))
    }
}

/// Tries one address after the other, each for its share of the time that is left.
fn connect_to_any(addresses: &[SocketAddr], timeout: NextTimeout) -> Result<TcpStream, Error> {
    let deadline = match timeout.not_zero() {
        Some(left) => Instant::now().checked_add(*left),
        None => None,
    };
    let mut fault = None;
    for (tried, address) in addresses.iter().enumerate() {
        let others = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share =
            deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()) / others);
        let connected = match share {
            None => TcpStream::connect(address),
            Some(share) if share.is_zero() => Err(io::ErrorKind::TimedOut.into()),
            Some(share) => TcpStream::connect_timeout(address, share),
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => fault = Some(error),
        }
    }
    Err(match fault {
        Some(error) if error.kind() == io::ErrorKind::TimedOut && is_over(deadline) => {
            Error::Timeout(timeout.reason)
        }
        Some(error) => Error::Io(error),
        None => Error::HostNotFound,
    })
}

fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    peer: Option<SocketAddr>,
    buffers: GrowingBuffers,
    /// What the operating system was told last.
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        current::reached(self.peer);
        let mut left = self.buffers.output().get(..amount).unwrap_or_default();
        let (stream, set) = (&mut self.stream, &mut self.write_timeout);
        while !left.is_empty() {
            let is_first = left.len() == amount;
            // A peer that takes a little every now and then does not make the time start anew.
            let timeout = if is_first {
                timeout
            } else {
                current::within(timeout)?
            };
            let written = in_time(timeout, |limit| {
                arm(set, limit, |limit| stream.set_write_timeout(limit))?;
                stream.write(left)
            })?;
            if written == 0 {
                return Err(Error::Io(io::ErrorKind::WriteZero.into()));
            }
            left = left.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let input = self.buffers.input_append_buf();
        let (stream, set) = (&mut self.stream, &mut self.read_timeout);
        let amount = in_time(timeout, |limit| {
            arm(set, limit, |limit| stream.set_read_timeout(limit))?;
            stream.read(input)
        })?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// Neither at its end, nor with something to read that nobody has asked for.
    fn is_open(&mut self) -> bool {
        matches!(peek(&self.stream), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Repeats a wait that the operating system has ended before its time.
fn in_time<T>(
    timeout: NextTimeout,
    mut wait: impl FnMut(Option<Duration>) -> io::Result<T>,
) -> Result<T, Error> {
    let limit = timeout.not_zero().map(|limit| *limit);
    let mut left = limit;
    let started = limit.map(|_| Instant::now());
    loop {
        match wait(left) {
            Err(error) if is_no_end(&error) => {}
            other => return Ok(other?),
        }
        if let (Some(limit), Some(started)) = (limit, started) {
            let remaining = limit.saturating_sub(started.elapsed());
            if remaining.is_zero() {
                return Err(Error::Timeout(match timeout.reason {
                    Timeout::Await100 => Timeout::Await100,
                    _ => Timeout::Global,
                }));
            }
            left = Some(remaining);
        }
    }
}

/// Whether a wait has come to nothing yet.
fn is_no_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// Tells the operating system a limit, unless the one that it knows is near enough: it may be shorter, then the wait is
/// repeated. So a series of exchanges with the same limit needs to tell it only once.
fn arm(
    known: &mut Option<Duration>,
    limit: Option<Duration>,
    tell: impl FnOnce(Option<Duration>) -> io::Result<()>,
) -> io::Result<()> {
    let is_near_enough = match (*known, limit) {
        (None, None) => true,
        (Some(known), Some(limit)) => known <= limit && known >= limit / 2,
        _ => false,
    };
    if !is_near_enough {
        // A little less, to be near enough for the next ones.
        let limit = limit.map(|limit| (limit - limit / 8).max(Duration::from_millis(1)));
        tell(limit)?;
        *known = limit;
    }
    Ok(())
}

#[cfg(unix)]
fn peek(stream: &TcpStream) -> io::Result<usize> {
    use rustix::net::{RecvFlags, recv};

    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let (peeked, _) = recv(stream, &mut [0], flags)?;
    Ok(peeked)
}

#[cfg(not(unix))]
fn peek(stream: &TcpStream) -> io::Result<usize> {
    stream.set_nonblocking(true)?;
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    peeked
}
