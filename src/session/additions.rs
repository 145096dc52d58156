//! What a session adds to each of its requests.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use url::Url;

use crate::origin::Origin;

/// Headers, and credentials for certain origins.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Additions {
    pub(crate) headers: HeaderMap,
    /// The one set last comes last.
    by_origin: Vec<(Origin, HeaderValue)>,
}

impl Additions {
    /// Credentials for this origin, in place of those that all get.
    pub(super) fn authorize_for(&mut self, origin: Origin, credentials: HeaderValue) {
        self.by_origin.retain(|(other, _)| *other != origin);
        self.by_origin.push((origin, credentials));
    }

    /// The credentials that a request to this URL gets, if it brings none of its own.
    pub(crate) fn credentials_for(&self, url: &Url) -> Option<&HeaderValue> {
        self.by_origin
            .iter()
            .find_map(|(origin, credentials)| origin.is_of(url).then_some(credentials))
            .or_else(|| self.headers.get(AUTHORIZATION))
    }

    /// Whether a request to this URL gets the same.
    pub(crate) fn is_same_for(&self, url: &Url, other: &Self) -> bool {
        self.headers == other.headers && self.credentials_for(url) == other.credentials_for(url)
    }

    pub(super) fn authorized_origins(&self) -> usize {
        self.by_origin.len()
    }
}
