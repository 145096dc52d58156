//! Header and request injection: no text in a spec adds a line or a second request.

use std::sync::{Arc, Mutex};

use threaded::{ErrorKind, RequestSpec};

use super::pool;
use crate::support::pools::outcomes_of;
use crate::support::raw::{RawServer, read_request};
use crate::support::recording_server::{RecordingServer, values};

/// Texts that end a line, a head or a string somewhere.
const ENDS: [&str; 8] = [
    "\r\nX-Injected: yes",
    "\nX-Injected: yes",
    "\rX-Injected: yes",
    "\r\n\r\nGET /injected HTTP/1.1\r\nHost: x\r\n\r\n",
    "\0X-Injected: yes",
    " HTTP/1.1\r\nX-Injected: yes\r\nX-Rest:",
    "\u{85}X-Injected: yes",
    "\u{2028}X-Injected: yes",
];

/// Specs with such a text in each place that takes one.
fn attacks(base: &str) -> Vec<RequestSpec> {
    let mut specs = Vec::new();
    for end in ENDS {
        let get = || RequestSpec::get(base);
        specs.extend([
            RequestSpec::get(format!("{base}path{end}")),
            RequestSpec::get(format!("{base}?query{end}")),
            RequestSpec::get(format!("{base}#fragment{end}")),
            RequestSpec::get(base.replace("http://", &format!("http://user{end}@"))),
            RequestSpec::get(base.replace("127.0.0.1", &format!("127.0.0.1{end}"))),
            RequestSpec::new(format!("GET{end}").as_str(), base),
            get().header(format!("X-Name{end}"), "value"),
            get().header("X-Name", format!("value{end}")),
            get().header("Host", format!("host{end}")),
            get().query(&[(format!("name{end}"), format!("value{end}"))]),
            get().cookie(format!("name{end}"), "value"),
            get().cookie("name", format!("value{end}")),
            get().basic_auth(format!("user{end}"), Some(format!("password{end}"))),
            get().bearer_auth(format!("token{end}")),
        ]);
    }
    specs
}

#[test]
fn what_ends_a_line_elsewhere_ends_none_here() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let server = RawServer::start({
        let heads = Arc::clone(&heads);
        move |mut stream, _| {
            // As many requests as come, whether or not they were meant.
            loop {
                let head = read_request(&mut stream);
                if head.is_empty() {
                    return;
                }
                heads.lock().unwrap().push(head);
                let response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                if std::io::Write::write_all(&mut stream, response).is_err() {
                    return;
                }
            }
        }
    });
    let outcomes = outcomes_of(pool(), attacks(&server.url("/")));
    let mut sent = 0;
    for outcome in &outcomes {
        match outcome {
            Ok(_) => sent += 1,
            Err(exception) => assert!(
                exception.kind() == ErrorKind::InvalidRequest && !exception.was_sent(),
                "{exception:?}"
            ),
        }
    }
    let heads = heads.lock().unwrap();
    assert_eq!(
        heads.len(),
        sent,
        "one request for each response: {heads:#?}"
    );
    assert!(sent > ENDS.len(), "what can be escaped is sent");
    for head in heads.iter() {
        let lines = head.split("\r\n").map(str::to_lowercase);
        let injected = lines
            .filter(|line| line.starts_with("x-injected") || line.contains(['\r', '\n', '\0']));
        assert_eq!(injected.count(), 0, "{head:?}");
        assert!(!head.contains("GET /injected"), "{head:?}");
    }
}

#[test]
fn framing_is_not_the_users_and_the_host_is() {
    let server = RecordingServer::responding_ok();
    let post = || RequestSpec::post(server.url("/")).body("12345");
    let refused = [
        post().header("Transfer-Encoding", "chunked"),
        post().header("transfer-encoding", "identity"),
        post().header("Content-Length", "4"),
        post().header("Content-Length", "+5"),
        post()
            .header("Content-Length", "5")
            .header("content-length", "6"),
        post().header("Host", "a.test").header("host", "b.test"),
    ];
    for outcome in outcomes_of(pool(), refused) {
        let exception = outcome.unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::InvalidRequest, "{exception:?}");
    }
    assert!(server.received().is_empty());

    let sent = post()
        .header("Content-Length", "5")
        .header("Host", "virtual.test");
    assert!(outcomes_of(pool(), [sent])[0].is_ok());
    let request = server.only();
    assert_eq!(values(&request, "content-length"), ["5"]);
    assert_eq!(values(&request, "host"), ["virtual.test"]);
    assert_eq!(request.body(), "12345");
}
