//! Proxies that the environment names.
#![cfg(feature = "system-proxy")]

use threaded::{Error, Pool, PoolError, RequestSpec};

use super::outcome;
use crate::support::alone::alone;
use crate::support::framing::{Framing, answer};
use crate::support::keeper::Keeper;
use crate::support::pools::outcomes_of;
use crate::support::raw::{RawServer, refused_address};

/// A proxy that answers for all servers with its name.
fn saying(name: &str) -> RawServer {
    RawServer::answering(answer(Framing::CloseDelimited, "", name.as_bytes()))
}

/// The path of a test of this file.
fn path(test: &str) -> String {
    let (_crate, module) = module_path!().split_once("::").unwrap();
    format!("{module}::{test}")
}

/// Runs the body where the environment names this proxy.
fn where_proxy_is(url: &str, test: &str, body: impl FnOnce()) {
    let none = ["NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"].map(|name| (name, ""));
    let named = ["HTTP_PROXY", "http_proxy"].map(|name| (name, url));
    alone(&path(test), &[&none[..], &named[..]].concat(), body);
}

#[test]
fn the_proxy_of_the_environment_is_used_unless_told_otherwise() {
    let proxy = saying("proxy");
    let test = "the_proxy_of_the_environment_is_used_unless_told_otherwise";
    where_proxy_is(&proxy.url("/"), test, || {
        let server = Keeper::saying_ok();
        let other = saying("other");
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
fn a_proxy_of_the_environment_that_refuses_is_a_proxy_error() {
    let proxy = format!("http://{}/", refused_address());
    let test = "a_proxy_of_the_environment_that_refuses_is_a_proxy_error";
    where_proxy_is(&proxy, test, || {
        let outcome = outcomes_of(Pool::builder(), ["http://nobody.test/"]).remove(0);
        let exception = outcome.unwrap_err();
        let is_expected = matches!(exception.error(), Error::Proxy { .. });
        assert!(is_expected, "{exception:?}");
        assert!(!exception.was_sent());
    });
}

#[test]
fn a_bad_proxy_in_the_environment_is_not_passed_by() {
    let test = "a_bad_proxy_in_the_environment_is_not_passed_by";
    where_proxy_is("http://[::bad/", test, || {
        let server = Keeper::saying_ok();
        let built = Pool::builder().build_from_urls([server.url("/")]);
        assert!(matches!(built, Err(PoolError::Session(_))), "{built:?}");
        assert!(server.received().is_empty());
    });
}
