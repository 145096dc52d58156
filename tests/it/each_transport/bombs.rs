//! Decompression bombs: a small body that decodes to a huge one costs no more memory than its limit.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use flate2::{Compress, Compression, Crc, FlushCompress};
use threaded::{ErrorKind, RequestSpec};

use super::pool;
use crate::support::framing::{Framing, raw_response};
use crate::support::pools::in_order;
use crate::support::process::peak_kib;
use crate::support::raw::RawServer;
use crate::support::recording_server::RecordingServer;
use crate::support::subprocess::in_subprocess;

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
