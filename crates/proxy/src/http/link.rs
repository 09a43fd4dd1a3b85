//! A connection to an upstream, driven by whoever uses it.
//!
//! It has no task of its own: the client's task polls it while it awaits a response or passes a
//! body on. So an exchange costs no wake-up between tasks, and a client that goes takes its
//! upstream connection with it. Between two requests nobody polls it; whether the upstream has
//! closed it shows when it is polled before its next use, and in the sweep.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop::unconstrained;

use super::BUFFER;
use super::body::RequestBody;
use crate::io::write_gathered;
use crate::worker::Worker;

/// Why an exchange gave no response.
pub(super) enum Failure {
    /// The request was not sent; here it is.
    Unsent(Box<Request<RequestBody>>),
    /// It was sent at least in part, and the connection ended without a byte of a response.
    Silent,
    /// The upstream did not begin its response in time.
    Late,
    /// What came was no HTTP response.
    Broken,
}

/// One connection.
pub(crate) struct Link {
    sender: SendRequest<RequestBody>,
    /// None once it has ended.
    connection: Option<Connection<TokioIo<LinkIo>, RequestBody>>,
    ended: bool,
    state: Rc<LinkState>,
    worker: Rc<Worker>,
    key: usize,
}

/// What is left of a connection that changed its protocol.
pub(crate) struct LinkParts {
    pub(super) io: LinkIo,
    /// What the upstream has already sent of the other protocol.
    pub(super) ahead: Bytes,
}

impl Link {
    /// Speaks HTTP over a connection that was just opened.
    pub(super) async fn over(stream: TcpStream, worker: &Rc<Worker>) -> hyper::Result<Box<Self>> {
        let state = Rc::new(LinkState::default());
        let io = TokioIo::new(LinkIo { stream, state: Rc::clone(&state) });
        let (sender, connection) = http1::Builder::new().max_buf_size(BUFFER).handshake(io).await?;
        let key = worker.look_after(&state);
        let worker = Rc::clone(worker);
        Ok(Box::new(Self { sender, connection: Some(connection), ended: false, state, worker, key }))
    }

    /// What the sweep knows of it.
    pub(super) fn state(&self) -> &Rc<LinkState> {
        &self.state
    }

    /// Moves it on; whether it has ended.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.ended
            && let Some(connection) = &mut self.connection
        {
            self.ended = connection.poll_without_shutdown(cx).is_ready();
        }
        self.ended
    }

    /// Moves it on, and remembers whom to wake if it is late.
    pub(super) fn poll_watched(&mut self, cx: &mut Context<'_>) -> bool {
        self.state.watch(cx.waker());
        self.poll(cx)
    }

    /// Whether the next request may go over it. Nobody is woken by what happens to it from here on.
    pub(crate) fn is_usable(&mut self) -> bool {
        !self.poll(&mut Context::from_waker(Waker::noop())) && self.sender.is_ready()
    }

    /// Whether the last exchange is complete, both ways.
    pub(crate) fn is_reusable(&mut self) -> bool {
        self.state.deadline.set(u64::MAX);
        (!self.ended && self.sender.is_ready()) || self.is_usable()
    }

    /// Sends a request and awaits the head of its response.
    pub(super) async fn exchange(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Failure> {
        let received = self.state.received.get();
        self.state.expect_within(&self.worker, self.worker.settings.timeouts.response);
        // The answer is made by our own poll of the connection, right before we look for it: there
        // is nobody to wake, and no budget to spend.
        let mut answer = pin!(unconstrained(self.sender.try_send_request(request)));
        let mut nobody = Context::from_waker(Waker::noop());
        let outcome = poll_fn(|cx| {
            self.state.watch(cx.waker());
            if self.state.late.get() {
                return Poll::Ready(None);
            }
            if !self.ended
                && let Some(connection) = &mut self.connection
            {
                self.ended = connection.poll_without_shutdown(cx).is_ready();
            }
            if let Poll::Ready(outcome) = answer.as_mut().poll(&mut nobody) {
                return Poll::Ready(Some(outcome));
            }
            if !self.ended {
                return Poll::Pending;
            }
            // Gone with the connection, an answer that was not given becomes an error.
            self.connection = None;
            answer.as_mut().poll(&mut nobody).map(Some)
        });
        match outcome.await {
            None => Err(Failure::Late),
            Some(Ok(response)) => {
                self.state.expect_within(&self.worker, self.worker.settings.timeouts.tunnel);
                Ok(response)
            }
            Some(Err(mut error)) => match error.take_message() {
                Some(request) => Err(Failure::Unsent(Box::new(request))),
                None if self.state.received.get() == received => {
                    tracing::debug!(error = %error.error(), "an upstream connection ended");
                    Err(Failure::Silent)
                }
                None => {
                    tracing::debug!(error = %error.error(), "an upstream does not speak HTTP");
                    Err(Failure::Broken)
                }
            },
        }
    }

    /// Takes the connection back from HTTP, after a response that changed the protocol.
    pub(super) async fn into_parts(mut self) -> Option<LinkParts> {
        poll_fn(|cx| if self.poll_watched(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        let parts = self.connection.take()?.into_parts();
        Some(LinkParts { io: parts.io.into_inner(), ahead: parts.read_buf })
    }

    /// The worker it belongs to.
    pub(super) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.worker.forget(self.key);
    }
}

/// What the sweep knows of a connection to an upstream.
pub(crate) struct LinkState {
    /// When the upstream must have moved, in the worker's milliseconds.
    deadline: Cell<u64>,
    late: Cell<bool>,
    received: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

impl Default for LinkState {
    fn default() -> Self {
        Self {
            deadline: Cell::new(u64::MAX),
            late: Cell::new(false),
            received: Cell::new(0),
            waker: RefCell::new(None),
        }
    }
}

impl LinkState {
    /// The upstream must move within `longest`.
    pub(super) fn expect_within(&self, worker: &Worker, longest: std::time::Duration) {
        self.deadline.set(worker.deadline(longest));
    }

    /// It is not the upstream's turn.
    pub(super) fn expect_nothing(&self) {
        self.deadline.set(u64::MAX);
    }

    /// Whether it did not move in time.
    pub(super) fn is_late(&self) -> bool {
        self.late.get()
    }

    fn watch(&self, waker: &Waker) {
        let mut kept = self.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|k| k.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }

    /// Tells whoever uses the connection if its time is over at `now`.
    pub(crate) fn look(&self, now: u64) {
        if now > self.deadline.get() {
            self.late.set(true);
            if let Some(waker) = self.waker.borrow().as_ref() {
                waker.wake_by_ref();
            }
        }
    }
}

/// The upstream's socket, which tells whether anything came.
pub(crate) struct LinkIo {
    stream: TcpStream,
    state: Rc<LinkState>,
}

impl AsyncRead for LinkIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.state.received.set(self.state.received.get() + (buf.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LinkIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        write_gathered(&mut self.stream, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
