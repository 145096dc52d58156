//! Plain http through a proxy: the proxy is sent the request itself, with the whole URL in it (RFC 9112, section 3.2.2).
//! ureq knows tunnels only, which many proxies refuse for anything but TLS.

use std::fmt;

use ::ureq::http::Uri;
use ::ureq::http::uri::Scheme;
use ::ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport,
};
use ::ureq::{Error, Proxy, ProxyProtocol};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::connection::{BoxedConnector, Connection, details_for};

#[derive(Debug)]
pub(super) struct ForwardConnector {
    to_proxies: BoxedConnector,
}

impl ForwardConnector {
    pub(super) fn new(to_proxies: BoxedConnector) -> Self {
        Self { to_proxies }
    }
}

impl<In: Transport> Connector<In> for ForwardConnector {
    type Out = Either<In, Forwarding>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        if let Some(chained) = chained {
            return Ok(Some(Either::A(chained)));
        }
        let Some(proxy) = details
            .config
            .proxy()
            .filter(|proxy| forwards(proxy, details.uri))
        else {
            return Ok(None);
        };
        let connection = self
            .to_proxies
            .connect(&details_for(details, proxy.uri()), None)?;
        Ok(connection.map(|connection| {
            Either::B(Forwarding {
                connection,
                insertions: Insertions::new(details.uri, proxy),
                is_at_start: true,
            })
        }))
    }
}

pub(super) fn forwards(proxy: &Proxy, uri: &Uri) -> bool {
    matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https)
        && uri.scheme() == Some(&Scheme::HTTP)
        && !proxy.is_no_proxy(uri)
}

/// A connection to a proxy that passes on requests to one origin.
#[derive(Debug)]
pub(super) struct Forwarding {
    connection: Connection,
    insertions: Insertions,
    /// Whether what is sent next begins a request.
    is_at_start: bool,
}

impl Transport for Forwarding {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.connection.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if !std::mem::take(&mut self.is_at_start) {
            return self.connection.transmit_output(amount, timeout);
        }
        let output = self.connection.buffers().output();
        let head = self
            .insertions
            .put_into(output.get(..amount).unwrap_or_default());
        // It may have outgrown the buffer.
        let room = output.len().max(1);
        for piece in head.chunks(room) {
            let output = self.connection.buffers().output();
            if let Some(output) = output.get_mut(..piece.len()) {
                output.copy_from_slice(piece);
            }
            self.connection.transmit_output(piece.len(), timeout)?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.connection.await_input(timeout)
    }

    /// Asked before each exchange but the first.
    fn is_open(&mut self) -> bool {
        self.is_at_start = true;
        self.connection.is_open()
    }

    fn is_tls(&self) -> bool {
        self.connection.is_tls()
    }
}

/// What a request through a proxy has more than any other.
struct Insertions {
    /// Stands before the path.
    origin: String,
    /// A header line, if the proxy asks for one.
    credentials: String,
}

impl Insertions {
    fn new(uri: &Uri, proxy: &Proxy) -> Self {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let (user, password) = (proxy.username(), proxy.password());
        let credentials = user.or(password).map(|_| {
            let pair = [user.unwrap_or_default(), password.unwrap_or_default()].join(":");
            let encoded = BASE64_STANDARD.encode(pair);
            format!("Proxy-Authorization: Basic {encoded}\r\n")
        });
        Self {
            origin: format!("http://{authority}"),
            credentials: credentials.unwrap_or_default(),
        }
    }

    /// The beginning of a head with its request line complete: `GET /path HTTP/1.1` is what comes in.
    fn put_into(&self, head: &[u8]) -> Vec<u8> {
        let method_end = position(head, b" ").unwrap_or(0);
        let line_end = position(head, b"\r\n").unwrap_or(method_end);
        let (method, rest) = head.split_at(method_end);
        let (target, headers) = rest.split_at(line_end - method_end);
        let credentials = if has_credentials(headers) {
            ""
        } else {
            &self.credentials
        };
        [
            method,
            self.origin.as_bytes(),
            target,
            credentials.as_bytes(),
            headers,
        ]
        .concat()
    }
}

/// Whether the request brings its own.
fn has_credentials(headers: &[u8]) -> bool {
    const NAME: &[u8] = b"proxy-authorization:";
    headers.split(|byte| *byte == b'\n').any(|line| {
        line.get(..NAME.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(NAME))
    })
}

/// Where the first such bytes end.
fn position(text: &[u8], bytes: &[u8]) -> Option<usize> {
    let start = text
        .windows(bytes.len())
        .position(|window| window == bytes)?;
    Some(start + bytes.len())
}

impl fmt::Debug for Insertions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            origin,
            credentials: _,
        } = self;
        f.debug_struct("Insertions")
            .field("origin", origin)
            .finish_non_exhaustive()
    }
}
