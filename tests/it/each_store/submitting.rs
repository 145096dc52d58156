//! Jobs get into the queue once, and stay there.

use threaded::RequestSpec;
use threaded::queue::{Job, QueueError, Submitted};

use super::{TestStore, job, jobs, recorded, run, stub};

#[test]
fn a_run_records_every_job_once() {
    let store = TestStore::new();
    let queue = store.open();
    assert_eq!(queue.submit_all(jobs(100)).unwrap(), 100);
    assert_eq!(queue.stats().unwrap().waiting(), 100);
    let delivered = run(stub(), &queue);
    let outcomes = recorded(&queue);
    assert_eq!(delivered.len(), 100);
    assert!(outcomes.keys().eq(&delivered));
    for (id, outcome) in &outcomes {
        let number = id.strip_prefix("job-").unwrap();
        assert_eq!(outcome["request"]["url"], format!("http://test/{number}"));
        assert_eq!(outcome["response"]["status"], 200);
    }
    let stats = queue.stats().unwrap();
    assert_eq!(
        (stats.recorded(), stats.waiting(), stats.leased()),
        (100, 0, 0)
    );
}

#[test]
fn a_known_id_is_not_accepted_again() {
    let store = TestStore::new();
    let queue = store.open();
    let other = || job(1, RequestSpec::get("http://test/other"));
    assert_eq!(queue.submit_all(jobs(3)).unwrap(), 3);
    assert_eq!(queue.submit_all(jobs(5)).unwrap(), 2);
    assert_eq!(queue.submit(other()).unwrap(), Submitted::Known);
    drop(queue);

    let queue = store.open();
    assert_eq!(queue.submit(other()).unwrap(), Submitted::Known);
    assert_eq!(run(stub(), &queue).len(), 5);
    assert_eq!(queue.submit(other()).unwrap(), Submitted::Known);
    assert_eq!(
        queue.submit(job(5, "http://test/".into())).unwrap(),
        Submitted::Accepted
    );
    drop(queue);

    let queue = store.open();
    assert_eq!(queue.submit_all(jobs(6)).unwrap(), 0);
    assert_eq!(run(stub(), &queue), ["job-5"]);
    assert_eq!(recorded(&queue)["job-1"]["request"]["url"], "http://test/1");
}

#[test]
fn ids_are_any_strings() {
    let ids = [
        "",
        " ",
        "a b",
        "a\nb",
        "\"",
        "\\",
        "é\u{1f980}",
        "{\"a\":1}",
        "\0",
    ];
    let store = TestStore::new();
    let queue = store.open();
    let all = ids.map(|id| Job::new(id, RequestSpec::get("http://test/")));
    assert_eq!(queue.submit_all(all).unwrap(), ids.len());
    drop(queue);
    let queue = store.open();
    let mut expected = ids.to_vec();
    expected.sort_unstable();
    assert_eq!(run(stub(), &queue), expected);
    assert!(recorded(&queue).keys().eq(expected));
}

#[test]
fn what_cannot_be_stored_is_refused_by_name_and_what_comes_before_is_kept() {
    let store = TestStore::new();
    let queue = store.open();
    let reader = RequestSpec::get("http://test/").read_with(|_, _| Ok(()));
    let mixed = jobs(2)
        .chain([Job::new("row-17", reader)])
        .chain(jobs(9).skip(2));
    let error = queue.submit_all(mixed).unwrap_err();
    let QueueError::Job { id, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(id, "row-17");
    assert!(error.to_string().contains("row-17"), "{error}");
    assert!(
        error.to_string().contains("PoolBuilder::handler"),
        "{error}"
    );
    assert_eq!(queue.stats().unwrap().waiting(), 2);
}

#[test]
fn secrets_are_nowhere_in_the_store() {
    const CANARY: &str = "canary-0d1f";
    let store = TestStore::new();
    let queue = store.open();
    let refused = [
        RequestSpec::get("http://test/").bearer_auth(CANARY),
        RequestSpec::get("http://test/").header("Cookie", format!("session={CANARY}")),
        RequestSpec::get(format!("http://user:{CANARY}@test/")),
        RequestSpec::get("http://test/").proxy(format!("http://user:{CANARY}@proxy:1/")),
    ];
    for request in refused {
        let error = queue.submit(Job::new("secret", request)).unwrap_err();
        assert!(error.to_string().contains("auth_named"), "{error}");
        assert!(!format!("{error} {error:?}").contains(CANARY), "{error:?}");
    }
    // A server sets a cookie.
    queue.submit_all(jobs(1)).unwrap();
    let sets_cookie = threaded::Pool::builder().session(|| {
        threaded::Session::new(|_: threaded::Exchange<'_>| {
            let response = http::Response::builder().header("Set-Cookie", CANARY);
            Ok(response.body(threaded::ResponseBody::from("ok")).unwrap())
        })
    });
    assert_eq!(run(sets_cookie, &queue), ["job-0"]);
    let content = String::from_utf8_lossy(&store.content()).into_owned();
    assert!(content.contains("job-0") && !content.contains(CANARY));
}

#[test]
fn many_threads_can_submit_the_same_jobs() {
    let store = TestStore::new();
    let queue = store.open();
    let accepted = std::thread::scope(|scope| {
        let threads = [(); 4].map(|()| {
            scope.spawn(|| {
                let one_by_one = jobs(200).map(|job| queue.submit(job).unwrap());
                one_by_one
                    .filter(|submitted| *submitted == Submitted::Accepted)
                    .count()
            })
        });
        threads
            .map(|thread| thread.join().unwrap())
            .iter()
            .sum::<usize>()
    });
    assert_eq!(accepted, 200);
    drop(queue);
    let queue = store.open();
    assert_eq!(queue.stats().unwrap().waiting(), 200);
    assert_eq!(run(stub(), &queue).len(), 200);
}

#[cfg(feature = "default-tls")]
mod sealed {
    use threaded::RequestSpec;
    use threaded::queue::{QueueError, SealingKey};

    use super::{TestStore, job, recorded, run};
    use crate::support::recording_server::{RecordingServer, values};

    const CANARY: &str = "canary-5e1d";

    fn key(name: &str, byte: u8) -> SealingKey {
        SealingKey::new(name, &[byte; 32])
    }

    #[test]
    fn secrets_are_sent_and_stored_nowhere_in_the_clear() {
        let server = RecordingServer::responding_ok();
        let store = TestStore::new();
        let queue = store.open_with_keys([key("one", 1)]);
        let url = server
            .url("/")
            .replace("://", &format!("://user:{CANARY}@"));
        queue.submit(job(0, RequestSpec::get(url))).unwrap();
        let request = RequestSpec::get(server.url("/"))
            .header("X-Plain", "plain-text")
            .header("Cookie", format!("session={CANARY}"))
            .bearer_auth(CANARY);
        queue.submit(job(1, request)).unwrap();
        drop(queue);

        // A new key seals, and the old one opens what it has sealed.
        let queue = store.open_with_keys([key("one", 1), key("two", 2)]);
        let request = RequestSpec::get(server.url("/")).bearer_auth(CANARY);
        queue.submit(job(2, request)).unwrap();
        assert_eq!(run(crate::pool().concurrency(1), &queue).len(), 3);
        let received = server.received();
        assert_eq!(received.len(), 3);
        assert!(
            received
                .iter()
                .all(|request| request.headers().contains_key("authorization"))
        );
        assert_eq!(
            values(&received[1], "authorization"),
            [format!("Bearer {CANARY}")]
        );
        assert_eq!(
            values(&received[1], "cookie"),
            [format!("session={CANARY}")]
        );
        assert_eq!(values(&received[1], "x-plain"), ["plain-text"]);

        assert_eq!(recorded(&queue)["job-1"]["response"]["status"], 200);
        let content = String::from_utf8_lossy(&store.content()).into_owned();
        assert!(content.contains("plain-text") && content.contains("\"two\""));
        assert!(!content.contains(CANARY) && !format!("{queue:?}").contains(CANARY));
    }

    #[test]
    fn without_the_key_a_job_is_dead_and_with_it_lives_again() {
        let server = RecordingServer::responding_ok();
        let store = TestStore::new();
        let queue = store.open_with_keys([key("one", 1)]);
        let request = RequestSpec::get(server.url("/")).bearer_auth(CANARY);
        queue.submit(job(0, request.clone())).unwrap();
        drop(queue);
        for (keys, expected) in [
            (vec![], "opened without"),
            (vec![key("other", 1)], "opened without"),
            (vec![key("one", 2)], "cannot be opened"),
        ] {
            let queue = store.open_with_keys(keys);
            assert_eq!(run(crate::pool(), &queue).len(), 0);
            let dead = queue.dead().unwrap();
            assert!(dead[0].reason().contains(expected), "{dead:?}");
            assert!(dead[0].reason().contains("`one`"), "{dead:?}");
            assert!(queue.requeue("job-0").unwrap());
        }
        let queue = store.open_with_keys([key("one", 1)]);
        assert_eq!(run(crate::pool(), &queue), ["job-0"]);
        assert_eq!(server.received().len(), 1);
        // A key is no reason to store what is no data.
        let reader = request.read_with(|_, _| Ok(()));
        let error = queue.submit(job(1, reader)).unwrap_err();
        assert!(matches!(error, QueueError::Job { .. }), "{error:?}");
    }
}
