//! A body that is only requested if it is not the one in a file: the conditions of the request, and the response that it has not
//! changed (RFC 9110, section 13).

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::validators::{Record, modification_time};
use super::{Download, digest, part};
use crate::error::Error;

/// The end of what a date of HTTP can say, from 1970 on.
const YEAR_10000: Duration = Duration::from_secs(253_402_300_800);

impl Download {
    /// The conditions by which the server finds out whether the body in this file is that of today.
    pub(super) fn conditions_of(
        &self,
        path: &Path,
        check: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Option<HeaderMap>, Error> {
        let there = fs::metadata(path).ok().filter(fs::Metadata::is_file);
        let Some(there) = there else {
            return Ok(None);
        };
        if !self.digests.is_empty() {
            let Ok(file) = fs::File::open(path) else {
                return Ok(None);
            };
            let verifier = digest(file, &self.digests, check)?;
            if verifier.map_or(true, |verifier| verifier.finish().is_err()) {
                return Ok(None);
            }
        }
        Ok(self.conditions_by_record(path, &there))
    }

    fn conditions_by_record(&self, path: &Path, there: &fs::Metadata) -> Option<HeaderMap> {
        let target = part::behind_links(path).ok()?;
        let is_of_file = |record: &Record| {
            record.request == self.request
                && record.length == Some(there.len())
                && record.modified.is_some()
                && record.modified == modification_time(there)
        };
        let mut conditions = HeaderMap::new();
        let path = part::record_of_file(&target);
        match Record::read(&path).ok()? {
            Some(record) if is_of_file(&record) => {
                let etag = record.etag.map(|etag| (IF_NONE_MATCH, etag));
                let modified = record.last_modified.map(|date| (IF_MODIFIED_SINCE, date));
                conditions.extend(etag.into_iter().chain(modified));
            }
            // It has the body of another request, or was changed since; but not if it has the right digest.
            Some(_) if self.digests.is_empty() => return None,
            // What is empty may be what is left of another one.
            None if there.len() == 0 => return None,
            _ => {
                // Others cannot be written as a date of HTTP.
                let modified = there.modified().ok()?;
                let age = modified.duration_since(UNIX_EPOCH).ok()?;
                if age >= YEAR_10000 {
                    return None;
                }
                let modified = httpdate::fmt_http_date(modified);
                let modified = HeaderValue::try_from(modified).ok()?;
                conditions.insert(IF_MODIFIED_SINCE, modified);
            }
        }
        Some(conditions)
    }

    /// Returns the file that has the body, according to the server.
    pub(crate) fn unmodified_file(
        &mut self,
        status: StatusCode,
    ) -> Result<Option<Arc<Path>>, Error> {
        let Some(path) = &self.if_modified else {
            return Ok(None);
        };
        if status != StatusCode::NOT_MODIFIED || self.conditions.is_empty() {
            return Ok(None);
        }
        fs::metadata(path).map_err(|error| Error::file(path, error))?;
        let path = Arc::clone(path);
        // What has come of another version is of no use any more.
        if let Some(part) = self.part_path() {
            part::delete_kept(&part, self.kept.take());
        }
        Ok(Some(path))
    }
}
