//! SOCKS proxies: versions 4 and 4a, and version 5 (RFC 1928) with user name and password (RFC 1929).

use std::net::{IpAddr, Ipv4Addr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::connect::{Proxy, Target};
use crate::error::Error;

const CONNECT: u8 = 1;

/// Asks a proxy of version 4 to connect to the server: to an IPv4 address, or by its name (4a). The inner error is
/// that it has refused this address.
pub(super) async fn connect_v4(
    mut stream: TcpStream,
    target: Target<'_>,
    address: Option<Ipv4Addr>,
    proxy: &Proxy,
) -> Result<Result<TcpStream, Error>, Error> {
    /// Stands for the address of a server that the proxy resolves.
    const BY_NAME: [u8; 4] = [0, 0, 0, 1];
    const GRANTED: u8 = 90;

    let mut request = vec![4, CONNECT];
    request.extend(target.port.to_be_bytes());
    request.extend(address.map_or(BY_NAME, |address| address.octets()));
    let user = proxy.credentials.as_ref().map(|(user, _)| user.as_str());
    request.extend(c_string(user.unwrap_or_default())?);
    if address.is_none() {
        request.extend(c_string(target.host)?);
    }
    stream.write_all(&request).await.map_err(Error::proxy)?;
    let [_, code, ..] = read::<8>(&mut stream).await?;
    if code != GRANTED {
        let message = format!("it has refused the connection (SOCKS4 code {code})");
        return Ok(Err(Error::proxy(message)));
    }
    Ok(Ok(stream))
}

/// Asks a proxy of version 5 to connect to the server: to this address, or by its name. The inner error is that it
/// has refused this address.
pub(super) async fn connect_v5(
    mut stream: TcpStream,
    target: Target<'_>,
    address: Option<IpAddr>,
    proxy: &Proxy,
) -> Result<Result<TcpStream, Error>, Error> {
    const NO_AUTHENTICATION: u8 = 0;
    const PASSWORD: u8 = 2;

    let offer: &[u8] = match proxy.credentials {
        None => &[5, 1, NO_AUTHENTICATION],
        Some(_) => &[5, 2, NO_AUTHENTICATION, PASSWORD],
    };
    stream.write_all(offer).await.map_err(Error::proxy)?;
    match (read::<2>(&mut stream).await?, &proxy.credentials) {
        ([5, NO_AUTHENTICATION], _) => {}
        ([5, PASSWORD], Some((user, password))) => {
            let mut request = vec![1];
            request.extend(sized(user)?);
            request.extend(sized(password)?);
            stream.write_all(&request).await.map_err(Error::proxy)?;
            let [_, status] = read(&mut stream).await?;
            if status != 0 {
                return Err(Error::proxy_credentials(
                    "it has refused the user name and password",
                ));
            }
        }
        ([5, _], _) => {
            return Err(Error::proxy_credentials(
                "it accepts none of the ways to authenticate",
            ));
        }
        _ => return Err(Error::proxy("it does not speak SOCKS5")),
    }

    let mut request = vec![5, CONNECT, 0];
    match address {
        Some(IpAddr::V4(address)) => {
            request.push(1);
            request.extend(address.octets());
        }
        Some(IpAddr::V6(address)) => {
            request.push(4);
            request.extend(address.octets());
        }
        None => {
            request.push(3);
            request.extend(sized(target.host)?);
        }
    }
    request.extend(target.port.to_be_bytes());
    stream.write_all(&request).await.map_err(Error::proxy)?;
    let [version, code, _, kind] = read(&mut stream).await?;
    if version != 5 {
        return Err(Error::proxy("it does not speak SOCKS5"));
    }
    if code != 0 {
        let reason = reply(code);
        let message = format!("it has refused the connection: {reason}");
        return Ok(Err(Error::proxy(message)));
    }
    // The address that the proxy is bound to, which does not matter, and the port.
    let length = match kind {
        1 => 4,
        4 => 16,
        3 => usize::from(read::<1>(&mut stream).await?[0]),
        _ => {
            return Err(Error::proxy(
                "its response has an address of an unknown type",
            ));
        }
    };
    let mut bound = vec![0; length + 2];
    stream.read_exact(&mut bound).await.map_err(Error::proxy)?;
    Ok(Ok(stream))
}

/// What the codes of a reply mean (RFC 1928, section 6).
fn reply(code: u8) -> &'static str {
    match code {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "the time to live has expired",
        7 => "command not supported",
        8 => "type of address not supported",
        _ => "unknown reason",
    }
}

async fn read<const N: usize>(stream: &mut TcpStream) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(Error::proxy)?;
    Ok(bytes)
}

/// A text with its length before it.
fn sized(text: &str) -> Result<Vec<u8>, Error> {
    let Ok(length) = u8::try_from(text.len()) else {
        return Err(Error::invalid_request(
            "a name or password for a SOCKS5 proxy is longer than 255 bytes",
        ));
    };
    Ok([&[length], text.as_bytes()].concat())
}

/// A text with a zero byte behind it.
fn c_string(text: &str) -> Result<Vec<u8>, Error> {
    if text.contains('\0') {
        return Err(Error::invalid_request(
            "a name for a SOCKS4 proxy holds a NUL",
        ));
    }
    Ok([text.as_bytes(), &[0]].concat())
}
