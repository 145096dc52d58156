//! Certificates generated for the test, and TLS settings of servers that use them.

use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
};

/// A server's configuration, and the certificate (PEM) that a client must trust to accept it.
pub(crate) struct TestCertificate {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) pem: String,
    pub(crate) key_pem: String,
    certificate: CertificateDer<'static>,
}

/// A self-signed certificate for these names.
pub(crate) fn certificate_for(names: &[&str]) -> TestCertificate {
    certificate_with(names, |_| {})
}

/// The same, with changed parameters.
pub(crate) fn certificate_with(
    names: &[&str],
    change: impl FnOnce(&mut CertificateParams),
) -> TestCertificate {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], private(&key.serialize_der()))
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TestCertificate {
        config: Arc::new(config),
        pem: cert.pem(),
        key_pem: key.serialize_pem(),
        certificate: cert.der().clone(),
    }
}

impl TestCertificate {
    /// The configuration of a server that supports this version only, and only clients with this certificate.
    pub(crate) fn requiring_client_certificate(
        &self,
        version: &'static SupportedProtocolVersion,
    ) -> Arc<ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let key = KeyPair::from_pem(&self.key_pem).unwrap();
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![self.certificate.clone()],
                private(&key.serialize_der()),
            )
            .unwrap();
        Arc::new(config)
    }

    /// The server's end of a connection, for a script. It negotiates HTTP/1.1.
    pub(crate) fn serve(&self, stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
        let mut config = (*self.config).clone();
        config.alpn_protocols.clear();
        StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn private(der: &[u8]) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.to_vec()))
}
