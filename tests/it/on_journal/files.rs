//! The file of a journal: what is in it, what may be wrong with it, and what becomes of it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use threaded::RequestSpec;
use threaded::queue::{Fsync, Job, Journal, Queue, QueueError, Submitted};

use super::TestStore;
use super::each_store::{job, jobs, recorded, run, stub};
use crate::support::process::{eventually, file_descriptors, threads};
use crate::support::subprocess::{in_subprocess, in_subprocess_with_small_disk, start_child};

fn lines(store: &TestStore) -> Vec<String> {
    let content = String::from_utf8(store.content()).unwrap();
    content.lines().map(str::to_owned).collect()
}

/// The checksum of a line, computed bit by bit (CRC-32 of IEEE 802.3, as in gzip).
fn checksum(content: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in content {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 * (sum & 1));
        }
    }
    !sum
}

fn line(content: &str) -> String {
    format!("{:08x} {content}\n", checksum(content.as_bytes()))
}

#[test]
fn the_file_is_text_with_a_record_on_each_line() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(1)).unwrap();
    run(stub(), &queue);
    let lines = lines(&store);
    assert_eq!(lines[0], "threaded-journal 1");
    let submit = r#"submit "job-0" {"v":1,"method":"GET","url":"http://test/0"}"#;
    assert_eq!(lines[1], line(submit).trim_end());
    assert_eq!(lines[2], line("close").trim_end());
    assert_eq!(lines[3], line(r#"start "job-0""#).trim_end());
    assert!(
        lines[4].contains(r#" record "job-0" {"v":1,"#),
        "{}",
        lines[4]
    );
    assert_eq!(lines.len(), 5);
}

#[test]
fn a_file_that_is_cut_off_anywhere_has_what_is_whole_in_it() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(3)).unwrap();
    run(stub(), &queue);
    drop(queue);
    let whole = store.content();
    let mut most = 0;
    for length in 0..whole.len() {
        fs::write(store.path(), &whole[..length]).unwrap();
        let queue = store.open();
        let stats = queue.stats().unwrap();
        let known = stats.waiting() + stats.recorded();
        assert!(
            known >= most && known <= 3,
            "{length} of {}: {stats:?}",
            whole.len()
        );
        assert_eq!(stats.damaged(), 0, "{length}");
        assert_eq!(queue.dead().unwrap().len(), 0);
        most = known;
        // It goes on where it was cut off.
        let new = Job::new("new", RequestSpec::get("http://test/"));
        assert_eq!(queue.submit(new).unwrap(), Submitted::Accepted);
        drop(queue);
        let again = store.open();
        assert_eq!(again.stats().unwrap().damaged(), 0, "{length}");
        assert_eq!(again.stats().unwrap().waiting(), stats.waiting() + 1);
    }
}

#[test]
fn damage_is_told_with_its_place_and_the_rest_is_read() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(5)).unwrap();
    drop(queue);
    let whole = store.content();
    let text = String::from_utf8(whole.clone()).unwrap();
    let place = text.find("submit \"job-2\"").unwrap();
    // Any byte of its line.
    for offset in [0, 10, 20, 50] {
        let mut damaged = whole.clone();
        damaged[place - 9 + offset] ^= 1;
        fs::write(store.path(), &damaged).unwrap();
        let queue = store.open();
        let stats = queue.stats().unwrap();
        assert_eq!((stats.waiting(), stats.damaged()), (4, 1), "{offset}");
        let dead = queue.dead().unwrap();
        assert_eq!(dead[0].job_id(), None);
        let reason = dead[0].reason();
        assert!(
            reason.contains(&format!("at offset {}", place - 9)),
            "{reason}"
        );
        assert!(reason.contains("checksum"), "{reason}");
        // Its job is not known any more.
        assert_eq!(queue.submit_all(jobs(5)).unwrap(), 1);
        drop(queue);
        let queue = store.open();
        assert_eq!(run(stub(), &queue).len(), 5);
    }
}

#[test]
fn lines_that_are_not_understood_are_told_and_never_a_panic() {
    let cases = [
        "nonsense".to_owned(),
        String::new(),
        "00000000 submit \"a\" {}".to_owned(),
        line("submit"),
        line("submit a {}"),
        line("submit \"a"),
        line("record \"unknown\" not JSON"),
        line("delay \"job-0\" {}"),
        line("submit \"job-0\" {\"url\":\"http://test/twice\"}"),
        line("annotate \"job-0\" {}"),
        line("\u{0}"),
    ];
    for (number, case) in cases.iter().enumerate() {
        let store = TestStore::new();
        let queue = store.open();
        queue.submit_all(jobs(1)).unwrap();
        drop(queue);
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(store.path())
            .unwrap();
        writeln!(file, "{}", case.trim_end()).unwrap();
        let queue = store.open();
        // A record is the outcome of a job that compaction has removed, whatever it says.
        let is_damage = !case.contains("record");
        assert_eq!(
            queue.stats().unwrap().damaged(),
            usize::from(is_damage),
            "{number}: {case}"
        );
        assert_eq!(
            queue.dead().unwrap().len(),
            usize::from(is_damage),
            "{number}"
        );
        assert_eq!(run(stub(), &queue), ["job-0"], "{number}");
    }
}

#[test]
fn a_job_that_is_not_understood_is_dead_and_may_be_queued_again() {
    let store = TestStore::new();
    drop(store.open());
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(store.path())
        .unwrap();
    for content in [
        r#"submit "newer" {"v":2,"url":"http://test/"}"#,
        r#"submit "field" {"url":"http://test/","priority":1}"#,
        r#"submit "good" {"url":"http://test/"}"#,
        r#"submit "none""#,
    ] {
        file.write_all(line(content).as_bytes()).unwrap();
    }
    let queue = store.open();
    assert_eq!(run(stub(), &queue), ["good"]);
    let dead = queue.dead().unwrap();
    let reason = |id: &str| {
        let found = dead.iter().find(|job| job.job_id() == Some(id));
        found.unwrap().reason().to_owned()
    };
    assert_eq!(dead.len(), 3);
    assert!(reason("newer").contains("`v` is 2"), "{dead:?}");
    assert!(reason("field").contains("`priority`"), "{dead:?}");
    assert!(!reason("none").is_empty());
    assert_eq!(recorded(&queue).len(), 4);
    assert!(queue.requeue("newer").unwrap());
    assert_eq!(queue.stats().unwrap().waiting(), 1);
}

#[test]
fn one_handle_at_a_time() {
    let store = TestStore::new();
    let queue = store.open();
    let error = Journal::open(store.path()).unwrap_err();
    assert!(
        matches!(&error, QueueError::InUse(path) if *path == store.path()),
        "{error:?}"
    );
    assert!(error.to_string().contains("in use"), "{error}");
    let clone = queue.clone();
    drop(queue);
    assert!(Journal::open(store.path()).is_err());
    drop(clone);
    store.open();
}

const FILE_OF_PARENT: &str = "THREADED_TEST_JOURNAL";

#[test]
fn one_process_at_a_time() {
    if let Some(path) = std::env::var_os(FILE_OF_PARENT) {
        let is_in_use = matches!(Journal::open(path), Err(QueueError::InUse(_)));
        std::process::exit(if is_in_use { 42 } else { 1 });
    }
    let store = TestStore::new();
    let queue = store.open();
    let path = store.path();
    let name = concat!(module_path!(), "::one_process_at_a_time");
    let status = start_child(name, &[(FILE_OF_PARENT, path.as_os_str())])
        .wait()
        .unwrap();
    assert_eq!(status.code(), Some(42));
    drop(queue);
}

#[test]
fn another_file_is_refused_and_left_alone() {
    let store = TestStore::new();
    for (content, expected) in [
        ("# Shopping list\nmilk\n", "is not a journal"),
        ("threaded-journal 2\n00000000 close\n", "version `2`"),
        ("threaded-journal 10\n", "version `10`"),
    ] {
        fs::write(store.path(), content).unwrap();
        let error = Journal::open(store.path()).unwrap_err();
        assert!(matches!(error, QueueError::Format { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.to_string().contains("run.journal"), "{error}");
        assert_eq!(store.content(), content.as_bytes());
    }
    let error = Journal::open(store.path().join("below")).unwrap_err();
    assert!(matches!(error, QueueError::File { .. }), "{error:?}");
    let error = Journal::open("/proc/self").unwrap_err();
    assert!(error.to_string().contains("/proc/self"), "{error}");
}

#[test]
fn each_way_of_syncing_keeps_the_jobs() {
    for fsync in [
        Fsync::Each,
        Fsync::Interval(Duration::from_millis(1)),
        Fsync::Interval(Duration::MAX),
        Fsync::Never,
    ] {
        let store = TestStore::new();
        let open = || store.open_by(|path| Journal::builder(path).fsync(fsync).build());
        open().submit_all(jobs(20)).unwrap();
        assert_eq!(run(stub(), &open()).len(), 20, "{fsync:?}");
        let queue = open();
        assert_eq!(queue.stats().unwrap().recorded(), 20, "{fsync:?}");
    }
}

#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    let name = concat!(
        module_path!(),
        "::a_full_disk_is_an_error_and_loses_nothing"
    );
    in_subprocess_with_small_disk(name, |folder| {
        let path = folder.join("run.journal");
        let ballast = folder.join("ballast");
        let queue = Journal::open(&path).unwrap();
        queue.submit_all(jobs(20)).unwrap();
        fs::write(&ballast, vec![0; 40 << 10]).unwrap();
        let big = RequestSpec::post("http://test/").body("x".repeat(40 << 10));
        let error = queue.submit(job(20, big.clone())).unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
        assert_eq!(queue.stats().unwrap().waiting(), 20);
        // What was written of it is gone, so that the next line is readable.
        drop(queue);
        let queue = Journal::open(&path).unwrap();
        assert_eq!(queue.stats().unwrap().waiting(), 20);
        fs::remove_file(&ballast).unwrap();
        queue
            .submit(job(20, RequestSpec::get("http://test/")))
            .unwrap();
        drop(queue);
        let queue = Journal::open(&path).unwrap();
        assert_eq!(queue.stats().unwrap().damaged(), 0);

        // A worker that cannot note that it starts a job does not send it, and the loop over the deliveries is told.
        let room = 63 << 10;
        let used = fs::metadata(&path).unwrap().blocks() * 512;
        fs::write(&ballast, vec![0; room - usize::try_from(used).unwrap()]).unwrap();
        fill(&queue);
        let mut deliveries = stub().deliveries(&queue).unwrap();
        // Some may fit in, and are sent again when they are dropped.
        let error = deliveries.find_map(Result::err).unwrap();
        assert!(error.to_string().contains("No space left"), "{error}");
        assert!(deliveries.all(|delivery| delivery.is_ok()));
        drop(deliveries);
        assert_eq!(queue.stats().unwrap().recorded(), 0);
        fs::remove_file(&ballast).unwrap();
        assert!(run(stub(), &queue).len() >= 21);
    });
}

/// Submits jobs until there is no room.
fn fill(queue: &Queue) {
    let mut number = 1000;
    while queue
        .submit(job(number, RequestSpec::get("http://test/")))
        .is_ok()
    {
        number += 1;
    }
}

#[test]
fn nothing_is_left_when_a_journal_is_closed() {
    let name = concat!(module_path!(), "::nothing_is_left_when_a_journal_is_closed");
    in_subprocess(name, &[], || {
        let store = TestStore::new();
        let before = (threads(), file_descriptors());
        for _ in 0..10 {
            let queue = store.open();
            queue.submit_all(jobs(10)).unwrap();
            drop(queue);
        }
        eventually("no thread is left", || {
            (threads(), file_descriptors()) == before
        });
    });
}

#[test]
fn compaction_keeps_what_is_needed() {
    let store = TestStore::new();
    let open = || {
        store.open_by(|path| {
            Journal::builder(path)
                .compact_above(10_000)
                .max_deliveries(2)
                .build()
        })
    };
    let queue = open();
    queue.submit_all(jobs(50)).unwrap();
    queue.close().unwrap();
    let mut dead_once = 0;
    for delivery in stub().deliveries(&queue).unwrap() {
        let delivery = delivery.unwrap();
        match delivery.job_id() {
            "job-7" => dead_once += 1,
            _ => drop(delivery.ack().unwrap()),
        }
    }
    assert_eq!(dead_once, 2);
    // Jobs that are large, and done: most of the file is of no use.
    let inode = || fs::metadata(store.path()).unwrap().ino();
    let _first = fs::File::open(store.path()).unwrap();
    let before = inode();
    let mut number = 100;
    while inode() == before {
        let large = RequestSpec::post("http://test/")
            .body("x".repeat(5_000))
            .idempotent(true);
        queue.submit(job(number, large)).unwrap();
        queue
            .submit(job(number + 1, RequestSpec::get("http://test/")))
            .unwrap();
        let ran = run(stub().max_redirects(0), &queue);
        assert_eq!(ran.len(), 2);
        number += 2;
    }
    queue
        .submit(job(60, RequestSpec::get("http://test/60")))
        .unwrap();
    let check = |queue: &Queue| {
        let outcomes = recorded(queue);
        assert_eq!(outcomes.len(), 50 + number - 100);
        assert_eq!(outcomes["job-7"]["error"]["kind"], "Interrupted");
        let stats = queue.stats().unwrap();
        assert_eq!((stats.dead(), stats.waiting(), stats.damaged()), (1, 1, 0));
        assert_eq!(queue.submit_all(jobs(50)).unwrap(), 0);
    };
    check(&queue);
    drop(queue);
    let queue = open();
    check(&queue);
    queue.requeue("job-7").unwrap();
    assert_eq!(run(stub(), &queue), ["job-60", "job-7"]);
    // It may be compacted once more.
    eventually("the copy is gone", || {
        fs::read_dir(store.0.path()).unwrap().count() == 1
    });
}

#[test]
fn compaction_stops_nothing() {
    let store = TestStore::new();
    let queue = store.open_by(|path| Journal::builder(path).compact_above(2_000).build());
    let inode = || fs::metadata(store.path()).unwrap().ino();
    // While it is open, no other file has its number.
    let first = fs::File::open(store.path()).unwrap();
    let before = inode();
    std::thread::scope(|scope| {
        for producer in 0..2 {
            let queue = &queue;
            scope.spawn(move || {
                for number in 0..2_000 {
                    let id = format!("{producer}-{number}");
                    let request = RequestSpec::post("http://test/")
                        .body("x".repeat(500))
                        .idempotent(true);
                    queue.submit(Job::new(id, request)).unwrap();
                }
            });
        }
        let deliveries = stub().deliveries(&queue).unwrap();
        for delivery in deliveries.take(4_000) {
            delivery.unwrap().ack().unwrap();
        }
    });
    assert_ne!(inode(), before, "it was compacted");
    drop(first);
    let check = |queue: &Queue| {
        assert_eq!(recorded(queue).len(), 4_000);
        let stats = queue.stats().unwrap();
        assert_eq!(
            (stats.recorded(), stats.waiting(), stats.damaged()),
            (4_000, 0, 0)
        );
    };
    check(&queue);
    drop(queue);
    check(&store.open());
}

#[test]
fn compaction_does_not_close_a_queue_that_is_open_again_and_comes_to_an_end() {
    let store = TestStore::new();
    let open = || store.open_by(|path| Journal::builder(path).compact_above(1).build());
    let queue = open();
    let first = fs::File::open(store.path()).unwrap();
    let before = first.metadata().unwrap().ino();
    let inode = || fs::metadata(store.path()).unwrap().ino();
    queue.submit_all(jobs(3)).unwrap();
    assert_eq!(run(stub(), &queue).len(), 3);
    queue
        .submit(job(3, RequestSpec::get("http://test/")))
        .unwrap();
    eventually("it is compacted", || inode() != before);
    let second = fs::File::open(store.path()).unwrap();
    drop(queue);
    let queue = open();
    assert!(!queue.stats().unwrap().is_closed());
    assert_eq!(queue.stats().unwrap().waiting(), 1);
    drop((first, second));
}

#[test]
fn ids_need_not_be_remembered() {
    let store = TestStore::new();
    let open = || store.open_by(|path| Journal::builder(path).remember_ids(false).build());
    let queue = open();
    queue.submit_all(jobs(2)).unwrap();
    assert_eq!(queue.submit_all(jobs(3)).unwrap(), 1);
    assert_eq!(run(stub(), &queue).len(), 3);
    assert_eq!(queue.submit_all(jobs(1)).unwrap(), 1);
    drop(queue);
    let queue = open();
    assert_eq!(queue.stats().unwrap().waiting(), 1);
    assert_eq!(queue.submit_all(jobs(3)).unwrap(), 2);
}
