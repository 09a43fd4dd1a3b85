//! The client's socket, with bytes read ahead of the protocol and the worker's counters.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::client::Client;

/// A client's connection: reads return `ahead` first.
pub(crate) struct ClientIo {
    stream: TcpStream,
    ahead: Bytes,
    /// Whether the client has stopped sending.
    ended: bool,
    client: Rc<Client>,
}

impl ClientIo {
    /// Returns the connection of `client`.
    pub(crate) fn new(stream: TcpStream, client: Rc<Client>) -> Self {
        Self { stream, ahead: Bytes::new(), ended: false, client }
    }

    /// Waits until the socket may be readable.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    /// Puts bytes back, to be read again.
    pub(crate) fn put_back(&mut self, bytes: Bytes) {
        debug_assert!(self.ahead.is_empty(), "two protocols read ahead at once");
        self.ahead = bytes;
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(count));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let count = buf.filled().len() - before;
        if count > 0 {
            self.client.received(count);
        } else if buf.remaining() > 0 && self.client.hides_end(!self.ended) {
            if !self.ended {
                self.ended = true;
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.client.sent(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(write_gathered(&mut self.stream, cx, bufs))?;
        self.client.sent(count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.client.flushed();
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Writes several pieces with one call. Short messages are first copied together: the system writes one piece much
/// faster than two.
pub(crate) fn write_gathered<S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [piece] = pieces {
        return Pin::new(stream).poll_write(cx, piece);
    }
    let mut whole = [0; MAX_COPIED];
    let mut length = 0;
    for piece in pieces {
        let Some(place) = whole.get_mut(length..length + piece.len()) else {
            return Pin::new(stream).poll_write_vectored(cx, pieces);
        };
        place.copy_from_slice(piece);
        length += piece.len();
    }
    Pin::new(stream).poll_write(cx, whole.get(..length).unwrap_or_default())
}

/// The maximum size of a message that is copied for a single write.
const MAX_COPIED: usize = 2048;

/// Relays both directions concurrently, each ending on its own: a half-closed side still receives.
pub(crate) async fn relay<U>(mut client: ClientIo, upstream: &mut U) -> io::Result<()>
where
    U: AsyncRead + AsyncWrite + Unpin,
{
    if client.ahead.has_remaining() {
        let ahead = std::mem::take(&mut client.ahead);
        tokio::io::AsyncWriteExt::write_all(upstream, &ahead).await?;
    }
    const BUFFER: usize = 16 * 1024;
    tokio::io::copy_bidirectional_with_sizes(&mut client, upstream, BUFFER, BUFFER).await?;
    Ok(())
}
