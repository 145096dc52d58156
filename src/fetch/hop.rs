//! The next request of a redirect chain: what the spec sets, then the session, then what HTTP asks for.

use std::borrow::Cow;

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_LOCATION, CONTENT_TYPE, EXPECT, HOST, HeaderValue, RANGE, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, Method};
use percent_encoding::percent_decode_str;
use url::Url;

use super::decode;
#[cfg(feature = "gzip")]
use super::engine::Engine;
use crate::error::Error;
use crate::headers;
use crate::origin;
use crate::redact::Truncated;
use crate::request::{BodyDestination, RequestBody, RequestSpec, UrlParser};
use crate::session::SessionDefaults;

/// RFC 9530, section 4.
const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");

/// The next request of an attempt. Each redirect derives another one from it; nothing in it refers to the session.
pub(super) struct Hop<'a> {
    pub(super) method: Method,
    /// Without user info.
    pub(super) url: Url,
    /// Owned once it is compressed.
    pub(super) body: Option<Cow<'a, RequestBody>>,
    spec: &'a RequestSpec,
    /// The `Authorization` that follows from the user info of the spec's URL.
    url_credentials: Option<HeaderValue>,
    /// Whether a redirect has led to another origin. From then on, nothing secret is sent: not there, not further on,
    /// not even back to the first origin.
    left_origin: bool,
}

impl<'a> Hop<'a> {
    /// The first request of an attempt. Returns an error if the spec cannot be sent.
    pub(super) fn new(spec: &'a RequestSpec, url_parser: &mut UrlParser) -> Result<Self, Error> {
        spec.check()?;
        let mut url = spec.parsed_url_with(url_parser)?;
        if spec.method() == Method::CONNECT {
            return Err(Error::invalid_request(
                "CONNECT opens a tunnel, which cannot be an outcome; to send through a proxy, name it with `proxy`",
            ));
        }
        check_framing(spec)?;
        let url_credentials = take_user_info(&mut url)?;
        Ok(Self {
            method: spec.method().clone(),
            url,
            body: spec.request_body().map(Cow::Borrowed),
            spec,
            url_credentials,
            left_origin: false,
        })
    }

    /// The request that a redirect asks for.
    pub(super) fn redirected(&self, method: Method, mut url: Url, keeps_body: bool) -> Self {
        // User info in a location is the server's choice, not the caller's.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Self {
            method,
            left_origin: self.left_origin || !origin::same_origin(&self.url, &url),
            url,
            body: self.body.clone().filter(|_| keeps_body),
            spec: self.spec,
            url_credentials: self.url_credentials.clone(),
        }
    }

    /// Compresses the body, if the spec asks for it. The hops that follow send it as it is then.
    #[cfg(feature = "gzip")]
    pub(super) async fn compress<E: Engine + ?Sized>(
        &mut self,
        engine: &mut E,
    ) -> Result<(), Error> {
        let (Some(body), Some(level)) = (&self.body, self.spec.gzip_level()) else {
            return Ok(());
        };
        if self.spec.header_map().contains_key(CONTENT_ENCODING) {
            return Err(Error::invalid_request(
                "the header `content-encoding` is set, and `gzip` as well, which sets it; leave one of them out",
            ));
        }
        let body = RequestBody::clone(body);
        let compressed = engine.unblock(move || body.gzipped(level)).await?;
        self.body = Some(Cow::Owned(compressed.map_err(Error::local_resource)?));
        Ok(())
    }

    pub(super) fn wants_decoding(&self) -> bool {
        self.spec.wants_decoding()
    }

    /// The headers of this request.
    pub(super) fn headers(&self, session: &SessionDefaults) -> Result<HeaderMap, Error> {
        let mut all = self.spec.header_map().clone();
        all.remove(CONTENT_LENGTH);
        // No transport waits for a 100 before it sends a body, or can handle a final response in its place.
        all.remove(EXPECT);
        let has_lost_body = self.body.is_none() && self.spec.request_body().is_some();
        if has_lost_body {
            // RFC 9110, section 15.4: what described the content goes with it.
            for name in [
                CONTENT_TYPE,
                CONTENT_ENCODING,
                CONTENT_LANGUAGE,
                CONTENT_LOCATION,
            ] {
                all.remove(name);
            }
        }
        if let (None, Some(credentials)) = (all.get(AUTHORIZATION), &self.url_credentials) {
            all.insert(AUTHORIZATION, credentials.clone());
        }
        if let Some(content_type) = self.body.as_ref().and_then(|body| body.content_type()) {
            if !all.contains_key(CONTENT_TYPE) {
                all.insert(CONTENT_TYPE, content_type.clone());
            }
        }
        if let Some(encoding) = self.body.as_ref().and_then(|body| body.content_encoding()) {
            all.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        if !all.contains_key(AUTHORIZATION) {
            let name = self.spec.auth_name();
            match (session.credentials_for(&self.url, name), name) {
                (Some(credentials), _) => {
                    all.insert(AUTHORIZATION, credentials.clone());
                }
                (None, Some(name)) => {
                    return Err(Error::invalid_request(format!(
                        "the session has no credentials named `{}`; set them with `Session::auth_named`",
                        Truncated(name),
                    )));
                }
                (None, None) => {}
            }
        }
        headers::fill_in(&mut all, &session.headers)
            .map_err(|error| Error::invalid_request(headers::TOO_MANY).with_source(error))?;
        if self.left_origin {
            headers::remove_sensitive(&mut all);
            all.remove(HOST);
        }
        let saves = matches!(
            self.spec.body_destination(),
            Some(BodyDestination::File(_) | BodyDestination::Folder(_))
        );
        if all.contains_key(RANGE) && saves {
            return Err(Error::invalid_request(
                "the header `range` asks for a part of a body, and `save_to` saves whole ones; leave out `range`, or \
                 take the part with `read_with` or in memory; `resume` continues what was cut",
            ));
        }
        let verifies = self.spec.verifies_digest_headers();
        if verifies && !all.contains_key(WANT_REPR_DIGEST) {
            let wanted = HeaderValue::from_static("sha-256=10, sha-512=9");
            all.insert(WANT_REPR_DIGEST, wanted);
        }
        if !all.contains_key(ACCEPT_ENCODING) {
            // A range counts the bytes of the encoded content (RFC 9110, section 14.1.2), a part of which cannot be decoded.
            let takes_encodings = self.wants_decoding() && !all.contains_key(RANGE);
            let needs_plain_body = self.spec.resumes() || self.spec.max_segments() > 1;
            if (needs_plain_body && saves) || verifies {
                all.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            } else if let Some(accepted) = decode::ACCEPTED.filter(|_| takes_encodings) {
                all.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            }
        }
        Ok(all)
    }
}

/// Framing is the transport's task. A spec may repeat it correctly, as requests made elsewhere do; anything else would let
/// one request pass for two.
fn check_framing(spec: &RequestSpec) -> Result<(), Error> {
    let fields = spec.header_map();
    if fields.contains_key(TRANSFER_ENCODING) {
        return Err(Error::invalid_request(
            "the header `transfer-encoding` cannot be set; how the body is sent follows from the body",
        ));
    }
    if fields.get_all(HOST).iter().count() > 1 {
        return Err(Error::invalid_request(
            "the header `host` is set more than once; a request goes to one host",
        ));
    }
    let in_memory = match spec.request_body() {
        None => Some(0),
        Some(body) => body.as_bytes().map(|bytes| bytes.len() as u64),
    };
    for value in fields.get_all(CONTENT_LENGTH) {
        let stated = value.to_str().ok().and_then(headers::parse_length);
        if stated.is_none() || stated != in_memory {
            return Err(Error::invalid_request(
                "the header `content-length` does not agree with the body; leave it out, it follows from the body",
            ));
        }
    }
    Ok(())
}

/// Takes user name and password out of a URL, as the value of an `Authorization` header.
fn take_user_info(url: &mut Url) -> Result<Option<HeaderValue>, Error> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let complaint =
        |reason: &str| Error::invalid_request(format!("the user info of the URL: {reason}"));
    let decoded = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(complaint("it is not UTF-8")),
    };
    let user = decoded(url.username())?;
    let password = url.password().map(decoded).transpose()?;
    let _ = url.set_username("");
    let _ = url.set_password(None);
    headers::basic(user, password).map(Some).map_err(complaint)
}
