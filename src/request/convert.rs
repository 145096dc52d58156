//! What converts into a [`RequestSpec`].

use bytes::Bytes;
use http::{Method, Request};
use url::Url;

use super::target::Target;
use super::{RequestBody, RequestSpec};

/// A GET of this URL.
impl From<&str> for RequestSpec {
    fn from(url: &str) -> Self {
        Self::get(url)
    }
}

/// A GET of this URL.
impl From<&&str> for RequestSpec {
    fn from(url: &&str) -> Self {
        Self::get(*url)
    }
}

/// A GET of this URL.
impl From<String> for RequestSpec {
    fn from(url: String) -> Self {
        Self::get(url)
    }
}

/// A GET of this URL.
impl From<&String> for RequestSpec {
    fn from(url: &String) -> Self {
        Self::get(url)
    }
}

/// A GET of this URL, which is not parsed again.
impl From<Url> for RequestSpec {
    fn from(url: Url) -> Self {
        Self::with_target(Method::GET, Target::from_url(url))
    }
}

/// A GET of this URL, which is not parsed again.
impl From<&Url> for RequestSpec {
    fn from(url: &Url) -> Self {
        url.clone().into()
    }
}

/// A copy.
impl From<&RequestSpec> for RequestSpec {
    fn from(spec: &RequestSpec) -> Self {
        spec.clone()
    }
}

/// Method, URI, headers, body and extensions are taken over; the version is the transport's matter.
///
/// An empty body is no body. The URI must be absolute.
impl<B: Into<RequestBody>> From<Request<B>> for RequestSpec {
    fn from(request: Request<B>) -> Self {
        let (parts, body) = request.into_parts();
        let body = body.into();
        let mut spec = Self::new(parts.method, parts.uri.to_string()).headers(parts.headers);
        let options = spec.options_mut();
        options.extensions = parts.extensions;
        if !body.as_bytes().is_some_and(Bytes::is_empty) {
            options.body = Some(body);
        }
        spec
    }
}
