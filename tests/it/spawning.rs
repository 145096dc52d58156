//! Promise 17: a job can be waited for and cancelled by itself.

use std::future::Future;
use std::io::Write;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use threaded::crossbeam_channel::unbounded;
use threaded::{
    ErrorKind, Exchange, JobHandle, Limits, Outcome, OutcomeExt, Pool, RequestSpec, Response,
    ResponseBody, Session,
};

use crate::support::pools::{at_once, gated};
use crate::support::process::{eventually, threads};
use crate::support::raw::{RawServer, read_request};
use crate::support::subprocess::in_subprocess;

/// Responds with the path of the request.
fn echo(exchange: Exchange<'_>) -> Result<http::Response<ResponseBody>, threaded::Error> {
    let path = exchange.url().path().to_owned();
    Ok(http::Response::new(ResponseBody::from(path)))
}

fn stub() -> threaded::PoolBuilder<impl threaded::TransportBuilder + 'static> {
    Pool::builder().session(|| Session::new(echo))
}

fn kind(outcome: &Outcome) -> Option<ErrorKind> {
    outcome.as_ref().err().map(|exception| exception.kind())
}

#[test]
fn a_thousand_threads_on_one_pool_each_get_the_response_to_their_own_request() {
    in_subprocess(
        concat!(
            module_path!(),
            "::a_thousand_threads_on_one_pool_each_get_the_response_to_their_own_request"
        ),
        &[],
        || {
            let pool = Arc::new(stub().num_threads(8).build().unwrap());
            let callers: Vec<_> = (0..1_000)
                .map(|caller| {
                    let pool = Arc::clone(&pool);
                    thread::spawn(move || {
                        for turn in 0..5 {
                            let path = format!("/{caller}/{turn}");
                            let job = pool.spawn(format!("http://stub.test{path}")).unwrap();
                            let index = job.index();
                            let response = job.join().unwrap();
                            assert_eq!((response.text(), response.index()), (path.into(), index));
                        }
                    })
                })
                .collect();
            for caller in callers {
                caller.join().unwrap();
            }
            assert!(pool.get_response().is_none(), "all went to their handles");
            assert_eq!(pool.stats().responses(), 5_000);
        },
    );
}

#[test]
fn a_handle_can_be_asked_without_waiting_and_for_a_limited_time() {
    let (builder, begun, open) = gated();
    let pool = builder.num_threads(1).build().unwrap();
    let mut job = pool.spawn("http://stub.test/").unwrap();
    begun.recv().unwrap();
    assert!(job.try_join().is_none());
    assert!(job.join_timeout(Duration::from_millis(10)).is_none());
    drop(open);
    let outcome = job.join_timeout(Duration::MAX).unwrap();
    assert!(outcome.is_ok());
    assert!(job.try_join().unwrap().is_ok(), "as often as it is asked");
    assert!(job.join().is_ok());
}

#[test]
fn a_handle_is_a_future_that_needs_no_runtime() {
    struct Counter(AtomicUsize);
    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    let (builder, begun, open) = gated();
    let pool = builder.num_threads(1).build().unwrap();
    let mut job = pin!(pool.spawn("http://stub.test/").unwrap());
    begun.recv().unwrap();
    let woken = Arc::new(Counter(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    assert!(job.as_mut().poll(&mut context).is_pending());
    assert!(job.as_mut().poll(&mut context).is_pending());
    drop(open);
    eventually("the task is woken", || woken.0.load(Ordering::SeqCst) > 0);
    assert!(matches!(
        job.as_mut().poll(&mut context),
        Poll::Ready(Ok(_))
    ));
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
}

#[test]
fn handles_are_awaited_on_tokio() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let pool = stub().num_threads(2).build().unwrap();
    let paths: Vec<String> = runtime.block_on(async {
        let mut paths = Vec::new();
        for page in 0..20 {
            let job = pool.spawn(format!("http://stub.test/{page}")).unwrap();
            paths.push(
                tokio::spawn(job)
                    .await
                    .unwrap()
                    .unwrap()
                    .text()
                    .into_owned(),
            );
        }
        paths
    });
    assert_eq!(
        paths,
        (0..20).map(|page| format!("/{page}")).collect::<Vec<_>>()
    );
}

#[test]
fn cancelling_a_queued_job_frees_what_it_holds_at_once_and_sends_nothing() {
    let (builder, begun, open) = gated();
    let pool = builder.num_threads(1).build().unwrap();
    let first = pool.spawn("http://stub.test/first").unwrap();
    begun.recv().unwrap();
    let held = Arc::new(());
    let spec = RequestSpec::post("http://stub.test/second").body("precious");
    let second = pool.spawn(spec.extension(Arc::clone(&held))).unwrap();
    second.cancel();
    let exception = second.join().unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Cancelled);
    assert!(!exception.was_sent());
    let body = exception.request().request_body().unwrap();
    assert_eq!(body.as_bytes().unwrap(), "precious");
    drop(exception);
    assert_eq!(
        Arc::strong_count(&held),
        1,
        "while the worker is still at the first"
    );
    let stats = pool.stats();
    assert_eq!(
        (stats.queued(), stats.in_flight(), stats.exceptions()),
        (0, 1, 1)
    );
    // Cancelled and detached: the outcome has no reader that could hold it.
    let third = pool.spawn(RequestSpec::get("http://stub.test/third").extension(Arc::clone(&held)));
    let third = third.unwrap();
    third.cancel();
    drop(third);
    assert_eq!(Arc::strong_count(&held), 1);
    drop(open);
    assert!(first.join().is_ok());
    pool.join_all();
    assert_eq!(begun.try_iter().count(), 0, "nothing else was sent");
}

#[test]
fn cancelling_a_job_in_flight_ends_it_at_once_and_the_worker_goes_on() {
    let (builder, begun, open) = gated();
    let pool = builder.num_threads(1).retry(at_once(5)).build().unwrap();
    let job = pool.spawn("http://stub.test/").unwrap();
    begun.recv().unwrap();
    job.cancel();
    job.cancel();
    let exception = job.join().unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Cancelled);
    assert!(exception.was_sent());
    assert_eq!(exception.attempts(), 1);
    drop(open);
    assert!(pool.spawn("http://stub.test/next").unwrap().join().is_ok());
    let stats = pool.stats();
    assert_eq!(
        (stats.submitted(), stats.in_flight(), stats.retries()),
        (2, 0, 0)
    );
}

/// A body of which one piece comes for each message.
fn endless_server() -> (RawServer, threaded::crossbeam_channel::Receiver<()>) {
    let (written_tx, written) = unbounded();
    let server = RawServer::start(move |mut stream, _| {
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 1024]).is_ok() {
            let _ = written_tx.send(());
        }
    });
    (server, written)
}

#[test]
fn a_cancelled_download_stops_taking_a_workers_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("endless");
    let (server, written) = endless_server();
    let url = server.url("/");
    let into_memory = RequestSpec::get(&url).max_body(None).timeout(None);
    let to_file = RequestSpec::get(&url).save_to(&path);
    let to_handler = RequestSpec::get(&url).read_with(|_, body| {
        std::io::copy(body, &mut std::io::sink())?;
        Ok(())
    });
    let pool = Pool::builder().num_threads(1).build().unwrap();
    for spec in [into_memory, to_file, to_handler] {
        let job = pool.spawn(spec).unwrap();
        for _ in 0..100 {
            written.recv().unwrap();
        }
        job.cancel();
        assert_eq!(kind(&job.join()), Some(ErrorKind::Cancelled));
        // The only worker takes the next job although the body would never end.
        let unreachable = pool.spawn("http:///").unwrap();
        assert_eq!(kind(&unreachable.join()), Some(ErrorKind::InvalidRequest));
        while written.try_recv().is_ok() {}
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_cancelled_job_frees_its_place_under_limits() {
    let pool = stub()
        .num_threads(2)
        .limits(Limits::new().rate(1e-9, 1))
        .build()
        .unwrap();
    assert!(pool.spawn("http://stub.test/first").unwrap().join().is_ok());
    // The limit lets no other job go for years.
    let waiting: Vec<JobHandle> = (0..100)
        .map(|page| pool.spawn(format!("http://stub.test/{page}")).unwrap())
        .collect();
    for job in &waiting {
        job.cancel();
    }
    for job in waiting {
        assert_eq!(kind(&job.join()), Some(ErrorKind::Cancelled));
    }
    pool.join_all();
}

#[test]
fn a_detached_job_is_done_all_the_same() {
    let (builder, begun, open) = gated();
    let pool = builder.num_threads(1).build().unwrap();
    drop(pool.spawn("http://stub.test/").unwrap());
    begun.recv().unwrap();
    drop(open);
    pool.wait_idle();
    assert_eq!(pool.stats().responses(), 1);
    assert!(pool.get_response().is_none());
}

#[test]
fn a_handle_can_cancel_its_job_when_it_is_dropped() {
    let (builder, begun, open) = gated();
    let pool = builder.num_threads(1).build().unwrap();
    let first = pool.spawn("http://stub.test/1").unwrap().cancel_on_drop();
    begun.recv().unwrap();
    let mut second = pool.spawn("http://stub.test/2").unwrap().cancel_on_drop();
    assert!(second.join_timeout(Duration::ZERO).is_none());
    drop(second);
    drop(first);
    // Both have ended, although the worker is still at the first.
    pool.wait_idle();
    assert_eq!(pool.stats().exceptions(), 2);
    drop(open);
    let done = pool.spawn("http://stub.test/3").unwrap().cancel_on_drop();
    assert!(done.join().is_ok());
    assert_eq!(begun.try_iter().count(), 1, "the second was not sent");
}

#[test]
fn a_refused_job_is_an_exception_where_one_is_wanted() {
    fn get(pool: &Pool) -> Result<threaded::ThreadResponse, threaded::ThreadException> {
        pool.spawn("http://stub.test/")?.join()
    }

    let pool = stub().build().unwrap();
    assert!(get(&pool).is_ok());
    pool.close();
    let exception = get(&pool).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Cancelled);
    assert!(!exception.was_sent());
    assert_eq!(
        exception.to_string(),
        "GET http://stub.test/: cancelled before it was sent: the pool was closed, by `close`"
    );
}

#[test]
fn each_handle_has_an_outcome_when_the_pool_ends() {
    // Shut down: what is in flight goes on, the rest comes back through its handle.
    let (builder, begun, open) = gated();
    let pool = builder.num_threads(1).build().unwrap();
    let jobs: Vec<JobHandle> = (0..5)
        .map(|page| pool.spawn(format!("http://stub.test/{page}")).unwrap())
        .collect();
    pool.submit("http://stub.test/own").unwrap();
    begun.recv().unwrap();
    drop(open);
    let unsent = pool.shutdown();
    assert!(unsent.len() <= 1, "of the pool's own jobs only");
    let outcomes: Vec<Outcome> = jobs.into_iter().map(JobHandle::join).collect();
    assert!(outcomes[0].is_ok());
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(kind(outcome), None | Some(ErrorKind::Cancelled)))
    );

    // Dropped: all of it is cancelled, what is in flight as well.
    let (builder, begun, open) = gated();
    let pool = builder.num_threads(1).build().unwrap();
    let jobs: Vec<JobHandle> = (0..3)
        .map(|page| pool.spawn(format!("http://stub.test/{page}")).unwrap())
        .collect();
    begun.recv().unwrap();
    drop(pool);
    let sent: Vec<bool> = jobs
        .into_iter()
        .map(|job| {
            let exception = job.join().unwrap_err();
            assert_eq!(exception.kind(), ErrorKind::Cancelled);
            exception.was_sent()
        })
        .collect();
    assert_eq!(sent, [true, false, false]);
    drop(open);
}

#[test]
fn what_a_pool_refuses_names_what_has_ended_its_intake() {
    let message = |pool: &Pool| {
        let by_pool = pool.spawn("http://stub.test/").unwrap_err().to_string();
        let by_handle = pool.handle().spawn("http://stub.test/").unwrap_err();
        assert_eq!(by_pool, by_handle.to_string(), "the same rules");
        let submitted = pool.submit("http://stub.test/").unwrap_err().to_string();
        assert_eq!(by_pool, submitted);
        by_pool
    };
    let pool = stub().build().unwrap();
    pool.close();
    assert!(message(&pool).contains("`close`"));
    pool.shutdown();
    assert!(message(&pool).contains("`shutdown`"));
    pool.handle().cancel();
    assert!(message(&pool).contains("cancelled"));
    let pool = stub().build().unwrap();
    pool.join_all();
    assert!(message(&pool).contains("joined"));
    let handle = stub().build().unwrap().handle();
    let error = handle.submit("http://stub.test/").unwrap_err();
    assert!(error.to_string().contains("dropped"), "{error}");
}

#[test]
fn a_handle_costs_less_than_200_bytes_and_no_thread() {
    in_subprocess(
        concat!(
            module_path!(),
            "::a_handle_costs_less_than_200_bytes_and_no_thread"
        ),
        &[],
        || {
            const JOBS: usize = 100_000;

            let (builder, begun, open) = gated();
            let pool = builder.num_threads(1).build().unwrap();
            drop(pool.spawn("http://stub.test/").unwrap());
            begun.recv().unwrap();
            let before_threads = threads();
            let before = crate::support::process::resident_kib();
            let jobs: Vec<_> = (0..JOBS)
                .map(|_| pool.spawn("http://stub.test/").unwrap())
                .collect();
            let bytes = (crate::support::process::resident_kib() - before) * 1024 / JOBS;
            assert_eq!(threads(), before_threads);
            // 128 of them, and the URL, are the job's own.
            assert!(bytes < 200 + 128 + 17 + 16, "{bytes}");
            pool.handle().cancel();
            drop(open);
            assert!(
                jobs.into_iter()
                    .map(JobHandle::join)
                    .all(|outcome| outcome.is_err())
            );
        },
    );
}

/// What a test does with a job.
#[derive(Clone, Copy, Debug)]
enum Act {
    Submit,
    Map(usize),
    Lazy(usize),
    Spawn,
    SpawnAndCancel,
    Detach,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Submit),
        1 => (0..5usize).prop_map(Act::Map),
        1 => (0..5usize).prop_map(Act::Lazy),
        3 => Just(Act::Spawn),
        1 => Just(Act::SpawnAndCancel),
        1 => Just(Act::Detach),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn outcomes_go_where_their_route_says_in_any_mixture(
        threads in prop::collection::vec(prop::collection::vec(act(), 0..12), 1..4),
        num_threads in 1..5usize,
    ) {
        let pool = stub().num_threads(num_threads).build().unwrap();
        let own: usize = threads.iter().flatten().filter(|act| matches!(act, Act::Submit)).count();
        thread::scope(|scope| {
            for (number, acts) in threads.iter().enumerate() {
                let pool = &pool;
                scope.spawn(move || {
                    let url = |page: usize, kind: &str| format!("http://stub.test/{kind}/{number}/{page}");
                    let mut jobs = Vec::new();
                    for (page, act) in acts.iter().enumerate() {
                        match *act {
                            Act::Submit => drop(pool.submit(url(page, "own")).unwrap()),
                            Act::Map(len) => {
                                let (responses, exceptions) = pool.map((0..len).map(|_| url(page, "map"))).unwrap();
                                assert_eq!(exceptions.count(), 0);
                                let texts: Vec<String> = responses.map(|response| response.text().into_owned()).collect();
                                assert_eq!(texts, vec![format!("/map/{number}/{page}"); len]);
                            }
                            Act::Lazy(len) => {
                                let indices: Vec<usize> = pool
                                    .imap((0..len).map(|_| url(page, "imap")))
                                    .map(|outcome| outcome.index())
                                    .collect();
                                assert_eq!(indices.len(), len);
                                assert!(indices.is_sorted());
                            }
                            Act::Spawn => jobs.push((page, pool.spawn(url(page, "job")).unwrap())),
                            Act::SpawnAndCancel => {
                                let job = pool.spawn(url(page, "cancelled")).unwrap();
                                job.cancel();
                                assert!(matches!(kind(&job.join()), None | Some(ErrorKind::Cancelled)));
                            }
                            Act::Detach => drop(pool.spawn(url(page, "detached")).unwrap()),
                        }
                    }
                    for (page, job) in jobs {
                        assert_eq!(job.join().unwrap().text(), format!("/job/{number}/{page}"));
                    }
                });
            }
        });
        pool.join_all();
        let texts: Vec<String> = pool.responses().map(|response| Response::text(&response).into_owned()).collect();
        prop_assert_eq!(texts.len(), own);
        prop_assert!(texts.iter().all(|text| text.starts_with("/own/")));
        prop_assert_eq!(pool.exceptions().count(), 0);
        let stats = pool.stats();
        prop_assert_eq!(stats.submitted(), stats.responses() + stats.exceptions());
    }
}
