//! Redaction: text for messages and `Debug` output, without secrets and control characters, and of bounded length.

use std::fmt::{self, Display, Write};

use http::{HeaderMap, HeaderName};
use url::Url;

/// The replacement for a secret.
const MASK: &str = "***";

/// Maximum length in bytes of a foreign text in a message: a URL, the message of a library.
const MAX_TEXT: usize = 250;

/// Maximum length in bytes of a field in `Debug` output, so that all fields together stay below 2 KiB.
const MAX_FIELD: usize = 120;

/// Displays its content, with control characters escaped, truncated to [`MAX_TEXT`] bytes.
pub(crate) struct Truncated<T>(pub(crate) T);

impl<T: Display> Display for Truncated<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_truncated(&self.0, MAX_TEXT, f)
    }
}

/// Shows its content in `Debug` output, with control characters escaped, truncated to [`MAX_FIELD`] bytes.
pub(crate) struct DebugTruncated<T>(pub(crate) T);

impl<T: Display> fmt::Debug for DebugTruncated<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_truncated(&self.0, MAX_FIELD, f)
    }
}

fn write_truncated(text: &impl Display, max: usize, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut writer = TruncatingWriter {
        out,
        left: max,
        full: false,
    };
    match write!(writer, "{text}") {
        Err(_) if writer.full => Ok(()),
        other => other,
    }
}

/// Returns an error once it is full, so that formatting stops early.
struct TruncatingWriter<'a, 'b> {
    out: &'a mut fmt::Formatter<'b>,
    left: usize,
    full: bool,
}

impl Write for TruncatingWriter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let needed = if character.is_control() {
                character.escape_default().len()
            } else {
                character.len_utf8()
            };
            let Some(left) = self.left.checked_sub(needed) else {
                self.full = true;
                self.out.write_char('…')?;
                return Err(fmt::Error);
            };
            self.left = left;
            if character.is_control() {
                write!(self.out, "{}", character.escape_default())?;
            } else {
                self.out.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// The text of a URL without user info, query values and fragment.
pub(crate) struct SafeUrl<'a>(pub(crate) &'a str);

impl Display for SafeUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Url::parse(self.0) {
            Ok(url) if url.has_host() => write!(f, "{}", Truncated(SafeParsedUrl(&url))),
            _ => write!(f, "{}", Truncated(SafeUnparsedUrl(self.0))),
        }
    }
}

impl fmt::Debug for SafeUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A parsed URL without user info, query values and fragment; not truncated.
struct SafeParsedUrl<'a>(&'a Url);

impl Display for SafeParsedUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.0;
        write!(f, "{}://", url.scheme())?;
        if !url.username().is_empty() || url.password().is_some() {
            write!(f, "{MASK}@")?;
        }
        f.write_str(url.host_str().unwrap_or_default())?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(url.path())?;
        for (position, pair) in url
            .query()
            .into_iter()
            .flat_map(|q| q.split('&'))
            .enumerate()
        {
            f.write_char(if position == 0 { '?' } else { '&' })?;
            match pair.split_once('=') {
                Some((name, _)) => write!(f, "{name}={MASK}")?,
                None if pair.is_empty() => {}
                None => f.write_str(MASK)?,
            }
        }
        Ok(())
    }
}

/// A text that is not a URL with a host. Its parts cannot be told apart, so everything that may be user info or a query
/// is masked.
struct SafeUnparsedUrl<'a>(&'a str);

impl Display for SafeUnparsedUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before_query, masked_tail) = match self.0.find(['?', '#']) {
            Some(at) => (self.0.get(..at).unwrap_or_default(), true),
            None => (self.0, false),
        };
        match self.0.rsplit_once('@') {
            // A `?` before the last `@` may be part of a password: nothing before that `@` is safe to show.
            Some((_, tail)) => {
                let tail = tail
                    .find(['?', '#'])
                    .map_or(tail, |at| tail.get(..at).unwrap_or_default());
                write!(f, "{MASK}@{tail}")?;
            }
            None => f.write_str(before_query)?,
        }
        if masked_tail {
            write!(f, "?{MASK}")?;
        }
        Ok(())
    }
}

/// The names of a header map, without the values.
pub(crate) struct HeaderNames<'a>(pub(crate) &'a HeaderMap);

impl fmt::Debug for HeaderNames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.keys().map(HeaderName::as_str).collect();
        write!(f, "[{:?}]", DebugTruncated(names.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        let table = [
            ("http://example.com/a/b", "http://example.com/a/b"),
            (
                "https://user:pass@example.com:8443/x",
                "https://***@example.com:8443/x",
            ),
            ("http://user@example.com/", "http://***@example.com/"),
            ("http://h/?a=1&b=2&flag#frag", "http://h/?a=***&b=***&***"),
            ("http://h/#access_token=1", "http://h/"),
            ("http:user:pass@h/x", "http://***@h/x"),
            ("user:pass@h/x", "***@h/x"),
            ("http://user:p?ss@exa mple/", "***@exa mple/?***"),
            ("not a url?k=secret", "not a url?***"),
            ("mailto:me@example.com", "***@example.com"),
        ];
        for (url, shown) in table {
            assert_eq!(SafeUrl(url).to_string(), shown, "{url:?}");
        }
    }

    #[test]
    fn a_long_text_is_truncated_and_control_characters_are_escaped() {
        let shown = Truncated("x".repeat(1_000_000)).to_string();
        assert!(
            shown.len() <= MAX_TEXT + '…'.len_utf8(),
            "{} bytes",
            shown.len()
        );
        assert!(shown.ends_with('…'));
        assert_eq!(
            Truncated("a\r\nb\u{1b}[2J").to_string(),
            "a\\r\\nb\\u{1b}[2J"
        );
        assert_eq!(
            Truncated("ä".repeat(MAX_TEXT)).to_string().chars().last(),
            Some('…')
        );
    }
}
