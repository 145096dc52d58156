//! What ureq's own settings change, and what the crate overrides.

use std::time::Duration;

use threaded::{Pool, PoolError};

use super::{Session, isolated};
use crate::support::pools::outcomes_of;
use crate::support::recording_server::{RecordingServer, redirect, values};

fn builder(session: fn() -> Session) -> super::PoolBuilder {
    Pool::builder().session(session)
}

#[test]
fn what_the_crate_looks_after_itself_is_overridden() {
    let server = RecordingServer::start(|request| match request.uri().path() {
        "/" => redirect(302, "/there"),
        _ => http::Response::builder()
            .status(500)
            .body(Default::default())
            .unwrap(),
    });
    let session = || {
        isolated(&[]).client(|config| {
            config
                .max_redirects(0)
                .http_status_as_error(true)
                .accept_encoding("compress")
                .timeout_global(Some(Duration::from_nanos(1)))
        })
    };
    let outcomes = outcomes_of(builder(session), [server.url("/")]);
    let response = outcomes[0].as_ref().unwrap();
    assert_eq!(
        (response.status().as_u16(), response.history().len()),
        (500, 1)
    );
    for request in server.received() {
        assert!(!values(&request, "accept-encoding").contains(&"compress".to_owned()));
    }
}

#[test]
fn the_user_agent_is_the_crates_unless_the_session_or_the_agent_has_its_own() {
    let server = RecordingServer::responding_ok();
    let sent = |session| {
        let count = server.received().len();
        assert!(outcomes_of(builder(session), [server.url("/")])[0].is_ok());
        values(&server.received()[count], "user-agent")
    };
    let own = concat!("reqwest-threaded/", env!("CARGO_PKG_VERSION"));
    assert_eq!(sent(|| isolated(&[])), [own]);
    assert_eq!(sent(|| isolated(&[]).user_agent("mine/1")), ["mine/1"]);
    let agents_own = || isolated(&[]).client(|config| config.user_agent("theirs/2"));
    assert_eq!(sent(agents_own), ["theirs/2"]);
}

#[test]
fn a_setting_that_is_no_header_value_is_an_error_and_no_panic() {
    let sessions: [fn() -> Session; 2] = [
        || isolated(&[]).client(|config| config.user_agent("a\nb")),
        || isolated(&[]).client(|config| config.accept("a\0b")),
    ];
    for (session, name) in sessions.into_iter().zip(["user_agent", "accept"]) {
        let error = builder(session).build().unwrap_err();
        assert!(matches!(error, PoolError::Session(_)), "{error:?}");
        assert!(error.to_string().contains(name), "{error}");
    }
}
