//! The `User-Agent` of programs that use the crate.

/// A `User-Agent` that names your program, this crate and the system, as in
/// `my-scraper/0.1 reqwest-threaded/0.1.0 (linux; x86_64)` (RFC 9110, section 10.1.5).
///
/// ```
/// let name = threaded::user_agent("my-scraper", "0.1");
/// assert!(name.starts_with("my-scraper/0.1 reqwest-threaded/"));
///
/// let builder = threaded::Pool::builder().initializer(move |session| session.user_agent(&name));
/// # let _ = builder;
/// ```
pub fn user_agent(name: &str, version: &str) -> String {
    let own_version = env!("CARGO_PKG_VERSION");
    let (os, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
    format!("{name}/{version} reqwest-threaded/{own_version} ({os}; {architecture})")
}
