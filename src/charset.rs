//! The character encoding of a text, as its `Content-Type` names it. Read as the WHATWG standards MIME Sniffing ("parse a MIME
//! type") and Fetch ("extract a MIME type") have it, which take what RFC 9110, section 8.3.1, allows, and what servers send besides.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName};

/// The encoding that a `Content-Type` names; UTF-8 if none does. Of several, the last one that is a media type counts, with
/// the charset of one before it if that is of the same type.
pub(crate) fn encoding(headers: &HeaderMap) -> &'static Encoding {
    let mut essence = String::new();
    let mut charset = None;
    for line in headers.get_all(CONTENT_TYPE) {
        let line = String::from_utf8_lossy(line.as_bytes());
        for value in split(&line, ',') {
            let Some(media_type) = MediaType::parse(value) else {
                continue;
            };
            if media_type.essence != essence {
                charset = None;
            }
            charset = media_type.charset.or(charset);
            essence = media_type.essence;
        }
    }
    charset
        .and_then(|label| Encoding::for_label(label.as_bytes()))
        .unwrap_or(UTF_8)
}

/// Whether a body begins with a byte order mark of UTF-16.
#[cfg(feature = "json")]
pub(crate) fn has_mark_of_utf_16(body: &[u8]) -> bool {
    let marked = Encoding::for_bom(body);
    marked.is_some_and(|(encoding, _)| {
        [encoding_rs::UTF_16BE, encoding_rs::UTF_16LE].contains(&encoding)
    })
}

struct MediaType {
    /// Type and subtype, in lower case.
    essence: String,
    charset: Option<String>,
}

impl MediaType {
    /// `None` if it is no media type, or the one that stands for all.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = split(text, ';').into_iter();
        let essence = parts.next()?.trim_matches(WHITE_SPACE).to_ascii_lowercase();
        let (kind, subtype) = essence.split_once('/')?;
        if !is_token(kind) || !is_token(subtype) || essence == "*/*" {
            return None;
        }
        let charset = parts.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            let is_charset = name
                .trim_start_matches(WHITE_SPACE)
                .eq_ignore_ascii_case("charset");
            let value = unquoted(value.trim_end_matches(WHITE_SPACE));
            (is_charset && !value.is_empty()).then(|| value.into_owned())
        });
        Some(Self { essence, charset })
    }
}

const WHITE_SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// The names of fields are tokens, too.
fn is_token(text: &str) -> bool {
    HeaderName::from_bytes(text.as_bytes()).is_ok()
}

/// Splits a text at each separator that is not within quotes. Quotes begin right behind a `=`.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut begin = 0;
    let (mut is_quoted, mut is_escaped) = (false, false);
    let mut before = ' ';
    for (position, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' if is_quoted || before == '=' => is_quoted = !is_quoted,
            _ if character == separator && !is_quoted => {
                parts.extend(text.get(begin..position));
                begin = position + separator.len_utf8();
            }
            _ => {}
        }
        before = character;
    }
    parts.extend(text.get(begin..));
    parts
}

/// The value of a parameter. What follows the closing quote is ignored, and a quote that is not closed ends with the value.
fn unquoted(value: &str) -> Cow<'_, str> {
    let Some(quoted) = value.strip_prefix('"') else {
        return Cow::Borrowed(value);
    };
    let mut text = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => text.push(characters.next().unwrap_or('\\')),
            other => text.push(other),
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use encoding_rs::{SHIFT_JIS, WINDOWS_1252};
    use http::HeaderValue;

    use super::*;

    fn encoding_of(lines: &[&str]) -> &'static Encoding {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            headers.append(CONTENT_TYPE, value);
        }
        encoding(&headers)
    }

    #[test]
    fn what_is_tolerated() {
        let latin_1 = [
            "text/html;charset=iso-8859-1",
            "text/html ;\tcharset=iso-8859-1 ",
            "text/html;;; charset=iso-8859-1;",
            "text/html; charset=\"iso-8859-1",
            "text/html; charset=\"iso-8859-1\"x",
            "text/html; charset=\"\\i\\s\\o-8859-1\"",
            "text/html; charset=; charset=iso-8859-1",
            "text/html; charset; charset=iso-8859-1",
            "text/html; a=\"b,c;d\\\"\"; charset=iso-8859-1",
            "text/html; a=b\"; charset=iso-8859-1",
        ];
        for line in latin_1 {
            assert_eq!(encoding_of(&[line]), WINDOWS_1252, "{line}");
        }
        let none = [
            "",
            "text",
            "/; charset=iso-8859-1",
            "text/ html; charset=iso-8859-1",
            "text/html; charset =iso-8859-1",
            "text/html; xcharset=iso-8859-1",
            "text/html, charset=iso-8859-1",
        ];
        for line in none {
            assert_eq!(encoding_of(&[line]), UTF_8, "{line}");
        }
    }

    #[test]
    fn of_several_the_last_media_type_counts() {
        let rows: [(&[&str], &Encoding); 6] = [
            (
                &["text/html; charset=utf-8, text/html; charset=shift_jis"],
                SHIFT_JIS,
            ),
            (&["text/html; charset=shift_jis", "text/html"], SHIFT_JIS),
            (&["text/html; charset=shift_jis", "text/plain"], UTF_8),
            (&["text/html; charset=shift_jis", "*/*"], SHIFT_JIS),
            (&["text/html; charset=shift_jis", "nonsense"], SHIFT_JIS),
            (
                &["TEXT/html; charset=utf-8", "text/HTML; charset=shift_jis"],
                SHIFT_JIS,
            ),
        ];
        for (lines, expected) in rows {
            assert_eq!(encoding_of(lines), expected, "{lines:?}");
        }
    }
}
