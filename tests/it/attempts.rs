//! Of all attempts at a job, one outcome.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::{Response, StatusCode};
use proptest::prelude::*;
use threaded::{
    Error, ErrorKind, Exchange, Outcome, OutcomeExt, Pool, RequestSpec, ResponseBody, Session,
};

use crate::support::pools::{at_once, in_order, outcomes_of, respond_ok};

/// How a stub ends an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
enum AttemptResult {
    Status(u16),
    Closed,
    Refused,
    /// A permanent error.
    Nonsense,
}

impl AttemptResult {
    fn error(self) -> Option<Error> {
        let source = "by the script";
        match self {
            Self::Status(_) => None,
            Self::Closed => Some(Error::closed(source)),
            Self::Refused => Some(Error::connect(source)),
            Self::Nonsense => Some(Error::protocol(source)),
        }
    }

    fn is_repeated(self, is_idempotent: bool) -> bool {
        match self {
            Self::Status(status) => is_idempotent && status == 503,
            Self::Closed => is_idempotent,
            Self::Refused => true,
            Self::Nonsense => false,
        }
    }

    fn is_of(self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Self::Status(status), Ok(response)) => response.status() == status,
            (_, Err(exception)) => matches!(
                (self, exception.kind()),
                (Self::Closed, ErrorKind::Closed)
                    | (Self::Refused, ErrorKind::Connect)
                    | (Self::Nonsense, ErrorKind::Protocol)
            ),
            _ => false,
        }
    }
}

fn any_attempt_result() -> impl Strategy<Value = AttemptResult> {
    prop_oneof![
        1 => Just(AttemptResult::Status(200)),
        3 => Just(AttemptResult::Status(503)),
        1 => Just(AttemptResult::Status(404)),
        2 => Just(AttemptResult::Closed),
        2 => Just(AttemptResult::Refused),
        1 => Just(AttemptResult::Nonsense),
    ]
}

#[test]
fn what_one_attempt_has_sent_counts_for_the_job() {
    let exchanges = Arc::new(AtomicUsize::new(0));
    let transport = {
        let exchanges = Arc::clone(&exchanges);
        move |_: Exchange<'_>| -> Result<Response<ResponseBody>, Error> {
            match exchanges.fetch_add(1, Ordering::SeqCst) {
                0 => Err(AttemptResult::Closed.error().unwrap()),
                _ => Err(AttemptResult::Refused.error().unwrap()),
            }
        }
    };
    let builder = Pool::builder()
        .retry(at_once(1))
        .session(move || Session::new(transport.clone()));
    let exception = outcomes_of(builder, ["http://stub.test/"])
        .remove(0)
        .unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Connect, "{exception:?}");
    assert_eq!(exception.attempts(), 2);
    assert!(exception.was_sent());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn each_job_ends_once_as_what_the_last_attempt_was(
        num_threads in 1..5usize,
        most in 0..4u32,
        // Whether the request may be repeated, and how its attempts end; any further one gets a 200.
        scripts in prop::collection::vec((any::<bool>(), prop::collection::vec(any_attempt_result(), 0..6)), 0..30),
    ) {
        let made = Arc::new(Mutex::new(vec![0; scripts.len()]));
        let transport = {
            let (made, scripts) = (Arc::clone(&made), scripts.clone());
            move |exchange: Exchange<'_>| {
                let job: usize = exchange.url().path()[1..].parse().unwrap();
                let attempt = {
                    let mut made = made.lock().unwrap();
                    made[job] += 1;
                    made[job] - 1
                };
                let result = scripts[job].1.get(attempt).copied().unwrap_or(AttemptResult::Status(200));
                match (result, result.error()) {
                    (_, Some(error)) => Err(error),
                    (AttemptResult::Status(status), None) => {
                        let mut response = respond_ok(exchange)?;
                        *response.status_mut() = StatusCode::from_u16(status).unwrap();
                        Ok(response)
                    }
                    (other, None) => panic!("{other:?}"),
                }
            }
        };
        let requests = scripts.iter().enumerate().map(|(job, (is_idempotent, _))| {
            let url = format!("http://stub{}.test/{job}", job % 3);
            RequestSpec::post(url).idempotent(*is_idempotent)
        });
        let pool = Pool::builder()
            .num_threads(num_threads)
            .retry(at_once(most))
            .session(move || Session::new(transport.clone()))
            .build_from_requests(requests)
            .unwrap();
        pool.join_all();
        let stats = pool.stats();
        let outcomes = in_order(pool.responses().map(Ok).chain(pool.exceptions().map(Err)));
        let indices: Vec<usize> = outcomes.iter().map(OutcomeExt::index).collect();
        prop_assert_eq!(indices, (0..scripts.len()).collect::<Vec<_>>());
        let mut retries = 0;
        for (job, outcome) in outcomes.iter().enumerate() {
            let (is_idempotent, script) = &scripts[job];
            let all = script.iter().copied().chain([AttemptResult::Status(200)]);
            let mut tried: Vec<AttemptResult> = Vec::new();
            for result in all.take(most as usize + 1) {
                tried.push(result);
                if !result.is_repeated(*is_idempotent) {
                    break;
                }
            }
            let last = *tried.last().unwrap();
            prop_assert!(last.is_of(outcome), "{:?} by {:?}", outcome, tried);
            prop_assert_eq!(outcome.attempts() as usize, tried.len());
            prop_assert_eq!(made.lock().unwrap()[job], tried.len());
            if let Err(exception) = outcome {
                let was_sent = tried.iter().any(|result| *result != AttemptResult::Refused);
                prop_assert_eq!(exception.was_sent(), was_sent);
            }
            retries += tried.len() - 1;
        }
        prop_assert_eq!((stats.queued(), stats.in_flight(), stats.delayed()), (0, 0, 0));
        prop_assert_eq!(stats.submitted(), stats.responses() + stats.exceptions() + stats.given_back());
        prop_assert_eq!((stats.submitted(), stats.retries()), (scripts.len(), retries));
    }
}
