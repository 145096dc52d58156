//! Proxies that the environment names.
#![cfg(feature = "system-proxy")]

use threaded::{Pool, PoolError, RequestSpec};

use super::outcome;
use crate::support::framing::{Framing, raw_response};
use crate::support::pools::outcomes_of;
use crate::support::raw::RawServer;
use crate::support::recording_server::RecordingServer;
use crate::support::subprocess::in_subprocess;

/// A proxy that responds to every request with its name.
fn proxy_named(name: &str) -> RawServer {
    RawServer::responding(raw_response(Framing::CloseDelimited, "", name.as_bytes()))
}

/// Runs the body where the environment names this proxy.
fn where_proxy_is(url: &str, test: &str, body: impl FnOnce()) {
    let none = ["NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"].map(|name| (name, ""));
    let named = ["HTTP_PROXY", "http_proxy"].map(|name| (name, url));
    let path = format!("{}::{test}", module_path!());
    in_subprocess(&path, &[&none[..], &named[..]].concat(), body);
}

#[test]
fn the_proxy_of_the_environment_is_used_unless_told_otherwise() {
    let proxy = proxy_named("proxy");
    let test = "the_proxy_of_the_environment_is_used_unless_told_otherwise";
    where_proxy_is(&proxy.url("/"), test, || {
        let server = RecordingServer::responding_ok();
        let other = proxy_named("other");
        let get = || RequestSpec::get(server.url("/"));
        let specs = [get(), get().proxy(other.url("/"))];
        let outcomes = outcomes_of(Pool::builder(), specs).into_iter();
        let texts: Vec<_> = outcomes
            .map(|outcome| outcome.unwrap().text().into_owned())
            .collect();
        assert_eq!(texts, ["proxy", "other"]);
        assert_eq!(outcome(get()).unwrap().text(), "ok");
    });
}

#[test]
fn a_bad_proxy_in_the_environment_is_not_passed_by() {
    let test = "a_bad_proxy_in_the_environment_is_not_passed_by";
    where_proxy_is("http://[::bad/", test, || {
        let server = RecordingServer::responding_ok();
        let built = Pool::builder().build_from_urls([server.url("/")]);
        assert!(matches!(built, Err(PoolError::Session(_))), "{built:?}");
        assert!(server.received().is_empty());
    });
}
