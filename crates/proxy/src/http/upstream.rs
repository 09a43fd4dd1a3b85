//! A connection to an upstream, driven by its user.
//!
//! It has no task of its own: the client's task polls it while it awaits a response or passes a body on. An exchange
//! therefore costs no wake-up between tasks, and a client that disconnects closes its upstream connection too.
//! Between requests it is not polled; whether the upstream has closed it is checked before its next use, and in the
//! sweep.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::unconstrained;

use crate::deadline::{Deadline, DeadlineGuard};
use crate::shard::Shard;
use crate::upstream::UpstreamStream;

/// Maximum number of buffered bytes of a message that is passed on.
const BUFFER: usize = 64 * 1024;

/// Why an exchange has no response.
pub(super) enum Failure<B> {
    /// The request was not sent; it is returned.
    Unsent(Box<Request<B>>),
    /// It was sent at least in part, and the connection ended without a byte of a response.
    Silent,
    /// The upstream did not begin its response in time.
    Late,
    /// The response is not valid HTTP, and why.
    Broken(hyper::Error),
}

/// One connection, for requests with bodies `B`.
pub(crate) struct UpstreamConn<B>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    sender: SendRequest<B>,
    /// `None` once it has ended.
    connection: Option<Connection<TokioIo<UpstreamIo>, B>>,
    ended: bool,
    received: Rc<Cell<u64>>,
    deadline: DeadlineGuard,
    shard: Rc<Shard>,
}

/// A connection that changed its protocol.
pub(super) struct Upgraded {
    pub(super) io: UpstreamIo,
    /// Bytes that the upstream has already sent in the new protocol.
    pub(super) ahead: Bytes,
}

impl<B> UpstreamConn<B>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Speaks HTTP over a connection that was just opened.
    pub(super) async fn over(stream: UpstreamStream, shard: &Rc<Shard>) -> hyper::Result<Box<Self>> {
        let received = Rc::new(Cell::new(0));
        let io = TokioIo::new(UpstreamIo { stream, received: Rc::clone(&received) });
        let (sender, connection) = http1::Builder::new().max_buf_size(BUFFER).handshake(io).await?;
        Ok(Box::new(Self {
            sender,
            connection: Some(connection),
            ended: false,
            received,
            deadline: shard.deadlines.add(),
            shard: Rc::clone(shard),
        }))
    }

    /// Returns the deadline by which the upstream must make progress.
    pub(super) fn deadline(&self) -> &Rc<Deadline> {
        self.deadline.get()
    }

    /// Returns the shard that it belongs to.
    pub(super) fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Allows the upstream the silence of a tunnel or of a response's body.
    pub(super) fn expect_more(&self) {
        self.deadline().set(self.shard.settings.timeouts.tunnel);
    }

    /// Polls it, and returns whether it has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.ended
            && let Some(connection) = &mut self.connection
        {
            self.ended = connection.poll_without_shutdown(cx).is_ready();
        }
        self.ended
    }

    /// Polls it, stores the waker for its deadline, and returns whether it has ended.
    pub(super) fn poll_watched(&mut self, cx: &mut Context<'_>) -> bool {
        self.deadline().watch(cx.waker());
        self.poll(cx)
    }

    /// Returns whether it can take the next request. Nothing is woken by its events from now on.
    pub(super) fn is_usable(&mut self) -> bool {
        !self.poll(&mut Context::from_waker(Waker::noop())) && self.sender.is_ready()
    }

    /// Returns whether the last exchange is complete, both ways.
    pub(super) fn is_reusable(&mut self) -> bool {
        self.deadline().clear();
        (!self.ended && self.sender.is_ready()) || self.is_usable()
    }

    /// Sends a request and awaits the head of its response.
    pub(super) async fn exchange(&mut self, request: Request<B>) -> Result<Response<Incoming>, Failure<B>> {
        let received = self.received.get();
        self.deadline().set(self.shard.settings.timeouts.response);
        // The answer is produced by our own poll of the connection, right before we check for it: there is no task to
        // wake, and no budget to spend.
        let mut answer = pin!(unconstrained(self.sender.try_send_request(request)));
        let mut nobody = Context::from_waker(Waker::noop());
        let deadline = self.deadline.get();
        let outcome = poll_fn(|cx| {
            deadline.watch(cx.waker());
            if deadline.has_passed() {
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
            // Dropping the connection turns a missing answer into an error.
            self.connection = None;
            answer.as_mut().poll(&mut nobody).map(Some)
        });
        match outcome.await {
            None => Err(Failure::Late),
            Some(Ok(response)) => {
                self.expect_more();
                Ok(response)
            }
            Some(Err(mut error)) => match error.take_message() {
                Some(request) => Err(Failure::Unsent(Box::new(request))),
                None if self.received.get() == received => {
                    tracing::debug!(error = %error.error(), "upstream connection ended without a response");
                    Err(Failure::Silent)
                }
                None => Err(Failure::Broken(error.into_error())),
            },
        }
    }

    /// Takes the connection back from HTTP, after a response that changed the protocol.
    pub(super) async fn into_upgraded(mut self) -> Option<Upgraded> {
        poll_fn(|cx| if self.poll_watched(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        let parts = self.connection.take()?.into_parts();
        Some(Upgraded { io: parts.io.into_inner(), ahead: parts.read_buf })
    }
}

/// The upstream's socket, which records whether anything arrived.
pub(super) struct UpstreamIo {
    stream: UpstreamStream,
    received: Rc<Cell<u64>>,
}

impl AsyncRead for UpstreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.received.set(self.received.get() + (buf.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
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
