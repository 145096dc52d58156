//! What each constructor makes, and what becomes of it.

use std::collections::HashSet;
use std::error::Error as _;

use super::*;

const TIME: Duration = Duration::from_millis(1500);

/// An error of another library, with a cause of its own.
#[derive(Debug, thiserror::Error)]
#[error("outer")]
struct Outer(#[source] io::Error);

fn outer() -> Outer {
    Outer(io::Error::other("root cause"))
}

fn hop() -> RedirectHop {
    let url = "http://host/".parse().expect("it is a URL");
    RedirectHop::new(url, StatusCode::FOUND)
}

/// Each constructor's error, with what it should be: its kind, whether it was sent, and its message.
fn all() -> Vec<(Error, ErrorKind, bool, &'static str)> {
    use ErrorKind::*;

    let out_of_files = if cfg!(windows) { 10024 } else { 24 };
    let out_of_files = io::Error::from_raw_os_error(out_of_files);
    let path = Path::new("folder/file");
    let file = |sent| Error::file(path, io::Error::other("disk full")).sent(sent);
    vec![
        (
            Error::invalid_request("no URL; give one"),
            InvalidRequest,
            false,
            "invalid request: no URL; give one",
        ),
        (
            Error::dns(outer()),
            Dns,
            false,
            "could not resolve the host name: root cause",
        ),
        (
            Error::connect(outer()),
            Connect,
            false,
            "could not connect: root cause",
        ),
        (
            Error::tls(outer()),
            Tls,
            false,
            "TLS handshake failed: root cause",
        ),
        (
            Error::proxy(outer()),
            Proxy,
            false,
            "could not connect through the proxy: root cause",
        ),
        (Error::timeout(), Timeout, true, "timed out"),
        (
            Error::timeout().with_time_limit(TIME),
            Timeout,
            true,
            "timed out after 1.5s",
        ),
        (
            Error::closed(outer()),
            Closed,
            true,
            "the connection was closed: root cause",
        ),
        (
            Error::protocol(outer()),
            Protocol,
            true,
            "invalid HTTP response: root cause",
        ),
        (
            Error::body_truncated(outer()),
            BodyTruncated,
            true,
            "the response body was truncated: root cause",
        ),
        (
            Error::body_too_large(7),
            BodyTooLarge,
            true,
            "the body is larger than the limit of 7 bytes; raise it with max_body",
        ),
        (
            Error::digest_mismatch("md5:00, not 01".to_owned()),
            DigestMismatch,
            true,
            "the body has the digest md5:00, not 01",
        ),
        (
            Error::decode(outer()),
            Decode,
            true,
            "could not decode the body: root cause",
        ),
        (
            Error::redirect("too many".to_owned(), vec![hop()]),
            Redirect,
            true,
            "could not follow the redirect: too many",
        ),
        (
            Error::from_status(StatusCode::NOT_FOUND),
            Status,
            true,
            "the server responded with 404 Not Found",
        ),
        (
            Error::handler(outer().into()),
            Sink,
            true,
            "the handler of the body failed: root cause",
        ),
        (
            file(true),
            Sink,
            true,
            "could not save the body to folder/file: disk full",
        ),
        (
            file(false),
            Sink,
            false,
            "could not save the body to folder/file: disk full",
        ),
        (
            Error::local_resource(outer()),
            LocalResource,
            false,
            "a local resource failed: root cause",
        ),
        #[cfg(target_os = "linux")]
        (
            Error::local_resource(out_of_files),
            LocalResource,
            false,
            "ran out of a local resource (file descriptors, ports, memory): Too many open files (os error 24)",
        ),
        // What failed to build the session says so itself.
        (
            Error::session(outer()),
            Session,
            false,
            "the worker has no session: outer",
        ),
        (
            Error::cancelled(),
            Cancelled,
            false,
            "cancelled before it was sent",
        ),
        (
            Error::cancelled().sent(true),
            Cancelled,
            true,
            "cancelled while in flight",
        ),
        (
            Error::panicked("oh\nno".to_owned()),
            Panicked,
            true,
            "panicked: oh\\nno",
        ),
    ]
}

#[test]
fn each_constructor_has_its_kind_default_and_message() {
    let mut kinds = HashSet::new();
    for (error, kind, sent, message) in all() {
        assert_eq!(error.kind(), kind);
        assert_eq!(error.was_sent(), sent, "{error:?}");
        assert_eq!(error.to_string(), message);
        assert_eq!(
            format!("{error:?}"),
            format!("{kind:?}(\"{message}\", sent: {sent})")
        );
        assert_eq!(error.is_timeout(), kind == ErrorKind::Timeout);
        kinds.insert(kind);
    }
    assert_eq!(kinds.len(), 19, "each kind");
}

#[test]
fn accessors_return_something_for_their_kind_only() {
    for (error, kind, _, message) in all() {
        let is_status = kind == ErrorKind::Status;
        assert_eq!(error.status().is_some(), is_status, "{error:?}");
        let is_redirect = kind == ErrorKind::Redirect;
        assert_eq!(error.hops().is_empty(), !is_redirect, "{error:?}");
        let is_limit = kind == ErrorKind::BodyTooLarge;
        assert_eq!(error.limit(), is_limit.then_some(7), "{error:?}");
        let path = message.contains("save").then_some(Path::new("folder/file"));
        assert_eq!(error.path(), path, "{error:?}");
        let time = message.contains("after").then_some(TIME);
        assert_eq!(error.time_limit(), time, "{error:?}");
    }
}

#[test]
fn an_error_is_one_pointer_wide_and_a_clone_is_the_same_error() {
    assert_eq!(size_of::<Error>(), size_of::<usize>());
    for (error, kind, sent, message) in all() {
        let clone = error.clone();
        assert_eq!((clone.kind(), clone.was_sent()), (kind, sent));
        assert_eq!(clone.to_string(), message);
        assert_eq!(clone.hops().len(), error.hops().len());
        assert_eq!((clone.limit(), clone.path()), (error.limit(), error.path()));
        let is_the_same = match (clone.source(), error.source()) {
            (Some(a), Some(b)) => std::ptr::addr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        assert!(is_the_same, "{error:?}");
    }
}

#[test]
fn the_source_can_be_downcast() {
    let error = Error::connect(outer());
    let source = error.source().expect("it has one");
    assert!(source.downcast_ref::<Outer>().is_some());
    let error = Error::timeout().with_source(outer());
    assert!(error.source().is_some_and(|source| source.is::<Outer>()));
    assert_eq!(error.to_string(), "timed out");
}

#[test]
fn whether_it_was_sent_can_be_set_unless_the_kind_decides() {
    use ErrorKind::*;

    for (error, kind, sent, _) in all() {
        let is_decided = matches!(
            kind,
            InvalidRequest
                | Protocol
                | BodyTruncated
                | BodyTooLarge
                | DigestMismatch
                | Decode
                | Redirect
                | Status
                | Panicked
        );
        for set in [true, false] {
            let expected = if is_decided { sent } else { set };
            assert_eq!(error.clone().sent(set).was_sent(), expected, "{error:?}");
        }
    }
}

#[test]
fn an_earlier_exchange_makes_each_error_one_that_was_sent() {
    for (error, kind, _, _) in all() {
        let after = error.after_earlier_exchange();
        assert!(after.was_sent(), "{after:?}");
        let expected = match kind {
            ErrorKind::InvalidRequest => ErrorKind::LocalResource,
            kind => kind,
        };
        assert_eq!(after.kind(), expected);
    }
    let gone = Error::invalid_request("the body cannot be read: gone").after_earlier_exchange();
    assert_eq!(
        gone.to_string(),
        "a local resource failed: the body cannot be read: gone"
    );
    let with_source = Error::invalid_request("no").with_source(outer());
    assert_eq!(
        with_source.after_earlier_exchange().to_string(),
        "a local resource failed: root cause"
    );
}

#[test]
fn a_timeout_gets_a_time_once() {
    let error = Error::timeout().with_time(Wait::Head, || TIME);
    assert_eq!(error.time_limit(), Some(TIME));
    let again = error.with_time(Wait::Body, || panic!("it has one"));
    assert_eq!(again.time_limit(), Some(TIME));
    // Zero is a time as any other.
    let zero = Error::timeout().with_time_limit(Duration::ZERO);
    assert_eq!(
        zero.with_time(Wait::Head, || TIME).time_limit(),
        Some(Duration::ZERO)
    );
    let other = Error::cancelled()
        .with_time_limit(TIME)
        .with_time(Wait::Head, || TIME);
    assert_eq!(other.time_limit(), None);
}

#[test]
fn only_errors_of_connecting_become_those_of_a_proxy() {
    for (error, kind, sent, _) in all() {
        let expected = match kind {
            ErrorKind::Connect | ErrorKind::Dns => ErrorKind::Proxy,
            kind => kind,
        };
        let error = error.at_proxy();
        assert_eq!((error.kind(), error.was_sent()), (expected, sent));
    }
}

#[test]
fn a_failed_read_of_a_body_is_what_the_transport_or_the_io_error_says() {
    for (error, kind, sent, message) in all() {
        let read = Error::from_body_read(io::Error::other(error));
        assert_eq!((read.kind(), read.was_sent()), (kind, sent));
        assert_eq!(read.to_string(), message);
    }
    let table = [
        (io::ErrorKind::UnexpectedEof, ErrorKind::BodyTruncated),
        (io::ErrorKind::TimedOut, ErrorKind::Timeout),
        (io::ErrorKind::WouldBlock, ErrorKind::Timeout),
        (io::ErrorKind::InvalidData, ErrorKind::Protocol),
        (io::ErrorKind::InvalidInput, ErrorKind::Protocol),
        (io::ErrorKind::ConnectionReset, ErrorKind::Closed),
        (io::ErrorKind::Other, ErrorKind::Closed),
    ];
    for (given, kind) in table {
        let read = Error::from_body_read(io::Error::new(given, "of the reader"));
        assert_eq!((read.kind(), read.was_sent()), (kind, true));
        assert!(read.source().is_some_and(|source| source.is::<io::Error>()));
    }
}
