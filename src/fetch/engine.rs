//! What drives an attempt: [`Engine`], which each kind of transport implements, and the driver for those that block.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::error::Error;
use crate::transport::{Exchange, ResponseBody, Transport};

/// Delivers the next piece of a body to a thread that may block; an empty one at its end.
pub(super) type NextPiece<'a> = dyn FnMut() -> Result<Bytes, Error> + 'a;

/// What an engine gives an attempt: everything that waits. The rules of the attempt are not its task.
///
/// It keeps [`Exchange::deadline`] and [`Exchange::stall_timeout`] wherever it waits for the exchange, also for its body.
pub(super) trait Engine {
    /// The body of a response on its way in.
    type Body;

    /// Performs one exchange, up to the head of its response.
    async fn exchange(
        &mut self,
        exchange: Exchange<'_>,
    ) -> Result<http::Response<Self::Body>, Error>;

    /// The address of the server or proxy that a body comes from, if it is known.
    fn remote_addr(body: &Self::Body) -> Option<SocketAddr>;

    /// Takes a whole body at once, if that needs no copy. It may read it for this if the length is announced.
    async fn whole(
        &mut self,
        body: &mut Self::Body,
        is_length_known: bool,
    ) -> Option<Result<Bytes, Error>>;

    /// Waits for the next piece of a body; an empty one is its end.
    async fn piece(&mut self, body: &mut Self::Body) -> Result<Bytes, Error>;

    /// Runs a closure that pulls a body and may block as long as it likes.
    async fn read_with<T: Send + 'static>(
        &mut self,
        body: &mut Self::Body,
        read: impl FnOnce(&mut NextPiece<'_>) -> T + Send + 'static,
    ) -> T;

    /// Runs a closure that may block for a moment, such as a write to a file.
    async fn unblock<T: Send + 'static>(&mut self, work: impl FnOnce() -> T + Send + 'static) -> T;

    /// Lets other attempts on the same thread go on, between two steps of a long computation.
    async fn yield_now(&mut self);
}

/// The engine of a transport that blocks: nothing is ever pending, and each attempt has the thread to itself.
impl Engine for dyn Transport {
    type Body = ResponseBody;

    async fn exchange(
        &mut self,
        exchange: Exchange<'_>,
    ) -> Result<http::Response<ResponseBody>, Error> {
        Transport::exchange(self, exchange)
    }

    fn remote_addr(body: &ResponseBody) -> Option<SocketAddr> {
        body.remote_addr()
    }

    async fn whole(
        &mut self,
        body: &mut ResponseBody,
        is_length_known: bool,
    ) -> Option<Result<Bytes, Error>> {
        let whole = body.take_whole(is_length_known)?;
        Some(whole.map_err(Error::from_body_read))
    }

    async fn piece(&mut self, body: &mut ResponseBody) -> Result<Bytes, Error> {
        body.piece().map_err(Error::from_body_read)
    }

    async fn read_with<T: Send + 'static>(
        &mut self,
        body: &mut ResponseBody,
        read: impl FnOnce(&mut NextPiece<'_>) -> T + Send + 'static,
    ) -> T {
        read(&mut || body.piece().map_err(Error::from_body_read))
    }

    async fn unblock<T: Send + 'static>(&mut self, work: impl FnOnce() -> T + Send + 'static) -> T {
        work()
    }

    async fn yield_now(&mut self) {}
}

/// Drives an attempt on an engine that blocks: polled once, it is complete.
pub(super) fn complete<T>(
    attempt: Pin<&mut impl Future<Output = Result<T, Error>>>,
) -> Result<T, Error> {
    match attempt.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(Error::panicked(
            "a bug in reqwest-threaded: an attempt on a blocking transport is pending".to_owned(),
        )),
    }
}
