//! Errors of other libraries that can only be told apart by their message. Each text is that of the library named beside
//! it. If an update changes one, the tests here or those of the fault (handshake, proxy) fail; of OpenSSL's `unexpected
//! EOF` only now and then, for whether it or an `io::Error` arrives is a matter of timing.

use std::error::Error as StdError;
use std::io;

use crate::error::{chain, io_kind};

/// Whether the server rejected the TLS handshake with an alert. With TLS 1.3 it may do so when the handshake is over
/// for the client and the request on its way.
pub(super) fn is_tls_alert(error: &(dyn StdError + 'static)) -> bool {
    any_message(error, |message| {
        // rustls: `Error::AlertReceived`. Of some errors only this text is left by the time they arrive here.
        message.contains("received fatal alert")
            // OpenSSL, through native-tls: its errors are a text with a number.
            || message.contains("SSL alert number")
    })
}

/// Whether a proxy has refused the credentials for it.
pub(super) fn is_proxy_refusal(error: &(dyn StdError + 'static)) -> bool {
    // hyper-util: its connectors through proxies have no public error type.
    any_message(error, |message| {
        message.contains("proxy authorization required")
            // ureq: it tells all faults of CONNECT with a text.
            || message.contains("proxy server responded 407/")
    })
}

/// Whether a proxy could not be connected through.
pub(super) fn is_proxy_failure(error: &(dyn StdError + 'static)) -> bool {
    // hyper-util: its connectors through proxies have no public error type.
    any_message(error, |message| {
        message.starts_with("tunnel error") || message.to_lowercase().starts_with("socks")
    })
}

/// Whether a host name could not be resolved.
pub(super) fn is_resolution_failure(error: &(dyn StdError + 'static)) -> bool {
    // reqwest and hyper-util: neither of their types is public, and reqwest asks only its own errors for it.
    any_message(error, |message| {
        matches!(message, "error resolving DNS" | "dns error")
    })
}

/// Whether the peer closed the connection during the TLS handshake.
pub(super) fn is_handshake_cut(error: &(dyn StdError + 'static)) -> bool {
    io_kind(error) == Some(io::ErrorKind::UnexpectedEof)
        // OpenSSL, through native-tls: not an `io::Error`.
        || any_message(error, |message| message == "unexpected EOF")
}

/// Whether the peer sent data before the request, as servers of other protocols than HTTP do.
pub(super) fn is_unsolicited(error: &(dyn StdError + 'static)) -> bool {
    // hyper: it has no predicate for this kind.
    any_message(error, |message| {
        message.starts_with("received unexpected message")
    })
}

fn any_message(error: &(dyn StdError + 'static), matches: impl Fn(&str) -> bool) -> bool {
    chain(error).any(|error| matches(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Empty;
    use hyper_util::rt::TokioIo;
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn an_alert_that_rustls_received_is_recognized() {
        let alert = rustls::AlertDescription::HandshakeFailure;
        let received = io::Error::other(rustls::Error::AlertReceived(alert));
        assert!(is_tls_alert(&received));
        let other = io::Error::other(rustls::Error::HandshakeNotComplete);
        assert!(!is_tls_alert(&other));
    }

    #[tokio::test]
    async fn data_before_the_request_is_recognized() {
        let (client, mut server) = tokio::io::duplex(64);
        server.write_all(b"220 ready\r\n").await.unwrap();
        let (_sender, connection) =
            hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(client))
                .await
                .unwrap();
        assert!(is_unsolicited(&connection.await.unwrap_err()));
    }
}
