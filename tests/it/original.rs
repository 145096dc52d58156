//! Each example of the documentation of `requests_toolbelt.threaded`, in its order, on this crate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use threaded::crossbeam_channel::unbounded;
use threaded::{Pool, RequestSpec, Session, user_agent};

use super::pool;
use crate::support::raw::refused_address;
use crate::support::server::Server;

/// Echoes what it receives, as httpbin does.
fn httpbin() -> Server {
    Server::start(|request: Request<Bytes>| {
        let header = |name| {
            request
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let told = serde_json::json!({
            "method": request.method().as_str(),
            "path": request.uri().path(),
            "user_agent": header("user-agent"),
            "accept": header("accept"),
            "authorization": header("authorization"),
        });
        Response::new(told.to_string().into())
    })
}

fn urls(server: &Server) -> Vec<String> {
    ["/get", "/ip", "/headers"]
        .map(|path| server.url(path))
        .to_vec()
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

#[test]
fn a_pool_on_your_own_queue() {
    let server = httpbin();
    let (queue, jobs) = unbounded();
    for url in urls(&server) {
        queue.send(RequestSpec::new("GET", url)).unwrap();
    }

    let p = Pool::new(jobs).unwrap();
    p.join_all();

    let lines = p.responses().map(|response| {
        format!(
            "GET {}. Returned {}.",
            response.request().url(),
            response.status()
        )
    });
    let expected = urls(&server)
        .into_iter()
        .map(|url| format!("GET {url}. Returned 200 OK."));
    assert_eq!(sorted(lines), sorted(expected));
}

#[test]
fn a_pool_from_a_list_of_urls() {
    let server = httpbin();
    let p = Pool::from_urls(urls(&server)).unwrap();
    p.join_all();

    let lines = p.responses().map(|response| {
        format!(
            "GET {}. Returned {}.",
            response.request().url(),
            response.status()
        )
    });
    let expected = urls(&server)
        .into_iter()
        .map(|url| format!("GET {url}. Returned 200 OK."));
    assert_eq!(sorted(lines), sorted(expected));
}

#[test]
fn a_url_that_raises_is_among_the_exceptions() {
    let server = httpbin();
    let lost = format!("http://{}/", refused_address());
    let mut urls = urls(&server);
    urls.push(lost.clone());

    let p = Pool::from_urls(urls).unwrap();
    p.join_all();

    let lines: Vec<String> = p
        .exceptions()
        .map(|exc| format!("GET {}. Raised {}.", exc.request().url(), exc.error()))
        .collect();
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].starts_with(&format!("GET {lost}. Raised could not connect: ")),
        "{lines:?}"
    );
    assert_eq!(p.responses().count(), 3);
}

#[test]
fn the_exceptions_are_retried_by_a_new_pool() {
    // Refuses the first half of the requests by closing the connection.
    let server = httpbin();
    let seen = AtomicUsize::new(0);
    let upstream = server.address();
    let flaky = crate::support::raw::RawServer::start(move |mut client, _| {
        if seen.fetch_add(1, Ordering::SeqCst) < 3 {
            return;
        }
        let mut upstream = std::net::TcpStream::connect(upstream).unwrap();
        let head = crate::support::raw::read_request(&mut client);
        let head = head.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
        std::io::Write::write_all(&mut upstream, head.as_bytes()).unwrap();
        let _ = std::io::copy(&mut upstream, &mut client);
    });
    let p = Pool::from_urls(["/1", "/2", "/3"].map(|path| flaky.url(path))).unwrap();
    p.join_all();
    assert_eq!(p.responses().count(), 0);

    let new_pool = Pool::from_exceptions(p.exceptions()).unwrap();
    new_pool.join_all();
    let paths = new_pool
        .responses()
        .map(|response| response.url().path().to_owned());
    assert_eq!(sorted(paths), ["/1", "/2", "/3"]);
}

#[test]
fn initializer_auth_generator_number_of_threads_and_session() {
    let server = httpbin();
    let sessions = Arc::new(AtomicUsize::new(0));
    let made = Arc::clone(&sessions);
    let p = Pool::builder()
        .num_threads(2)
        .session(move || {
            made.fetch_add(1, Ordering::SeqCst);
            Session::default()
        })
        .initializer(|session| {
            session
                .header("Accept", "text/html")
                .basic_auth("nobody", None::<&str>)
        })
        .auth_generator(|session| session.bearer_auth("fresh"))
        .build_from_urls(urls(&server))
        .unwrap();
    p.join_all();

    assert_eq!(p.num_threads(), 2);
    assert!((1..=2).contains(&sessions.load(Ordering::SeqCst)));
    for response in p.responses() {
        let told: serde_json::Value = serde_json::from_slice(response.bytes()).unwrap();
        assert_eq!(told["accept"], "text/html");
        assert_eq!(
            told["authorization"], "Bearer fresh",
            "auth comes after the initializer"
        );
    }
}

#[test]
fn map_takes_requests_and_returns_responses_and_exceptions() {
    let server = httpbin();
    let requests = [
        RequestSpec::new("GET", server.url("/get")),
        RequestSpec::new("POST", server.url("/post")).body("data"),
        RequestSpec::new("DELETE", format!("http://{}/", refused_address())),
    ];
    let (responses, errors) = threaded::map(requests).unwrap();
    let told = responses.map(|response| {
        let told: serde_json::Value = serde_json::from_slice(response.bytes()).unwrap();
        format!("{} {}", told["method"], told["path"]).replace('"', "")
    });
    assert_eq!(sorted(told), ["GET /get", "POST /post"]);
    assert_eq!(
        errors
            .map(|error| error.request().method().clone())
            .collect::<Vec<_>>(),
        ["DELETE"]
    );
}

#[test]
fn map_with_a_number_of_threads_and_an_initializer() {
    let server = httpbin();
    let (responses, errors) = Pool::builder()
        .num_threads(10)
        .initializer(|session| {
            session
                .user_agent(user_agent("my-scraper", "0.1"))
                .header("Accept", "application/json")
        })
        .map(urls(&server))
        .unwrap();
    assert_eq!(errors.count(), 0);
    let mut count = 0;
    for response in responses {
        let told: serde_json::Value = serde_json::from_slice(response.bytes()).unwrap();
        assert_eq!(told["user_agent"], user_agent("my-scraper", "0.1"));
        assert_eq!(told["accept"], "application/json");
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
fn keyword_arguments_for_all_urls_are_a_template() {
    let server = httpbin();
    let template = RequestSpec::new("PUT", "")
        .header("Accept", "text/csv")
        .bearer_auth("t");
    let p = pool()
        .num_threads(2)
        .build_from_urls_with(urls(&server), &template)
        .unwrap();
    p.join_all();
    let told = p.responses().map(|response| {
        let told: serde_json::Value = serde_json::from_slice(response.bytes()).unwrap();
        format!(
            "{} {} {} {}",
            told["method"], told["path"], told["accept"], told["authorization"]
        )
    });
    let expected =
        ["/get", "/headers", "/ip"].map(|path| format!(r#""PUT" "{path}" "text/csv" "Bearer t""#));
    assert_eq!(sorted(told), expected);
}

#[test]
fn get_response_and_get_exception_return_one_at_a_time() {
    let server = httpbin();
    let p = pool()
        .build_from_urls([server.url("/get"), String::new()])
        .unwrap();
    p.join_all();
    let thread_response = p.get_response().unwrap();
    let told: serde_json::Value = serde_json::from_slice(thread_response.bytes()).unwrap();
    assert_eq!(told["path"], "/get");
    assert!(p.get_response().is_none());

    let thread_exc = p.get_exception().unwrap();
    assert!(
        thread_exc
            .error()
            .to_string()
            .contains("is not a valid URL")
    );
    assert!(p.get_exception().is_none());
}
