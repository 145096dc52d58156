//! Downloads that go on where they were interrupted, and are verified.
//!
//! ```text
//! download [--into FOLDER] [--bandwidth BYTES] URL[#sha256=HEX]...
//! ```
//!
//! Saves each file under the last part of its URL, at most `BYTES` per second all together, with a bar for each file and one for
//! all of them. After Ctrl-C, or if it is killed, the same command goes on where it was; files that are complete are requested
//! again only if they are newer. Without arguments it downloads from a small server that it starts itself, interrupts itself
//! halfway, and goes on.

#[path = "../tests/support/server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod server;

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use server::Server;
use threaded::{Event, Handle, Limits, Pool, Progress, RequestSpec, Retry, Session};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let (mut folder, mut limits, mut files) = (PathBuf::from("."), Limits::new(), Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match &*argument {
            "--into" => folder = arguments.next().ok_or("--into needs a folder")?.into(),
            "--bandwidth" => {
                let bytes = arguments.next().and_then(|bytes| bytes.parse().ok());
                limits = limits.bandwidth(bytes.ok_or("--bandwidth needs a number")?);
            }
            option if option.starts_with("--") => {
                return Err(format!("there is no option {option}").into());
            }
            url => files.push(request(url, &folder)),
        }
    }
    // What has come of each file stays for the next time.
    ctrlc::set_handler(|| {
        if let Some(handle) = &*lock(&RUNNING) {
            handle.cancel();
        }
    })?;
    if files.is_empty() {
        return demonstrate();
    }
    let failed = download(files, limits, None)?;
    if failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    println!("{failed} files are not complete; the same command goes on with them");
    Ok(ExitCode::FAILURE)
}

/// The request for a file, whose digest may stand behind the URL.
fn request(url: &str, folder: &Path) -> RequestSpec {
    let (url, digest) = match url.split_once("#sha256=") {
        Some((url, digest)) => (url, Some(digest)),
        None => (url, None),
    };
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let name = path.rsplit('/').next().filter(|name| !name.is_empty());
    let target = folder.join(name.unwrap_or("index.html"));
    let spec = RequestSpec::get(url)
        .save_to(&target)
        .create_dirs(true)
        .resume(true)
        .segments(4)
        .if_modified(target)
        .remote_time(true);
    match digest {
        Some(digest) => spec.sha256(digest),
        None => spec,
    }
}

/// The download that Ctrl-C stops.
static RUNNING: Mutex<Option<Handle>> = Mutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Downloads all files, until Ctrl-C or until `stop_after` of them are complete. Returns how many are incomplete.
fn download(
    files: Vec<RequestSpec>,
    limits: Limits,
    stop_after: Option<usize>,
) -> Result<usize, Box<dyn Error>> {
    let bars = Arc::new(Bars::new(files.len() as u64)?);
    let observer = Arc::clone(&bars);
    let pool = Pool::builder()
        .session(Session::hyper)
        .concurrency(4)
        .retry(Retry::new(5))
        .limits(limits)
        .error_for_status(true)
        .observer(move |event: &Event<'_>| match event {
            Event::Progress(progress) => observer.show(progress),
            Event::Retry(retry) => observer.remove(retry.context().index()),
            Event::Response(response) => observer.remove(response.index()),
            Event::Exception(exception) => observer.remove(exception.index()),
            _ => {}
        })
        .build_from_requests(files)?;
    let handle = pool.handle();
    *lock(&RUNNING) = Some(handle.clone());
    let (mut complete, mut failed) = (0, 0);
    for outcome in pool {
        match outcome {
            Ok(response) => {
                complete += 1;
                let path = response.saved_to().unwrap_or(Path::new("no content"));
                bars.say(&format!("{}: {}", response.status(), path.display()));
            }
            Err(exception) => {
                failed += 1;
                bars.say(&exception.to_string());
            }
        }
        bars.total.inc(1);
        if stop_after == Some(complete) {
            handle.cancel();
        }
    }
    bars.clear();
    Ok(failed)
}

/// A bar for each file that is on its way, and one for all.
struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    style: ProgressStyle,
    files: Mutex<HashMap<usize, ProgressBar>>,
}

impl Bars {
    fn new(files: u64) -> Result<Self, Box<dyn Error>> {
        let all = MultiProgress::new();
        let total = ProgressStyle::with_template("{bar:30} {pos} of {len} files, {elapsed}")?;
        Ok(Self {
            total: all.add(ProgressBar::new(files).with_style(total)),
            style: ProgressStyle::with_template(
                "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {msg}",
            )?,
            files: Mutex::default(),
            all,
        })
    }

    fn show(&self, progress: &Progress<'_>) {
        let attempt = progress.attempt();
        let mut files = lock(&self.files);
        let bar = files.entry(attempt.index()).or_insert_with(|| {
            let bar = ProgressBar::new(progress.length().unwrap_or_default());
            let bar = bar
                .with_style(self.style.clone())
                .with_position(progress.resumed_from());
            bar.set_message(attempt.request().url().to_owned());
            self.all.insert_before(&self.total, bar)
        });
        bar.set_position(progress.received());
    }

    fn remove(&self, index: usize) {
        let mut files = lock(&self.files);
        if let Some(bar) = files.remove(&index) {
            bar.finish_and_clear();
        }
    }

    fn say(&self, line: &str) {
        self.all.suspend(|| println!("{line}"));
    }

    fn clear(&self) {
        let _ = self.all.clear();
    }
}

/// Downloads from a small server of its own, interrupts itself, and goes on.
fn demonstrate() -> Result<ExitCode, Box<dyn Error>> {
    const FILES: usize = 8;
    const LENGTH: usize = 4 << 20;

    let body = Bytes::from(vec![b'x'; LENGTH]);
    // Of these bytes.
    let digest = "baa7a6d36ffa957552df230235c2d51d735f28d49c58a5f3438a3a973a25a37d";
    let server = Server::start(move |request| respond(&request, &body));
    let folder = tempfile::tempdir()?;
    let files = || {
        let urls = (0..FILES).map(|file| server.url(&format!("/{file}.bin#sha256={digest}")));
        urls.map(|url| request(&url, folder.path()))
            .collect::<Vec<_>>()
    };
    let limits = Limits::new().bandwidth(16 << 20);
    let left = download(files(), limits.clone(), Some(FILES / 2))?;
    println!("interrupted: {left} of {FILES} files are not complete");
    download(files(), limits, None)?;
    println!("{} responses for {FILES} files", server.requests());
    Ok(ExitCode::SUCCESS)
}

/// Sends a file, the rest of it, or that it has not changed.
fn respond(request: &http::Request<Bytes>, body: &Bytes) -> http::Response<Bytes> {
    let header = |name| request.headers().get(name)?.to_str().ok();
    let response = http::Response::builder().header("etag", "\"1\"");
    let range = header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    let from = range.and_then(|from| from.parse::<usize>().ok());
    let (response, body) = match from.filter(|from| *from < body.len()) {
        _ if header("if-none-match") == Some("\"1\"") => (response.status(304), Bytes::new()),
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
            let response = response.status(206).header("content-range", range);
            (response, body.slice(from..))
        }
        None => (response, body.clone()),
    };
    response.body(body).unwrap_or_default()
}
