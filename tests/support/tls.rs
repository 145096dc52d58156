//! Certificates made on the spot, and servers that show them.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A server's configuration, and the certificate (PEM) that a client must trust to accept it.
pub(crate) struct TestCertificate {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) pem: String,
}

/// A self-signed certificate for these names.
pub(crate) fn certificate_for(names: &[&str]) -> TestCertificate {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TestCertificate {
        config: Arc::new(config),
        pem: cert.pem(),
    }
}
