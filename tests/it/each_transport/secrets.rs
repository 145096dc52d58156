//! Promise 13: nothing secret is printed, and nothing long.

use std::error::Error as StdError;
use std::fmt::Debug;
use std::io::Write;

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use threaded::{
    Auth, Error, ErrorKind, Exchange, Outcome, Pool, RequestSpec, ResponseBody, Session,
};

use super::{outcome, pool};
use crate::support::pools::outcomes_of;
use crate::support::raw::{RawServer, refused_address};
use crate::support::server::Server;
use crate::support::tls::certificate_for;

pub(super) const CANARY: &str = "canary7f3a";

/// Everything that a user may print of an outcome, the whole chain of sources included.
pub(super) fn printed(outcome: &Outcome) -> Vec<String> {
    let mut lines = vec![format!("{outcome:?}"), format!("{outcome:#?}")];
    match outcome {
        Ok(response) => {
            lines.push(response.to_string());
            lines.push(format!("{:?}", response.request()));
            lines.push(format!("{:?}", response.response()));
            lines.push(format!("{:?}", response.history()));
        }
        Err(exception) => {
            lines.push(exception.to_string());
            let mut error: Option<&dyn StdError> = Some(exception);
            while let Some(current) = error {
                lines.push(current.to_string());
                lines.push(format!("{current:?}"));
                error = current.source();
            }
        }
    }
    lines
}

pub(super) fn assert_discreet(lines: &[String]) {
    for line in lines {
        assert!(!line.contains(CANARY), "{line}");
        assert!(line.len() < 2048, "{} bytes: {line}", line.len());
    }
}

type Expected = fn(&Outcome) -> bool;

/// A request with a secret in every place that takes one.
pub(super) fn secretive(url: &str) -> RequestSpec {
    let (scheme, rest) = url.split_once("://").unwrap();
    let mut marked = HeaderValue::from_static(CANARY);
    marked.set_sensitive(true);
    let headers = HeaderMap::from_iter([(HeaderName::from_static("x-inner"), marked)]);
    RequestSpec::post(format!(
        "{scheme}://{CANARY}:{CANARY}@{rest}?key={CANARY}#{CANARY}"
    ))
    .query(&[("token", CANARY)])
    .headers(headers)
    .header("Authorization", CANARY)
    .header("Proxy-Authorization", CANARY)
    .header("X-Api-Key", CANARY)
    .cookie("session", CANARY)
    .body(CANARY)
    .extension(CANARY)
}

#[test]
fn no_outcome_of_the_network_prints_a_secret() {
    let fine = Server::responding(CANARY);
    let looping = Server::start(|request| {
        let response = http::Response::builder().status(307);
        let location = format!("{}?again={CANARY}", request.uri().path());
        response
            .header("location", location)
            .body(Default::default())
            .unwrap()
    });
    let redirecting = Server::start(|_| {
        let response = http::Response::builder().status(302);
        let location = format!("ftp://{CANARY}:{CANARY}@host/?key={CANARY}");
        response
            .header("location", location)
            .body(Default::default())
            .unwrap()
    });
    let garbage = RawServer::responding(format!("{CANARY} is not HTTP\r\n\r\n"));
    let closing = RawServer::responding("");
    let truncated = RawServer::responding("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx");
    let silent = RawServer::start(|mut stream, _| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let undecodable = RawServer::responding(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
    );
    let untrusted = Server::start_tls(certificate_for(&["localhost"]).config, |_| {
        Default::default()
    });
    let refused = format!("http://{}/", refused_address());
    let timeout = std::time::Duration::from_millis(100);

    let table: Vec<(RequestSpec, Expected)> = vec![
        (secretive(&fine.url("/")), |o| o.is_ok()),
        (secretive(&fine.url("/")).max_body(1), |o| {
            is(o, |e| e.kind() == ErrorKind::BodyTooLarge)
        }),
        (secretive(&looping.url("/")), |o| {
            is(o, |e| e.kind() == ErrorKind::Redirect)
        }),
        (secretive(&looping.url("/")).max_redirects(0), |o| o.is_ok()),
        (secretive(&redirecting.url("/")), |o| {
            is(o, |e| e.kind() == ErrorKind::Redirect)
        }),
        (secretive(&garbage.url("/")), |o| {
            is(o, |e| e.kind() == ErrorKind::Protocol)
        }),
        (secretive(&closing.url("/")), |o| {
            is(o, |e| e.kind() == ErrorKind::Closed)
        }),
        (secretive(&truncated.url("/")), |o| {
            is(o, |e| e.kind() == ErrorKind::BodyTruncated)
        }),
        (secretive(&silent.url("/")).timeout(timeout), |o| {
            is(o, Error::is_timeout)
        }),
        (secretive(&undecodable.url("/")), |o| {
            is(o, |e| e.kind() == ErrorKind::Decode)
        }),
        (secretive(&untrusted.url("/")), |o| {
            is(o, |e| e.kind() == ErrorKind::Tls)
        }),
        (secretive(&refused), |o| {
            is(o, |e| e.kind() == ErrorKind::Connect)
        }),
        (secretive("http://nowhere.invalid/"), |o| {
            is(o, |e| e.kind() == ErrorKind::Dns)
        }),
        (
            secretive(&fine.url("/"))
                .proxy(format!("http://{CANARY}:{CANARY}@{}", refused_address())),
            |o| is(o, |e| e.kind() == ErrorKind::Proxy),
        ),
    ];
    for (spec, is_expected) in table {
        assert_discreet(&[format!("{spec:?}"), format!("{spec:#?}")]);
        let outcome = outcome(spec);
        assert!(is_expected(&outcome), "{outcome:?}");
        assert_discreet(&printed(&outcome));
    }
}

pub(super) fn is(outcome: &Outcome, expected: impl Fn(&Error) -> bool) -> bool {
    outcome
        .as_ref()
        .is_err_and(|exception| expected(exception.error()))
}

#[test]
fn no_mistake_in_a_spec_prints_a_secret() {
    let good = || RequestSpec::get("http://127.0.0.1/");
    let specs = [
        format!("htp://u:{CANARY}@h/?k={CANARY}").into(),
        format!("//u:{CANARY}@h/").into(),
        format!("http://u:{CANARY}@ex ample/").into(),
        format!("http:///?k={CANARY}").into(),
        format!("http://u%3a{CANARY}:x@127.0.0.1/").into(),
        good().header("Authorization", format!("a\r\n{CANARY}")),
        good().header("X-Api-Key", format!("a\0{CANARY}")),
        good().basic_auth(format!("a:{CANARY}"), Some(CANARY)),
        good().bearer_auth(format!("a\n{CANARY}")),
        good().cookie("session", format!("a;{CANARY}")),
        good().proxy(format!("htp://u:{CANARY}@h")),
        good().proxy(format!("u:{CANARY}@exa mple")),
    ];
    for outcome in outcomes_of(pool(), specs) {
        assert!(
            is(&outcome, |error| error.kind() == ErrorKind::InvalidRequest),
            "{outcome:?}"
        );
        assert_discreet(&printed(&outcome));
    }
}

#[test]
fn no_session_and_no_builder_prints_a_secret() {
    let session = Session::default()
        .header("X-Api-Key", CANARY)
        .basic_auth(CANARY, Some(CANARY));
    let auth = [Auth::basic(CANARY, Some(CANARY)), Auth::bearer(CANARY)];
    let builder = Pool::builder().auth_generator(|session| session.bearer_auth(CANARY));
    assert_discreet(&[
        format!("{session:?}"),
        format!("{auth:?}"),
        format!("{builder:?}"),
    ]);

    let fault = Pool::builder()
        .auth_generator(|session| session.bearer_auth(format!("a\n{CANARY}")))
        .build()
        .unwrap_err();
    assert_discreet(&[format!("{fault:?}"), fault.to_string()]);
}

#[test]
fn a_transport_may_print_its_exchange() {
    let transport = |exchange: Exchange<'_>| {
        let mut line = Vec::new();
        write!(line, "{exchange:?}").unwrap();
        Ok(http::Response::new(ResponseBody::from(line)))
    };
    let builder = Pool::builder().session(move || Session::new(transport));
    let outcomes = outcomes_of(builder, [secretive("http://stub.test/")]);
    let line = outcomes[0].as_ref().unwrap().text().into_owned();
    assert_discreet(std::slice::from_ref(&line));
    assert!(line.contains("x-api-key"), "{line}");
}

fn assert_short(printed: impl Debug) {
    let line = format!("{printed:?}");
    assert!(line.len() < 2048, "{} bytes: {line}", line.len());
}

proptest! {
    #[test]
    fn whatever_the_input_what_is_printed_is_short_and_on_one_line(
        url in any::<String>(),
        repeat in 1..3000usize,
        name in any::<String>(),
        value in any::<String>(),
    ) {
        let (long_url, long_name, long_value) = (url.repeat(repeat), name.repeat(repeat), value.repeat(repeat));
        let spec = RequestSpec::new(&*long_name, long_url)
            .header(&long_name, &*long_value)
            .query(&[(&long_name, &long_value)])
            .cookie(&long_name, &long_value)
            .proxy(long_value);
        assert_short(&spec);
        let builder = Pool::builder()
            .session(|| Session::new(|_: Exchange<'_>| Ok(http::Response::new(ResponseBody::empty()))));
        for outcome in outcomes_of(builder, [spec]) {
            assert_short(&outcome);
            if let Err(exception) = outcome {
                let line = exception.to_string();
                prop_assert!(line.len() < 2048 && !line.contains(char::is_control), "{line:?}");
            }
        }
    }
}
