//! What may be printed: nothing secret, nothing long, nothing that moves the cursor.

use std::fmt::{self, Display, Write};

use http::{HeaderMap, HeaderName};
use url::Url;

/// What stands in for a secret.
const MASK: &str = "***";

/// Longest text, in bytes, that a message takes over from outside: a URL, a library's message.
const LONGEST_TEXT: usize = 250;

/// Longest text, in bytes, in one of the many fields of a `Debug` output. All of them together must stay under 2 KiB.
const LONGEST_FIELD: usize = 120;

/// Displays its content with control characters escaped, cut off after [`LONGEST_TEXT`].
pub(crate) struct Clipped<T>(pub(crate) T);

impl<T: Display> Display for Clipped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        clip(&self.0, LONGEST_TEXT, f)
    }
}

/// Shows its content with control characters escaped, cut off after [`LONGEST_FIELD`].
pub(crate) struct Field<T>(pub(crate) T);

impl<T: Display> fmt::Debug for Field<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        clip(&self.0, LONGEST_FIELD, f)
    }
}

fn clip(text: &impl Display, longest: usize, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut writer = ClippingWriter {
        out,
        left: longest,
        full: false,
    };
    match write!(writer, "{text}") {
        Err(_) if writer.full => Ok(()),
        other => other,
    }
}

/// Refuses further text once it is full, so that the source stops formatting instead of being formatted in vain.
struct ClippingWriter<'a, 'b> {
    out: &'a mut fmt::Formatter<'b>,
    left: usize,
    full: bool,
}

impl Write for ClippingWriter<'_, '_> {
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
            Ok(url) if url.has_host() => write!(f, "{}", Clipped(SafeParsedUrl(&url))),
            _ => write!(f, "{}", Clipped(SafeUnparsedUrl(self.0))),
        }
    }
}

impl fmt::Debug for SafeUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A parsed URL without user info, query values and fragment; not clipped.
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

/// A text that is no URL with a host. Where its parts lie is anybody's guess, so all that may be user info or query goes.
struct SafeUnparsedUrl<'a>(&'a str);

impl Display for SafeUnparsedUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before_query, masked_tail) = match self.0.find(['?', '#']) {
            Some(at) => (self.0.get(..at).unwrap_or_default(), true),
            None => (self.0, false),
        };
        match self.0.rsplit_once('@') {
            // The last `@` may lie behind a `?` that belongs to a password: then nothing before it is safe to show.
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
        write!(f, "[{:?}]", Field(names.join(", ")))
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
    fn a_long_text_is_cut_and_control_characters_are_escaped() {
        let shown = Clipped("x".repeat(1_000_000)).to_string();
        assert!(
            shown.len() <= LONGEST_TEXT + '…'.len_utf8(),
            "{} bytes",
            shown.len()
        );
        assert!(shown.ends_with('…'));
        assert_eq!(Clipped("a\r\nb\u{1b}[2J").to_string(), "a\\r\\nb\\u{1b}[2J");
        assert_eq!(
            Clipped("ä".repeat(LONGEST_TEXT)).to_string().chars().last(),
            Some('…')
        );
    }
}
