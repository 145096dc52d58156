//! Files that are written beside the one that they become: what they are called, and to which process they belong.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

#[cfg(unix)]
use rustix::io::Errno;
use tempfile::{NamedTempFile, TempPath};

use crate::error::{Error, is_out_of_resources};

/// The longest name that file systems have, in bytes.
const MAX_NAME: usize = 255;

/// Returns an error if the path cannot become a file, before anything is sent.
pub(super) fn check_file(
    path: &Path,
    creates_dirs: bool,
    overwrite: Option<bool>,
) -> Result<(), Error> {
    let text = path.as_os_str().as_encoded_bytes();
    match path.file_name() {
        None => return refused(path, "it names no file"),
        Some(_) if text.ends_with(b"/") => {
            return refused(path, "it names a folder; `save_into` saves into one");
        }
        Some(name) if name.len() > MAX_NAME => {
            return refused(path, "its name is longer than 255 bytes");
        }
        Some(_) => {}
    }
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => return refused(path, "it is a directory"),
        Ok(there) if !there.is_file() => return refused(path, "it is there and not a file"),
        Ok(_) if overwrite == Some(false) => {
            let error = io::Error::new(io::ErrorKind::AlreadyExists, NOT_OVERWRITTEN);
            return Err(Error::file(path, error).sent(false));
        }
        _ => {}
    }
    let target = behind_links(path).map_err(|error| Error::file(path, error).sent(false))?;
    check_parent(path, folder(&target), creates_dirs)
}

/// Returns an error if there cannot be files in this folder.
pub(super) fn check_folder(path: &Path, creates_dirs: bool) -> Result<(), Error> {
    if path.is_file() {
        return refused(path, "it is a file, not a folder");
    }
    check_parent(path, path, creates_dirs)
}

pub(super) const NOT_OVERWRITTEN: &str = "it is there already, and `overwrite(false)` keeps it";

fn check_parent(path: &Path, folder: &Path, creates_dirs: bool) -> Result<(), Error> {
    if folder.is_dir() || folder.as_os_str().is_empty() {
        return Ok(());
    }
    if fs::metadata(folder).is_ok() {
        return refused(path, "a part of its path is not a folder");
    }
    if !creates_dirs {
        return refused(path, "its folder does not exist; `create_dirs` creates it");
    }
    // The first of the folders above that is there has to be one.
    let there = folder
        .ancestors()
        .find(|folder| fs::symlink_metadata(folder).is_ok());
    match there {
        Some(there) if !there.is_dir() => refused(path, "a part of its path is not a folder"),
        _ => Ok(()),
    }
}

fn refused(path: &Path, message: &str) -> Result<(), Error> {
    let error = io::Error::new(io::ErrorKind::NotFound, message);
    Err(Error::file(path, error).sent(false))
}

/// How many symbolic links that lead nowhere yet are followed, as by Linux.
const MAX_LINKS: u32 = 40;

/// What the path names behind symbolic links, whether it is there or not.
pub(super) fn behind_links(path: &Path) -> io::Result<PathBuf> {
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

/// How many parts of the same file can be on their way at once.
const MAX_PARTS: u32 = 10_000;

/// Creates a part of the target that no other thread or process writes to, and deletes those that killed processes have
/// left of it.
///
/// Its name follows from that of the target, with a number for each that is on its way at the same time: so what is left
/// can be found without searching the folder. A part is locked as long as it is open, and the operating system releases
/// the lock of a process that is killed. Only parts that can be locked are deleted. (Where the locks of a network file
/// system are those of one machine only, another one may delete a part, and saving it ends in an error.)
pub(super) fn create(target: &Path) -> io::Result<NamedTempFile> {
    let name = numbered(target);
    for number in 0..MAX_PARTS {
        let path = folder(target).join(name(number));
        delete_if_abandoned(&path);
        match new_file(folder(target), &name(number)) {
            Ok(file) if claim(file.as_file()) => {
                delete_abandoned_from(number + 1, target);
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

/// The names of its parts that are not kept.
fn numbered(target: &Path) -> impl Fn(u32) -> String + use<> {
    let hash = hash(name_of(target));
    move |number| format!(".threaded-{hash:016x}-{number}.part")
}

/// Deletes the parts that killed processes have left of the target. Those that are kept are none of them.
pub(super) fn delete_abandoned(target: &Path) {
    delete_abandoned_from(0, target);
}

fn delete_abandoned_from(first: u32, target: &Path) {
    let name = numbered(target);
    let paths = (first..MAX_PARTS).map(|number| folder(target).join(name(number)));
    paths
        .take_while(|path| fs::symlink_metadata(path).is_ok())
        .for_each(|path| delete_if_abandoned(&path));
}

fn name_of(target: &Path) -> &[u8] {
    target.file_name().unwrap_or_default().as_encoded_bytes()
}

/// FNV-1a, which is the same in each version of each program.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The part that is kept of a file, to be continued.
pub(super) fn kept_of(target: &Path) -> PathBuf {
    folder(target).join(name_of_kept(name_of(target)))
}

/// The name of a part that is kept, by what it is found again.
pub(super) fn name_of_kept(key: &[u8]) -> String {
    format!(".threaded-{:016x}.part", hash(key))
}

/// What is known of a part that is kept.
pub(super) fn record_of_part(part: &Path) -> PathBuf {
    part.with_extension("part.info")
}

/// What is known of a saved file.
pub(super) fn record_of_file(target: &Path) -> PathBuf {
    folder(target).join(format!(".threaded-{:016x}.info", hash(name_of(target))))
}

/// Opens a part that is kept, or creates it. It stays when it is dropped. `None` if there is none, or something else, or if another
/// thread or process writes to it.
pub(super) fn open_kept(path: &Path, create: bool) -> io::Result<Option<NamedTempFile>> {
    let Some(file) = open_claimed(path, create)? else {
        return Ok(None);
    };
    let path = TempPath::try_from_path(path)?;
    let mut file = NamedTempFile::from_parts(file, path);
    file.disable_cleanup(true);
    Ok(Some(file))
}

#[cfg(unix)]
fn open_claimed(path: &Path, create: bool) -> io::Result<Option<File>> {
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::OFlags;

    let mut flags = OFlags::RDWR;
    flags.set(OFlags::CREATE, create);
    let file = match open_itself(path, flags) {
        Ok(file) => file,
        Err(error) if is_out_of_resources(&error) => return Err(error),
        Err(_) => return Ok(None),
    };
    let there = file.metadata()?;
    if !there.is_file() || there.nlink() != 1 {
        return Ok(None);
    }
    match lock(&file) {
        Ok(()) => Ok(is_at(&file, path).then_some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        // The file system knows no locks: nothing can be kept.
        Err(_) => {
            if create && there.len() == 0 {
                let _ = fs::remove_file(path);
            }
            Ok(None)
        }
    }
}

#[cfg(windows)]
fn open_claimed(path: &Path, create: bool) -> io::Result<Option<File>> {
    use std::os::windows::fs::OpenOptionsExt;

    // Others can delete it, and neither read nor write it.
    const FILE_SHARE_DELETE: u32 = 4;
    // Does not follow links.
    const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
    let mut options = File::options();
    options.read(true).write(true).create(create);
    options.custom_flags(FILE_FLAG_OPEN_REPARSE_POINT);
    match options.share_mode(FILE_SHARE_DELETE).open(path) {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        Err(error) if is_out_of_resources(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Opens a file that must not be a link, nor anything else than a file.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    let file = open_itself(path, rustix::fs::OFlags::RDONLY)?;
    #[cfg(windows)]
    let file = open_itself(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"))
}

/// Opens what is at the path. It may be something else than a file, a link or a pipe: no link is followed, and a pipe not waited for.
#[cfg(unix)]
fn open_itself(path: &Path, flags: rustix::fs::OFlags) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};

    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::from_raw_mode(0o666)).map(File::from)?)
}

/// Opens what is at the path. No link is followed.
#[cfg(windows)]
fn open_itself(path: &Path) -> io::Result<File> {
    use std::os::windows::fs::OpenOptionsExt;

    const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
    let mut options = File::options();
    options
        .read(true)
        .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT);
    options.open(path)
}

/// Deletes a part that is kept, unless another thread or process writes to it.
pub(super) fn delete_kept(path: &Path, open: Option<NamedTempFile>) {
    if let Some(kept) = open.or_else(|| open_kept(path, false).ok().flatten()) {
        // In this order: from then on, both may be those of another.
        let _ = fs::remove_file(record_of_part(path));
        let _ = fs::remove_file(path);
        drop(kept);
    }
}

pub(super) fn is_empty(file: &File) -> bool {
    file.metadata().is_ok_and(|there| there.len() == 0)
}

/// Creates a folder, and those above it. If `syncs`, it is written through to the disk that they are there.
pub(super) fn create_folder(folder: &Path, syncs: bool) -> io::Result<()> {
    let missing = folder.ancestors().filter(|folder| !folder.is_dir());
    let missing: Vec<&Path> = if syncs { missing.collect() } else { Vec::new() };
    fs::create_dir_all(folder)?;
    missing.into_iter().try_for_each(sync_folder)
}

/// Writes through to the disk that a file has got its name.
#[cfg(unix)]
pub(super) fn sync_folder(target: &Path) -> io::Result<()> {
    File::open(folder(target))?.sync_all()
}

/// It is up to the file system.
#[cfg(windows)]
pub(super) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
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
    if let Ok(file) = open_itself(path, rustix::fs::OFlags::RDWR) {
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

pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn threads_that_save_the_same_file_at_once_all_succeed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let target = folder.path().join("target");
        let save = |thread: u8| {
            for round in 0..200 {
                let mut part = create(&target)?;
                part.write_all(&[thread, round])?;
                part.persist(&target)?;
            }
            Ok::<_, io::Error>(())
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
