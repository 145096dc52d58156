//! The URL of a request, which is parsed when the job is due, not when the spec is created.

use std::borrow::Cow;
use std::fmt;

use http::Uri;
use url::{ParseError, Url};

use crate::error::Error;
use crate::redact::SafeUrl;

/// Maximum length of a URL in the `http` crate, and so in every transport, in bytes.
const MAX_LENGTH: usize = u16::MAX as usize - 1;

/// A string stays a string until a worker needs the URL: lists of millions of URLs stay small, and the workers share
/// the parsing.
#[derive(Clone)]
pub enum Target {
    Text(Box<str>),
    Parsed(Box<Url>),
}

impl Target {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Parsed(url) => url.as_str(),
        }
    }

    /// Appends encoded pairs to the query.
    pub(super) fn append_query(&mut self, pairs: &str) {
        if pairs.is_empty() {
            return;
        }
        match self {
            Self::Parsed(url) => {
                let query = joined(url.query(), pairs);
                url.set_query(Some(&query));
            }
            Self::Text(text) => {
                let (rest, fragment) = match text.split_once('#') {
                    Some((rest, fragment)) => (rest, Some(fragment)),
                    None => (&**text, None),
                };
                let (path, query) = match rest.split_once('?') {
                    Some((path, query)) => (path, Some(query)),
                    None => (rest, None),
                };
                let mut whole = format!("{path}?{}", joined(query, pairs));
                if let Some(fragment) = fragment {
                    whole.push('#');
                    whole.push_str(fragment);
                }
                *text = whole.into_boxed_str();
            }
        }
    }

    /// Parses the URL with this parser, and checks it.
    pub(super) fn parsed(
        &self,
        parse: impl FnOnce(&str) -> Result<Url, ParseError>,
    ) -> Result<Url, Error> {
        let url = match self {
            Self::Text(text) => parse(text).map_err(|error| invalid_url(text, error))?,
            Self::Parsed(url) => Url::clone(url),
        };
        if !matches!(url.scheme(), "http" | "https") {
            // `localhost:8000/x` has the scheme `localhost`.
            let advice = if url.path().starts_with(|first: char| first.is_ascii_digit()) {
                "if this is host and port, put http:// before it"
            } else {
                "other schemes are not supported"
            };
            return Err(Error::invalid_request(format!(
                "`{}` is not an http or https URL; {advice}",
                SafeUrl(self.as_str()),
            )));
        }
        if lacks_host(self.as_str()) {
            // The URL standard reads `http:///path` as `http://path`, which is never what was meant.
            return Err(invalid_url(self.as_str(), ParseError::EmptyHost));
        }
        if url.as_str().len() > MAX_LENGTH {
            return Err(Error::invalid_request(format!(
                "the URL `{}` is {} bytes long; the maximum is {MAX_LENGTH}",
                SafeUrl(url.as_str()),
                url.as_str().len(),
            )));
        }
        Ok(url)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&SafeUrl(self.as_str()), f)
    }
}

/// A value that names a URL: a string (`&str`, `String`, `Box<str>`, `Cow<str>`), a [`Url`], an absolute [`Uri`], or a
/// reference to one of these.
///
/// [`RequestSpec`](crate::RequestSpec) takes it wherever it takes a URL, and each converts into a GET request. Strings
/// and URIs are parsed when the job is due; a [`Url`] is not parsed again. The trait is implemented for no other types.
pub trait IntoUrl: sealed::IntoTarget {}

mod sealed {
    pub trait IntoTarget {
        fn into_target(self) -> super::Target;
    }
}

impl<U: IntoUrl + Clone> IntoUrl for &U {}

impl<U: IntoUrl + Clone> sealed::IntoTarget for &U {
    fn into_target(self) -> Target {
        self.clone().into_target()
    }
}

macro_rules! impl_into_url {
    ($($type:ty: |$url:ident| $target:expr;)+) => {
        $(
            impl IntoUrl for $type {}

            impl sealed::IntoTarget for $type {
                fn into_target(self) -> Target {
                    let $url = self;
                    $target
                }
            }
        )+
    };
}

impl_into_url! {
    &str: |text| Target::Text(text.into());
    String: |text| Target::Text(text.into());
    Box<str>: |text| Target::Text(text);
    Cow<'_, str>: |text| Target::Text(text.into());
    Uri: |uri| Target::Text(uri.to_string().into());
    Url: |url| Target::Parsed(Box::new(url));
}

fn joined(query: Option<&str>, pairs: &str) -> String {
    match query {
        None | Some("") => pairs.to_owned(),
        Some(query) if query.ends_with('&') => format!("{query}{pairs}"),
        Some(query) => format!("{query}&{pairs}"),
    }
}

/// Whether a string that parses as a special URL has nothing between `://` and the next slash.
fn lacks_host(text: &str) -> bool {
    text.split_once(':')
        .is_some_and(|(_, rest)| rest.starts_with("///"))
}

fn invalid_url(text: &str, error: ParseError) -> Error {
    let advice = match error {
        ParseError::RelativeUrlWithoutBase => "; it needs a scheme, as in https://example.com/",
        _ => "",
    };
    let message = format!("`{}` is not a valid URL: {error}{advice}", SafeUrl(text));
    Error::invalid_request(message).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_url_is_as_long_as_the_message_says() {
        let start = "http://h/";
        let url_of = |length: usize| {
            Target::Text(format!("{start}{}", "a".repeat(length - start.len())).into())
        };
        assert!(url_of(65_534).parsed(Url::parse).is_ok());
        let error = url_of(65_535)
            .parsed(Url::parse)
            .expect_err("it is too long");
        assert!(error.to_string().contains("the maximum is 65534"));
        // What the `http` crate takes.
        assert!(url_of(65_534).as_str().parse::<Uri>().is_ok());
    }

    #[test]
    fn query_pairs_are_appended_to_the_query_before_the_fragment() {
        let table = [
            ("http://h/p", "http://h/p?a=1"),
            ("http://h/p?", "http://h/p?a=1"),
            ("http://h/p?x=0", "http://h/p?x=0&a=1"),
            ("http://h/p?x=0&", "http://h/p?x=0&a=1"),
            ("http://h/p#top?no", "http://h/p?a=1#top?no"),
            ("http://h/p?x=0#top", "http://h/p?x=0&a=1#top"),
        ];
        for (before, after) in table {
            let mut text = Target::Text(before.into());
            text.append_query("a=1");
            assert_eq!(text.as_str(), after);

            let url = Url::parse(before).expect("the table holds URLs");
            let mut parsed = Target::Parsed(Box::new(url));
            parsed.append_query("a=1");
            assert_eq!(parsed.as_str(), after, "parsed from {before}");
        }
    }
}
