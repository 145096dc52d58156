//! A body that has come: it is compared with what it must be, and its file gets its name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::{NamedTempFile, PersistError};

use super::continuation::Rest;
use super::open_file::OpenFile;
use super::validators::{Record, modification_time};
use super::{BodyInfo, Download, Place, file_name, part};
use crate::error::Error;

/// How many numbers are tried for a name that is taken.
const MAX_NUMBER: u32 = 10_000;

impl Download {
    /// Gives the file its name. Returns it. Fails if `check`, which is called now and then, says that there is no time for more.
    pub(crate) fn complete(
        &self,
        open: OpenFile,
        check: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Arc<Path>, Error> {
        let mut open = open.write_last()?;
        let kept = open.is_kept.then(|| open.file.path().to_owned());
        let rest = self.rest().filter(|_| !open.is_segmented());
        if let Some(rest) = rest.filter(|rest| open.length > rest.end) {
            let end = rest.end;
            open.discard();
            return Err(Error::protocol(format!(
                "the part of the body (206) is longer than its Content-Range, which ends at {end}"
            )));
        }
        let verified = open
            .verify_segments(check)
            .and_then(|()| self.check_length(open.length))
            .and_then(|()| open.verify());
        let verified = verified.map_err(|error| {
            if self.continues() {
                error.after_continuation()
            } else {
                error
            }
        });
        if let Err(error) = verified {
            return Err(open.give_up(error));
        }
        let path = Arc::clone(&open.path);
        let saved = self.replace(open);
        let is_refused = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
        if let Some(kept) = kept.filter(|_| saved.as_ref().is_err_and(is_refused)) {
            part::delete_kept(&kept, None);
        }
        let saved = saved.map_err(|error| Error::file(&path, error))?;
        Ok(match &self.place {
            Some(Place::Folder(_)) => saved.into(),
            _ => path,
        })
    }

    /// Returns an error if a part was followed by less than the rest.
    fn check_length(&self, length: u64) -> Result<(), Error> {
        match self.rest() {
            Some(Rest { whole, .. }) if length < *whole => Err(Error::body_truncated(format!(
                "the part of the body (206) ends at byte {length} of {whole}"
            ))),
            _ => Ok(()),
        }
    }

    /// Gives the file its name, in place of another file or beside it.
    fn replace(&self, open: OpenFile) -> io::Result<PathBuf> {
        let record = open.is_kept.then(|| part::record_of_part(open.file.path()));
        let OpenFile { file, target, .. } = open;
        let BodyInfo {
            etag,
            last_modified,
            ..
        } = &self.body;
        if self.options.remote_time {
            let date = last_modified.as_ref().and_then(|value| value.to_str().ok());
            if let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) {
                if let Err(error) = file.as_file().set_modified(date) {
                    log::warn!("could not set the time of {}: {error}", target.display());
                }
            }
        }
        if self.options.sync {
            file.as_file().sync_all()?;
        }
        if let Some(record) = record {
            // As long as the part has its name, and this job has the part.
            let _ = fs::remove_file(record);
        }
        let is_folder = matches!(self.place, Some(Place::Folder(_)));
        let (saved, target) = match self.options.overwrite {
            None if is_folder => persist_beside(file, target)?,
            Some(false) => {
                let saved = file.persist_noclobber(&target);
                (
                    saved.map_err(|failed| not_overwritten(failed.error))?,
                    target,
                )
            }
            _ => {
                let there = if is_folder {
                    fs::symlink_metadata(&target)
                } else {
                    fs::metadata(&target)
                };
                if let Ok(there) = there {
                    if there.is_file() {
                        file.as_file().set_permissions(there.permissions())?;
                    }
                }
                (file.persist(&target).map_err(|error| error.error)?, target)
            }
        };
        if self.options.sync {
            part::sync_folder(&target)?;
        }
        if self.if_modified.is_some() {
            let there = saved.metadata()?;
            let record = Record {
                request: self.request.clone(),
                resource: self.body.resource.clone(),
                etag: etag.clone(),
                last_modified: last_modified.clone(),
                length: Some(there.len()),
                modified: modification_time(&there),
                ..Record::default()
            };
            let path = part::record_of_file(&target);
            // Without it, the next request is made conditional by the time of the file.
            if record.etag.is_none() && record.last_modified.is_none() {
                let _ = fs::remove_file(path);
            } else if let Err(error) = record.write(&path) {
                log::warn!("could not write {}: {error}", path.display());
            }
        }
        Ok(target)
    }
}

fn not_overwritten(error: io::Error) -> io::Error {
    match error.kind() {
        kind @ io::ErrorKind::AlreadyExists => io::Error::new(kind, part::NOT_OVERWRITTEN),
        _ => error,
    }
}

/// Gives the file this name, or the first that is free of those with a number.
fn persist_beside(mut file: NamedTempFile, target: PathBuf) -> io::Result<(fs::File, PathBuf)> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let name = name.into_owned();
    for number in 0..MAX_NUMBER {
        let free = match number {
            0 => target.clone(),
            number => target.with_file_name(file_name::numbered(&name, number)),
        };
        match file.persist_noclobber(&free) {
            Ok(saved) => return Ok((saved, free)),
            Err(PersistError {
                error,
                file: returned,
            }) if error.kind() == io::ErrorKind::AlreadyExists => file = returned,
            Err(error) => return Err(error.error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!("the name is taken, and so are {MAX_NUMBER} of it with a number"),
    ))
}
