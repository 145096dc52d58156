//! Promise 13 for secrets of sessions, for errors other than those of the network, and for the log.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use threaded::{Error, ErrorKind, Outcome, RequestSpec};

use super::secrets::{CANARY, assert_discreet, is, printed, secretive};
use super::{PoolBuilder, pool};
use crate::support::pools::in_order;
use crate::support::process::eventually;
use crate::support::raw::{RawServer, refused_address};
use crate::support::recording_server::RecordingServer;
use crate::support::server::Server;
use crate::support::subprocess::in_subprocess;

fn secretive_pool() -> PoolBuilder {
    pool().concurrency(1).auth_generator(|session| {
        let session = session.header("X-Api-Key", CANARY).header("Cookie", CANARY);
        session
            .bearer_auth(CANARY)
            .auth_for("http://127.0.0.1:1", threaded::Auth::bearer(CANARY))
    })
}

fn outcomes(builder: PoolBuilder, specs: Vec<RequestSpec>) -> Vec<Outcome> {
    in_order(builder.build_from_requests(specs).unwrap())
}

#[test]
fn what_a_session_knows_is_not_printed() {
    let fine = RecordingServer::responding_ok();
    let closing = RawServer::responding("");
    let specs = vec![
        fine.url("/").into(),
        closing.url("/").into(),
        format!("http://{}/", refused_address()).into(),
        "not a URL".into(),
    ];
    let outcomes = outcomes(secretive_pool(), specs);
    assert_eq!(fine.only().headers()["x-api-key"], CANARY, "it is sent");
    for outcome in &outcomes {
        assert_discreet(&printed(outcome));
    }
    assert_eq!(
        outcomes.iter().filter(|outcome| outcome.is_err()).count(),
        3
    );
}

#[test]
fn errors_that_are_not_the_networks_print_no_secret() {
    let server = Server::start(|_| {
        let response = http::Response::builder().status(500);
        response.body(Default::default()).unwrap()
    });
    let url = server.url("/");
    let silent = RawServer::start(|mut stream, _| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let specs = vec![
        secretive(&url),
        secretive(&url).save_to(missing.join("file")),
        secretive(&url).body_from_file(&missing),
        secretive(&url).read_with(|_, _| panic!("over something")),
        secretive(&url).read_with(|_, _| Err("of the handler".into())),
        secretive(&silent.url("/")).timeout(None),
    ];
    let builder = secretive_pool().error_for_status(true);
    let pool = builder.build().unwrap();
    for spec in specs {
        pool.submit(spec).unwrap();
    }
    eventually("only the silent server has no outcome", || {
        pool.stats().exceptions() == 5
    });
    pool.handle().cancel();
    let outcomes = in_order(pool);
    let kinds: [fn(&Error) -> bool; 6] = [
        |error| error.kind() == ErrorKind::Status,
        |error| error.kind() == ErrorKind::Sink,
        |error| error.kind() == ErrorKind::InvalidRequest,
        |error| error.kind() == ErrorKind::Panicked,
        |error| error.kind() == ErrorKind::Sink,
        |error| error.kind() == ErrorKind::Cancelled,
    ];
    for (outcome, kind) in outcomes.iter().zip(kinds) {
        assert!(is(outcome, kind), "{outcome:?}");
        assert_discreet(&printed(outcome));
    }
}

struct Log(Arc<Mutex<Vec<String>>>);

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{}: {}", record.target(), record.args());
        self.0.lock().unwrap().push(line);
    }

    fn flush(&self) {}
}

#[test]
fn no_secret_is_logged() {
    let name = concat!(module_path!(), "::no_secret_is_logged");
    in_subprocess(name, &[], || {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        log::set_logger(Box::leak(Box::new(Log(Arc::clone(&lines))))).unwrap();
        log::set_max_level(log::LevelFilter::Debug);

        let fine = Server::responding(CANARY);
        let closing = RawServer::responding("");
        let specs = [
            secretive(&fine.url("/")),
            secretive(&closing.url("/")),
            secretive(&format!("http://{}/", refused_address())),
            secretive("http://nowhere.invalid/"),
        ];
        let retry = threaded::Retry::new(1).backoff(Duration::ZERO, Duration::ZERO);
        let builder = secretive_pool().retry(retry.budget(None));
        let outcomes = outcomes(builder, specs.into());
        assert!(outcomes[0].is_ok() && outcomes[1].is_err());
        let refused = pool()
            .auth_generator(|session| session.bearer_auth(format!("a\n{CANARY}")))
            .build();
        assert!(refused.is_err());

        let lines = lines.lock().unwrap();
        assert!(!lines.is_empty(), "the transports do log");
        for line in lines.iter() {
            assert!(!line.contains(CANARY), "{line}");
        }
    });
}
