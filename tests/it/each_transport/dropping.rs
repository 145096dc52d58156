//! Promise 4: dropping a pool cancels what is queued, never blocks, and leaves nothing behind.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use threaded::crossbeam_channel::{Receiver, Sender, unbounded};
use threaded::{Exchange, Pool, PoolBuilder, RequestSpec, Session, TransportBuilder};

use super::pool;
use crate::support::pools::respond_ok;
use crate::support::process::{eventually, file_descriptors, threads};
use crate::support::raw::RawServer;
use crate::support::server::Server;
use crate::support::subprocess::in_subprocess;

/// Observes the exchanges of a pool and holds them up.
struct Gate {
    /// Gets a message when an exchange begins.
    begun: Receiver<()>,
    /// How many have begun.
    exchanges: Arc<AtomicUsize>,
    /// Lets one go on for each message, and all once it is dropped.
    open: Sender<()>,
}

fn gated() -> (PoolBuilder<impl TransportBuilder + 'static>, Gate) {
    let (begun_tx, begun) = unbounded();
    let (open, opened) = unbounded::<()>();
    let exchanges = Arc::new(AtomicUsize::new(0));
    let transport = {
        let exchanges = Arc::clone(&exchanges);
        move |exchange: Exchange<'_>| {
            exchanges.fetch_add(1, Ordering::SeqCst);
            let _ = begun_tx.send(());
            let _ = opened.recv();
            respond_ok(exchange)
        }
    };
    let builder = Pool::builder().session(move || Session::new(transport.clone()));
    let gate = Gate {
        begun,
        exchanges,
        open,
    };
    (builder, gate)
}

#[test]
fn dropping_a_pool_cancels_what_is_queued_and_does_not_wait_for_what_is_in_flight() {
    let (builder, gate) = gated();
    let pool = builder
        .concurrency(2)
        .build_from_urls(["http://stub.test/"; 10_000])
        .unwrap();
    gate.begun.recv().unwrap();
    gate.begun.recv().unwrap();
    let channel = pool.response_channel().clone();
    // Would hang here if it waited: the gate is opened below.
    drop(pool);
    drop(gate.open);
    // The channel is disconnected when the last worker is gone; what was in flight is not heard any more.
    assert!(channel.iter().count() <= 2);
    assert_eq!(gate.exchanges.load(Ordering::SeqCst), 2);
}

#[test]
fn dropping_an_iterator_early_cancels_the_rest() {
    let (builder, gate) = gated();
    let pool = builder
        .concurrency(1)
        .build_from_urls(["http://stub.test/"; 1_000])
        .unwrap();
    let channel = pool.response_channel().clone();
    let mut outcomes = pool.into_iter();
    gate.begun.recv().unwrap();
    gate.open.send(()).unwrap();
    assert!(outcomes.next().unwrap().is_ok());
    gate.begun.recv().unwrap();
    drop(outcomes);
    drop(gate.open);
    assert!(channel.iter().count() <= 1);
    assert_eq!(gate.exchanges.load(Ordering::SeqCst), 2);
}

#[test]
fn a_pool_whose_server_never_responds_can_be_dropped() {
    let server = RawServer::start(|mut stream, _| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let pool = pool()
        .concurrency(2)
        .timeout(None)
        .build_from_urls([server.url("/1"), server.url("/2")])
        .unwrap();
    eventually("both requests are under way", || server.connections() == 2);
    drop(pool);
}

#[test]
fn a_sender_learns_that_the_pool_was_dropped() {
    let (jobs, receiver) = unbounded::<RequestSpec>();
    let pool = Pool::builder()
        .concurrency(2)
        .session(|| Session::new(respond_ok))
        .job_queue(receiver)
        .build()
        .unwrap();
    drop(pool);
    // As with any channel: it is disconnected when its last receiver, here that of the workers, is gone.
    eventually("sending fails", || {
        jobs.send("http://stub.test/".into()).is_err()
    });
}

#[test]
fn threads_and_file_descriptors_return_to_where_they_were() {
    let name = concat!(
        module_path!(),
        "::threads_and_file_descriptors_return_to_where_they_were"
    );
    in_subprocess(name, &[], || {
        let server = Server::responding("hello");
        let urls: Vec<String> = (0..40)
            .map(|page| server.url(&format!("/{page}")))
            .collect();
        let cycle = |leave_early: bool| {
            let pool = pool().num_threads(8).concurrency(8);
            let pool = pool.build_from_urls(&urls).unwrap();
            assert_eq!(pool.num_threads(), 8);
            let wanted = if leave_early { 5 } else { urls.len() };
            assert_eq!(pool.into_iter().take(wanted).count(), wanted);
        };
        // The server has started when it has responded.
        let mut first = TcpStream::connect(server.address()).unwrap();
        first.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        first.read_to_end(&mut Vec::new()).unwrap();
        drop(first);
        let before = (threads(), file_descriptors());
        for round in 0..10 {
            cycle(round % 2 == 0);
        }
        eventually("threads and descriptors are as before", || {
            threads() <= before.0 && file_descriptors() <= before.1
        });
    });
}
