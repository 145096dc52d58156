//! Forms with files: `multipart/form-data` (RFC 7578).
//!
//! ```no_run
//! use threaded::RequestSpec;
//! use threaded::multipart::{Form, Part};
//!
//! let form = Form::new()
//!     .text("title", "Holiday")
//!     .file("photo", "beach.jpg")
//!     .part("notes", Part::bytes("sunny").file_name("notes.txt").content_type("text/plain"));
//! let spec = RequestSpec::post("https://example.com/upload").multipart(form);
//! ```

use std::fmt;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;

use super::body::{Piece, RequestBody};
use crate::error::BoxError;

/// A form: named parts, sent in the order in which they were added. A name can be used more than once.
#[derive(Clone, Default)]
#[must_use = "the setters take it by value and return it"]
pub struct Form {
    parts: Vec<(String, Part)>,
}

impl Form {
    /// Creates a form without parts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text field.
    pub fn text(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.part(name, Part::bytes(value.into()))
    }

    /// Adds a file, with its file name and the content type that its extension implies. It is read when the form is
    /// sent.
    pub fn file(self, name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.part(name, Part::file(path))
    }

    /// Adds a part.
    pub fn part(mut self, name: impl Into<String>, part: Part) -> Self {
        self.parts.push((name.into(), part));
        self
    }

    /// Encodes all but the content of files. Returns an error if a content type is not a valid header value.
    pub(super) fn into_body(self) -> Result<RequestBody, (String, Option<BoxError>)> {
        // 128 random bits: no content contains them by accident, and none can on purpose, since they cannot be known
        // before.
        let boundary = format!("{:032x}", fastrand::u128(..));
        let mut pieces = Vec::new();
        let mut text = BytesMut::new();
        for (name, part) in self.parts {
            let Part {
                content,
                file_name,
                content_type,
            } = part;
            text.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
            text.extend_from_slice(
                format!(
                    "Content-Disposition: form-data; name=\"{}\"",
                    Escaped(&name)
                )
                .as_bytes(),
            );
            if let Some(file_name) = file_name {
                text.extend_from_slice(
                    format!("; filename=\"{}\"", Escaped(&file_name)).as_bytes(),
                );
            }
            text.extend_from_slice(b"\r\n");
            if let Some(content_type) = content_type {
                let value = HeaderValue::try_from(content_type).map_err(|error| {
                    let message = "the content type of a form part is not a valid header value";
                    (message.to_owned(), Some(error.into()))
                })?;
                text.extend_from_slice(b"Content-Type: ");
                text.extend_from_slice(value.as_bytes());
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"\r\n");
            match content {
                Piece::Bytes(bytes) => text.extend_from_slice(&bytes),
                Piece::File(path) => {
                    pieces.push(Piece::Bytes(text.split().freeze()));
                    pieces.push(Piece::File(path));
                }
            }
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        let content_type =
            HeaderValue::try_from(format!("multipart/form-data; boundary={boundary}"))
                .map_err(|error| (error.to_string(), None))?;
        if pieces.is_empty() {
            return Ok(RequestBody::typed(text.freeze(), content_type));
        }
        pieces.push(Piece::Bytes(text.freeze()));
        Ok(RequestBody::from_pieces(pieces, content_type))
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { parts } = self;
        write!(f, "Form({} parts)", parts.len())
    }
}

/// One part of a [`Form`]: its content, file name and content type.
#[derive(Clone)]
#[must_use = "the setters take it by value and return it"]
pub struct Part {
    content: Piece,
    file_name: Option<String>,
    content_type: Option<String>,
}

impl Part {
    /// Creates a part from bytes or a string, without a file name and a content type.
    pub fn bytes(content: impl Into<Bytes>) -> Self {
        Self {
            content: Piece::Bytes(content.into()),
            file_name: None,
            content_type: None,
        }
    }

    /// Creates a part that is read from a regular file when the form is sent.
    ///
    /// Its file name is that of the path, its content type that of the extension, or `application/octet-stream`.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let file_name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let content_type = mime_guess::from_path(&path)
            .first_or_octet_stream()
            .to_string();
        Self {
            content: Piece::File(path.into()),
            file_name,
            content_type: Some(content_type),
        }
    }

    /// Sets the file name that is sent to the server. Defaults to that of the path, or to none.
    pub fn file_name(mut self, name: impl Into<String>) -> Self {
        self.file_name = Some(name.into());
        self
    }

    /// Sets the media type. With an invalid header value, the job fails with
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest). Defaults to that of a file's extension, or to
    /// none.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            content,
            file_name: _,
            content_type: _,
        } = self;
        match content {
            Piece::Bytes(bytes) => write!(f, "Part({} bytes)", bytes.len()),
            Piece::File(_) => f.write_str("Part(file)"),
        }
    }
}

/// A quoted name, escaped as browsers do (HTML standard, "multipart form data").
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;

        self.0.chars().try_for_each(|character| match character {
            '"' => f.write_str("%22"),
            '\r' => f.write_str("%0D"),
            '\n' => f.write_str("%0A"),
            other => f.write_char(other),
        })
    }
}
