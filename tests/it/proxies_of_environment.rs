//! Proxies that the environment names: by scheme, and with exceptions. `on_reqwest.rs` and `on_hyper.rs` include it.

use std::io::Write;
use std::net::{Ipv6Addr, TcpListener, TcpStream};

use threaded::{ErrorKind, Pool, PoolError, RequestSpec};

#[cfg(any(feature = "default-tls", feature = "native-tls"))]
use super::trusting_system_pool;
use super::{CGI_HIDES_ALL_PROXIES, new_session, pool_with_proxy, system_pool};
use crate::support::framing::{Framing, raw_response};
use crate::support::pools::{at_once, outcome_of, outcomes_of};
use crate::support::raw::{RawServer, read_request, relay};
use crate::support::subprocess::in_subprocess;

/// Runs the body where the environment names these proxies, and no others.
fn where_proxies_are(named: &[(&str, &str)], test: &str, body: impl FnOnce()) {
    let none = ["http", "https", "all", "no"].map(|scheme| format!("{scheme}_proxy"));
    let none = none
        .iter()
        .flat_map(|name| [name.clone(), name.to_uppercase()]);
    let none: Vec<String> = none.collect();
    let mut environment: Vec<(&str, &str)> = none.iter().map(|name| (&**name, "")).collect();
    environment.extend_from_slice(named);
    let path = format!("{}::{test}", module_path!());
    in_subprocess(&path, &environment, body);
}

fn named(text: &str) -> Vec<u8> {
    raw_response(Framing::CloseDelimited, "", text.as_bytes())
}

/// Responds to each request with its name, and refuses to open tunnels.
fn forwarding(name: &'static str) -> RawServer {
    RawServer::start(move |mut stream, _| {
        let is_connect = read_request(&mut stream).starts_with("CONNECT ");
        let response = if is_connect {
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_vec()
        } else {
            named(name)
        };
        let _ = stream.write_all(&response);
    })
}

/// Opens tunnels, to the port that is asked for at this machine, and refuses all else.
#[cfg(any(feature = "default-tls", feature = "native-tls"))]
fn tunnelling() -> RawServer {
    RawServer::start(|mut stream, _| {
        let head = read_request(&mut stream);
        let target = head.split(' ').nth(1).unwrap();
        match (head.starts_with("CONNECT "), target.rsplit_once(':')) {
            (true, Some((_, port))) => {
                let far = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                relay(stream, far);
            }
            _ => {
                let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
            }
        }
    })
}

struct Exceptions {
    /// `NO_PROXY`
    list: &'static str,
    direct: &'static [&'static str],
    proxied: &'static [&'static str],
}

const EXCEPTIONS: [Exceptions; 8] = [
    Exceptions {
        list: "",
        direct: &[],
        proxied: &["localhost", "127.0.0.1", "example.test"],
    },
    Exceptions {
        list: "localhost, 127.0.0.1",
        direct: &["localhost", "127.0.0.1"],
        proxied: &["127.0.0.2", "example.test"],
    },
    Exceptions {
        list: "127.0.0.0/8",
        direct: &["127.0.0.1"],
        proxied: &["128.0.0.1", "localhost", "example.test"],
    },
    Exceptions {
        list: "example.test",
        direct: &["example.test", "a.example.test", "b.a.example.test"],
        proxied: &["notexample.test", "example.test.other.test", "127.0.0.1"],
    },
    Exceptions {
        list: ".example.test",
        direct: &["example.test", "a.example.test"],
        proxied: &["notexample.test", "127.0.0.1"],
    },
    Exceptions {
        list: "other.test,EXAMPLE.Test",
        direct: &["example.test", "a.example.test", "other.test"],
        proxied: &["notexample.test"],
    },
    Exceptions {
        list: "*",
        direct: &["example.test", "127.0.0.1", "localhost"],
        proxied: &[],
    },
    Exceptions {
        list: "other.test, *",
        direct: &["example.test", "127.0.0.1"],
        proxied: &[],
    },
];

#[test]
fn some_hosts_are_excepted() {
    let proxy = forwarding("proxy");
    let test = "some_hosts_are_excepted";
    for row in EXCEPTIONS {
        let environment = [("HTTP_PROXY", &*proxy.url("/")), ("NO_PROXY", row.list)];
        where_proxies_are(&environment, test, || {
            // Each subprocess comes by all rows, and is there for one of them.
            if std::env::var("NO_PROXY").unwrap_or_default() != row.list {
                return;
            }
            let server = RawServer::responding(named("direct"));
            let builder = || system_pool(row.direct, server.address());
            let port = server.address().port();
            let text = |host: &str| {
                let outcome = outcome_of(builder(), format!("http://{host}:{port}/"));
                outcome.unwrap().text().into_owned()
            };
            for host in row.direct {
                assert_eq!(text(host), "direct", "{host} with {:?}", row.list);
            }
            for host in row.proxied {
                assert_eq!(text(host), "proxy", "{host} with {:?}", row.list);
            }
        });
    }
}

#[test]
fn an_ipv6_address_is_excepted() {
    let proxy = forwarding("proxy");
    let test = "an_ipv6_address_is_excepted";
    for list in ["::1", "::/64"] {
        let environment = [("HTTP_PROXY", &*proxy.url("/")), ("NO_PROXY", list)];
        where_proxies_are(&environment, test, || {
            let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
                eprintln!("skipped {test}: there is no IPv6 here");
                return;
            };
            let server = RawServer::start_on(listener, |mut stream, _| {
                read_request(&mut stream);
                let _ = stream.write_all(&named("direct"));
            });
            let builder = || system_pool(&[], server.address());
            assert_eq!(
                outcome_of(builder(), server.url("/")).unwrap().text(),
                "direct"
            );
            let other = outcome_of(builder(), "http://[2001:db8::1]/");
            assert_eq!(other.unwrap().text(), "proxy");
        });
    }
}

#[test]
fn the_names_of_the_variables_may_be_in_lower_case() {
    let proxy = forwarding("proxy");
    let test = "the_names_of_the_variables_may_be_in_lower_case";
    let environment = [("http_proxy", &*proxy.url("/")), ("no_proxy", "127.0.0.1")];
    where_proxies_are(&environment, test, || {
        let server = RawServer::responding(named("direct"));
        let builder = system_pool(&[], server.address());
        let urls = [server.url("/"), "http://nobody.test/".to_owned()];
        let outcomes = outcomes_of(builder, urls).into_iter();
        let texts: Vec<_> = outcomes
            .map(|outcome| outcome.unwrap().text().into_owned())
            .collect();
        assert_eq!(texts, ["direct", "proxy"]);
    });
}

#[cfg(any(feature = "default-tls", feature = "native-tls"))]
#[test]
fn each_scheme_has_its_proxy() {
    use crate::support::server::Server;
    use crate::support::tls::certificate_for;

    let (http, https) = (forwarding("for http"), tunnelling());
    let (http, https) = (http.url("/"), https.url("/"));
    let rows = [
        [("HTTP_PROXY", &*http), ("HTTPS_PROXY", &*https)],
        [("HTTP_PROXY", &*http), ("ALL_PROXY", &*https)],
        [("ALL_PROXY", &*http), ("HTTPS_PROXY", &*https)],
    ];
    for environment in rows {
        where_proxies_are(&environment, "each_scheme_has_its_proxy", || {
            let certificate = certificate_for(&["nobody.test"]);
            let server = Server::responding_over_tls(certificate.config, "through the tunnel");
            let pem = certificate.pem;
            let builder = trusting_system_pool(&pem);
            let port = server.address().port();
            let urls = [
                "http://nobody.test/".to_owned(),
                format!("https://nobody.test:{port}/"),
            ];
            let outcomes = outcomes_of(builder, urls).into_iter();
            let texts: Vec<_> = outcomes
                .map(|outcome| outcome.unwrap().text().into_owned())
                .collect();
            assert_eq!(texts, ["for http", "through the tunnel"]);
        });
    }
}

/// A CGI program gets the header `Proxy` of its client as `HTTP_PROXY` (CVE-2016-5385).
#[test]
fn a_proxy_that_the_client_of_a_cgi_program_may_have_named_is_ignored() {
    let proxy = forwarding("proxy");
    let test = "a_proxy_that_the_client_of_a_cgi_program_may_have_named_is_ignored";
    let (url, method) = (proxy.url("/"), ("REQUEST_METHOD", "GET"));
    let others = if CGI_HIDES_ALL_PROXIES {
        "direct"
    } else {
        "proxy"
    };
    let rows = [
        ([method, ("HTTP_PROXY", &*url)], "direct"),
        // A header cannot become a name in lower case.
        ([method, ("http_proxy", &*url)], others),
        ([method, ("ALL_PROXY", &*url)], others),
    ];
    for (environment, expected) in rows {
        where_proxies_are(&environment, test, || {
            let (name, value) = environment[1];
            if std::env::var(name).is_err() {
                return;
            }
            let server = RawServer::responding(named("direct"));
            let builder = system_pool(&[], server.address());
            let outcome = outcome_of(builder, server.url("/"));
            assert_eq!(outcome.unwrap().text(), expected, "{name}={value}");
        });
    }
}

#[test]
fn a_proxy_of_a_request_or_a_client_takes_the_place_of_the_environments() {
    let (named_there, own) = (forwarding("the environment's"), forwarding("own"));
    let test = "a_proxy_of_a_request_or_a_client_takes_the_place_of_the_environments";
    let own = own.url("/");
    let environment = [("HTTP_PROXY", &*named_there.url("/")), ("OWN", &*own)];
    where_proxies_are(&environment, test, || {
        let own = std::env::var("OWN").unwrap();
        let get = || RequestSpec::get("http://nobody.test/");
        let text = |builder, spec| outcome_of(builder, spec).unwrap().text().into_owned();
        let builder = || Pool::builder().session(new_session);
        assert_eq!(text(builder(), get()), "the environment's");
        assert_eq!(text(builder(), get().proxy(&own)), "own");
        assert_eq!(text(pool_with_proxy(&own), get()), "own");
    });
}

#[test]
fn a_bad_proxy_is_not_passed_by() {
    for proxy in ["http://[::bad/", "ftp://127.0.0.1/", "http://"] {
        for name in ["HTTP_PROXY", "https_proxy", "ALL_PROXY"] {
            where_proxies_are(&[(name, proxy)], "a_bad_proxy_is_not_passed_by", || {
                let built = Pool::builder().session(new_session).build();
                let error = built.unwrap_err();
                assert!(matches!(error, PoolError::Session(_)), "{error:?}");
                assert!(error.to_string().contains("proxy"), "{error}");
            });
        }
    }
}

#[test]
fn a_proxy_of_the_environment_that_refuses_its_user_is_not_asked_again() {
    let proxy = RawServer::responding(
        "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
    );
    let test = "a_proxy_of_the_environment_that_refuses_its_user_is_not_asked_again";
    where_proxies_are(&[("HTTP_PROXY", &*proxy.url("/"))], test, || {
        let builder = Pool::builder().session(new_session).retry(at_once(3));
        let exception = outcome_of(builder, "http://nobody.test/").unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Proxy, "{exception:?}");
        assert_eq!(exception.attempts(), 1);
    });
}
