//! A SOCKS proxy of versions 4, 4a and 5, which records what it is asked for.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
use std::sync::{Arc, Mutex};

use super::raw::{RawServer, relay};

/// How a proxy behaves.
#[derive(Clone, Copy)]
pub(crate) struct Behavior {
    /// The way to authenticate that it picks, of version 5.
    pub(crate) picks: u8,
    /// What it responds to a password.
    pub(crate) password_status: u8,
    /// What it responds to the request to connect; `None` for success.
    pub(crate) refuses: Option<u8>,
    /// Whether it reaches servers at IPv6 addresses.
    pub(crate) reaches_v6: bool,
    /// The type of the address that it says it is bound to.
    pub(crate) bound_type: u8,
}

pub(crate) const NO_AUTHENTICATION: u8 = 0;
pub(crate) const PASSWORD: u8 = 2;
const HOST_UNREACHABLE: u8 = 4;

pub(crate) const FINE: Behavior = Behavior {
    picks: NO_AUTHENTICATION,
    password_status: 0,
    refuses: None,
    reaches_v6: true,
    bound_type: 1,
};

/// What a client has asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Asked {
    pub(crate) version: u8,
    /// Of version 5: the ways to authenticate that it offers.
    pub(crate) offers: Vec<u8>,
    /// A name, of version 4, or a name and a password.
    pub(crate) credentials: Vec<String>,
    /// An address, or a name.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Connects to that port of this machine, whatever the host.
pub(crate) struct Socks {
    server: RawServer,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Socks {
    pub(crate) fn start(behavior: Behavior) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let server = RawServer::start(move |mut stream, _| {
            let mut request = Asked::default();
            let opened = open(&mut stream, behavior, &mut request);
            seen.lock().unwrap().push(request.clone());
            if let Ok(true) = opened {
                let far = TcpStream::connect(("127.0.0.1", request.port)).unwrap();
                relay(stream, far);
            }
        });
        Self { server, asked }
    }

    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}/", self.server.address())
    }

    pub(crate) fn all(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn only(&self) -> Asked {
        let mut asked = self.all();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }
}

fn open(stream: &mut TcpStream, behavior: Behavior, asked: &mut Asked) -> io::Result<bool> {
    asked.version = byte(stream)?;
    match asked.version {
        4 => open_v4(stream, behavior, asked),
        5 => open_v5(stream, behavior, asked),
        other => panic!("version {other}"),
    }
}

fn open_v4(stream: &mut TcpStream, behavior: Behavior, asked: &mut Asked) -> io::Result<bool> {
    assert_eq!(byte(stream)?, 1, "the command");
    asked.port = port(stream)?;
    let address = Ipv4Addr::from(bytes::<4>(stream)?);
    asked.credentials = vec![until_nul(stream)?];
    // Version 4a: an address that is none announces a name.
    asked.host = match address.octets() {
        [0, 0, 0, last] if last != 0 => until_nul(stream)?,
        _ => address.to_string(),
    };
    let code = behavior.refuses.unwrap_or(90);
    stream.write_all(&[0, code, 0, 0, 0, 0, 0, 0])?;
    Ok(behavior.refuses.is_none())
}

fn open_v5(stream: &mut TcpStream, behavior: Behavior, asked: &mut Asked) -> io::Result<bool> {
    let count = byte(stream)?;
    asked.offers = (0..count)
        .map(|_| byte(stream))
        .collect::<io::Result<_>>()?;
    stream.write_all(&[5, behavior.picks])?;
    if behavior.picks == PASSWORD {
        assert_eq!(byte(stream)?, 1, "the version of the sub-negotiation");
        asked.credentials = vec![sized(stream)?, sized(stream)?];
        stream.write_all(&[1, behavior.password_status])?;
    }
    assert_eq!(bytes::<3>(stream)?, [5, 1, 0]);
    let kind = byte(stream)?;
    asked.host = match kind {
        1 => Ipv4Addr::from(bytes::<4>(stream)?).to_string(),
        4 => Ipv6Addr::from(bytes::<16>(stream)?).to_string(),
        3 => format!("the name {}", sized(stream)?),
        other => panic!("an address of type {other}"),
    };
    asked.port = port(stream)?;
    let bound: &[u8] = match behavior.bound_type {
        1 => &[0; 4],
        4 => &[0; 16],
        _ => b"\x0abound.test",
    };
    let code = match behavior.refuses {
        Some(code) => code,
        None if kind == 4 && !behavior.reaches_v6 => HOST_UNREACHABLE,
        None => 0,
    };
    let reply = [&[5, code, 0, behavior.bound_type], bound, &[0, 80]].concat();
    stream.write_all(&reply)?;
    Ok(code == 0)
}

fn bytes<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn byte(stream: &mut TcpStream) -> io::Result<u8> {
    bytes::<1>(stream).map(|[byte]| byte)
}

fn port(stream: &mut TcpStream) -> io::Result<u16> {
    bytes(stream).map(u16::from_be_bytes)
}

fn sized(stream: &mut TcpStream) -> io::Result<String> {
    let mut text = vec![0; byte(stream)?.into()];
    stream.read_exact(&mut text)?;
    Ok(String::from_utf8(text).unwrap())
}

fn until_nul(stream: &mut TcpStream) -> io::Result<String> {
    let mut text = Vec::new();
    loop {
        match byte(stream)? {
            0 => return Ok(String::from_utf8(text).unwrap()),
            other => text.push(other),
        }
    }
}
