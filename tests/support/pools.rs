//! Stub transports, and short ways to run requests and to read outcomes.

use std::time::Duration;

use threaded::crossbeam_channel::{Receiver, Sender, unbounded};
use threaded::{
    Error, Exchange, Outcome, OutcomeExt, Pool, PoolBuilder, RequestSpec, ResponseBody, Retry,
    Session, TransportBuilder,
};

use super::server::Server;

/// All outcomes, sorted by the index of their jobs.
pub(crate) fn in_order(outcomes: impl IntoIterator<Item = Outcome>) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = outcomes.into_iter().collect();
    outcomes.sort_by_key(OutcomeExt::index);
    outcomes
}

/// A transport that responds to everything with `ok`.
pub(crate) fn respond_ok(_: Exchange<'_>) -> Result<http::Response<ResponseBody>, Error> {
    Ok(http::Response::new(ResponseBody::from("ok")))
}

/// A pool whose exchanges wait at a gate: each message lets one through, and dropping the sender all.
pub(crate) fn gated() -> (
    PoolBuilder<impl TransportBuilder + 'static>,
    Receiver<()>,
    Sender<()>,
) {
    let (begun_tx, begun) = unbounded();
    let (open, opened) = unbounded::<()>();
    let transport = move |exchange: Exchange<'_>| {
        let _ = begun_tx.send(());
        let _ = opened.recv();
        respond_ok(exchange)
    };
    let builder = Pool::builder().session(move || Session::new(transport.clone()));
    (builder, begun, open)
}

/// The outcomes of these requests, in order, by one worker.
pub(crate) fn outcomes_of<B, I>(builder: PoolBuilder<B>, requests: I) -> Vec<Outcome>
where
    B: TransportBuilder + 'static,
    I: IntoIterator,
    I::Item: Into<RequestSpec>,
{
    let pool = builder
        .concurrency(1)
        .build_from_requests(requests)
        .unwrap();
    in_order(pool)
}

/// The outcome of one request.
pub(crate) fn outcome_of<B>(builder: PoolBuilder<B>, request: impl Into<RequestSpec>) -> Outcome
where
    B: TransportBuilder + 'static,
{
    let mut outcomes = outcomes_of(builder, [request.into()]);
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

/// A policy of at most `retries` further attempts, without delays and without a budget.
pub(crate) fn at_once(retries: u32) -> Retry {
    Retry::new(retries)
        .backoff(Duration::ZERO, Duration::ZERO)
        .budget(None)
}

/// Each of these requests has a response.
pub(crate) fn assert_all_respond(
    pool: &Pool,
    requests: impl IntoIterator<Item = impl Into<RequestSpec>>,
) {
    let (responses, exceptions) = pool.map(requests).unwrap();
    let exceptions: Vec<_> = exceptions.collect();
    assert!(
        exceptions.is_empty(),
        "{} exceptions beside {} responses, such as {:?}",
        exceptions.len(),
        responses.count(),
        exceptions.first()
    );
}

/// The outcome of a request, after making sure that the same worker's next job succeeds.
pub(crate) fn outcome_before_another<B>(
    builder: PoolBuilder<B>,
    request: impl Into<RequestSpec>,
) -> Outcome
where
    B: TransportBuilder + 'static,
{
    let fine = Server::responding("fine");
    let mut outcomes = outcomes_of(builder, [request.into(), fine.url("/").into()]);
    assert_eq!(outcomes.len(), 2);
    let next = outcomes.pop().unwrap();
    assert_eq!(next.unwrap().text(), "fine", "the next job");
    outcomes.remove(0)
}
