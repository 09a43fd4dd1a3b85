//! Bodies are streamed frame by frame: nothing is collected, and backpressure from one side slows the other.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::pool::Pool;
use super::upstream::UpstreamConn;
use crate::backend::Backend;
use crate::deadline::Deadline;
use crate::request::{RequestGuard, Turn};
use crate::shard::Shard;

/// Why a body was cut short.
type Broken = Box<dyn std::error::Error + Send + Sync>;

/// A request's body, towards the upstream.
#[derive(Clone)]
pub(crate) enum RequestBody {
    /// No body.
    Empty,
    /// The client's.
    Client(Rc<ClientBody>),
}

/// The body that a client sends.
pub(crate) struct ClientBody {
    incoming: RefCell<Incoming>,
    begun: Cell<bool>,
    broken: Cell<bool>,
    turn: Turn,
    shard: Rc<Shard>,
    /// The deadline of the upstream that receives it.
    deadline: RefCell<Option<Rc<Deadline>>>,
}

impl RequestBody {
    /// Returns the body of a request.
    pub(super) fn of(incoming: Incoming, request: &RequestGuard, shard: &Rc<Shard>) -> Self {
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        let turn = request.turn().clone();
        turn.client().unread.set(true);
        Self::Client(Rc::new(ClientBody {
            incoming: RefCell::new(incoming),
            begun: Cell::new(false),
            broken: Cell::new(false),
            turn,
            shard: Rc::clone(shard),
            deadline: RefCell::new(None),
        }))
    }

    /// Returns whether all of it can still be sent.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client(body) => !body.begun.get(),
        }
    }

    /// Returns whether the client aborted or sent a malformed body.
    pub(super) fn is_broken(&self) -> bool {
        match self {
            Self::Empty => false,
            Self::Client(body) => body.broken.get(),
        }
    }

    /// Returns whether its length is not known yet.
    pub(super) fn is_unbounded(&self) -> bool {
        self.size_hint().exact().is_none()
    }

    /// Sends it to the upstream with this deadline.
    pub(super) fn goes_to(&self, deadline: &Rc<Deadline>) {
        if let Self::Client(body) = self {
            *body.deadline.borrow_mut() = Some(Rc::clone(deadline));
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Self::Client(body) = &*self else { return Poll::Ready(None) };
        let mut incoming = body.incoming.borrow_mut();
        let polled = Pin::new(&mut *incoming).poll_frame(cx);
        body.turn.body(polled.is_pending());
        if let Some(deadline) = &*body.deadline.borrow() {
            if polled.is_pending() {
                deadline.clear();
            } else {
                deadline.set(body.shard.settings.timeouts.response);
            }
        }
        if let Poll::Ready(frame) = &polled {
            body.begun.set(true);
            body.broken.set(matches!(frame, Some(Err(_))));
            if frame.is_none() || incoming.is_end_stream() {
                body.turn.client().unread.set(false);
            }
        }
        polled.map(|frame| frame.map(|result| result.map_err(Broken::from)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client(body) => body.incoming.borrow().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client(body) => body.incoming.borrow().size_hint(),
        }
    }
}

/// A response's body, towards the client.
pub(super) enum ResponseBody {
    /// The balancer's own.
    Own(Full<Bytes>),
    /// An upstream's.
    Upstream(UpstreamBody),
}

/// A body that an upstream sends. It drives the upstream's connection, and returns it to the pool at its end; dropped
/// before that, it closes the connection.
pub(super) struct UpstreamBody {
    incoming: Incoming,
    conn: Option<Box<UpstreamConn<RequestBody>>>,
    backend: Rc<Backend>,
    pool: Rc<Pool<RequestBody>>,
    /// The error that cut it short, until the client has received what came before.
    broken: Option<(Broken, u64)>,
    guard: RequestGuard,
}

impl ResponseBody {
    /// Returns a body without bytes.
    pub(super) fn empty() -> Self {
        Self::Own(Full::default())
    }
}

impl UpstreamBody {
    /// Returns the body that `backend` sends over `conn`; `conn` goes to `pool` at its end.
    pub(super) fn passed_on(
        incoming: Incoming,
        conn: Box<UpstreamConn<RequestBody>>,
        backend: Rc<Backend>,
        pool: &Rc<Pool<RequestBody>>,
        guard: RequestGuard,
    ) -> ResponseBody {
        if incoming.is_end_stream() {
            pool.keep(&backend, conn);
            return ResponseBody::empty();
        }
        let (conn, pool) = (Some(conn), Rc::clone(pool));
        ResponseBody::Upstream(Self { incoming, conn, backend, pool, broken: None, guard })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.broken.is_some() {
            return self.poll_broken();
        }
        let polled = self.poll_upstream(cx);
        if polled.is_ready()
            && let Some(conn) = &self.conn
        {
            conn.expect_more();
        }
        self.guard.turn().response(polled.is_ready());
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                if self.incoming.is_end_stream() {
                    self.give_back();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.give_back();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.conn = None;
                self.backend.log("upstream broke off a response", &error);
                // An error would discard data that was handed over and not written yet: that goes first.
                self.broken = Some((error, self.guard.turn().client().flushes()));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        // Frames are produced by our own poll of the connection: there is no task to wake.
        let mut nobody = Context::from_waker(Waker::noop());
        let mut polled = Pin::new(&mut self.incoming).poll_frame(&mut nobody);
        if polled.is_pending() {
            match &mut self.conn {
                Some(conn) if conn.deadline().has_passed() => {
                    return Poll::Ready(Some(Err("timed out".into())));
                }
                Some(conn) => {
                    let ended = conn.poll_watched(cx);
                    polled = Pin::new(&mut self.incoming).poll_frame(&mut nobody);
                    if ended && polled.is_pending() {
                        // Dropping the connection turns missing data into an error.
                        self.conn = None;
                        polled = Pin::new(&mut self.incoming).poll_frame(cx);
                    }
                }
                None => polled = Pin::new(&mut self.incoming).poll_frame(cx),
            }
        }
        polled.map_err(Broken::from)
    }

    /// Returns the error once the data before it is written. The client connection polls this body after each write.
    fn poll_broken(&mut self) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let client = self.guard.turn().client();
        match self.broken.take() {
            Some((error, flushes)) if client.is_multiplexed() || client.flushes() > flushes => {
                Poll::Ready(Some(Err(error)))
            }
            waits => {
                self.broken = waits;
                Poll::Pending
            }
        }
    }

    fn give_back(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.pool.keep(&self.backend, conn);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Own(full) => {
                Pin::new(full).poll_frame(cx).map(|frame| frame.map(|result| result.map_err(|e| match e {})))
            }
            Self::Upstream(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(full) => full.is_end_stream(),
            Self::Upstream(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(full) => full.size_hint(),
            Self::Upstream(body) => body.incoming.size_hint(),
        }
    }
}
