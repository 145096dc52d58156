//! HTTP/2: requests share a connection, and its faults do not spread.
#![cfg(feature = "default-tls")]

use std::collections::HashSet;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use threaded::crossbeam_channel::unbounded;
use threaded::{ErrorKind, Pool, RequestSpec};

use super::{isolated, trusting_pool};
use crate::support::http2_frames::{
    DATA, END_HEADERS, GOAWAY, HEADERS, RST_STREAM, WINDOW_UPDATE, cut_and_continued_over_tls,
    falling_silent_over_tls, falling_silent_with_over_tls, frame, frame_with_flags, response,
    response_head, start_over_tls,
};
use crate::support::pools::{at_once, in_order, outcome_of, outcomes_of};
use crate::support::raw::RawServer;
use crate::support::server::Server;
use crate::support::tls::certificate_for;

fn https(server: &RawServer, path: &str) -> String {
    format!("https://localhost:{}{path}", server.address().port())
}

#[test]
fn a_hundred_jobs_at_once_use_one_connection() {
    const JOBS: usize = 100;

    let certificate = certificate_for(&["localhost"]);
    let all = Barrier::new(JOBS);
    let server = Server::start_tls(Arc::clone(&certificate.config), move |request| {
        all.wait();
        http::Response::new(Bytes::from(request.uri().path().to_owned()))
    });
    let pool = trusting_pool(&certificate.pem)
        .num_threads(1)
        .concurrency(JOBS)
        .build_from_urls((0..JOBS).map(|page| server.url(&format!("/{page}"))))
        .unwrap();
    for (page, outcome) in in_order(pool).into_iter().enumerate() {
        let response = outcome.unwrap();
        assert_eq!(response.text(), format!("/{page}"));
        assert_eq!(response.version(), Version::HTTP_2);
    }
    assert_eq!((server.requests(), server.connections()), (JOBS, 1));
}

#[test]
fn a_server_that_does_not_speak_it_gets_a_connection_for_each_request() {
    const JOBS: usize = 20;

    let certificate = certificate_for(&["localhost"]);
    let mut config = (*certificate.config).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let all = Barrier::new(JOBS);
    let server = Server::start_tls(Arc::new(config), move |_| {
        all.wait();
        http::Response::new(Bytes::from_static(b"ok"))
    });
    let pool = trusting_pool(&certificate.pem)
        .num_threads(1)
        .concurrency(JOBS)
        .build_from_urls(vec![server.url("/"); JOBS])
        .unwrap();
    for outcome in pool {
        assert_eq!(outcome.unwrap().version(), Version::HTTP_11);
    }
    assert_eq!(server.connections(), JOBS);
}

#[test]
fn it_can_be_left_out() {
    let certificate = certificate_for(&["localhost"]);
    let server = Server::responding_over_tls(certificate.config, "ok");
    let pem = certificate.pem;
    let session = move || isolated(&[&pem]).client(|client| client.http1_only());
    let outcome = outcome_of(Pool::builder().session(session), server.url("/"));
    assert_eq!(outcome.unwrap().version(), Version::HTTP_11);
}

#[test]
fn it_is_spoken_over_plain_tcp_to_a_server_that_is_known_to() {
    let server = Server::start(|request| {
        assert_eq!(request.version(), Version::HTTP_2);
        http::Response::new(request.into_body())
    });
    let session = || isolated(&[]).client(|client| client.http2_prior_knowledge());
    let builder = Pool::builder().session(session);
    let specs = (0..10).map(|page| RequestSpec::post(server.url("/")).body(page.to_string()));
    for (page, outcome) in outcomes_of(builder, specs).into_iter().enumerate() {
        let response = outcome.unwrap();
        assert_eq!(response.text(), page.to_string());
        assert_eq!(response.version(), Version::HTTP_2);
    }
    assert_eq!(server.connections(), 1);
}

/// Kind, whether the request counts as sent, and attempts of a POST that may be repeated once if it was not sent. A server
/// that has sent these frames serves the next connection well.
fn post(frames: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> (ErrorKind, bool, u32) {
    let certificate = certificate_for(&["localhost"]);
    let server = start_over_tls(&certificate, move |_, stream| frames(stream));
    let fine = start_over_tls(&certificate, |_, stream| response(stream, b"fine"));
    let builder = trusting_pool(&certificate.pem).retry(at_once(1));
    let specs = [
        RequestSpec::post(https(&server, "/")),
        RequestSpec::post(https(&fine, "/")),
    ];
    let mut outcomes = outcomes_of(builder, specs);
    assert_eq!(outcomes.pop().unwrap().unwrap().text(), "fine");
    let exception = outcomes.pop().unwrap().unwrap_err();
    (exception.kind(), exception.was_sent(), exception.attempts())
}

/// HTTP/2 would only say that the stream was reset.
#[test]
fn a_file_that_shrinks_while_it_is_sent_is_a_local_fault() {
    let certificate = certificate_for(&["localhost"]);
    let file = Arc::new(tempfile::NamedTempFile::new().unwrap());
    file.as_file().set_len(1 << 20).unwrap();
    let shrinking = Arc::clone(&file);
    let server = start_over_tls(&certificate, move |_, stream| {
        shrinking.as_file().set_len(0).unwrap();
        let more = (1_u32 << 20).to_be_bytes();
        [0, stream]
            .map(|of| frame(WINDOW_UPDATE, of, &more))
            .concat()
    });
    let spec = RequestSpec::post(https(&server, "/")).body_from_file(file.path());
    let exception = outcome_of(trusting_pool(&certificate.pem), spec).unwrap_err();
    let is_local = exception.kind() == ErrorKind::LocalResource;
    assert!(is_local && exception.was_sent(), "{exception:?}");
    let message = exception.to_string();
    assert!(message.contains("truncated while it was sent"), "{message}");
}

fn reset(code: u32) -> impl Fn(u32) -> Vec<u8> {
    move |stream| frame(RST_STREAM, stream, &code.to_be_bytes())
}

fn go_away(last_stream: u32, code: u32) -> Vec<u8> {
    let payload = [last_stream, code].map(u32::to_be_bytes).concat();
    frame(GOAWAY, 0, &payload)
}

/// RFC 9113, section 8.7: the server has not processed the request, so that any method may be repeated.
#[test]
fn a_refused_stream_was_not_sent() {
    const REFUSED_STREAM: u32 = 7;
    assert_eq!(post(reset(REFUSED_STREAM)), (ErrorKind::Closed, false, 2));
}

#[test]
fn a_stream_that_is_reset_for_another_reason_was_sent() {
    const PROTOCOL_ERROR: u32 = 1;
    const INTERNAL_ERROR: u32 = 2;
    assert_eq!(post(reset(PROTOCOL_ERROR)), (ErrorKind::Protocol, true, 1));
    assert_eq!(post(reset(INTERNAL_ERROR)), (ErrorKind::Closed, true, 1));
}

#[test]
fn frames_that_break_the_protocol() {
    let invalid: [fn(u32) -> Vec<u8>; 4] = [
        |_| frame(DATA, 0, b"no stream"),
        |stream| frame(RST_STREAM, stream, b"short"),
        // A reference to an entry that HPACK's tables do not have.
        |stream| frame_with_flags(HEADERS, END_HEADERS, stream, &[0xff, 0xff, 0x7f]),
        |_| [&[0xff, 0xff, 0xff, DATA, 0], &1_u32.to_be_bytes()[..]].concat(),
    ];
    for (row, frames) in invalid.into_iter().enumerate() {
        assert_eq!(post(frames), (ErrorKind::Protocol, true, 1), "{row}");
    }
}

#[test]
fn a_server_that_goes_away_has_closed_the_connection() {
    const ENHANCE_YOUR_CALM: u32 = 11;
    let (kind, ..) = post(|_| go_away(0, ENHANCE_YOUR_CALM));
    assert_eq!(kind, ErrorKind::Closed);
}

#[test]
fn after_a_server_has_gone_away_there_is_a_new_connection() {
    let certificate = certificate_for(&["localhost"]);
    // In order: the response first, and then the announcement that no further stream will be served.
    let server = start_over_tls(&certificate, |_, stream| {
        [response(stream, b"bye"), go_away(stream, 0)].concat()
    });
    let builder = trusting_pool(&certificate.pem);
    let urls = (0..5).map(|page| https(&server, &format!("/{page}")));
    for outcome in outcomes_of(builder, urls) {
        assert_eq!(outcome.unwrap().text(), "bye");
    }
    assert_eq!(server.connections(), 5);
}

#[test]
fn a_connection_that_has_fallen_silent_is_not_used_again() {
    let certificate = certificate_for(&["localhost"]);
    for server in [
        falling_silent_over_tls(&certificate),
        falling_silent_with_over_tls(&certificate, response_head),
    ] {
        let limit = Duration::from_secs(1);
        let builder = trusting_pool(&certificate.pem).timeout(limit);
        let urls = (0..5).map(|page| https(&server, &format!("/{page}")));
        let outcomes = outcomes_of(builder, urls);
        for (page, outcome) in outcomes.into_iter().enumerate() {
            if page == 1 {
                let exception = outcome.unwrap_err();
                assert_eq!(exception.time_limit(), Some(limit), "{exception:?}");
                assert!(exception.was_sent());
            } else {
                let response = outcome.unwrap_or_else(|exception| panic!("{page}: {exception:?}"));
                assert_eq!(response.text(), "ok");
            }
        }
        assert_eq!(server.connections(), 2);
    }
}

/// What one request times out at does not concern the others, as long as the connection is alive.
#[test]
fn a_request_that_times_out_leaves_a_connection_that_lives() {
    let certificate = certificate_for(&["localhost"]);
    let (open, opened) = unbounded::<()>();
    let server = Server::start_tls(Arc::clone(&certificate.config), move |request| {
        if request.uri().path() == "/never" {
            let _ = opened.recv();
        }
        http::Response::new(Bytes::from_static(b"ok"))
    });
    let pool = trusting_pool(&certificate.pem)
        .num_threads(1)
        .concurrency(8)
        .build()
        .unwrap();
    assert!(pool.spawn(server.url("/")).unwrap().join().is_ok());
    let never = RequestSpec::get(server.url("/never")).timeout(Duration::from_millis(500));
    let mut never = pool.spawn(never).unwrap();
    // Something is received over it before and after that.
    let mut timed_out = None;
    while timed_out.is_none() {
        assert!(pool.spawn(server.url("/")).unwrap().join().is_ok());
        timed_out = never.try_join();
    }
    assert!(timed_out.unwrap().unwrap_err().is_timeout());
    for _ in 0..5 {
        assert!(pool.spawn(server.url("/")).unwrap().join().is_ok());
    }
    drop(open);
    // It may have been replaced by one other, if nothing had been received after the timeout yet.
    assert!(server.connections() <= 2, "{}", server.connections());
}

#[test]
fn cancelling_a_request_leaves_the_others_on_its_connection() {
    let certificate = certificate_for(&["localhost"]);
    let (open, opened) = unbounded::<()>();
    let waiting = Arc::new(Mutex::new(HashSet::new()));
    let seen = Arc::clone(&waiting);
    let server = Server::start_tls(Arc::clone(&certificate.config), move |request| {
        seen.lock().unwrap().insert(request.uri().path().to_owned());
        let _ = opened.recv();
        http::Response::new(Bytes::from_static(b"ok"))
    });
    let pool = trusting_pool(&certificate.pem)
        .num_threads(1)
        .concurrency(10)
        .build()
        .unwrap();
    let jobs: Vec<_> = (0..10)
        .map(|page| pool.spawn(server.url(&format!("/{page}"))).unwrap())
        .collect();
    crate::support::process::eventually("all requests have come", || {
        waiting.lock().unwrap().len() == 10
    });
    for job in jobs.iter().step_by(2) {
        job.cancel();
    }
    let (cancelled, others): (Vec<_>, Vec<_>) =
        jobs.into_iter().partition(|job| job.index() % 2 == 0);
    for job in cancelled {
        assert_eq!(job.join().unwrap_err().kind(), ErrorKind::Cancelled);
    }
    drop(open);
    for job in others {
        assert_eq!(job.join().unwrap().text(), "ok");
    }
    assert!(pool.spawn(server.url("/")).unwrap().join().is_ok());
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_download_that_stalls_is_continued_by_a_retry() {
    let certificate = certificate_for(&["localhost"]);
    let body = [7; 10_000];
    let server = cut_and_continued_over_tls(&certificate, &body);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let spec = RequestSpec::get(https(&server, "/")).save_to(&target);
    let stall = Duration::from_secs(1);
    let pool = trusting_pool(&certificate.pem).stall_timeout(stall);
    let response = outcome_of(pool.retry(at_once(3)), spec.resume(true)).unwrap();
    assert_eq!(response.status().as_u16(), 206);
    assert_eq!(std::fs::read(&target).unwrap(), body);
}
