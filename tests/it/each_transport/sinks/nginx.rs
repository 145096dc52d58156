//! Downloads from a server that others have written: nginx. Where there is none, the tests are skipped and print that.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use threaded::{ErrorKind, RequestSpec};

use super::super::{TRANSPORT, outcome};
use super::{content, names};
use crate::support::process::eventually;

const LENGTH: usize = 4_000_000;

struct Nginx {
    folder: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Nginx {
    /// Serves the files of its folder: below `/slow/` a megabyte a second, below `/` as fast as it can.
    fn start() -> Option<Self> {
        if Command::new("nginx").arg("-v").output().is_err() {
            eprintln!("skipped: there is no nginx here");
            return None;
        }
        let started = (0..20).find_map(|_| Self::start_on_a_free_port());
        Some(started.expect("nginx starts"))
    }

    /// `None` if another process has taken the port meanwhile.
    fn start_on_a_free_port() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let configuration = format!(
            "daemon off; user root; worker_processes 1; pid {root}/pid; error_log {root}/errors;
             events {{ worker_connections 64; }}
             http {{
                 access_log {root}/log;
                 client_body_temp_path {root}/1; proxy_temp_path {root}/2;
                 fastcgi_temp_path {root}/3; uwsgi_temp_path {root}/4; scgi_temp_path {root}/5;
                 default_type text/plain; gzip on; gzip_types *; gzip_min_length 0;
                 server {{
                     listen 127.0.0.1:{port};
                     root {root};
                     location /slow/ {{ alias {root}/; limit_rate 1m; }}
                 }}
             }}"
        );
        let path = folder.path().join("conf");
        fs::write(&path, configuration).unwrap();
        let process = Command::new("nginx")
            .arg("-c")
            .arg(&path)
            .args(["-e", &format!("{root}/errors")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut nginx = Self {
            folder,
            port,
            process,
        };
        let mut has_ended = false;
        eventually("nginx is up", || {
            has_ended = nginx.process.try_wait().unwrap().is_some();
            has_ended || nginx.is_up()
        });
        (!has_ended).then_some(nginx)
    }

    fn is_up(&self) -> bool {
        let has_begun = self.path().join("pid").exists();
        has_begun && TcpStream::connect(("127.0.0.1", self.port)).is_ok()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn get(&self, path: &str, target: &Path) -> RequestSpec {
        RequestSpec::get(format!("http://127.0.0.1:{}{path}", self.port)).save_to(target)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let id = self.process.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.process.wait();
    }
}

#[test]
fn a_download_from_nginx_is_continued_as_long_as_its_file_stays_the_same() {
    let Some(nginx) = Nginx::start() else { return };
    let file = nginx.path().join("file");
    fs::write(&file, content(LENGTH)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let get = || nginx.get("/slow/file", &target).resume(true);
    let cut = || {
        let exception = outcome(get().timeout(Duration::from_millis(1_500))).unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Timeout, "{exception:?}");
        let is_part = |name: &String| name.ends_with(".part");
        let part = names(folder.path()).into_iter().find(is_part);
        fs::metadata(folder.path().join(part.unwrap()))
            .unwrap()
            .len()
    };
    let kept = cut();
    assert!(kept > 0 && kept < LENGTH as u64);
    let response = outcome(get()).unwrap();
    assert_eq!(response.status().as_u16(), 206);
    assert_eq!(response.content_length(), Some(LENGTH as u64 - kept));
    assert!(fs::read(&target).unwrap() == content(LENGTH));

    cut();
    let changed: Vec<u8> = content(LENGTH).iter().map(|byte| byte ^ 0xff).collect();
    // Under another name first, so that what is being sent stays as it is.
    fs::write(nginx.path().join("new"), &changed).unwrap();
    let later = fs::metadata(&file).unwrap().modified().unwrap() + Duration::from_secs(60);
    let new = fs::File::options()
        .write(true)
        .open(nginx.path().join("new"))
        .unwrap();
    new.set_modified(later).unwrap();
    fs::rename(nginx.path().join("new"), &file).unwrap();
    assert_eq!(outcome(get()).unwrap().status().as_u16(), 200);
    assert!(fs::read(&target).unwrap() == changed);
    assert_eq!(names(folder.path()), ["target"]);
}

#[test]
fn a_file_of_nginx_is_requested_again_only_if_it_is_newer() {
    let Some(nginx) = Nginx::start() else { return };
    let file = nginx.path().join("file.txt");
    fs::write(&file, content(LENGTH)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    // Encoded on the way, with a weak validator then.
    let get = || {
        nginx
            .get("/file.txt", &target)
            .if_modified(&target)
            .remote_time(true)
    };
    for (status, body) in [
        (200, content(LENGTH)),
        (304, content(LENGTH)),
        (200, content(1000)),
    ] {
        if body.len() == 1000 {
            fs::write(&file, &body).unwrap();
            let later =
                fs::metadata(&target).unwrap().modified().unwrap() + Duration::from_secs(60);
            let file = fs::File::options().write(true).open(&file).unwrap();
            file.set_modified(later).unwrap();
        }
        let response = outcome(get()).unwrap();
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.saved_to(), Some(&*target));
        assert!(fs::read(&target).unwrap() == body);
        let time = |path| {
            let time = fs::metadata(path).unwrap().modified().unwrap();
            time.duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_secs()
        };
        assert_eq!(time(&target), time(&file));
    }
}

/// nginx limits each connection, so several bring more, on the transport that can have several for one job.
#[test]
fn a_file_of_nginx_comes_in_segments() {
    let Some(nginx) = Nginx::start() else { return };
    fs::write(nginx.path().join("file"), content(LENGTH)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let get = nginx.get("/slow/file", &target).segments(3);
    outcome(get).unwrap();
    assert!(fs::read(&target).unwrap() == content(LENGTH));
    let parts = || {
        let log = fs::read_to_string(nginx.path().join("log")).unwrap();
        log.matches("\" 206 ").count()
    };
    if TRANSPORT == "hyper" {
        eventually("another connection is in the log", || parts() > 0);
    } else {
        assert_eq!(parts(), 0);
    }
}
