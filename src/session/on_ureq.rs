//! The settings of a session on ureq.

use super::Session;
#[cfg(feature = "system-proxy")]
use crate::proxy;
use crate::transport::ureq::UreqConfigBuilder;

/// Holds the largest head of a response that is accepted. Connections without TLS begin with less.
const INPUT_BUFFER: usize = 64 << 10;

/// Holds the longest line of a request's head.
const OUTPUT_BUFFER: usize = 16 << 10;

impl Session<UreqConfigBuilder> {
    /// A session on a fresh ureq agent: HTTP/1.1 on the worker's own thread. It calls itself `reqwest-threaded/<version>` as
    /// long as neither session nor request sets another `User-Agent`.
    ///
    /// [`client`](Self::client) reaches ureq's own settings. Set here are the buffers (64 KiB for what comes in, 16 KiB for
    /// what goes out) and TLS, which trusts what the platform trusts. With the feature `system-proxy`, everything goes
    /// through the first proxy that `ALL_PROXY`, `HTTPS_PROXY` or `HTTP_PROXY` name, `NO_PROXY` excepted.
    ///
    /// ```
    /// use threaded::{Pool, Session};
    ///
    /// let builder = Pool::builder().num_threads(32).session(Session::ureq);
    /// # let _ = builder;
    /// ```
    pub fn ureq() -> Self {
        let name = concat!("reqwest-threaded/", env!("CARGO_PKG_VERSION"));
        let config = ::ureq::Agent::config_builder()
            .user_agent(name)
            .input_buffer_size(INPUT_BUFFER)
            .output_buffer_size(OUTPUT_BUFFER);
        #[cfg(any(feature = "default-tls", feature = "native-tls"))]
        let config = config.tls_config(tls_config());
        #[cfg(not(feature = "system-proxy"))]
        let config = config.proxy(None);
        let session = Self::new(config);
        #[cfg(feature = "system-proxy")]
        if let Err(fault) = proxy::check_environment() {
            return session.faulty(fault);
        }
        session
    }
}

#[cfg(any(feature = "default-tls", feature = "native-tls"))]
fn tls_config() -> ::ureq::tls::TlsConfig {
    use ::ureq::tls::{RootCerts, TlsConfig};

    let config = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier);
    #[cfg(feature = "default-tls")]
    let config = {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        config.unversioned_rustls_crypto_provider(std::sync::Arc::new(provider))
    };
    #[cfg(not(feature = "default-tls"))]
    let config = config.provider(::ureq::tls::TlsProvider::NativeTls);
    config.build()
}
