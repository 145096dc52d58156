//! What caused an error: its chain of sources, and what can be told from them.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use super::{BoxError, Error};
use crate::redact::Clipped;

/// The kind of the innermost `io::Error` in a chain of sources.
pub(crate) fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    chain(error)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .last()
        .map(io::Error::kind)
}

/// Whether this machine ran out of something: file descriptors, local ports, memory.
pub(crate) fn is_local_lack(error: &(dyn std::error::Error + 'static)) -> bool {
    // These two have no stable `io::ErrorKind`. ENFILE and EMFILE, the same numbers on all Unix systems; WSAEMFILE.
    const OUT_OF_FILES: &[i32] = if cfg!(windows) { &[10024] } else { &[23, 24] };
    chain(error)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory
            ) || error
                .raw_os_error()
                .is_some_and(|code| OUT_OF_FILES.contains(&code))
        })
}

/// Whether the peer refused the secure connection. With TLS 1.3 it may do so when the handshake is over for the client
/// and the request on its way. Of some errors, only the message is left by then: rustls's or OpenSSL's.
pub(crate) fn is_tls_alert(error: &(dyn std::error::Error + 'static)) -> bool {
    chain(error).any(|error| {
        let message = error.to_string();
        message.contains("received fatal alert") || message.contains("SSL alert number")
    })
}

/// An error and what it was caused by, outermost first, including what an `io::Error` wraps:
/// `io::Error::source` skips exactly that one.
pub(crate) fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        match wrapped {
            Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
            None => error.source(),
        }
    })
}

/// Displays the innermost error of a chain.
pub(crate) struct RootCause<'a>(pub(crate) &'a BoxError);

impl fmt::Display for RootCause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match chain(&**self.0).last() {
            Some(root) => Clipped(root).fmt(f),
            None => Ok(()),
        }
    }
}

impl Error {
    /// Sorts a failed look-up: there is no such name, or this machine lacks what it takes to ask.
    pub(crate) fn from_look_up(source: BoxError) -> Self {
        let sent = false;
        match out_of_files() {
            Some(error) => Self::LocalResource {
                sent,
                source: error.into(),
            },
            None => Self::Dns { sent, source },
        }
    }
}

/// What the system says if no file can be opened now. Its resolver needs some, and without them says that there is no
/// such name.
fn out_of_files() -> Option<io::Error> {
    let tried = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
    tried.err().filter(|error| is_local_lack(error))
}
