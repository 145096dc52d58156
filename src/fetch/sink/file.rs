//! Saving a body: into a temporary file beside the target, which it replaces when it is complete.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::Error;

/// Refuses a target that cannot become a file, before anything is sent.
pub(in crate::fetch) fn check_place(path: &Path) -> Result<(), Error> {
    let refused = |message: &str| {
        let error = io::Error::new(io::ErrorKind::NotFound, message);
        Err(Error::file(path, error).sent(false))
    };
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => return refused("it is a directory"),
        Ok(there) if !there.is_file() => return refused("it is there and not a file"),
        _ => {}
    }
    if !folder(path).is_dir() {
        return refused("its folder does not exist");
    }
    Ok(())
}

pub(super) fn save(content: &mut dyn Read, path: &Path) -> Result<(), Error> {
    let failed = |error| Error::file(path, error);
    // Behind a symbolic link.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    // It deletes itself, unless it becomes the target.
    let mut file = temporary(folder(&target)).map_err(failed)?;
    io::copy(content, &mut file).map_err(failed)?;
    file.flush().map_err(failed)?;
    if let Ok(replaced) = fs::metadata(&target) {
        let permissions = replaced.permissions();
        file.as_file()
            .set_permissions(permissions)
            .map_err(failed)?;
    }
    file.persist(target).map_err(|error| failed(error.error))?;
    Ok(())
}

fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".threaded-").suffix(".part");
    #[cfg(unix)]
    {
        // As any other new file: what the process's mask leaves of it.
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        builder.permissions(permissions);
    }
    builder.tempfile_in(folder)
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => Path::new("."),
    }
}
