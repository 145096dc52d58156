//! A file that a body is saved to: written beside its target, which it replaces when it is complete.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(unix)]
use rustix::io::Errno;
use tempfile::NamedTempFile;

use crate::digest::Verifier;
use crate::error::{Error, is_out_of_resources};

/// Returns an error if the target cannot become a file, before anything is sent.
pub(super) fn check_place(path: &Path, creates_dirs: bool) -> Result<(), Error> {
    let refused = |message: &str| {
        let error = io::Error::new(io::ErrorKind::NotFound, message);
        Err(Error::file(path, error).sent(false))
    };
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => return refused("it is a directory"),
        Ok(there) if !there.is_file() => return refused("it is there and not a file"),
        _ => {}
    }
    let target = behind_links(path).map_err(|error| Error::file(path, error).sent(false))?;
    let folder = folder(&target);
    if folder.is_dir() {
        return Ok(());
    }
    if !creates_dirs {
        return refused("its folder does not exist; `create_dirs` creates it");
    }
    // The first of the folders above that is there has to be one.
    let there = folder
        .ancestors()
        .find(|folder| fs::symlink_metadata(folder).is_ok());
    match there {
        Some(there) if !there.is_dir() => refused("a part of its path is not a folder"),
        _ => Ok(()),
    }
}

/// How many symbolic links that lead nowhere yet are followed, as by Linux.
const MAX_LINKS: u32 = 40;

/// What the path names behind symbolic links, whether it is there or not.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        if let Ok(there) = fs::canonicalize(&target) {
            return Ok(there);
        }
        match fs::read_link(&target) {
            Ok(link) => target = folder(&target).join(link),
            Err(_) => return Ok(target),
        }
    }
    Err(io::Error::other("it is a symbolic link to itself"))
}

/// A file that is not complete. Deletes itself unless it becomes the target.
pub(super) struct PartialFile {
    file: NamedTempFile,
    /// What is to be written next.
    pub(super) buffer: Vec<u8>,
    pub(super) verifier: Option<Verifier>,
    /// As the spec has it.
    path: Arc<Path>,
    /// Behind symbolic links.
    target: PathBuf,
}

impl PartialFile {
    pub(super) fn create(path: Arc<Path>, creates_dirs: bool) -> Result<Self, Error> {
        let created = behind_links(&path).and_then(|target| {
            if creates_dirs {
                fs::create_dir_all(folder(&target))?;
            }
            Ok((create_part(&target)?, target))
        });
        let (file, target) = created.map_err(|error| Error::file(&path, error))?;
        Ok(Self {
            file,
            buffer: Vec::new(),
            verifier: None,
            path,
            target,
        })
    }

    /// Writes what is in the buffer.
    pub(super) fn write(mut self) -> Result<Self, Error> {
        if let Some(verifier) = &mut self.verifier {
            verifier.update(&self.buffer);
        }
        match self.file.write_all(&self.buffer) {
            Ok(()) => {
                self.buffer.clear();
                Ok(self)
            }
            Err(error) => Err(Error::file(&self.path, error)),
        }
    }

    /// Writes the rest and replaces the target, whose permissions stay.
    pub(super) fn complete(self) -> Result<(), Error> {
        let Self {
            file,
            verifier,
            path,
            target,
            ..
        } = self.write()?;
        verifier.map_or(Ok(()), Verifier::finish)?;
        let replace = || {
            if let Ok(replaced) = fs::metadata(&target) {
                file.as_file().set_permissions(replaced.permissions())?;
            }
            file.persist(&target).map_err(|error| error.error)
        };
        match replace() {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::file(&path, error)),
        }
    }
}

/// How many parts of the same file can be on their way at once.
const MAX_PARTS: u32 = 10_000;

/// Creates a part of the target that no other thread or process writes to, and deletes those that killed processes have
/// left of it.
///
/// Its name follows from that of the target, with a number for each that is on its way at the same time: so what is left
/// can be found without searching the folder. A part is locked as long as it is open, and the operating system releases
/// the lock of a process that is killed. Only parts that can be locked are deleted. (Where the locks of a network file
/// system are those of one machine only, another one may delete a part, and saving it ends in an error.)
fn create_part(target: &Path) -> io::Result<NamedTempFile> {
    let folder = folder(target);
    let hash = hash_of_name(target);
    let name = |number| format!(".threaded-{hash:016x}-{number}.part");
    for number in 0..MAX_PARTS {
        let path = folder.join(name(number));
        delete_if_abandoned(&path);
        match new_file(folder, &name(number)) {
            Ok(file) if claim(file.as_file()) => {
                let further = (number + 1..).map(|number| folder.join(name(number)));
                further
                    .take_while(|path| fs::symlink_metadata(path).is_ok())
                    .for_each(|path| delete_if_abandoned(&path));
                return Ok(file);
            }
            // Another thread took it for abandoned, before it was locked, and deletes it.
            Ok(file) => drop(file.keep()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    let message = "too many of it are being saved at once";
    Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
}

/// FNV-1a, which is the same in each version of each program.
fn hash_of_name(target: &Path) -> u64 {
    let name = target.file_name().unwrap_or_default().as_encoded_bytes();
    name.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn new_file(folder: &Path, name: &str) -> io::Result<NamedTempFile> {
    let mut out_of_resources = None;
    let created = tempfile::Builder::new()
        .prefix(name)
        .rand_bytes(0)
        // As of any other new file: the umask of the process applies.
        .make_in(folder, |path| {
            let opened = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(path);
            opened.inspect_err(|error| {
                let code = error.raw_os_error().filter(|_| is_out_of_resources(error));
                out_of_resources = code;
            })
        });
    // The library adds the path to the error, and drops the number.
    match out_of_resources {
        Some(code) => Err(io::Error::from_raw_os_error(code)),
        None => created,
    }
}

/// Marks a new file as one that is written to. Returns `false` if it was deleted meanwhile.
#[cfg(unix)]
fn claim(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;

    match lock(file) {
        Ok(()) => file.metadata().is_ok_and(|metadata| metadata.nlink() > 0),
        Err(Errno::WOULDBLOCK) => false,
        // The file system knows no locks. Then nothing can lock it to delete it.
        Err(_) => true,
    }
}

/// Deletes a part whose process was killed.
#[cfg(unix)]
fn delete_if_abandoned(path: &Path) {
    use rustix::fs::{Mode, OFlags, open};

    // Something else may have been put there: a link, a pipe.
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(file) = open(path, flags, Mode::empty()).map(File::from) {
        // Whatever is at the path is deleted under its lock only, so it stays the same file.
        if lock(&file).is_ok() && is_at(&file, path) {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(unix)]
fn lock(file: &File) -> Result<(), Errno> {
    rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
}

/// Whether the path leads to this open file, and not to another one by now.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(own), Ok(there)) => id(own) == id(there),
        _ => false,
    }
}

/// An open file is claimed by its handle.
#[cfg(windows)]
fn claim(_: &File) -> bool {
    true
}

/// Deletes a part whose process was killed.
#[cfg(windows)]
fn delete_if_abandoned(path: &Path) {
    use std::os::windows::fs::OpenOptionsExt;

    // Cannot be opened in this way while another handle reads or writes it.
    const FILE_SHARE_DELETE: u32 = 4;
    let mut options = fs::OpenOptions::new();
    let opened = options.read(true).share_mode(FILE_SHARE_DELETE).open(path);
    if opened.is_ok() {
        let _ = fs::remove_file(path);
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_save_the_same_file_at_once_all_succeed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let target = folder.path().join("target");
        let save = |thread: u8| {
            for round in 0..200 {
                let mut part = PartialFile::create((*target).into(), false)?;
                part.buffer = vec![thread, round];
                part.complete()?;
            }
            Ok::<_, Error>(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| scope.spawn(move || save(thread)))
                .collect();
            for thread in threads {
                let saved = thread.join().expect("a thread does not panic");
                assert!(saved.is_ok(), "{saved:?}");
            }
        });
        assert_eq!(fs::read(&target).expect("it is there")[1], 199);
        let files = fs::read_dir(folder.path()).expect("the folder is there");
        assert_eq!(files.count(), 1);
    }
}
