//! Bodies of the event-driven client: [`Content`], which is sent, and [`HyperBody`], which is received.

use std::future::poll_fn;
use std::io::Read;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::connections::InUse;
use super::within;
use crate::blocking_threads::FILES;
use crate::error::{BoxError, Error};
use crate::request::OpenBody;
use crate::sync::Mutex;
use crate::transport::detach::detached;
use crate::transport::{classify, expected_length};

/// How much of a file is read at once.
const PIECE: usize = 64 << 10;

/// The content of a request.
pub(super) enum Content {
    Empty,
    Bytes(Bytes),
    Reader {
        /// What is left of it, if that is known.
        left: Option<u64>,
        reading: Reading,
        failure: Failure,
    },
}

/// Why the content of a request could not be read. The connection is only told that it could not, and HTTP/2 forgets even
/// that.
pub(super) type Failure = Arc<Mutex<Option<Error>>>;

/// A reader that blocks, and so is read on another thread.
pub(super) enum Reading {
    Ready(Box<dyn Read + Send>),
    Pending(Pin<Box<dyn Future<Output = Result<ReadPiece, Error>> + Send>>),
    Over,
}

type ReadPiece = (Box<dyn Read + Send>, std::io::Result<Bytes>);

/// The error that the content of a request has led to, if it could not be read.
pub(super) fn unreadable(failure: Option<Failure>) -> Option<Error> {
    let error = failure?.lock().take()?;
    Some(error.sent(true))
}

impl Content {
    /// Where it is noted why it could not be read.
    pub(super) fn failure(&self) -> Option<Failure> {
        match self {
            Self::Reader { failure, .. } => Some(Arc::clone(failure)),
            Self::Empty | Self::Bytes(_) => None,
        }
    }
}

impl From<OpenBody> for Content {
    fn from(body: OpenBody) -> Self {
        match body {
            OpenBody::Bytes(bytes) => Self::Bytes(bytes),
            OpenBody::Reader { reader, length } => Self::Reader {
                left: length,
                reading: Reading::Ready(reader),
                failure: Failure::default(),
            },
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Reader {
                left,
                reading,
                failure,
            } => Poll::Ready(match ready!(reading.poll_next(context)) {
                Some(Ok(piece)) => {
                    if let Some(left) = left {
                        *left = left.saturating_sub(piece.len() as u64);
                    }
                    Some(Ok(Frame::data(piece)))
                }
                Some(Err(error)) => {
                    *failure.lock() = Some(error);
                    Some(Err("the content of the request cannot be read".into()))
                }
                None => None,
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Reader { left, reading, .. } => {
                *left == Some(0) || matches!(reading, Reading::Over)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Reader { left, .. } => left.map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}

impl Reading {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            match std::mem::replace(self, Self::Over) {
                Self::Over => return Poll::Ready(None),
                Self::Ready(mut reader) => {
                    let read = move || {
                        let piece = read_piece(&mut *reader);
                        (reader, piece)
                    };
                    *self = Self::Pending(Box::pin(FILES.run(read)));
                }
                Self::Pending(mut pending) => match pending.as_mut().poll(context) {
                    Poll::Pending => {
                        *self = Self::Pending(pending);
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(Ok((_, Err(error)))) => {
                        return Poll::Ready(Some(Err(Error::local_resource(error))));
                    }
                    Poll::Ready(Ok((reader, Ok(piece)))) => {
                        if piece.is_empty() {
                            return Poll::Ready(None);
                        }
                        *self = Self::Ready(reader);
                        return Poll::Ready(Some(Ok(piece)));
                    }
                },
            }
        }
    }
}

fn read_piece(reader: &mut (dyn Read + Send)) -> std::io::Result<Bytes> {
    let mut piece = Vec::with_capacity(PIECE);
    reader.take(PIECE as u64).read_to_end(&mut piece)?;
    Ok(piece.into())
}

/// The body of a response on its way in. It drives its connection, which is used again when all of it was received, and
/// closed when it is dropped before.
pub(crate) struct HyperBody {
    incoming: Incoming,
    connection: InUse,
    deadline: Option<Instant>,
    stall_timeout: Option<Duration>,
    /// Of the request, whose content may still be on its way.
    failure: Option<Failure>,
    /// How many pieces have come since it had to wait.
    pieces_in_turn: u32,
    /// Whether only the connection is of interest still.
    is_drained: bool,
}

/// How many pieces of a body come before the other attempts on its thread get their turn, however small they are.
const PIECES_PER_TURN: u32 = 512;

impl HyperBody {
    pub(super) fn new(
        incoming: Incoming,
        connection: InUse,
        failure: Option<Failure>,
        deadline: Option<Instant>,
        stall_timeout: Option<Duration>,
    ) -> Self {
        Self {
            incoming,
            connection,
            deadline,
            stall_timeout,
            failure,
            pieces_in_turn: 0,
            is_drained: false,
        }
    }

    pub(crate) fn remote_addr(&self) -> Option<SocketAddr> {
        self.connection.peer()
    }

    /// Ends earlier than its deadline, which then says nothing about the connection.
    pub(crate) fn end_by(&mut self, until: Instant) {
        self.is_drained = true;
        self.deadline = Some(self.deadline.map_or(until, |deadline| deadline.min(until)));
    }

    /// Waits for the next piece; an empty one is the end.
    pub(crate) async fn piece(&mut self) -> Result<Bytes, Error> {
        let (deadline, stall_timeout) = (self.deadline, self.stall_timeout);
        let piece = poll_fn(|context| self.poll_piece(context));
        match within(deadline, stall_timeout, piece).await {
            Some(piece) => piece,
            None => {
                if !self.is_drained {
                    self.connection.has_timed_out();
                }
                Err(Error::timeout())
            }
        }
    }

    /// Receives all of a body of a known length, in one piece. `note` is told what has come.
    pub(crate) async fn whole(&mut self, mut note: impl FnMut(usize)) -> Result<Bytes, Error> {
        let length = self.incoming.size_hint().exact().unwrap_or_default();
        let first = self.piece().await?;
        note(first.len());
        if first.len() as u64 == length {
            return Ok(detached(first));
        }
        let mut whole = BytesMut::with_capacity(expected_length(length));
        whole.extend_from_slice(&first);
        loop {
            let piece = self.piece().await?;
            note(piece.len());
            if piece.is_empty() {
                return Ok(whole.freeze());
            }
            whole.extend_from_slice(&piece);
        }
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, Error>> {
        loop {
            if self.pieces_in_turn >= PIECES_PER_TURN {
                self.pieces_in_turn = 0;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut frame = Pin::new(&mut self.incoming).poll_frame(context);
            if frame.is_pending() {
                self.connection.poll(context);
                frame = Pin::new(&mut self.incoming).poll_frame(context);
            }
            let Poll::Ready(frame) = frame else {
                self.pieces_in_turn = 0;
                return Poll::Pending;
            };
            self.pieces_in_turn += 1;
            match frame {
                Some(Ok(frame)) => {
                    // Trailers, which are not passed on.
                    let Ok(piece) = frame.into_data() else {
                        continue;
                    };
                    if self.incoming.is_end_stream() {
                        self.connection.poll_release(context);
                    }
                    if !piece.is_empty() {
                        return Poll::Ready(Ok(piece));
                    }
                }
                Some(Err(error)) => {
                    self.connection.close();
                    let unreadable = unreadable(self.failure.take());
                    let error = unreadable.unwrap_or_else(|| classify::body_error(error.into()));
                    return Poll::Ready(Err(error));
                }
                None => {
                    // Over HTTP/2, a stream that is reset without an error counts as ended.
                    if self
                        .incoming
                        .size_hint()
                        .exact()
                        .is_some_and(|left| left > 0)
                    {
                        return Poll::Ready(Err(Error::body_truncated("its stream has ended")));
                    }
                    self.connection.poll_release(context);
                    return Poll::Ready(Ok(Bytes::new()));
                }
            }
        }
    }
}
