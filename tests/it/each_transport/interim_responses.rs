//! Interim responses (RFC 9110, section 15.2) come before the one that counts.

use threaded::RequestSpec;

use super::pool;
use crate::support::pools::outcomes_of;
use crate::support::raw::{RawServer, read_request};

#[test]
fn interim_responses_are_passed_over() {
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n",
    ] {
        let server = RawServer::start(move |mut stream, _| {
            while !read_request(&mut stream).is_empty() {
                let answer = format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                if std::io::Write::write_all(&mut stream, answer.as_bytes()).is_err() {
                    return;
                }
            }
        });
        let urls = [server.url("/1"), server.url("/2")];
        for outcome in outcomes_of(pool(), urls.clone()) {
            let response = outcome.unwrap_or_else(|exception| panic!("{interim}: {exception:?}"));
            assert_eq!(
                (response.status().as_u16(), response.text().as_ref()),
                (200, "ok")
            );
        }
        let posts = urls.map(|url| RequestSpec::post(url).body("hello"));
        for outcome in outcomes_of(pool(), posts) {
            assert_eq!(outcome.unwrap().text(), "ok", "{interim}");
        }
        assert_eq!(server.connections(), 2, "{interim}");
    }
}
