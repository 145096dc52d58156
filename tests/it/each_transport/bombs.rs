//! Decompression bombs: a small body that decodes to a huge one costs no more memory than its limit.

use std::io::{self, Write};
use std::net::TcpStream;

use flate2::write::GzEncoder;
use flate2::{Compress, Compression, Crc, FlushCompress};
use threaded::{ErrorKind, RequestSpec};

use super::pool;
#[cfg(feature = "brotli")]
use crate::support::encodings::brotli_with_large_window;
use crate::support::encodings::gzip;
use crate::support::framing::{Framing, raw_response};
use crate::support::pools::in_order;
use crate::support::process::peak_kib;
use crate::support::raw::{RawServer, read_request};
use crate::support::recording_server::RecordingServer;
use crate::support::subprocess::{in_subprocess, in_subprocess_with_memory_limit};

const WORKERS: usize = 8;
const MIB: usize = 1 << 20;

/// This many MiB of zeros as one gzip member.
fn bomb(mebibytes: usize) -> Vec<u8> {
    let zeros = vec![0; MIB];
    // Packed once: after a full flush, the same input gives the same bytes.
    let mut packed = Vec::with_capacity(MIB);
    let mut compress = Compress::new(Compression::best(), false);
    compress
        .compress_vec(&zeros, &mut packed, FlushCompress::Full)
        .unwrap();
    assert_eq!(compress.total_in() as usize, MIB);
    let (mut one, mut all) = (Crc::new(), Crc::new());
    one.update(&zeros);

    // Method 8, no flags, no time, no file system.
    let mut bomb = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    for _ in 0..mebibytes {
        bomb.extend(&packed);
        all.combine(&one);
    }
    // The last block, which is empty, then the check of what is unpacked.
    bomb.extend([3, 0]);
    bomb.extend(all.sum().to_le_bytes());
    bomb.extend(((mebibytes * MIB) as u32).to_le_bytes());
    bomb
}

/// All workers receive the bomb at once, and each of them a good response after it.
fn assert_all_too_large(spec: impl Fn(usize, String) -> RequestSpec, limit: usize, bomb: &[u8]) {
    let coded = "Content-Encoding: gzip\r\nConnection: close\r\n";
    let server = RawServer::responding(raw_response(Framing::ContentLength, coded, bomb));
    let good = RecordingServer::responding_ok();
    let bombs = (0..WORKERS).map(|number| spec(number, server.url("/")));
    let good = (0..WORKERS).map(|_| RequestSpec::get(good.url("/")));
    let pool = pool().concurrency(WORKERS);
    let outcomes = in_order(pool.build_from_requests(bombs.chain(good)).unwrap());
    assert_eq!(outcomes.len(), 2 * WORKERS);
    for outcome in &outcomes[..WORKERS] {
        let exception = outcome.as_ref().unwrap_err();
        assert_eq!(exception.limit(), Some(limit as u64), "{exception:?}");
    }
    for outcome in &outcomes[WORKERS..] {
        assert_eq!(outcome.as_ref().unwrap().text(), "ok");
    }
}

#[test]
fn a_body_that_is_packed_as_densely_as_a_bomb_is_whole_if_its_limit_allows_it() {
    let mut content = vec![0; 20 * MIB];
    for (number, mark) in content.iter_mut().step_by(64 << 10).enumerate() {
        *mark = number as u8;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&content).unwrap();
    let packed = encoder.finish().unwrap();
    assert!(packed.len() < content.len() / 200, "{}", packed.len());

    let coded = "Content-Encoding: gzip\r\n";
    let server = RawServer::responding(raw_response(Framing::ContentLength, coded, &packed));
    for (max_body, is_whole) in [(content.len(), true), (content.len() - 1, false)] {
        let spec = RequestSpec::get(server.url("/")).max_body(max_body as u64);
        match super::outcome(spec) {
            Ok(response) => assert!(is_whole && response.bytes() == &content),
            Err(exception) => {
                let is_too_large = exception.kind() == ErrorKind::BodyTooLarge;
                assert!(!is_whole && is_too_large, "{exception:?}");
            }
        }
    }

    let cut = &packed[..packed.len() - 20];
    let server = RawServer::responding(raw_response(Framing::ContentLength, coded, cut));
    let exception = super::outcome(server.url("/")).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Decode, "{exception:?}");
}

#[test]
fn bombs_on_all_workers_cost_no_more_memory_than_the_limits_allow() {
    const DEFAULT_LIMIT: usize = 64 * MIB;
    const LIMIT: usize = 16 * MIB;
    // What a test process with a server and clients needs anyway, with room to spare. Unpacked, a single bomb is larger.
    const BASE_KIB: usize = 100 << 10;

    let name = concat!(
        module_path!(),
        "::bombs_on_all_workers_cost_no_more_memory_than_the_limits_allow"
    );
    in_subprocess(name, &[], || {
        // It is a valid bomb: without a limit, all of it is decoded.
        let small = raw_response(
            Framing::ContentLength,
            "Content-Encoding: gzip\r\n",
            &bomb(2),
        );
        let whole = super::outcome(RawServer::responding(small).url("/")).unwrap();
        assert_eq!(whole.bytes().len(), 2 * MIB);
        let bomb = bomb(256);
        assert!(bomb.len() < 400 << 10, "{}", bomb.len());

        let folder = tempfile::tempdir().unwrap();
        let save = |number: usize, url| {
            let target = folder.path().join(number.to_string());
            RequestSpec::get(url).save_to(target).max_body(LIMIT as u64)
        };
        assert_all_too_large(save, LIMIT, &bomb);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let handle = |_, url| {
            RequestSpec::get(url)
                .read_with(|_, body| {
                    io::copy(body, &mut io::sink())?;
                    Ok(())
                })
                .max_body(LIMIT as u64)
        };
        assert_all_too_large(handle, LIMIT, &bomb);
        let streamed = peak_kib();
        assert!(streamed < BASE_KIB, "{streamed} KiB");

        let collect = |_, url| RequestSpec::get(url).max_body(LIMIT as u64);
        assert_all_too_large(collect, LIMIT, &bomb);
        assert_all_too_large(|_, url| url.into(), DEFAULT_LIMIT, &bomb);
        let collected = peak_kib();
        assert!(collected < 250 << 10, "{collected} KiB");
    });
}

/// A response that would fill the memory, and what comes of it.
struct Bomb {
    kind: ErrorKind,
    /// Sent once, and then the other part again and again.
    start: Vec<u8>,
    more: Vec<u8>,
}

impl Bomb {
    fn endless(kind: ErrorKind, start: &str, more: &str) -> Self {
        Self {
            kind,
            start: start.into(),
            more: more.repeat((64 << 10) / more.len()).into(),
        }
    }

    fn encoded(kind: ErrorKind, encoding: &str, body: &[u8]) -> Self {
        let fields = format!("Content-Encoding: {encoding}\r\nConnection: close\r\n");
        Self {
            kind,
            start: raw_response(Framing::ContentLength, &fields, body),
            more: Vec::new(),
        }
    }

    fn explode(&self, mut stream: TcpStream) {
        read_request(&mut stream);
        let mut sent = stream.write_all(&self.start);
        while sent.is_ok() && !self.more.is_empty() {
            sent = stream.write_all(&self.more);
        }
    }
}

/// A process that runs out of memory is ended, with all of its jobs.
#[test]
fn every_bomb_ends_as_an_outcome_under_a_limit_of_the_address_space() {
    let name = concat!(
        module_path!(),
        "::every_bomb_ends_as_an_outcome_under_a_limit_of_the_address_space"
    );
    in_subprocess_with_memory_limit(name, 1 << 20, || {
        let ok = "HTTP/1.1 200 OK\r\n";
        let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
        let long = "x".repeat(60 << 10);
        let bombs = [
            Bomb::encoded(ErrorKind::BodyTooLarge, "gzip", &bomb(256)),
            Bomb::encoded(ErrorKind::BodyTooLarge, "gzip, gzip", &gzip(&bomb(256))),
            #[cfg(feature = "brotli")]
            Bomb::encoded(ErrorKind::Decode, "br", &brotli_with_large_window(b"x")),
            Bomb::endless(ErrorKind::BodyTooLarge, &format!("{ok}\r\n"), "content"),
            Bomb::endless(
                ErrorKind::BodyTooLarge,
                &format!("{ok}Transfer-Encoding: chunked\r\n\r\n"),
                &chunk,
            ),
            Bomb::endless(
                ErrorKind::BodyTooLarge,
                &format!("{ok}Content-Length: 1000000000000\r\n\r\n"),
                "content",
            ),
            Bomb::endless(ErrorKind::Protocol, ok, "X-Filler: 0123456789\r\n"),
            Bomb::endless(
                ErrorKind::Protocol,
                &format!("{ok}X-Filler: "),
                "0123456789",
            ),
            Bomb::endless(ErrorKind::Protocol, "", "no head at all "),
            // The history of each holds ten of them.
            Bomb {
                kind: ErrorKind::Redirect,
                start: format!(
                    "HTTP/1.1 302 Found\r\nLocation: /?{long}\r\nContent-Length: 0\r\n\
                     Connection: close\r\n\r\n"
                )
                .into(),
                more: Vec::new(),
            },
        ];
        for (row, bomb) in bombs.into_iter().enumerate() {
            let kind = bomb.kind;
            let server = RawServer::start(move |stream, _| bomb.explode(stream));
            let good = RecordingServer::responding_ok();
            let get = |server: String| RequestSpec::get(server).max_body(16 << 20);
            let bombs = (0..WORKERS).map(|_| get(server.url("/")));
            let good = (0..WORKERS).map(|_| get(good.url("/")));
            let pool = pool().concurrency(WORKERS);
            let outcomes = in_order(pool.build_from_requests(bombs.chain(good)).unwrap());
            for outcome in &outcomes[..WORKERS] {
                let exception = outcome.as_ref().unwrap_err();
                assert_eq!(exception.kind(), kind, "{row}: {exception:?}");
                assert!(exception.to_string().len() < 2048);
            }
            for outcome in &outcomes[WORKERS..] {
                assert_eq!(outcome.as_ref().unwrap().text(), "ok", "{row}");
            }
        }
    });
}
