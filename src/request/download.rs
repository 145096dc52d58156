//! Where the body of a response is saved, and how: the settings of downloads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{BodyDestination, RequestSpec};
use crate::digest::{Algorithm, ExpectedDigest};

/// How a body is saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SaveOptions {
    pub(crate) create_dirs: bool,
    pub(crate) resume: bool,
    /// If it is not set, `save_to` replaces a file, and `save_into` finds another name.
    pub(crate) overwrite: Option<bool>,
    pub(crate) remote_time: bool,
    pub(crate) sync: bool,
    pub(crate) verify_digest_headers: bool,
    /// Up to [`MAX_SEGMENTS`]; one or none is the same.
    pub(crate) segments: u8,
}

/// What download managers go up to as well.
const MAX_SEGMENTS: u8 = 16;

impl RequestSpec {
    /// Writes the body of the response to a file. Replaces a handler or a folder set before. Defaults to memory.
    ///
    /// The body goes to a temporary file in the same folder (`.threaded-….part`), which is renamed when it is complete:
    /// the final name never refers to a partial file. A failure leaves nothing behind, unless [`resume`](Self::resume) keeps
    /// the part. If the process is killed, or ends
    /// before the attempt at a cancelled job has stopped, the temporary file stays, and is deleted when the same file is
    /// saved next time. A file that is replaced keeps its
    /// permissions; if the path is a symbolic link, the file that it refers to is replaced or created. Only the
    /// body of a response with a 2xx status is saved, so that no error page replaces a file. A response without a body, such
    /// as a 204, changes no file, the body of any other response is kept in memory, and
    /// [`Response::saved_to`](crate::Response::saved_to) returns `None`.
    ///
    /// A part of a body is never saved: with a `Range` header, on the spec or the session, the job fails with
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest), and a response with status 206 to a request
    /// without one as [`ErrorKind::Protocol`](crate::ErrorKind::Protocol).
    ///
    /// If the folder does not exist, the target is not a regular file (a directory, a device), or the disk is full, the
    /// job fails with [`ErrorKind::Sink`](crate::ErrorKind::Sink). Unless a `timeout` is set, the
    /// [`stall_timeout`](crate::PoolBuilder::stall_timeout) applies.
    pub fn save_to(mut self, path: impl Into<PathBuf>) -> Self {
        self.options_mut().destination = Some(BodyDestination::File(path.into().into()));
        self
    }

    /// Writes the body of the response to a file in this folder, with the name that the server gives it.
    /// [`Response::saved_to`](crate::Response::saved_to) returns its path. Otherwise like [`save_to`](Self::save_to).
    ///
    /// It is the name in `Content-Disposition` (RFC 6266 and RFC 8187), otherwise the last segment of the URL after all
    /// redirects, otherwise `download`. It is made safe for any system: separators, control and formatting characters, leading
    /// dots and the names of devices are taken out or changed, and it has at most 240 bytes. So it is never outside the folder,
    /// and a symbolic link in the folder is not followed.
    ///
    /// If the name is taken, the file gets a number: `report (1).pdf`. See [`overwrite`](Self::overwrite).
    pub fn save_into(mut self, folder: impl Into<PathBuf>) -> Self {
        self.options_mut().destination = Some(BodyDestination::Folder(folder.into().into()));
        self
    }

    /// Whether folders of the file that [`save_to`](Self::save_to) names, or the one that [`save_into`](Self::save_into) names,
    /// are created if they are missing. They stay, even if the job fails. Defaults to `false`.
    pub fn create_dirs(mut self, create: bool) -> Self {
        self.options_mut().saving.create_dirs = create;
        self
    }

    /// Whether a file that is there already is replaced. With `false`, the job fails with
    /// [`ErrorKind::Sink`](crate::ErrorKind::Sink), whose source is an `io::Error` of kind `AlreadyExists`, if it can before anything is sent; if several jobs save the same file, one of
    /// them succeeds. Defaults to `true` for [`save_to`](Self::save_to); with [`save_into`](Self::save_into), the new
    /// file gets another name unless this is called.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.options_mut().saving.overwrite = Some(overwrite);
        self
    }

    /// Whether what has come of a body that was cut is kept, so that the next attempt continues there: a retry, or the same
    /// request in a later run. Defaults to `false`.
    ///
    /// The part is beside the target, in two hidden files (`.threaded-….part` and `.threaded-….part.info`), until the body is
    /// complete or is saved without `resume`. It is continued if the request has the same URL, `Accept` and `Accept-Language`, and the server
    /// confirms that it sends the rest of the same content: with a strong `ETag`, or with a `Last-Modified` that was at least a
    /// minute old (RFC 9110, section 8.8.2.2). It is asked for the rest with `Range` and `If-Range`. The response is a 206 then,
    /// with the whole file in [`saved_to`](crate::Response::saved_to). Whatever else the server responds, the file is never a mixture: a
    /// body that has changed is received from its beginning, and so is one whose rest does not fit, with a second request in the same
    /// attempt.
    ///
    /// Applies to GET requests with [`save_to`](Self::save_to) or [`save_into`](Self::save_into). Bodies are asked for without
    /// encodings, unless the request has an `Accept-Encoding` header; what is encoded cannot be continued. While another job
    /// saves the same file, the body is saved as a whole. How often it is continued is up to [`Retry`](crate::Retry): each
    /// attempt counts, also for its [budget](crate::RetryBudget), though it gets further than the one before, so a server that cuts
    /// often takes a large number and `budget(None)`. The part stays if the job fails, except with
    /// [`DigestMismatch`](crate::ErrorKind::DigestMismatch) or [`BodyTooLarge`](crate::ErrorKind::BodyTooLarge). If the system
    /// crashes, what it had not yet written to the disk may be missing in the middle of a part: a digest finds that out.
    pub fn resume(mut self, resume: bool) -> Self {
        self.options_mut().saving.resume = resume;
        self
    }

    /// Receives a large file over up to this many connections at once, each of them a segment of it, on
    /// [`Session::hyper`](crate::Session::hyper). Defaults to 1; more than 16 are 16.
    ///
    /// It pays where a server limits each connection, or the line is long; where one connection fills the line, there will be one.
    /// It begins with one. After each second, another one is opened, which receives the second half of the longest segment; it stays if
    /// at least 5 % more bytes have come in its second than in the one before, otherwise it is closed and no more are tried. A segment
    /// has a MiB at least.
    ///
    /// The server has to state a length, `Accept-Ranges: bytes` and a validator as for [`resume`](Self::resume), and each segment must
    /// be of the same content. With whatever else it responds to the request for a further segment, the connections that there are
    /// receive all of it. If one of them fails, the others take over what is left of its segment; the attempt fails with the last one.
    /// The file has its whole length from the beginning on, with holes where its file system has them. With `resume`, a part that was received in
    /// segments is continued in as many at once, and the response is that to the first of them; on a transport that blocks, only what
    /// has come without a gap is continued. A digest is computed of what has come without a gap while it comes, and of the rest at the end.
    ///
    /// [`Limits`](crate::Limits) on requests count jobs, not connections; `bandwidth` counts the bytes of all segments. With HTTP/2,
    /// segments share one connection. Applies to GET requests without a body, with [`save_to`](Self::save_to) or
    /// [`save_into`](Self::save_into). Bodies are asked for without encodings, as with `resume`.
    pub fn segments(mut self, max: usize) -> Self {
        let max = u8::try_from(max).unwrap_or(MAX_SEGMENTS);
        self.options_mut().saving.segments = max.min(MAX_SEGMENTS);
        self
    }

    /// Requests the body only if it is not the one in this file, which was saved before: mostly the file of
    /// [`save_to`](Self::save_to). If it is, the server responds with 304, and
    /// [`Response::saved_to`](crate::Response::saved_to) returns this path. Defaults to unconditional requests.
    ///
    /// When a file is saved by a request with this setting, a hidden file beside it (`.threaded-….info`) keeps its `ETag` and
    /// `Last-Modified`, which are then sent as `If-None-Match` and `If-Modified-Since`. A file without this record is asked for by
    /// its modification time. If there is no such file, if it was changed since, has the body of another request, or not the digest that
    /// this one expects, the request is unconditional. A file with the expected digest is the right one, whatever it was saved by.
    /// Digests are computed before the request is sent, as a part of the attempt's `timeout`. Applies to GET requests without
    /// conditions of their own.
    pub fn if_modified(mut self, path: impl Into<PathBuf>) -> Self {
        self.options_mut().if_modified = Some(path.into().into());
        self
    }

    /// Whether a saved file gets the modification time that the server states in `Last-Modified`, if it does, as with
    /// `--remote-time` of curl. Defaults to `false`: the time at which it was saved.
    pub fn remote_time(mut self, remote: bool) -> Self {
        self.options_mut().saving.remote_time = remote;
        self
    }

    /// Whether a saved file is written through to the disk before it gets its name, and its folder afterwards (`fsync`), so that
    /// it is there and whole when the job has ended, even if the system crashes then. Defaults to `false`.
    pub fn sync(mut self, sync: bool) -> Self {
        self.options_mut().saving.sync = sync;
        self
    }

    /// Sets the SHA-256 digest that the body must have, in 64 hexadecimal digits. With another one, the job fails with
    /// [`ErrorKind::DigestMismatch`](crate::ErrorKind::DigestMismatch), and no file is replaced. Defaults to none.
    ///
    /// It is the digest of what is saved, kept in memory or passed to the handler: after decoding. It is compared for responses with
    /// a 2xx status; one without a body has the digest of nothing, but for HEAD. A handler may have done its work when the difference
    /// is found out; one that does not read to the end fails with [`ErrorKind::Sink`](crate::ErrorKind::Sink). Several digests, of
    /// different algorithms, must all be right.
    pub fn sha256(self, hex: impl AsRef<str>) -> Self {
        self.expect_digest(Algorithm::Sha256, hex.as_ref())
    }

    /// Sets the SHA-512 digest that the body must have, in 128 hexadecimal digits, as [`sha256`](Self::sha256) does. Defaults to
    /// none.
    pub fn sha512(self, hex: impl AsRef<str>) -> Self {
        self.expect_digest(Algorithm::Sha512, hex.as_ref())
    }

    /// Sets the MD5 digest that the body must have, in 32 hexadecimal digits, as [`sha256`](Self::sha256) does: for mirrors that have
    /// nothing else. It finds faults of the transmission, but no attack. Defaults to none.
    pub fn md5(self, hex: impl AsRef<str>) -> Self {
        self.expect_digest(Algorithm::Md5, hex.as_ref())
    }

    fn expect_digest(mut self, algorithm: Algorithm, hex: &str) -> Self {
        match ExpectedDigest::parse(algorithm, hex) {
            Ok(digest) => {
                let digests = &mut self.options_mut().digests;
                digests.retain(|other| other.algorithm != algorithm);
                digests.push(digest);
                self
            }
            Err(message) => self.faulty(message, None),
        }
    }

    /// Whether the body must have the SHA-256 and SHA-512 digests that the server states in `Repr-Digest` or `Content-Digest`
    /// (RFC 9530), if it does; the request asks for the former with `Want-Repr-Digest`. With another one, the job fails as with
    /// [`sha256`](Self::sha256). Defaults to `false`.
    ///
    /// Bodies are asked for without encodings, unless the request has an `Accept-Encoding` header: digests of encoded bodies are
    /// not compared. It finds faults between the server and the file, and no attack on the server.
    pub fn verify_digest_headers(mut self, verify: bool) -> Self {
        self.options_mut().saving.verify_digest_headers = verify;
        self
    }

    /// Returns the file set by [`save_to`](Self::save_to), unless another destination was set later.
    pub fn save_path(&self) -> Option<&Path> {
        match self.body_destination()? {
            BodyDestination::File(path) => Some(path),
            _ => None,
        }
    }

    /// Returns the folder set by [`save_into`](Self::save_into), unless another destination was set later.
    pub fn save_folder(&self) -> Option<&Path> {
        match self.body_destination()? {
            BodyDestination::Folder(path) => Some(path),
            _ => None,
        }
    }

    /// Returns whether missing folders are created, as [`create_dirs`](Self::create_dirs) has set it.
    pub fn creates_dirs(&self) -> bool {
        self.save_options().create_dirs
    }

    /// Returns the value set by [`overwrite`](Self::overwrite), if it was called.
    pub fn overwrites(&self) -> Option<bool> {
        self.save_options().overwrite
    }

    /// Returns whether the part of a body that was cut is continued, as [`resume`](Self::resume) has set it.
    pub fn resumes(&self) -> bool {
        self.save_options().resume
    }

    /// Returns how many connections receive a file at most, as [`segments`](Self::segments) has set it.
    pub fn max_segments(&self) -> usize {
        usize::from(self.save_options().segments).max(1)
    }

    /// Returns the file set by [`if_modified`](Self::if_modified), if it was called.
    pub fn if_modified_path(&self) -> Option<&Path> {
        self.options.as_ref()?.if_modified.as_deref()
    }

    /// Returns whether a saved file gets the time that the server states, as [`remote_time`](Self::remote_time) has set it.
    pub fn keeps_remote_time(&self) -> bool {
        self.save_options().remote_time
    }

    /// Returns whether a saved file is written through to the disk, as [`sync`](Self::sync) has set it.
    pub fn syncs(&self) -> bool {
        self.save_options().sync
    }

    /// Returns whether digests that the server states are compared, as [`verify_digest_headers`](Self::verify_digest_headers) has
    /// set it.
    pub fn verifies_digest_headers(&self) -> bool {
        self.save_options().verify_digest_headers
    }

    /// Returns the digest set by [`sha256`](Self::sha256), in lower-case hexadecimal digits, if it was called.
    pub fn expected_sha256(&self) -> Option<String> {
        self.expected_digest(Algorithm::Sha256)
    }

    /// Returns the digest set by [`sha512`](Self::sha512), in lower-case hexadecimal digits, if it was called.
    pub fn expected_sha512(&self) -> Option<String> {
        self.expected_digest(Algorithm::Sha512)
    }

    /// Returns the digest set by [`md5`](Self::md5), in lower-case hexadecimal digits, if it was called.
    pub fn expected_md5(&self) -> Option<String> {
        self.expected_digest(Algorithm::Md5)
    }

    fn expected_digest(&self, algorithm: Algorithm) -> Option<String> {
        let mut digests = self.digests().iter();
        let digest = digests.find(|digest| digest.algorithm == algorithm)?;
        Some(digest.to_string())
    }

    pub(crate) fn digests(&self) -> &[ExpectedDigest] {
        self.options
            .as_ref()
            .map_or(&[], |options| &options.digests)
    }

    pub(crate) fn save_options(&self) -> SaveOptions {
        self.options
            .as_ref()
            .map_or_else(SaveOptions::default, |options| options.saving)
    }

    pub(crate) fn if_modified_file(&self) -> Option<&Arc<Path>> {
        self.options.as_ref()?.if_modified.as_ref()
    }
}
