//! Conversions into a [`RequestSpec`].

use bytes::Bytes;
use http::Request;

use super::{IntoUrl, RequestBody, RequestSpec};

/// A GET of this URL.
impl<U: IntoUrl> From<U> for RequestSpec {
    fn from(url: U) -> Self {
        Self::get(url)
    }
}

/// A copy.
impl From<&RequestSpec> for RequestSpec {
    fn from(spec: &RequestSpec) -> Self {
        spec.clone()
    }
}

/// A request with the same method, URI, headers, body and extensions. The transport decides on the version.
///
/// An empty body means no body. The URI must be absolute.
impl<B: Into<RequestBody>> From<Request<B>> for RequestSpec {
    fn from(request: Request<B>) -> Self {
        let (parts, body) = request.into_parts();
        let body = body.into();
        let mut spec = Self::new(parts.method, parts.uri).headers(parts.headers);
        let options = spec.options_mut();
        options.extensions = parts.extensions;
        if !body.as_bytes().is_some_and(Bytes::is_empty) {
            options.body = Some(body);
        }
        spec
    }
}
