//! The name of the file that a response body is saved to, taken from the response and made safe.

use http::HeaderMap;
use http::header::CONTENT_DISPOSITION;
use percent_encoding::percent_decode_str;
use url::Url;

/// The name of a file if neither the header fields nor the URL give one.
const FALLBACK: &str = "download";

/// The longest file name that common file systems accept, in bytes.
const MAX_NAME: usize = 255;

/// The longest name that is taken from a response, in bytes. It leaves room for the longest
/// number, ` (4294967295)`.
const MAX_UNNUMBERED: usize = 240;

/// The longest extension that is kept when a name is shortened, in bytes with the dot.
const MAX_EXTENSION: usize = 16;

/// Names of devices on Windows. `COM` and `LPT` with a digit are reserved as well.
const RESERVED: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];

/// Returns the name under which the body of a response is saved into a folder.
///
/// The name comes from the `Content-Disposition` field, else from the last non-empty segment of
/// the path of `url`, else it is `download`. `url` is the URL after redirects.
///
/// The name is a single path component on every platform. It is not hidden, not reserved on
/// Windows, has no control, bidirectional or invisible characters, and leaves room for the number
/// that [`numbered`] adds.
pub(super) fn of_response(headers: &HeaderMap, url: &Url) -> String {
    headers
        .get_all(CONTENT_DISPOSITION)
        .iter()
        .find_map(|field| name_in_field(&decode_field(field.as_bytes())))
        .or_else(|| name_in_url(url))
        .unwrap_or_else(|| FALLBACK.to_owned())
}

/// Returns an alternative to a name from [`of_response`] that is taken: `a.txt` becomes
/// `a (1).txt`, and `a.tar.gz` becomes `a (1).tar.gz`.
pub(super) fn numbered(name: &str, number: u32) -> String {
    let (stem, extension) = split_extension(name);
    let end = format!(" ({number}){extension}");
    format!("{}{end}", cut(stem, MAX_NAME.saturating_sub(end.len())))
}

/// Decodes a field value as UTF-8 or, if it is not UTF-8, as ISO-8859-1.
fn decode_field(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => decode_latin1(value),
    }
}

fn decode_latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Returns the first usable name in a `Content-Disposition` field (RFC 6266), where every
/// `filename*` comes before every `filename`.
///
/// As in Chrome, the disposition type does not matter and may be missing, and the first usable
/// one of several parameters with the same name wins. A malformed parameter is skipped.
fn name_in_field(field: &str) -> Option<String> {
    let parameters = parameters(field);
    let values_of = |wanted: &'static str| {
        parameters
            .iter()
            .filter(move |(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| *value)
    };
    values_of("filename*")
        .filter_map(decode_extended)
        .chain(values_of("filename").filter_map(decode_plain))
        .find_map(|name| safe(&name))
}

/// Splits a field at each `;` outside of quoted strings into names and undecoded values. Parts
/// without `=`, such as the disposition type, are left out.
fn parameters(field: &str) -> Vec<(&str, &str)> {
    let mut quoted = false;
    let mut escaped = false;
    let is_separator = |c: char| {
        let literal = std::mem::take(&mut escaped);
        match c {
            _ if literal => {}
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            _ => return c == ';' && !quoted,
        }
        false
    };
    field
        .split(is_separator)
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| (trim_ows(name), trim_ows(value)))
        .collect()
}

/// Removes optional white space as HTTP defines it.
fn trim_ows(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Decodes a quoted string or a token.
///
/// A token may contain any character except `"`, because servers send names such as `a b (1).txt`
/// without quotes. Encoded words (RFC 2047) and percent-escapes are not decoded, as RFC 6266
/// demands; Chrome does decode them.
fn decode_plain(value: &str) -> Option<String> {
    match value.strip_prefix('"') {
        Some(rest) => unescape_quoted(rest),
        None => (!value.contains('"')).then(|| value.to_owned()),
    }
}

/// Decodes the rest of a quoted string after the opening quote. Returns `None` if the closing
/// quote is missing or is not the last character.
fn unescape_quoted(rest: &str) -> Option<String> {
    let mut chars = rest.chars();
    let mut text = String::new();
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => text.push(chars.next()?),
            c => text.push(c),
        }
    }
    chars.next().is_none().then_some(text)
}

/// Decodes an extended value (RFC 8187), such as `UTF-8'en'%e2%82%ac.txt`.
///
/// ASCII characters that should have been escaped are accepted, because `encodeURIComponent` in
/// JavaScript does not escape all of them.
fn decode_extended(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_language, text) = rest.split_once('\'')?;
    if !text.is_ascii() || !has_only_valid_escapes(text) {
        return None;
    }
    let bytes: Vec<u8> = percent_decode_str(text).collect();
    if charset.eq_ignore_ascii_case("UTF-8") {
        String::from_utf8(bytes).ok()
    } else if charset.eq_ignore_ascii_case("ISO-8859-1") {
        Some(decode_latin1(&bytes))
    } else {
        None
    }
}

fn has_only_valid_escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let digits = after.bytes().take(2).filter(u8::is_ascii_hexdigit);
        digits.count() == 2
    })
}

/// Returns the last non-empty path segment, which stays percent-encoded if it is not UTF-8.
fn name_in_url(url: &Url) -> Option<String> {
    let segment = url.path_segments()?.rfind(|segment| !segment.is_empty())?;
    match percent_decode_str(segment).decode_utf8() {
        Ok(name) => safe(&name),
        Err(_) => safe(segment),
    }
}

/// Makes a name safe, or returns `None` if nothing is left of it. The rules are the same on every
/// platform.
pub(super) fn safe(name: &str) -> Option<String> {
    // A path is reduced to its last component before characters are replaced or removed.
    let component = name.rsplit(['/', '\\']).next()?;
    let cleaned: String = component
        .chars()
        .filter(|&c| !is_removed(c))
        .map(|c| if is_replaced(c) { '_' } else { c })
        .collect();
    let name = shorten(cleaned.trim_matches(is_dot_or_space));
    if name.is_empty() {
        return None;
    }
    // A name can become a reserved one when it is shortened.
    if is_reserved(&name) {
        return Some(shorten(&format!("_{name}")));
    }
    Some(name)
}

/// Whether a character is a control, bidirectional formatting or invisible character.
///
/// Joiners (U+200C, U+200D) are among them, because HFS+ ignores them when it compares names.
/// Variation selectors are not.
fn is_removed(c: char) -> bool {
    let is_invisible = matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
        | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}'
        | '\u{FFF0}'..='\u{FFFB}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E007F}');
    c.is_control() || is_invisible
}

/// Whether Windows refuses a character in file names.
fn is_replaced(c: char) -> bool {
    matches!(c, '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*')
}

fn is_dot_or_space(c: char) -> bool {
    c == '.' || c.is_whitespace()
}

/// Whether Windows takes a name for a device. It ignores the case, everything from the first dot
/// on, and spaces before that dot.
fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end();
    RESERVED
        .iter()
        .any(|device| stem.eq_ignore_ascii_case(device))
        || is_port(stem)
}

/// Whether a name is `COM` or `LPT` with a digit, which may be superscript.
fn is_port(stem: &str) -> bool {
    let Some((device, digit)) = stem.split_at_checked(3) else {
        return false;
    };
    let mut digits = digit.chars();
    let is_digit = matches!(digits.next(), Some('0'..='9' | '¹' | '²' | '³'));
    let is_device = ["COM", "LPT"]
        .iter()
        .any(|port| device.eq_ignore_ascii_case(port));
    is_device && is_digit && digits.next().is_none()
}

/// Shortens a name to `MAX_UNNUMBERED` bytes and keeps its extension.
fn shorten(name: &str) -> String {
    if name.len() <= MAX_UNNUMBERED {
        return name.to_owned();
    }
    let (stem, extension) = split_extension(name);
    let max_stem = MAX_UNNUMBERED.saturating_sub(extension.len());
    format!("{}{extension}", cut(stem, max_stem))
}

/// Returns the longest start of `text` that has at most `max` bytes, without dots and white space
/// at its end.
fn cut(text: &str, max: usize) -> &str {
    let mut ends = (0..=max.min(text.len())).rev();
    let start = ends.find_map(|end| text.get(..end)).unwrap_or_default();
    start.trim_end_matches(is_dot_or_space)
}

/// Splits a name into stem and extension, where the extension starts with its dot or is empty.
/// `.tar` before another extension belongs to the extension.
fn split_extension(name: &str) -> (&str, &str) {
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return (name, "");
    };
    let is_extension = !extension.is_empty()
        && extension.len() < MAX_EXTENSION
        && !extension.contains(char::is_whitespace);
    if stem.is_empty() || !is_extension {
        return (name, "");
    }
    let stem = match stem.rsplit_once('.') {
        Some((start, tar)) if !start.is_empty() && tar.eq_ignore_ascii_case("tar") => start,
        _ => stem,
    };
    (stem, name.strip_prefix(stem).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use http::HeaderValue;

    use super::*;

    /// The name in the URL that `name_for` uses.
    const URL_NAME: &str = "url.bin";

    fn name_for(fields: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(CONTENT_DISPOSITION, HeaderValue::from_bytes(field).unwrap());
        }
        of_response(
            &headers,
            &Url::parse("http://example.com/url.bin?a=b/c").unwrap(),
        )
    }

    fn name_for_url(url: &str) -> String {
        of_response(&HeaderMap::new(), &Url::parse(url).unwrap())
    }

    /// Returns the name for a `filename*` parameter that encodes every byte of `name`.
    fn name_for_extended(name: &str) -> String {
        let escaped: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        name_for(&[format!("attachment; filename*=UTF-8''{escaped}").as_bytes()])
    }

    fn assert_safe(name: &str) {
        let folder = Path::new("folder");
        assert_eq!(folder.join(name).parent(), Some(folder), "{name:?}");
        assert_eq!(
            folder.join(name).file_name(),
            Some(name.as_ref()),
            "{name:?}"
        );
        assert!(!name.is_empty());
        assert!(name.len() <= MAX_NAME, "{name:?}");
        assert!(!name.starts_with('.') && !name.ends_with('.'), "{name:?}");
        assert_eq!(name.trim(), name);
        assert!(
            !name.contains(|c: char| c.is_control() || "<>:\"/\\|?*".contains(c)),
            "{name:?}"
        );
        assert!(!name.contains(['\u{200B}', '\u{200F}', '\u{202E}', '\u{2066}', '\u{FEFF}']));
        let stem = name.split('.').next().unwrap().trim_end().to_uppercase();
        let devices = [
            "CON", "PRN", "AUX", "NUL", "COM0", "COM1", "COM9", "COM¹", "LPT1", "LPT³",
        ];
        assert!(!devices.contains(&stem.as_str()), "{name:?}");
        assert!(!["CONIN$", "CONOUT$"].contains(&stem.as_str()), "{name:?}");
    }

    /// Cases of <http://greenbytes.de/tech/tc2231/>: their name there, the field, and the file name.
    /// Some fields that are invalid, and so to be ignored there, give a name here.
    const TC2231: &str = r#"
        inlonly | inline | url.bin
        inlonlyquoted | "inline" | url.bin
        inlwithasciifilename | inline; filename="foo.html" | foo.html
        inlwithfnattach | inline; filename="Not an attachment!" | Not an attachment!
        attonly | attachment | url.bin
        attonlyquoted | "attachment" | url.bin
        attwithasciifilename | attachment; filename="foo.html" | foo.html
        attwithasciifnescapedchar | attachment; filename="f\oo.html" | foo.html
        attwithasciifnescapedquote | attachment; filename="\"quoting\" tested.html" | _quoting_ tested.html
        attwithquotedsemicolon | attachment; filename="Here's a semicolon;.html" | Here's a semicolon;.html
        attwithfilenameandextparam | attachment; foo="bar"; filename="foo.html" | foo.html
        attwithfilenameandextparamescaped | attachment; foo="\"\\";filename="foo.html" | foo.html
        attwithasciifilenameucase | attachment; FILENAME="foo.html" | foo.html
        attwithasciifilenamenq | attachment; filename=foo.html | foo.html
        attwithtokfncommanq | attachment; filename=foo,bar.html | foo,bar.html
        attwithasciifilenamenqs | attachment; filename=foo.html ; | foo.html
        attemptyparam | attachment; ;filename=foo | foo
        attwithasciifilenamenqws | attachment; filename=foo bar.html | foo bar.html
        attwithfntokensq | attachment; filename='foo.bar' | 'foo.bar'
        attwithfnrawpctenca | attachment; filename="foo-%41.html" | foo-%41.html
        attwithfnusingpct | attachment; filename="50%.html" | 50%.html
        attwithfnrawpctencaq | attachment; filename="foo-%\41.html" | foo-%41.html
        attwithnamepct | attachment; name="foo-%41.html" | url.bin
        attwithfnrawpctenclong | attachment; filename="foo-%c3%a4-%e2%82%ac.html" | foo-%c3%a4-%e2%82%ac.html
        attwithasciifilenamews1 | attachment; filename ="foo.html" | foo.html
        attwith2filenames | attachment; filename="foo.html"; filename="bar.html" | foo.html
        attfnbrokentoken | attachment; filename=foo[1](2).html | foo[1](2).html
        attwithutf8fnplain | attachment; filename="foo-ä.html" | foo-ä.html
        attmissingdisposition | filename=foo.html | foo.html
        attmissingdisposition2 | x=y; filename=foo.html | foo.html
        attmissingdisposition3 | "foo; filename=bar;baz"; filename=qux | qux
        emptydisposition | ; filename=foo.html | foo.html
        doublecolon | : inline; attachment; filename=foo.html | foo.html
        attandinline2 | attachment; inline; filename=foo.html | foo.html
        attmultinstances | attachment; filename=foo.html, attachment; filename=bar.html | foo.html, attachment
        attmissingdelim2 | attachment; filename=bar foo=foo | bar foo=foo
        attbrokenquotedfn | attachment; filename="foo.html".txt | url.bin
        attbrokenquotedfn2 | attachment; filename="bar | url.bin
        attbrokenquotedfn3 | attachment; filename=foo"bar;baz"qux | url.bin
        attmissingdelim | attachment; foo=foo filename=bar | url.bin
        attmissingdelim3 | attachment filename=bar | url.bin
        attreversed | filename=foo.html; attachment | foo.html
        attconfusedparam | attachment; xfilename=foo.html | url.bin
        attabspath | attachment; filename="/foo.html" | foo.html
        attabspathwin | attachment; filename="\\foo.html" | foo.html
        attcdate | attachment; creation-date="Wed, 12 Feb 1997 16:29:51 -0500" | url.bin
        dispext | foobar | url.bin
        dispextbadfn | attachment; example="filename=example.txt" | url.bin
        attwithisofn2231iso | attachment; filename*=iso-8859-1''foo-%E4.html | foo-ä.html
        attwithfn2231utf8 | attachment; filename*=UTF-8''foo-%c3%a4-%e2%82%ac.html | foo-ä-€.html
        attwithfn2231noc | attachment; filename*=''foo-%c3%a4-%e2%82%ac.html | url.bin
        attwithfn2231utf8-bad | attachment; filename*=utf-8''foo-%E4.html | url.bin
        attwithfn2231ws1 | attachment; filename *=UTF-8''foo-%c3%a4.html | url.bin
        attwithfn2231ws2 | attachment; filename*= UTF-8''foo-%c3%a4.html | foo-ä.html
        attwithfn2231ws3 | attachment; filename* =UTF-8''foo-%c3%a4.html | foo-ä.html
        attwithfn2231quot | attachment; filename*="UTF-8''foo-%c3%a4.html" | url.bin
        attwithfn2231quot2 | attachment; filename*="foo%20bar.html" | url.bin
        attwithfn2231singleqmissing | attachment; filename*=UTF-8'foo-%c3%a4.html | url.bin
        attwithfn2231nbadpct1 | attachment; filename*=UTF-8''foo% | url.bin
        attwithfn2231nbadpct2 | attachment; filename*=UTF-8''f%oo.html | url.bin
        attwithfn2231dpct | attachment; filename*=UTF-8''A-%2541.html | A-%41.html
        attwithfn2231abspathdisguised | attachment; filename*=UTF-8''%5cfoo.html | foo.html
        attfncont | attachment; filename*0="foo."; filename*1="html" | url.bin
        attfnboth | attachment; filename="foo-ae.html"; filename*=UTF-8''foo-%c3%a4.html | foo-ä.html
        attfnboth2 | attachment; filename*=UTF-8''foo-%c3%a4.html; filename="foo-ae.html" | foo-ä.html
        attfnboth3 | attachment; filename*0*=ISO-8859-15''euro-sign%3d%a4; filename*=ISO-8859-1''currency-sign%3d%a4 | currency-sign=¤
        attnewandfn | attachment; foobar=x; filename="foo.html" | foo.html
        attrfc2047quoted | attachment; filename="=?ISO-8859-1?Q?foo-=E4.html?=" | =_ISO-8859-1_Q_foo-=E4.html_=
    "#;

    #[test]
    fn tc2231() {
        for line in TC2231.trim().lines() {
            let columns: Vec<&str> = line.trim().split(" | ").collect();
            let [case, field, expected] = columns[..] else {
                panic!("{line}");
            };
            assert_eq!(name_for(&[field.as_bytes()]), expected, "{case}");
        }
    }

    #[test]
    fn fields() {
        let cases = [
            // An unusable `filename*` gives way to `filename`.
            ("attachment; filename*=UTF-8''%ff; filename=a.txt", "a.txt"),
            (
                "attachment; filename*=UTF-8''%E2%82; filename=a.txt",
                "a.txt",
            ),
            (
                "attachment; filename*=UTF-8''ä.txt; filename=a.txt",
                "a.txt",
            ),
            ("attachment; filename*=UTF-16''a; filename=a.txt", "a.txt"),
            (
                "attachment; filename*=UTF-8''%2e%2e; filename=a.txt",
                "a.txt",
            ),
            ("attachment; filename*=UTF-8''; filename=a.txt", "a.txt"),
            ("attachment; filename*=UTF-8''%; filename=a.txt", "a.txt"),
            (
                "attachment; filename*=bad; filename*=UTF-8''b.txt; filename=a.txt",
                "b.txt",
            ),
            (
                "attachment; filename*=UTF-8''b.txt; filename*=UTF-8''c.txt",
                "b.txt",
            ),
            ("attachment; filename*=UTF-8'de-DE'b%27.txt", "b'.txt"),
            (
                "attachment; filename*=UTF-8''foo-a%cc%88.html",
                "foo-a\u{308}.html",
            ),
            ("attachment; filename*=UTF-8''b'(1).txt", "b'(1).txt"),
            ("attachment; FileName*=utf-8''b.txt", "b.txt"),
            // Quotes, escapes and white space.
            (
                "attachment;\tfilename\t=\t\"a;b=c.txt\"\t;\tx=y",
                "a;b=c.txt",
            ),
            (
                "attachment; x=\"; filename=evil\\\"; filename=evil\"; filename=a.txt",
                "a.txt",
            ),
            ("attachment; x=a\\; filename=a.txt", "a.txt"),
            ("attachment; filename=\"a.txt\\", URL_NAME),
            ("attachment; filename=\"a.txt\\\"", URL_NAME),
            (
                "attachment; filename=a.txt; x=\"open; filename*=UTF-8''evil",
                "a.txt",
            ),
            ("attachment; filename=\"\"", URL_NAME),
            ("attachment; filename=", URL_NAME),
            ("attachment; filename", URL_NAME),
            ("attachment; filename=\"\"; filename=a.txt", "a.txt"),
            ("attachment; filename=a=b.txt", "a=b.txt"),
            ("FORM-DATA; filename=a.txt", "a.txt"),
            ("", URL_NAME),
            (";", URL_NAME),
            ("=;=;\"", URL_NAME),
        ];
        for (field, expected) in cases {
            assert_eq!(name_for(&[field.as_bytes()]), expected, "{field}");
        }
    }

    #[test]
    fn bytes_that_are_not_ascii() {
        assert_eq!(
            name_for(&[b"attachment; filename=\"foo-\xE4.html\""]),
            "foo-ä.html"
        );
        assert_eq!(
            name_for(&[b"attachment; filename=\"foo-\xC3\xA4.html\""]),
            "foo-ä.html"
        );
    }

    #[test]
    fn first_field_with_a_name_wins() {
        assert_eq!(name_for(&[b"filename=a", b"filename*=UTF-8''b"]), "a");
        assert_eq!(name_for(&[b"attachment", b"filename=b"]), "b");
    }

    #[test]
    fn urls() {
        let cases = [
            ("http://example.com/a/b.txt?c=d/e#f/g", "b.txt"),
            ("http://example.com/a/b//", "b"),
            ("http://example.com/", "download"),
            ("http://example.com", "download"),
            ("http://example.com/a%20b%C3%A4+c.txt", "a bä+c.txt"),
            ("http://example.com/%E4%41.txt", "%E4%41.txt"),
            ("http://example.com/100%.txt", "100%.txt"),
            ("http://example.com/%2e%2e%2fx", "x"),
            ("http://example.com/..%5C..%5Cx", "x"),
            ("http://example.com/%2e%2e%2f", "download"),
            ("http://example.com/a/...", "download"),
            ("http://example.com/%20%00%0A", "download"),
            ("http://example.com/CON", "_CON"),
            ("mailto:a/b", "download"),
        ];
        for (url, expected) in cases {
            assert_eq!(name_for_url(url), expected, "{url}");
        }
    }

    #[test]
    fn unsafe_names() {
        let cases = [
            ("../../x", "x"),
            ("..\\..\\x", "x"),
            ("/etc/passwd", "passwd"),
            ("C:\\x", "x"),
            ("C:x", "C_x"),
            ("a/..", URL_NAME),
            ("a/", URL_NAME),
            ("%2e%2e%2fx", "%2e%2e%2fx"),
            ("a:b", "a_b"),
            ("a<b>c\"d|e?f*g", "a_b_c_d_e_f_g"),
            ("a\0b", "ab"),
            ("a\r\nb\tc\u{7F}\u{85}d", "abcd"),
            ("\u{202E}gpj.exe", "gpj.exe"),
            ("a\u{61C}\u{200E}\u{200F}\u{202A}\u{2066}\u{2069}b", "ab"),
            ("a\u{200B}\u{200D}\u{2028}\u{2060}\u{FEFF}\u{E0041}b", "ab"),
            (".bashrc", "bashrc"),
            (". .\u{200B}.a", "a"),
            ("\u{FEFF}.bashrc", "bashrc"),
            (".", URL_NAME),
            ("..", URL_NAME),
            ("...", URL_NAME),
            ("   ", URL_NAME),
            ("\u{200B}\u{202E}", URL_NAME),
            ("  a b . ", "a b"),
            ("\u{3000}a\u{A0}", "a"),
            ("-rf", "-rf"),
            ("~a~", "~a~"),
            ("?", "_"),
            ("🦀.txt", "🦀.txt"),
            ("❤\u{FE0F}.txt", "❤\u{FE0F}.txt"),
            ("file\u{301}", "file\u{301}"),
        ];
        for (name, expected) in cases {
            assert_eq!(name_for_extended(name), expected, "{name:?}");
        }
    }

    #[test]
    fn reserved_names() {
        #[rustfmt::skip]
        let reserved = [
            "CON", "con.txt", "Prn", "AUX.tar.gz", "nul .txt", "COM0", "com9", "LPT1.x", "COM¹",
            "lpt².txt", "COM³", "CONIN$", "conout$.txt", "NUL\u{200B}",
        ];
        for name in reserved {
            let expected = format!("_{}", name.replace('\u{200B}', ""));
            assert_eq!(name_for_extended(name), expected, "{name:?}");
        }
        for name in [
            "CONS", "COM", "COM10", "COMA", "COM⁴", "LPT", "a.con", "CO", "éCON", "CONIN",
        ] {
            assert_eq!(name_for_extended(name), name);
        }
        assert_eq!(name_for_extended("CON:"), "CON_");
        // Only shortening turns these into names of devices.
        let spaces = " ".repeat(300);
        assert_eq!(name_for_extended(&format!("CON{spaces}x")), "_CON");
        assert_eq!(name_for_extended(&format!("CON{spaces}x.txt")), "_CON.txt");
    }

    #[test]
    fn long_names() {
        let x = |count: usize| "x".repeat(count);
        let cases = [
            (x(240), x(240)),
            (x(300), x(240)),
            (x(300) + ".txt", x(236) + ".txt"),
            (x(300) + ".tar.gz", x(233) + ".tar.gz"),
            (x(300) + "." + &x(15), x(224) + "." + &x(15)),
            (x(300) + "." + &x(16), x(240)),
            ("a.".to_owned() + &x(300), "a.".to_owned() + &x(238)),
            (x(238) + ". . " + &x(20), x(238)),
            ("€".repeat(255), "€".repeat(80)),
            ("ä".repeat(255) + ".txt", "ä".repeat(118) + ".txt"),
            ("🦀".repeat(255) + ".jpeg", "🦀".repeat(58) + ".jpeg"),
        ];
        for (name, expected) in cases {
            assert_eq!(name_for_extended(&name), expected);
        }
    }

    #[test]
    fn numbers() {
        let cases = [
            ("name.txt", "name (7).txt"),
            ("name", "name (7)"),
            ("name.tar.gz", "name (7).tar.gz"),
            ("name.TAR.xz", "name (7).TAR.xz"),
            ("name.tar.bz2", "name (7).tar.bz2"),
            ("name.tar.zst", "name (7).tar.zst"),
            ("name.tar", "name (7).tar"),
            ("a.b.gz", "a.b (7).gz"),
            ("tar.gz", "tar (7).gz"),
            ("Mr. Smith", "Mr. Smith (7)"),
            ("name (1).txt", "name (1) (7).txt"),
            ("_CON.txt", "_CON (7).txt"),
            (".bashrc", ".bashrc (7)"),
            (".tar.gz", ".tar (7).gz"),
        ];
        for (name, expected) in cases {
            assert_eq!(numbered(name, 7), expected);
        }
    }

    #[test]
    fn numbers_of_long_names() {
        let long = name_for_extended(&("x".repeat(300) + ".tar.gz"));
        let expected = "x".repeat(233) + " (4294967295).tar.gz";
        assert_eq!(numbered(&long, u32::MAX), expected);

        let too_long = "€".repeat(100) + ".txt";
        assert_eq!(numbered(&too_long, 1), "€".repeat(82) + " (1).txt");
    }

    /// A linear congruential generator (Knuth's MMIX constants).
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (self.0 >> 33) as usize % limit
        }

        fn pick<T: Copy>(&mut self, items: &[T]) -> T {
            items[self.below(items.len())]
        }
    }

    fn assert_safe_with_numbers(name: &str) {
        assert_safe(name);
        assert!(name.len() <= MAX_UNNUMBERED);
        assert_eq!(
            safe(name).as_deref(),
            Some(name),
            "a safe name stays as it is"
        );
        for number in [1, u32::MAX] {
            let other = numbered(name, number);
            assert_safe(&other);
            assert!(other.contains(&format!(" ({number})")));
        }
    }

    #[test]
    fn random_names_are_safe() {
        #[rustfmt::skip]
        let pieces = [
            ".", "..", " ", "/", "\\", ":", "\0", "\n", "\u{85}", "CON", "com", "LPT", "1", "³",
            "NUL", "CONIN$", ".tar", ".gz", "a", "ä", "€", "🦀", "\u{202E}", "\u{200B}",
            "\u{FEFF}", "\u{2066}", "\u{3000}", "\u{301}", "%2f", "%", "\"", ";", "'", "?", "-",
            "~",
        ];
        let mut random = Random(1);
        for _ in 0..2_000 {
            let mut name = String::new();
            for _ in 0..random.below(8) {
                let count = if random.below(8) == 0 {
                    1 + random.below(300)
                } else {
                    1
                };
                name.push_str(&random.pick(&pieces).repeat(count));
            }
            assert_safe_with_numbers(&name_for_extended(&name));
        }
    }

    #[test]
    fn random_characters_are_safe() {
        let mut random = Random(2);
        for _ in 0..1_000 {
            let limit = random.pick(&[0x80, 0x100, 0x3000, 0x11_0000]);
            let length = random.below(300);
            let name: String = (0..length)
                .filter_map(|_| char::from_u32(random.below(limit) as u32))
                .collect();
            assert_safe_with_numbers(&name_for_extended(&name));
        }
    }

    #[test]
    fn random_fields_are_safe() {
        #[rustfmt::skip]
        let pieces: [&[u8]; 24] = [
            b"attachment", b"inline", b";", b"; ", b"=", b"\"", b"\\", b"'", b"''", b"*", b"%",
            b"%2f", b"%2e", b"%00", b"UTF-8", b"iso-8859-1", b"filename", b"filename*=UTF-8''",
            b"filename=\"", b"\xE4", b"\xC3\xA4", b"\t", b"a", b".txt",
        ];
        let starts: [&[u8]; 4] = [
            b"",
            b"a; filename=",
            b"a; filename=\"",
            b"a; filename*=UTF-8''",
        ];
        let mut random = Random(3);
        let mut names_in_fields = 0;
        for _ in 0..10_000 {
            let mut field = random.pick(&starts).to_vec();
            for _ in 0..random.below(20) {
                if random.below(10) == 0 {
                    field.push(0x20 + random.below(0x5F) as u8);
                } else {
                    field.extend_from_slice(random.pick(&pieces));
                }
            }
            let name = name_for(&[&field]);
            assert_safe_with_numbers(&name);
            names_in_fields += usize::from(name != URL_NAME);
        }
        assert!(names_in_fields > 2_000, "{names_in_fields}");
    }

    #[test]
    fn random_urls_are_safe() {
        #[rustfmt::skip]
        let pieces = [
            "/", "%2f", "%5C", "%2e", ".", "%00", "%ff", "%", "a", "%E2%80%AE", "CON", ":",
        ];
        let mut random = Random(4);
        for _ in 0..5_000 {
            let length = random.below(12);
            let path: String = (0..length).map(|_| random.pick(&pieces)).collect();
            assert_safe_with_numbers(&name_for_url(&format!("http://example.com/{path}")));
        }
    }
}
