//! What a failed look-up of a host name is.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use super::{BoxError, Error, is_local_lack};

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
