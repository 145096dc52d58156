//! Chains of sources, and what can be told from them.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use super::{BoxError, Error};
use crate::redact::Truncated;

/// The kind of the innermost `io::Error` in a chain of sources.
pub(crate) fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    chain(error)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .last()
        .map(io::Error::kind)
}

/// Whether this machine ran out of file descriptors, local ports or memory.
pub(crate) fn is_out_of_resources(error: &(dyn std::error::Error + 'static)) -> bool {
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
pub(crate) struct RootCause<'a>(pub(crate) &'a (dyn std::error::Error + 'static));

impl fmt::Display for RootCause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match chain(self.0).last() {
            Some(root) => Truncated(root).fmt(f),
            None => Ok(()),
        }
    }
}

impl Error {
    /// Classifies a failed DNS resolution: the name does not exist, or no descriptors are left to resolve it with.
    pub(crate) fn from_resolution(source: BoxError) -> Self {
        match out_of_descriptors() {
            Some(error) => Self::local_resource(error),
            None => Self::dns(source),
        }
    }
}

/// The error of the operating system if no descriptor can be opened now. Its resolver needs some, and without them
/// reports that the name does not exist.
fn out_of_descriptors() -> Option<io::Error> {
    let tried = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
    tried.err().filter(|error| is_out_of_resources(error))
}
