//! What drives an attempt: [`Engine`], which each kind of transport implements, and the driver for those that block.

use std::net::SocketAddr;
use std::pin::Pin;
#[cfg(feature = "hyper")]
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
#[cfg(feature = "hyper")]
use futures_util::future::{Either, select};

use super::deadline::Deadline;
use super::meter::Meter;
#[cfg(feature = "hyper")]
use crate::blocking_threads::{FILES, HANDLERS};
use crate::error::Error;
#[cfg(feature = "hyper")]
use crate::sync::time::sleep_until;
#[cfg(feature = "hyper")]
use crate::transport::descriptors::DESCRIPTORS;
#[cfg(feature = "hyper")]
use crate::transport::hyper::{HyperBody, HyperTransport};
use crate::transport::{Exchange, ResponseBody, Transport};

/// Delivers the next piece of a body to a thread that may block; an empty one at its end.
pub(super) type NextPiece<'a> = dyn FnMut() -> Result<Piece, Error> + 'a;

pub(super) struct Piece {
    pub(super) bytes: Bytes,
    /// Whether it had to wait for bandwidth, so that the wait says nothing of the server.
    pub(super) was_held_back: bool,
}

/// What an engine gives an attempt: everything that waits. The rules of the attempt are not its task.
///
/// It keeps [`Exchange::deadline`] and [`Exchange::stall_timeout`] wherever it waits for the exchange, also for its body.
pub(super) trait Engine {
    /// The body of a response on its way in.
    type Body;

    /// Performs one exchange, whose headers it takes, up to the head of its response.
    async fn exchange(
        &mut self,
        exchange: &mut Exchange<'_>,
    ) -> Result<http::Response<Self::Body>, Error>;

    /// Another engine on the same session, whose exchanges go on at the same time. `None` if it blocks.
    fn fork(&self) -> Option<Box<Self>>;

    /// The address of the server or proxy that a body comes from, if it is known.
    fn remote_addr(body: &Self::Body) -> Option<SocketAddr>;

    /// Takes a whole body at once, if all of it is there, or reads it into one buffer if its length is announced.
    async fn whole(
        &mut self,
        body: &mut Self::Body,
        length: Option<u64>,
        deadline: &Deadline,
        meter: &mut Meter<'_>,
    ) -> Option<Result<Bytes, Error>>;

    /// Waits for the next piece of a body; an empty one is its end.
    async fn piece(&mut self, body: &mut Self::Body) -> Result<Bytes, Error>;

    /// Runs a closure that pulls a body and may block as long as it likes. Fails if there is no thread for it.
    async fn read_with<T: Send + 'static>(
        &mut self,
        body: &mut Self::Body,
        deadline: &Deadline,
        meter: &mut Meter<'_>,
        read: impl FnOnce(&mut NextPiece<'_>) -> T + Send + 'static,
    ) -> Result<T, Error>;

    /// Runs a closure that may block for a moment, such as a write to a file.
    async fn unblock<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error>;

    /// Waits until a file descriptor may be available, after the system has refused one. Returns whether it may.
    async fn relieved(&mut self) -> bool;

    /// Waits until this time, the deadline, or until the attempt is cancelled.
    async fn pause(&mut self, deadline: &Deadline, until: Instant);

    /// Waits for pieces of a body until this time at most. Returns `false` if it cannot, because it blocks while it waits.
    fn end_by(body: &mut Self::Body, until: Instant) -> bool;

    /// Reads a body that waiting would block for, at most this much of it and until this time, and drops it.
    fn discard(body: Self::Body, max: usize, until: Instant);

    /// Lets other attempts on the same thread go on, between two steps of a long computation.
    async fn yield_now(&mut self);
}

/// The engine of a transport that blocks: nothing is ever pending, and each attempt has the thread to itself.
impl Engine for dyn Transport + '_ {
    type Body = ResponseBody;

    async fn exchange(
        &mut self,
        exchange: &mut Exchange<'_>,
    ) -> Result<http::Response<ResponseBody>, Error> {
        let headers = exchange.take_headers();
        Transport::exchange(
            self,
            Exchange {
                headers,
                ..exchange.clone()
            },
        )
    }

    fn fork(&self) -> Option<Box<Self>> {
        None
    }

    fn remote_addr(body: &ResponseBody) -> Option<SocketAddr> {
        body.remote_addr()
    }

    async fn whole(
        &mut self,
        body: &mut ResponseBody,
        length: Option<u64>,
        deadline: &Deadline,
        meter: &mut Meter<'_>,
    ) -> Option<Result<Bytes, Error>> {
        body.take_whole(length, |bytes| {
            meter.note(bytes);
            deadline.check(true)
        })
    }

    async fn piece(&mut self, body: &mut ResponseBody) -> Result<Bytes, Error> {
        body.piece().map_err(Error::from_body_read)
    }

    async fn read_with<T: Send + 'static>(
        &mut self,
        body: &mut ResponseBody,
        deadline: &Deadline,
        meter: &mut Meter<'_>,
        read: impl FnOnce(&mut NextPiece<'_>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let mut rest = Bytes::new();
        Ok(read(&mut || {
            if rest.is_empty() {
                rest = body.piece().map_err(Error::from_body_read)?;
                meter.note(rest.len());
            }
            let (bytes, wait) = meter.next_step(&mut rest);
            if let Some(until) = wait {
                deadline.pause(until);
                deadline.check(true)?;
            }
            Ok(Piece {
                bytes,
                was_held_back: wait.is_some(),
            })
        }))
    }

    async fn unblock<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        Ok(work())
    }

    async fn relieved(&mut self) -> bool {
        false
    }

    async fn pause(&mut self, deadline: &Deadline, until: Instant) {
        deadline.pause(until);
    }

    fn end_by(_: &mut ResponseBody, _: Instant) -> bool {
        false
    }

    fn discard(body: ResponseBody, max: usize, until: Instant) {
        body.discard(max, until);
    }

    async fn yield_now(&mut self) {}
}

/// The engine of the event-driven transport: an event loop polls its attempts, and what blocks runs on other threads.
#[cfg(feature = "hyper")]
impl Engine for HyperTransport {
    type Body = HyperBody;

    async fn exchange(
        &mut self,
        exchange: &mut Exchange<'_>,
    ) -> Result<http::Response<HyperBody>, Error> {
        #[cfg(shuttle)]
        modelled().await?;
        HyperTransport::exchange(self, exchange).await
    }

    fn fork(&self) -> Option<Box<Self>> {
        Some(Box::new(self.clone()))
    }

    fn remote_addr(body: &HyperBody) -> Option<SocketAddr> {
        body.remote_addr()
    }

    async fn whole(
        &mut self,
        body: &mut HyperBody,
        length: Option<u64>,
        _: &Deadline,
        meter: &mut Meter<'_>,
    ) -> Option<Result<Bytes, Error>> {
        match length {
            Some(_) => Some(body.whole(|bytes| meter.note(bytes)).await),
            None => None,
        }
    }

    async fn piece(&mut self, body: &mut HyperBody) -> Result<Bytes, Error> {
        body.piece().await
    }

    /// The closure asks for each piece and waits for it, so that one piece at most is between the threads.
    async fn read_with<T: Send + 'static>(
        &mut self,
        body: &mut HyperBody,
        deadline: &Deadline,
        meter: &mut Meter<'_>,
        read: impl FnOnce(&mut NextPiece<'_>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (requests_tx, mut requests) = tokio::sync::mpsc::unbounded_channel();
        let (pieces_tx, pieces) = crossbeam_channel::bounded(1);
        let mut rest = Bytes::new();
        let mut reading = pin!(HANDLERS.run(move || {
            // If the other end is gone, the attempt has ended.
            let gone = || Error::cancelled().sent(true);
            read(&mut || {
                requests_tx.send(()).map_err(|_| gone())?;
                pieces.recv().unwrap_or_else(|_| Err(gone()))
            })
        }));
        loop {
            let request = pin!(requests.recv());
            match select(reading.as_mut(), request).await {
                Either::Left((result, _)) => return result,
                Either::Right((None, reading)) => return reading.await,
                Either::Right((Some(()), _)) => {}
            }
            let mut fault = None;
            if rest.is_empty() {
                let piece = pin!(body.piece());
                match select(reading.as_mut(), piece).await {
                    Either::Left((result, _)) => return result,
                    Either::Right((Ok(piece), _)) => rest = piece,
                    Either::Right((Err(error), _)) => fault = Some(error),
                }
                meter.note(rest.len());
            }
            let (bytes, wait) = meter.next_step(&mut rest);
            if let Some(until) = wait {
                self.pause(deadline, until).await;
            }
            let was_held_back = wait.is_some();
            let piece = fault.map_or(
                Ok(Piece {
                    bytes,
                    was_held_back,
                }),
                Err,
            );
            // The closure waits for it, so there is room.
            drop(pieces_tx.try_send(piece));
        }
    }

    async fn unblock<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        FILES.run(work).await
    }

    async fn relieved(&mut self) -> bool {
        DESCRIPTORS.relieved().await
    }

    /// An attempt that is cancelled is dropped.
    async fn pause(&mut self, deadline: &Deadline, until: Instant) {
        sleep_until(deadline.earlier(until).into()).await;
    }

    fn end_by(body: &mut HyperBody, until: Instant) -> bool {
        body.end_by(until);
        true
    }

    fn discard(_: HyperBody, _: usize, _: Instant) {}

    async fn yield_now(&mut self) {
        tokio::task::yield_now().await;
    }
}

/// An exchange in a model: another thread calls the waker once or twice, and it ends in an error.
#[cfg(all(feature = "hyper", shuttle))]
async fn modelled() -> Result<(), Error> {
    use std::future::poll_fn;
    use std::sync::Arc;

    use crate::sync::{atomic, thread};

    let is_over = Arc::new(atomic::AtomicBool::new(false));
    let mut has_begun = false;
    poll_fn(|context| {
        if is_over.load(atomic::Ordering::SeqCst) {
            return Poll::Ready(());
        }
        if !std::mem::replace(&mut has_begun, true) {
            let (is_over, waker) = (Arc::clone(&is_over), context.waker().clone());
            thread::spawn(move || {
                waker.wake_by_ref();
                is_over.store(true, atomic::Ordering::SeqCst);
                waker.wake();
            });
        }
        Poll::Pending
    })
    .await;
    Err(Error::connect("a model has no network"))
}

/// Drives an attempt on an engine that blocks: polled once, it is complete.
pub(crate) fn complete<T>(
    attempt: Pin<&mut impl Future<Output = Result<T, Error>>>,
) -> Result<T, Error> {
    match attempt.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(Error::panicked(
            "a bug in reqwest-threaded: an attempt on a blocking transport is pending".to_owned(),
        )),
    }
}
