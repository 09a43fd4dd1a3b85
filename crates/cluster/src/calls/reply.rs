//! A peer's reply, as it comes.

use futures_util::stream::{self, StreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use longshore_model::{CallError, Output};
use longshore_runtime::{Reply, chain};
use longshore_wire::call::{Frames, ReplyFrame};
use tokio::sync::watch;

use super::connection::{OnConnection, ended};

/// Reads the frames of a reply.
pub(super) struct ReplyReader {
    /// The peer's name.
    host: String,
    body: Incoming,
    frames: Frames,
    ended: watch::Receiver<Option<String>>,
    _connection: OnConnection,
}

impl ReplyReader {
    pub(super) fn new(
        host: String,
        body: Incoming,
        ended: watch::Receiver<Option<String>>,
        connection: OnConnection,
    ) -> Self {
        Self { host, body, frames: Frames::default(), ended, _connection: connection }
    }

    /// Waits for the next frame.
    async fn next(&mut self) -> Result<ReplyFrame, CallError> {
        loop {
            let taken = self.frames.take().map_err(|error| CallError::Broken(chain(&error)))?;
            if let Some(frame) = taken {
                return Ok(frame);
            }
            let received = tokio::select! {
                received = self.body.frame() => received,
                why = ended(&mut self.ended) => {
                    return Err(CallError::Unreachable { host: self.host.clone(), why });
                }
            };
            match received {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.frames.push(&bytes);
                    }
                }
                Some(Err(error)) => return Err(CallError::Broken(chain(&error))),
                None => return Err(CallError::Broken("the host cut it off".to_owned())),
            }
        }
    }

    /// Waits for the next piece of a stream; `None` at its end.
    async fn piece(&mut self) -> Result<Option<Output>, CallError> {
        match self.next().await? {
            ReplyFrame::Output(output) => Ok(Some(output)),
            ReplyFrame::Done => Ok(None),
            ReplyFrame::Failed(error) => Err(error),
            frame @ (ReplyFrame::Already | ReplyFrame::Json(_) | ReplyFrame::Opened) => {
                Err(CallError::Broken(format!("unexpected frame {frame:?}")))
            }
        }
    }
}

/// Reads the beginning of a reply; the rest of a stream follows as it is taken.
pub(super) async fn begin(mut reader: ReplyReader) -> Result<Reply, CallError> {
    match reader.next().await? {
        ReplyFrame::Done => Ok(Reply::Done),
        ReplyFrame::Already => Ok(Reply::Already),
        ReplyFrame::Json(json) => Ok(Reply::Json(json)),
        ReplyFrame::Failed(error) => Err(error),
        ReplyFrame::Output(_) => Err(CallError::Broken("a stream did not open".to_owned())),
        ReplyFrame::Opened => {
            let pieces = stream::unfold(Some(reader), |reader| async {
                let mut reader = reader?;
                match reader.piece().await {
                    Ok(Some(piece)) => Some((Ok(piece), Some(reader))),
                    Ok(None) => None,
                    Err(error) => Some((Err(error), None)),
                }
            });
            Ok(Reply::Stream(pieces.boxed()))
        }
    }
}
