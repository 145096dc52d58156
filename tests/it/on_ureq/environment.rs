//! Proxies that the environment names: one for all.

use threaded::{Pool, PoolError, Session};

use crate::support::framing::{Framing, raw_response};
use crate::support::pools::outcomes_of;
use crate::support::raw::RawServer;
use crate::support::recording_server::RecordingServer;
use crate::support::subprocess::in_subprocess;

fn where_proxies_are(named: &[(&str, &str)], test: &str, body: impl FnOnce()) {
    let path = format!("{}::{test}", module_path!());
    let none = [
        "ALL_PROXY",
        "all_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "http_proxy",
        "no_proxy",
    ];
    let environment = [&none.map(|name| (name, ""))[..], named].concat();
    in_subprocess(&path, &environment, body);
}

#[test]
fn the_proxy_of_the_environment_is_used_for_all_but_some() {
    let proxy = RawServer::responding(raw_response(Framing::CloseDelimited, "", b"proxy"));
    let url = proxy.url("/");
    let named = [("HTTP_PROXY", &*url), ("NO_PROXY", "127.0.0.1")];
    let test = "the_proxy_of_the_environment_is_used_for_all_but_some";
    where_proxies_are(&named, test, || {
        let server = RecordingServer::responding_ok();
        let urls = ["http://nobody.test/".to_owned(), server.url("/")];
        let outcomes = outcomes_of(Pool::builder().session(Session::ureq), urls);
        let texts: Vec<_> = outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap().text().into_owned())
            .collect();
        assert_eq!(texts, ["proxy", "ok"]);
    });
}

#[test]
fn a_bad_proxy_in_the_environment_is_not_passed_by() {
    let test = "a_bad_proxy_in_the_environment_is_not_passed_by";
    where_proxies_are(&[("HTTP_PROXY", "http://[::bad/")], test, || {
        let built = Pool::builder().session(Session::ureq).build();
        assert!(matches!(built, Err(PoolError::Session(_))), "{built:?}");
    });
}
