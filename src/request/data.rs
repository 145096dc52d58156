//! Specs as data: `Serialize` and `Deserialize` of [`RequestSpec`].
//!
//! The JSON form is an object:
//!
//! ```json
//! {"v": 1, "method": "POST", "url": "https://api.example.com/items",
//!  "headers": [["accept", "application/json"]],
//!  "body": {"utf8": "{\"name\":\"fork\"}", "content_type": "application/json"},
//!  "timeout_ms": 5000, "tag": {"row": 17}}
//! ```

use std::path::Path;
#[cfg(feature = "redis")]
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderValue, Method};
use serde::de::{self, Deserializer};
use serde::ser::{self, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Number;
use url::Url;

use super::body::Source;
use super::{BodyDestination, RequestBody, RequestSpec, SaveOptions};
use crate::data::{Data, FieldValue, VERSION, milliseconds};
use crate::headers;
use crate::redact::Truncated;

/// The JSON form. What is not set is left out.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SpecData {
    #[serde(skip_serializing_if = "Option::is_none")]
    v: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    url: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, FieldValue)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<BodyData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gzip: Option<u32>,
    /// The outer option: was it set? The inner one: is there a limit?
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "is_set")]
    timeout_ms: Option<Option<Number>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_redirects: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<String>,
    /// As with `timeout_ms`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "is_set")]
    max_body: Option<Option<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decode: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotent: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    save_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    save_into: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_dirs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overwrite: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resume: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    if_modified: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_time: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sync: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verify_digest_headers: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha512: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    md5: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handler: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<serde_json::Value>,
    /// The name of a key, and a [`SecretData`] that is sealed with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<(String, String)>,
}

/// What is secret of a spec.
#[cfg(any(feature = "journal", feature = "redis"))]
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SecretData {
    /// With user info.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, FieldValue)>,
    /// With user info.
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<String>,
}

/// What keeps a spec from being serialized as it is.
enum Obstacle {
    NoData(String),
    Secret(String),
}

impl From<Obstacle> for String {
    fn from(obstacle: Obstacle) -> Self {
        match obstacle {
            Obstacle::NoData(message) | Obstacle::Secret(message) => message,
        }
    }
}

/// The content, in one of these ways.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BodyData {
    #[serde(skip_serializing_if = "Option::is_none")]
    utf8: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// One after the other, as in a form with files.
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<Vec<PieceData>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PieceData {
    Utf8(String),
    Base64(String),
    File(String),
}

/// Tells a field that is `null` from one that is left out.
fn is_set<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// The form in which jobs are stored and sent to other processes: see [`jsonl`](crate::jsonl).
///
/// # Errors
///
/// What is no data cannot be serialized, and neither are secrets, which a file or a queue would give away: closures
/// ([`read_with`](RequestSpec::read_with); use [`handler`](RequestSpec::handler)), [`extension`](RequestSpec::extension)s (use
/// [`tag`](RequestSpec::tag)), headers that hold credentials, and user info in the URL or the proxy (use
/// [`auth_named`](RequestSpec::auth_named)). The error says which it is. So does that of a spec whose setters were given an
/// invalid value.
impl Serialize for RequestSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        SpecData::of(self, |obstacle| Err(obstacle.into()))
            .map_err(ser::Error::custom)?
            .serialize(serializer)
    }
}

/// The JSON form of a spec. If there is a `seal`, secrets are given to it; it returns the name of its key, and what it has made of
/// them.
#[cfg(any(feature = "journal", feature = "redis"))]
pub(crate) fn to_json(
    spec: &RequestSpec,
    seal: Option<impl FnOnce(&[u8]) -> Result<(String, String), String>>,
) -> Result<Vec<u8>, String> {
    let Some(seal) = seal else {
        return serde_json::to_vec(spec).map_err(|error| error.to_string());
    };
    let mut data = SpecData::of(spec, |obstacle| match obstacle {
        Obstacle::NoData(message) => Err(message),
        Obstacle::Secret(_) => Ok(()),
    })?;
    if let Some(secrets) = SecretData::of(spec) {
        let secrets = serde_json::to_vec(&secrets).map_err(|error| error.to_string())?;
        data.sealed = Some(seal(&secrets)?);
    }
    serde_json::to_vec(&data).map_err(|error| error.to_string())
}

/// The spec of a JSON form. Secrets are given to `open`, with the name of their key.
#[cfg(any(feature = "journal", feature = "redis"))]
pub(crate) fn from_json(
    json: &[u8],
    open: impl FnOnce(&str, &str) -> Result<Vec<u8>, String>,
) -> Result<RequestSpec, String> {
    let message = |error: serde_json::Error| error.to_string();
    if json.starts_with(b"\"") {
        return serde_json::from_slice(json).map_err(message);
    }
    let mut data: SpecData = serde_json::from_slice(json).map_err(message)?;
    if let Some((key, sealed)) = data.sealed.take() {
        let secrets = open(&key, &sealed)?;
        let secrets: SecretData = serde_json::from_slice(&secrets).map_err(message)?;
        data.url = secrets.url.unwrap_or(data.url);
        data.headers.extend(secrets.headers);
        data.proxy = secrets.proxy.or(data.proxy);
    }
    data.into_spec()
}

#[cfg(feature = "redis")]
impl RequestSpec {
    /// Replaces the paths of the files that are sent, and of the one that the response is saved to.
    pub(crate) fn with_paths(
        mut self,
        replace: impl Fn(&Path) -> Result<PathBuf, String>,
    ) -> Result<Self, String> {
        let Some(options) = &mut self.options else {
            return Ok(self);
        };
        let saved = match &mut options.destination {
            Some(BodyDestination::File(path)) => Some(("save_to", path)),
            Some(BodyDestination::Folder(path)) => Some(("save_into", path)),
            _ => None,
        };
        let conditional = options.if_modified.as_mut();
        for (name, path) in saved
            .into_iter()
            .chain(conditional.map(|path| ("if_modified", path)))
        {
            let replaced = replace(path).map_err(|error| format!("`{name}`: {error}"))?;
            *path = replaced.into();
        }
        let replace = |path: &Path| replace(path).map_err(|error| format!("`body`: {error}"));
        match options.body.as_mut().map(|body| &mut body.source) {
            Some(Source::File(path)) => *path = replace(path)?.into(),
            #[cfg(feature = "multipart")]
            Some(Source::Pieces(pieces)) => {
                let replaced = pieces.iter().map(|piece| {
                    Ok(match piece {
                        super::body::Piece::File(path) => {
                            super::body::Piece::File(replace(path)?.into())
                        }
                        bytes => bytes.clone(),
                    })
                });
                *pieces = replaced.collect::<Result<_, String>>()?;
            }
            _ => {}
        }
        Ok(self)
    }
}

/// A spec as a part of an outcome: what cannot be serialized is left out.
pub(crate) struct Described<'a>(pub(crate) &'a RequestSpec);

impl Serialize for Described<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        SpecData::of(self.0, |_| Ok(()))
            .map_err(ser::Error::custom)?
            .serialize(serializer)
    }
}

/// A URL alone, as a string, is a GET. In the object, only `url` is required. Most fields are the setter of the same name:
///
/// | field | value |
/// |---|---|
/// | `v` | the version of the form: 1 |
/// | `url`, `method`, `proxy`, `auth` ([`auth_named`](RequestSpec::auth_named)), `handler` | a string |
/// | `headers` | an array of names and values: `[["accept", "text/plain"]]`; a value that is no UTF-8 is `{"base64": "…"}` |
/// | `body` | one of `{"utf8": "…"}`, `{"base64": "…"}`, `{"file": "path"}` and `{"parts": […]}`, an array of the former; beside it, `content_type` |
/// | `gzip`, `max_redirects`, `max_body`, `segments` | a number; `max_body` may be `null` |
/// | `timeout_ms` ([`timeout`](RequestSpec::timeout)) | milliseconds, or `null` |
/// | `decode`, `idempotent`, `create_dirs`, `overwrite`, `resume`, `remote_time`, `sync`, `verify_digest_headers` | `true` or `false` |
/// | `save_to`, `save_into`, `if_modified` | a path |
/// | `sha256`, `sha512`, `md5` | hexadecimal digits |
/// | `tag` | any JSON value |
///
/// # Errors
///
/// Unknown fields, another version than 1, and values that no setter would accept are errors that name them. Whether the URL
/// is valid is found out when the job is due, as with other specs.
impl<'de> Deserialize<'de> for RequestSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpecVisitor)
    }
}

struct SpecVisitor;

impl<'de> de::Visitor<'de> for SpecVisitor {
    type Value = RequestSpec;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a request: an object with a `url`, or a URL")
    }

    fn visit_str<E: de::Error>(self, url: &str) -> Result<RequestSpec, E> {
        Ok(RequestSpec::get(url))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<RequestSpec, A::Error> {
        let data = SpecData::deserialize(de::value::MapAccessDeserializer::new(map))?;
        data.into_spec().map_err(de::Error::custom)
    }
}

impl SpecData {
    /// What cannot be serialized goes to `leave_out`, which decides whether the rest can be without it.
    fn of(
        spec: &RequestSpec,
        leave_out: impl Fn(Obstacle) -> Result<(), String>,
    ) -> Result<Self, String> {
        if let Err(error) = spec.check() {
            leave_out(Obstacle::NoData(error.to_string()))?;
        }
        let mut data = Self {
            v: Some(VERSION),
            method: Some(spec.method.to_string()),
            url: spec.url().to_owned(),
            ..Self::default()
        };
        if let Some(url) = without_user_info(&data.url) {
            leave_out(secret("the user info of the URL"))?;
            data.url = url;
        }
        let Some(options) = &spec.options else {
            return Ok(data);
        };
        if !options.extensions.is_empty() {
            let message = "an `extension` is no data; attach the value with `tag`";
            leave_out(Obstacle::NoData(message.to_owned()))?;
        }
        for (name, value) in &options.headers {
            if headers::is_sensitive(name, value) {
                leave_out(secret(&format!("the header `{}`", Truncated(name))))?;
                continue;
            }
            let value = FieldValue::of(value.as_bytes());
            data.headers.push((name.as_str().to_owned(), value));
        }
        data.proxy = options.proxy.as_deref().map(str::to_owned);
        if let Some(url) = data.proxy.as_deref().and_then(without_user_info) {
            leave_out(secret("the user info of the proxy"))?;
            data.proxy = Some(url);
        }
        match &options.destination {
            None => {}
            Some(BodyDestination::File(path)) => data.save_to = Some(text_of(path)?),
            Some(BodyDestination::Folder(path)) => data.save_into = Some(text_of(path)?),
            Some(BodyDestination::Named(name)) => data.handler = Some(name.to_string()),
            Some(BodyDestination::Handler(_)) => {
                let message = "`read_with` is a closure, which is no data; register it with `PoolBuilder::handler`, and \
                               name it with `RequestSpec::handler`";
                leave_out(Obstacle::NoData(message.to_owned()))?;
            }
        }
        let SaveOptions {
            create_dirs,
            resume,
            overwrite,
            remote_time,
            sync,
            verify_digest_headers,
            segments,
        } = options.saving;
        data.create_dirs = create_dirs.then_some(true);
        data.overwrite = overwrite;
        data.resume = resume.then_some(true);
        data.segments = Some(segments.into()).filter(|segments| *segments > 1);
        data.remote_time = remote_time.then_some(true);
        data.sync = sync.then_some(true);
        data.verify_digest_headers = verify_digest_headers.then_some(true);
        data.if_modified = options.if_modified.as_deref().map(text_of).transpose()?;
        data.sha256 = spec.expected_sha256();
        data.sha512 = spec.expected_sha512();
        data.md5 = spec.expected_md5();
        data.body = options.body.as_ref().map(BodyData::of).transpose()?;
        #[cfg(feature = "gzip")]
        {
            data.gzip = options.gzip;
        }
        data.timeout_ms = options.timeout.map(|limit| limit.map(milliseconds));
        data.max_redirects = options.max_redirects;
        data.max_body = options.max_body;
        data.decode = options.decode;
        data.idempotent = options.idempotent;
        data.auth = options.auth_name.as_deref().map(str::to_owned);
        data.tag = options.tag.as_deref().cloned();
        Ok(data)
    }

    fn into_spec(self) -> Result<RequestSpec, String> {
        if let Some(version) = self.v.filter(|version| *version != VERSION) {
            return Err(format!(
                "`v` is {version}, and only version {VERSION} is known here"
            ));
        }
        if let Some((key, _)) = self.sealed {
            return Err(format!(
                "`sealed`: only the queue that it was sealed for can open it, with the key `{}`",
                Truncated(key)
            ));
        }
        if self.url.is_empty() {
            return Err("missing field `url`".to_owned());
        }
        let method = match &self.method {
            None => Method::GET,
            Some(method) => (method.parse())
                .map_err(|_| format!("`method`: `{}` is not valid", Truncated(method)))?,
        };
        let mut spec = RequestSpec::new(method, self.url);
        for (name, value) in self.headers {
            let value = value.into_bytes();
            let value =
                value.map_err(|error| format!("`headers`: `{}`: {error}", Truncated(&name)))?;
            spec = spec.header(name, value);
        }
        if let Some(body) = self.body {
            let body = body.into_body();
            spec = spec.body(body.map_err(|error| format!("`body`: {error}"))?);
        }
        if let Some(level) = self.gzip {
            spec = with_gzip(spec, level)?;
        }
        if let Some(limit) = self.timeout_ms {
            spec = spec.timeout(limit.as_ref().map(duration).transpose()?);
        }
        if let Some(max) = self.max_redirects {
            spec = spec.max_redirects(max);
        }
        if let Some(proxy) = self.proxy {
            spec = spec.proxy(proxy);
        }
        if let Some(max) = self.max_body {
            spec = spec.max_body(max);
        }
        if let Some(decode) = self.decode {
            spec = spec.decode(decode);
        }
        if let Some(idempotent) = self.idempotent {
            spec = spec.idempotent(idempotent);
        }
        let destinations = [
            ("save_to", self.save_to.is_some()),
            ("save_into", self.save_into.is_some()),
            ("handler", self.handler.is_some()),
        ];
        let mut given = destinations.iter().filter(|(_, is_given)| *is_given);
        if let (Some((first, _)), Some((second, _))) = (given.next(), given.next()) {
            return Err(format!(
                "there are `{first}` and `{second}`; leave one of them out"
            ));
        }
        if let Some(path) = self.save_to {
            spec = spec.save_to(path);
        }
        if let Some(folder) = self.save_into {
            spec = spec.save_into(folder);
        }
        if let Some(name) = self.handler {
            spec = spec.handler(name);
        }
        if let Some(create) = self.create_dirs {
            spec = spec.create_dirs(create);
        }
        if let Some(overwrite) = self.overwrite {
            spec = spec.overwrite(overwrite);
        }
        if let Some(resume) = self.resume {
            spec = spec.resume(resume);
        }
        if let Some(segments) = self.segments {
            spec = spec.segments(segments);
        }
        if let Some(path) = self.if_modified {
            spec = spec.if_modified(path);
        }
        if let Some(remote) = self.remote_time {
            spec = spec.remote_time(remote);
        }
        if let Some(sync) = self.sync {
            spec = spec.sync(sync);
        }
        if let Some(verify) = self.verify_digest_headers {
            spec = spec.verify_digest_headers(verify);
        }
        if let Some(digest) = self.sha256 {
            spec = spec.sha256(digest);
        }
        if let Some(digest) = self.sha512 {
            spec = spec.sha512(digest);
        }
        if let Some(digest) = self.md5 {
            spec = spec.md5(digest);
        }
        if let Some(name) = self.auth {
            spec = spec.auth_named(name);
        }
        if let Some(tag) = self.tag {
            spec = spec.tag(tag);
        }
        spec.check().map_err(|error| error.to_string())?;
        Ok(spec)
    }
}

#[cfg(any(feature = "journal", feature = "redis"))]
impl SecretData {
    /// `None` if nothing is secret.
    fn of(spec: &RequestSpec) -> Option<Self> {
        let mut secrets = Self::default();
        if without_user_info(spec.url()).is_some() {
            secrets.url = Some(spec.url().to_owned());
        }
        if let Some(options) = &spec.options {
            for (name, value) in &options.headers {
                if headers::is_sensitive(name, value) {
                    let value = FieldValue::of(value.as_bytes());
                    secrets.headers.push((name.as_str().to_owned(), value));
                }
            }
            let proxy = options.proxy.as_deref();
            let proxy = proxy.filter(|proxy| without_user_info(proxy).is_some());
            secrets.proxy = proxy.map(str::to_owned);
        }
        let is_some =
            secrets.url.is_some() || secrets.proxy.is_some() || !secrets.headers.is_empty();
        is_some.then_some(secrets)
    }
}

impl BodyData {
    fn of(body: &RequestBody) -> Result<Self, String> {
        let mut data = Self {
            content_type: match &body.content_type {
                None => None,
                Some(value) => Some(
                    value
                        .to_str()
                        .map_err(|error| error.to_string())?
                        .to_owned(),
                ),
            },
            ..Self::default()
        };
        match &body.source {
            Source::Bytes(bytes) => match Data::of(bytes) {
                Data::Utf8(text) => data.utf8 = Some(text),
                Data::Base64(text) => data.base64 = Some(text),
            },
            Source::File(path) => data.file = Some(text_of(path)?),
            #[cfg(feature = "multipart")]
            Source::Pieces(pieces) => {
                let pieces = pieces.iter().map(PieceData::of);
                data.parts = Some(pieces.collect::<Result<_, _>>()?);
            }
            #[cfg(feature = "gzip")]
            Source::Gzip(..) => return Err("the body is being compressed".to_owned()),
        }
        Ok(data)
    }

    fn into_body(self) -> Result<RequestBody, String> {
        let given = [
            self.utf8.is_some(),
            self.base64.is_some(),
            self.file.is_some(),
            self.parts.is_some(),
        ];
        let content_type = match self.content_type {
            None => None,
            Some(value) => Some(
                HeaderValue::from_str(&value)
                    .map_err(|_| "`content_type` is not a valid header value".to_owned())?,
            ),
        };
        let one = "it needs one of `utf8`, `base64`, `file` and `parts`";
        if given.iter().filter(|given| **given).count() != 1 {
            return Err(one.to_owned());
        }
        let mut body: RequestBody = if let Some(text) = self.utf8 {
            text.into()
        } else if let Some(text) = self.base64 {
            Data::Base64(text).into_bytes()?.into()
        } else if let Some(path) = self.file {
            RequestBody::from_file(path)
        } else {
            from_parts(self.parts.unwrap_or_default())?
        };
        body.content_type = content_type;
        Ok(body)
    }
}

#[cfg(feature = "multipart")]
impl PieceData {
    fn of(piece: &super::body::Piece) -> Result<Self, String> {
        Ok(match piece {
            super::body::Piece::Bytes(bytes) => match Data::of(bytes) {
                Data::Utf8(text) => Self::Utf8(text),
                Data::Base64(text) => Self::Base64(text),
            },
            super::body::Piece::File(path) => Self::File(text_of(path)?),
        })
    }

    fn into_piece(self) -> Result<super::body::Piece, String> {
        Ok(super::body::Piece::Bytes(match self {
            Self::File(path) => {
                return Ok(super::body::Piece::File(Path::new(&path).into()));
            }
            Self::Utf8(text) => text.into(),
            Self::Base64(text) => Data::Base64(text).into_bytes()?.into(),
        }))
    }
}

#[cfg(feature = "multipart")]
fn from_parts(parts: Vec<PieceData>) -> Result<RequestBody, String> {
    let pieces = parts.into_iter().map(PieceData::into_piece);
    let pieces = pieces.collect::<Result<_, _>>()?;
    Ok(RequestBody::from_pieces(pieces, None))
}

#[cfg(not(feature = "multipart"))]
fn from_parts(_: Vec<PieceData>) -> Result<RequestBody, String> {
    Err("`parts` need the feature `multipart` of reqwest-threaded".to_owned())
}

#[cfg(feature = "gzip")]
fn with_gzip(spec: RequestSpec, level: u32) -> Result<RequestSpec, String> {
    Ok(spec.gzip(level))
}

#[cfg(not(feature = "gzip"))]
fn with_gzip(_: RequestSpec, _: u32) -> Result<RequestSpec, String> {
    Err("`gzip` needs the feature `gzip` of reqwest-threaded".to_owned())
}

/// The same URL without user name and password, if it has any. A proxy may be named without a scheme.
fn without_user_info(text: &str) -> Option<String> {
    if !text.contains('@') {
        return None;
    }
    let parsed = if text.contains("://") {
        Url::parse(text)
    } else {
        Url::parse(&format!("http://{text}"))
    };
    let mut url = parsed.ok()?;
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url.into())
}

fn secret(what: &str) -> Obstacle {
    Obstacle::Secret(format!(
        "{what} is a secret, which is not stored; name credentials with `auth_named` instead"
    ))
}

fn text_of(path: &Path) -> Result<String, String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| format!("the path `{}` is not UTF-8", Truncated(path.display())))
}

fn duration(milliseconds: &Number) -> Result<Duration, String> {
    let seconds = milliseconds.as_f64().map(|time| time / 1e3);
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.ok_or_else(|| format!("`timeout_ms`: {milliseconds} is not a valid time"))
}
