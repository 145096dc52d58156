//! TLS of the event-driven client: its settings, and the handshake by rustls or by the library of the system.

use std::sync::Arc;

use super::io::Stream;
use super::resolver;
use crate::error::{BoxError, Error};

/// What the settings of the client say about TLS.
#[derive(Clone, Default)]
pub(super) struct TlsSettings {
    pub(super) backend: Backend,
    pub(super) only_given_roots: bool,
    pub(super) identity: Option<Arc<[u8]>>,
    pub(super) accept_invalid_certs: bool,
    roots: Vec<Arc<[u8]>>,
}

#[derive(Clone, Copy, Default)]
pub(super) enum Backend {
    #[cfg(feature = "default-tls")]
    #[default]
    Rustls,
    #[cfg(feature = "native-tls")]
    #[cfg_attr(not(feature = "default-tls"), default)]
    Native,
    #[cfg(not(any(feature = "default-tls", feature = "native-tls")))]
    #[default]
    None,
}

/// What the peer of a handshake is.
#[derive(Clone, Copy)]
pub(super) enum Peer {
    /// It is offered HTTP/2, unless the settings say otherwise.
    Server,
    /// It is offered HTTP/1.1 alone.
    Proxy,
}

#[cfg(any(feature = "default-tls", feature = "native-tls"))]
pub(super) struct Connectors<C> {
    server: C,
    proxy: C,
}

#[cfg(any(feature = "default-tls", feature = "native-tls"))]
impl<C> Connectors<C> {
    fn to(&self, peer: Peer) -> &C {
        match peer {
            Peer::Server => &self.server,
            Peer::Proxy => &self.proxy,
        }
    }
}

/// Performs the handshakes of one client.
pub(super) enum TlsConnector {
    #[cfg(feature = "default-tls")]
    Rustls(Connectors<tokio_rustls::TlsConnector>),
    #[cfg(feature = "native-tls")]
    Native(Connectors<tokio_native_tls::TlsConnector>),
    #[cfg(not(any(feature = "default-tls", feature = "native-tls")))]
    None,
}

impl TlsSettings {
    pub(super) fn add_roots<I>(&mut self, certificates: I)
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        let certificates = certificates.into_iter();
        self.roots
            .extend(certificates.map(|certificate| Arc::from(certificate.as_ref())));
    }

    /// Fails if a certificate or the identity is invalid.
    pub(super) fn connector(&self, offers_http2: bool) -> Result<TlsConnector, BoxError> {
        match self.backend {
            #[cfg(feature = "default-tls")]
            Backend::Rustls => Ok(TlsConnector::Rustls(rustls_backend::connectors(
                self,
                offers_http2,
            )?)),
            #[cfg(feature = "native-tls")]
            Backend::Native => Ok(TlsConnector::Native(Connectors {
                server: native_backend::connector(self, offers_http2)?,
                proxy: native_backend::connector(self, false)?,
            })),
            #[cfg(not(any(feature = "default-tls", feature = "native-tls")))]
            Backend::None => {
                let _ = offers_http2;
                Ok(TlsConnector::None)
            }
        }
    }
}

impl TlsConnector {
    /// Performs the handshake with the peer of this name over an established connection. Returns the encrypted stream, and
    /// whether HTTP/2 was agreed on.
    pub(super) async fn handshake(
        &self,
        peer: Peer,
        host: &str,
        stream: Stream,
    ) -> Result<(Stream, bool), Error> {
        // As it is in a certificate.
        let host = resolver::without_brackets(host);
        match self {
            #[cfg(feature = "default-tls")]
            Self::Rustls(connectors) => {
                rustls_backend::handshake(connectors.to(peer), host, stream).await
            }
            #[cfg(feature = "native-tls")]
            Self::Native(connectors) => {
                native_backend::handshake(connectors.to(peer), host, stream).await
            }
            #[cfg(not(any(feature = "default-tls", feature = "native-tls")))]
            Self::None => {
                let _ = (peer, host, stream);
                Err(Error::tls("TLS is not built in"))
            }
        }
    }
}

/// What a PEM text begins with; everything else is taken for DER.
#[cfg(any(feature = "default-tls", feature = "native-tls"))]
const PEM: &[u8] = b"-----BEGIN";

#[cfg(any(feature = "default-tls", feature = "native-tls"))]
const NO_CERTIFICATE: &str = "a trusted certificate is neither a PEM text with a certificate nor one in DER form; pass the \
                              content of a file, not its name";

#[cfg(feature = "default-tls")]
mod rustls_backend {
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{self, CryptoProvider};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
    use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
    use rustls_platform_verifier::Verifier;

    use super::{Connectors, NO_CERTIFICATE, PEM, Stream, TlsSettings};
    use crate::error::{BoxError, Error};
    use crate::transport::classify;

    pub(super) fn connectors(
        settings: &TlsSettings,
        offers_http2: bool,
    ) -> Result<Connectors<tokio_rustls::TlsConnector>, BoxError> {
        let provider = CryptoProvider::get_default().map_or_else(
            || Arc::new(crypto::aws_lc_rs::default_provider()),
            Arc::clone,
        );
        let verifier = verifier(settings, &provider)?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &settings.identity {
            None => config.with_no_client_auth(),
            Some(pem) => {
                let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
                config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(pem)?)?
            }
        };
        config.alpn_protocols.push(b"http/1.1".to_vec());
        let proxy = config.clone();
        if offers_http2 {
            config.alpn_protocols.insert(0, b"h2".to_vec());
        }
        Ok(Connectors {
            server: Arc::new(config).into(),
            proxy: Arc::new(proxy).into(),
        })
    }

    fn verifier(
        settings: &TlsSettings,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, BoxError> {
        let provider = Arc::clone(provider);
        if settings.accept_invalid_certs {
            let accepts = true;
            return Ok(Arc::new(Unconditional { accepts, provider }));
        }
        let mut roots = Vec::new();
        for given in &settings.roots {
            let pem: Vec<_> = CertificateDer::pem_slice_iter(given).collect::<Result<_, _>>()?;
            if pem.is_empty() && given.starts_with(PEM) {
                return Err(NO_CERTIFICATE.into());
            }
            if pem.is_empty() {
                let der = CertificateDer::from(given.to_vec());
                // A text, the name of a file for example, would be reported as a fault of the peer.
                rustls::RootCertStore::empty()
                    .add(der.clone())
                    .map_err(|_| NO_CERTIFICATE)?;
                roots.push(der);
            }
            roots.extend(pem);
        }
        if !settings.only_given_roots {
            return Ok(Arc::new(Verifier::new_with_extra_roots(roots, provider)?));
        }
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root)?;
        }
        if store.is_empty() {
            // It trusts nothing, which the verifier of rustls does not support.
            let accepts = false;
            return Ok(Arc::new(Unconditional { accepts, provider }));
        }
        Ok(WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build()?)
    }

    pub(super) async fn handshake(
        connector: &tokio_rustls::TlsConnector,
        host: &str,
        stream: Stream,
    ) -> Result<(Stream, bool), Error> {
        let name = ServerName::try_from(host.to_owned()).map_err(Error::tls)?;
        let encrypted = connector.connect(name, stream).await;
        let encrypted = encrypted.map_err(classify::handshake_error)?;
        let is_http2 = encrypted.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Stream::Boxed(Box::new(encrypted)), is_http2))
    }

    /// Accepts every certificate, or none, whatever it says. Its key must have signed the handshake in any case.
    #[derive(Debug)]
    struct Unconditional {
        accepts: bool,
        provider: Arc<CryptoProvider>,
    }

    impl ServerCertVerifier for Unconditional {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            if self.accepts {
                Ok(ServerCertVerified::assertion())
            } else {
                Err(rustls::CertificateError::UnknownIssuer.into())
            }
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            crypto::verify_tls12_signature(message, certificate, signed, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            crypto::verify_tls13_signature(message, certificate, signed, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            let algorithms = &self.provider.signature_verification_algorithms;
            algorithms.supported_schemes()
        }
    }
}

#[cfg(feature = "native-tls")]
mod native_backend {
    use native_tls::{Certificate, Identity};

    use super::{NO_CERTIFICATE, PEM, Stream, TlsSettings};
    use crate::error::{BoxError, Error};
    use crate::transport::classify;

    pub(super) fn connector(
        settings: &TlsSettings,
        offers_http2: bool,
    ) -> Result<tokio_native_tls::TlsConnector, BoxError> {
        let mut builder = native_tls::TlsConnector::builder();
        builder
            .disable_built_in_roots(settings.only_given_roots)
            .danger_accept_invalid_certs(settings.accept_invalid_certs)
            .danger_accept_invalid_hostnames(settings.accept_invalid_certs);
        for given in &settings.roots {
            let certificates = if given.starts_with(PEM) {
                Certificate::stack_from_pem(given)?
            } else {
                vec![Certificate::from_der(given)?]
            };
            if certificates.is_empty() {
                return Err(NO_CERTIFICATE.into());
            }
            for certificate in certificates {
                builder.add_root_certificate(certificate);
            }
        }
        if let Some(pem) = &settings.identity {
            builder.identity(Identity::from_pkcs8(pem, pem)?);
        }
        if offers_http2 {
            builder.request_alpns(&["h2", "http/1.1"]);
        }
        Ok(builder.build()?.into())
    }

    pub(super) async fn handshake(
        connector: &tokio_native_tls::TlsConnector,
        host: &str,
        stream: Stream,
    ) -> Result<(Stream, bool), Error> {
        let encrypted = connector.connect(host, stream).await;
        let encrypted = encrypted.map_err(classify::handshake_error)?;
        let agreed = encrypted.get_ref().negotiated_alpn();
        let is_http2 = agreed.ok().flatten().as_deref() == Some(b"h2");
        Ok((Stream::Boxed(Box::new(encrypted)), is_http2))
    }
}
