//! Promise 1: every accepted job ends in exactly one outcome, panics included.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use proptest::prelude::*;
use threaded::{
    Error, ErrorKind, Exchange, OutcomeExt, Pool, ResponseBody, Session, Transport,
    TransportBuilder, TransportOptions,
};

use crate::support::pools::{at_once, in_order, respond_ok};

/// Ends an exchange as the path of the request says.
fn obeys(exchange: Exchange<'_>) -> Result<http::Response<ResponseBody>, Error> {
    match exchange.url().path() {
        "/panic" => panic!("the transport panicked"),
        "/panic-in-body" => Ok(http::Response::new(ResponseBody::from_reader(
            PanickingReader,
        ))),
        "/fault" => Err(Error::connect("no route")),
        "/fault-in-body" => Ok(http::Response::new(ResponseBody::from_reader(
            FailingReader,
        ))),
        _ => respond_ok(exchange),
    }
}

struct PanickingReader;

impl io::Read for PanickingReader {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("the body panicked")
    }
}

struct FailingReader;

impl io::Read for FailingReader {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

const KINDS: [&str; 6] = [
    "/ok",
    "/panic",
    "/panic-in-body",
    "/fault",
    "/fault-in-body",
    "",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_mixture_of_jobs_ends_in_one_outcome_each(
        kinds in prop::collection::vec(0..KINDS.len(), 0..60),
        num_threads in 1..5usize,
        joined in any::<bool>(),
    ) {
        // An empty text is not a URL.
        let urls = kinds.iter().map(|kind| match KINDS[*kind] {
            "" => String::new(),
            path => format!("http://stub.test{path}"),
        });
        let pool = Pool::builder()
            .num_threads(num_threads)
            .session(|| Session::new(obeys))
            .build_from_urls(urls)
            .unwrap();
        let outcomes = if joined {
            pool.join_all();
            let (responses, exceptions) = (pool.responses().map(Ok), pool.exceptions().map(Err));
            in_order(responses.chain(exceptions))
        } else {
            in_order(pool)
        };
        let indices: Vec<usize> = outcomes.iter().map(OutcomeExt::index).collect();
        prop_assert_eq!(indices, (0..kinds.len()).collect::<Vec<_>>());
        for (kind, outcome) in kinds.iter().zip(&outcomes) {
            let is_right = match (KINDS[*kind], outcome) {
                ("/ok", Ok(response)) => response.text() == "ok",
                ("/panic", Err(exception)) => {
                    exception.to_string().contains("the transport panicked")
                }
                ("/panic-in-body", Err(exception)) => {
                    exception.to_string().contains("the body panicked")
                }
                ("/fault", Err(exception)) => exception.kind() == ErrorKind::Connect,
                ("/fault-in-body", Err(exception)) => exception.kind() == ErrorKind::Closed,
                ("", Err(exception)) => exception.kind() == ErrorKind::InvalidRequest,
                _ => false,
            };
            prop_assert!(is_right, "{}: {:?}", KINDS[*kind], outcome);
        }
    }
}

#[test]
fn after_a_panic_the_worker_goes_on_with_a_new_session() {
    struct Counted(Arc<AtomicUsize>);
    impl TransportBuilder for Counted {
        type Transport = fn(Exchange<'_>) -> Result<http::Response<ResponseBody>, Error>;

        fn build(self, _: &TransportOptions) -> Result<Self::Transport, threaded::BoxError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(obeys)
        }
    }

    let built = Arc::new(AtomicUsize::new(0));
    let pool = Pool::builder()
        .num_threads(1)
        .session({
            let built = Arc::clone(&built);
            move || Session::new(Counted(Arc::clone(&built)))
        })
        .build_from_urls([
            "http://stub.test/panic",
            "http://stub.test/ok",
            "http://stub.test/panic-in-body",
            "http://stub.test/ok",
            "http://stub.test/ok",
        ])
        .unwrap();
    let outcomes = in_order(pool);
    let ended_well: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(ended_well, [false, true, false, true, true]);
    assert_eq!(
        built.load(Ordering::SeqCst),
        3,
        "one at the start, one after each panic"
    );
}

#[test]
fn a_transport_that_panics_when_dropped_takes_nothing_along() {
    struct PanicsAtEnd;
    impl Transport for PanicsAtEnd {
        fn exchange(
            &mut self,
            exchange: Exchange<'_>,
        ) -> Result<http::Response<ResponseBody>, Error> {
            obeys(exchange)
        }
    }
    impl Drop for PanicsAtEnd {
        fn drop(&mut self) {
            panic!("the transport panicked while it was dropped");
        }
    }

    let pool = Pool::builder()
        .num_threads(2)
        .session(|| Session::new(PanicsAtEnd))
        .build_from_urls(
            ["http://stub.test/panic"; 5]
                .iter()
                .chain(&["http://stub.test/ok"; 5]),
        )
        .unwrap();
    let outcomes = in_order(pool);
    let ended_well = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!((outcomes.len(), ended_well), (10, 5));
}

#[test]
fn jobs_that_many_threads_submit_get_one_index_and_one_outcome_each() {
    const PRODUCERS: usize = 4;
    const EACH: usize = 500;

    let pool = Pool::builder()
        .num_threads(3)
        .session(|| Session::new(respond_ok))
        .build()
        .unwrap();
    let submitted: HashSet<(usize, String)> = thread::scope(|scope| {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let pool = &pool;
                scope.spawn(move || {
                    (0..EACH)
                        .map(|number| {
                            let url = format!("http://stub.test/{producer}/{number}");
                            (pool.submit(&url).unwrap(), url)
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        producers
            .into_iter()
            .flat_map(|producer| producer.join().unwrap())
            .collect()
    });
    let outcomes: HashSet<(usize, String)> = pool
        .into_iter()
        .map(|outcome| outcome.unwrap())
        .map(|response| (response.index(), response.request().url().to_owned()))
        .collect();
    assert_eq!(submitted.len(), PRODUCERS * EACH);
    assert_eq!(outcomes, submitted);
}

#[test]
fn a_panic_whose_payload_panics_too_is_one_more_outcome() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(Bomb);
        }
    }
    let explodes = |exchange: Exchange<'_>| match exchange.url().path() {
        "/bomb" => std::panic::panic_any(Bomb),
        _ => respond_ok(exchange),
    };
    let pool = Pool::builder()
        .num_threads(1)
        .session(move || Session::new(explodes))
        .build_from_urls(["http://stub.test/bomb", "http://stub.test/"])
        .unwrap();
    let outcomes = in_order(pool);
    assert_eq!(
        outcomes[0].as_ref().unwrap_err().kind(),
        ErrorKind::Panicked
    );
    assert!(outcomes[1].is_ok());
}

#[test]
fn a_response_and_an_exception_tell_the_same_facts_of_their_jobs() {
    let fails_at_fault = |exchange: Exchange<'_>| match exchange.url().path() {
        "/fault" => Err(Error::connect("no route")),
        _ => respond_ok(exchange),
    };
    let urls = ["http://stub.test/", "http://stub.test/fault"];
    let pool = Pool::builder()
        .num_threads(1)
        .session(move || Session::new(fails_at_fault))
        .retry(at_once(1))
        .build_from_urls(urls)
        .unwrap();
    let outcomes = in_order(pool);
    assert!(outcomes[0].is_ok() && outcomes[1].is_err());
    for (index, outcome) in outcomes.iter().enumerate() {
        let (attempts, elapsed, last_attempt_elapsed) = match outcome {
            Ok(it) => (it.attempts(), it.elapsed(), it.last_attempt_elapsed()),
            Err(it) => (it.attempts(), it.elapsed(), it.last_attempt_elapsed()),
        };
        assert_eq!(outcome.index(), index);
        assert_eq!(outcome.request().url(), urls[index]);
        assert_eq!([outcome.attempts(), attempts], [index as u32 + 1; 2]);
        assert_eq!(outcome.elapsed(), elapsed);
        assert_eq!(outcome.last_attempt_elapsed(), last_attempt_elapsed);
        assert_eq!(outcome.clone().into_request().url(), urls[index]);
    }
}
