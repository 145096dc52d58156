//! Conversions into a [`RequestSpec`].

use std::borrow::Cow;

use bytes::Bytes;
use http::{Method, Request, Uri};
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

/// A GET of this URL.
impl From<Cow<'_, str>> for RequestSpec {
    fn from(url: Cow<'_, str>) -> Self {
        Self::get(url)
    }
}

/// A GET of this URL.
impl From<Box<str>> for RequestSpec {
    fn from(url: Box<str>) -> Self {
        Self::get(url)
    }
}

/// A GET of this URI, which must be absolute.
impl From<Uri> for RequestSpec {
    fn from(uri: Uri) -> Self {
        Self::get(uri.to_string())
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

/// A request with the same method, URI, headers, body and extensions. The transport decides on the version.
///
/// An empty body means no body. The URI must be absolute.
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
