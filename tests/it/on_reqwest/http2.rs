//! HTTP/2: it is negotiated over TLS, and the errors of the `h2` crate in reqwest's chains of sources are recognized, which
//! takes the same version of `h2` in this crate and in reqwest.

use threaded::ErrorKind;

use super::trusting_pool;
use crate::support::http2_frames::{
    DATA, END_HEADERS, GOAWAY, HEADERS, RST_STREAM, cut_and_continued_over_tls, frame,
    frame_with_flags, start_over_tls,
};
use crate::support::pools::{at_once, outcome_of, outcomes_of};
use crate::support::server::Server;
use crate::support::tls::certificate_for;

#[test]
fn over_tls_http2_is_agreed_on() {
    let certificate = certificate_for(&["localhost"]);
    let server = Server::responding_over_tls(certificate.config, "secure");
    let outcomes = outcomes_of(
        trusting_pool(&certificate.pem),
        (0..10).map(|page| server.url(&format!("/{page}"))),
    );
    for outcome in outcomes {
        let response = outcome.unwrap();
        assert_eq!(
            (response.text().as_ref(), response.version()),
            ("secure", http::Version::HTTP_2)
        );
    }
    assert_eq!((server.requests(), server.connections()), (10, 1));
}

/// Kind, whether the request counts as sent, and attempts of a POST that may be repeated once if it was not sent.
fn post(response: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> (ErrorKind, bool, u32) {
    let certificate = certificate_for(&["localhost"]);
    let server = start_over_tls(&certificate, move |_, stream| response(stream));
    let url = format!("https://localhost:{}/", server.address().port());
    let builder = trusting_pool(&certificate.pem).retry(at_once(1));
    let exception = outcome_of(builder, threaded::RequestSpec::post(url)).unwrap_err();
    (exception.kind(), exception.was_sent(), exception.attempts())
}

fn reset(code: u32) -> impl Fn(u32) -> Vec<u8> {
    move |stream| frame(RST_STREAM, stream, &code.to_be_bytes())
}

/// RFC 9113, section 8.7: the server has not processed the request, so that any method may be repeated.
#[test]
fn a_refused_stream_was_not_sent() {
    assert_eq!(post(reset(7)), (ErrorKind::Closed, false, 2));
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
        |stream| {
            // END_HEADERS, and a reference to an entry that HPACK's tables do not have.
            frame_with_flags(HEADERS, END_HEADERS, stream, &[0xff, 0xff, 0x7f])
        },
        |_| [&[0xff, 0xff, 0xff, DATA, 0], &1_u32.to_be_bytes()[..]].concat(),
    ];
    for (row, response) in invalid.into_iter().enumerate() {
        assert_eq!(post(response), (ErrorKind::Protocol, true, 1), "{row}");
    }
}

#[test]
fn a_server_that_goes_away_has_closed_the_connection() {
    const ENHANCE_YOUR_CALM: u32 = 11;
    let go_away = |_| {
        let last_stream = 0_u32;
        let payload = [last_stream, ENHANCE_YOUR_CALM]
            .map(u32::to_be_bytes)
            .concat();
        frame(GOAWAY, 0, &payload)
    };
    let (kind, ..) = post(go_away);
    assert_eq!(kind, ErrorKind::Closed);
}

#[test]
fn a_download_that_stalls_is_continued_by_a_retry() {
    let certificate = certificate_for(&["localhost"]);
    let body = [7; 10_000];
    let server = cut_and_continued_over_tls(&certificate, &body);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let url = format!("https://localhost:{}/", server.address().port());
    let spec = threaded::RequestSpec::get(url)
        .save_to(&target)
        .resume(true);
    let stall = std::time::Duration::from_secs(1);
    let pool = trusting_pool(&certificate.pem).stall_timeout(stall);
    let response = outcome_of(pool.retry(at_once(3)), spec).unwrap();
    assert_eq!(response.status().as_u16(), 206);
    assert_eq!(std::fs::read(&target).unwrap(), body);
}
