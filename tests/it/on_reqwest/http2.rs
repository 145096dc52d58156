//! HTTP/2, where a server offers it.

use super::trusting_pool;
use crate::support::pools::outcomes_of;
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
