//! The side that is called.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame as BodyFrame, Incoming};
use longshore_model::{Call, CallError, HostId, Input};
use longshore_runtime::{Execute, OutputStream, Reply, Session};
use longshore_wire::call::{CallRow, Frame, FrameError, Frames, InputFrame, MAX_JSON, ReplyFrame};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::PATH;
use super::once::{Once, Outcome};
use crate::peer::{Body, empty};

/// How long a call may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);

/// Carries out peers' calls on this host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CallServer {
    own: Arc<dyn Execute>,
    /// The run of this host's agent.
    run: u64,
    once: Once,
}

impl CallServer {
    /// Creates a server that has `own` carry out the calls, in this run of the host's agent.
    pub fn new(own: Arc<dyn Execute>, run: u64) -> Self {
        Self { own, run, once: Once::default() }
    }

    /// Answers a request of a peer; with 404, if it is no call.
    pub async fn answer(&self, from: HostId, request: Request<Incoming>) -> Response<Body> {
        if request.uri().path() != PATH {
            return status(StatusCode::NOT_FOUND);
        }
        if request.method() != Method::POST {
            return status(StatusCode::METHOD_NOT_ALLOWED);
        }
        let mut incoming = Received { body: request.into_body(), frames: Frames::default() };
        let row = match timeout(ARRIVAL, incoming.next::<CallRow>()).await {
            Ok(Ok(Some(row))) => row,
            Ok(Ok(None)) | Err(_) => return status(StatusCode::BAD_REQUEST),
            Ok(Err(error)) => {
                tracing::warn!(%from, %error, "a peer's call cannot be read");
                let error =
                    CallError::Invalid("the host does not know this call: is its release older?".to_owned());
                return Response::new(whole(&ReplyFrame::Failed(error)));
            }
        };
        Response::new(self.body(from, row, incoming).await)
    }

    async fn body(&self, from: HostId, row: CallRow, incoming: Received) -> Body {
        let key = row.key().map(str::to_owned);
        let is_of_another_run = row.is_of_another_run(self.run);
        let (call, limit) = row.into_call();
        if call.is_order() {
            if is_of_another_run {
                let why = "its agent was replaced meanwhile: the order may have been carried out".to_owned();
                return whole(&ReplyFrame::Failed(CallError::Broken(why)));
            }
            tracing::info!(%from, order = described(&call), "a peer ordered this");
            return whole(&frame(self.order(from, key, call, limit).await));
        }
        match self.own.execute(call, limit).await {
            Ok(Reply::Stream(output)) => streamed(output, None),
            Ok(Reply::Session(Session { output, input })) => {
                let pump = AbortOnDropHandle::new(tokio::spawn(pass_on(incoming, input)));
                streamed(output, Some(pump))
            }
            reply => whole(&frame(reply.into())),
        }
    }

    async fn order(&self, from: HostId, key: Option<String>, call: Call, limit: Duration) -> Outcome {
        let own = Arc::clone(&self.own);
        let order = || async move { own.execute(call, limit).await };
        match key {
            Some(key) => self.once.carry_out((from, key), order).await,
            None => order().await.into(),
        }
    }
}

/// Describes an order for the log. A container's definition may have secrets.
fn described(call: &Call) -> String {
    match call {
        Call::Container { id, call } => format!("{id}: {call:?}"),
        Call::CreateContainer(new) => format!("create {}", new.name.as_deref().unwrap_or("a container")),
        Call::Agent(call) => format!("{call:?}"),
        Call::ListContainers | Call::ListImages | Call::PullImage { .. } => format!("{call:?}"),
    }
}

/// The frames of a request.
struct Received {
    body: Incoming,
    frames: Frames,
}

impl Received {
    /// Waits for the next frame; `None` at the end of the body, whether it is whole or broke off.
    async fn next<T: Frame>(&mut self) -> Result<Option<T>, FrameError> {
        loop {
            if let Some(frame) = self.frames.take()? {
                return Ok(Some(frame));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.frames.push(&bytes);
                    }
                }
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }
}

/// Passes a session's input on, as fast as the command reads it.
async fn pass_on(mut incoming: Received, input: mpsc::Sender<Input>) {
    while let Ok(Some(InputFrame(piece))) = incoming.next().await {
        if input.send(piece).await.is_err() {
            return;
        }
    }
}

fn frame(outcome: Outcome) -> ReplyFrame {
    match outcome {
        Outcome::Done => ReplyFrame::Done,
        Outcome::Already => ReplyFrame::Already,
        Outcome::Json(json) if json.len() > MAX_JSON => {
            ReplyFrame::Failed(CallError::Broken(format!("it is longer than {MAX_JSON} bytes")))
        }
        Outcome::Json(json) => ReplyFrame::Json(json),
        Outcome::Failed(error) => ReplyFrame::Failed(error),
    }
}

fn whole(frame: &ReplyFrame) -> Body {
    Full::new(frame.encode()).map_err(|never| match never {}).boxed_unsync()
}

/// Returns output as a body: a piece is asked for when the one before it has been sent. `pump` lives as long as the body.
fn streamed(output: OutputStream, pump: Option<AbortOnDropHandle<()>>) -> Body {
    let pieces = stream::unfold((Some(output), pump), |(output, pump)| async {
        let mut output = output?;
        let (frames, rest) = match output.next().await {
            Some(Ok(piece)) => (ReplyFrame::of_output(piece), Some(output)),
            Some(Err(error)) => (vec![ReplyFrame::Failed(error)], None),
            None => (vec![ReplyFrame::Done], None),
        };
        Some((joined(&frames), (rest, pump)))
    });
    let opened = stream::once(async { ReplyFrame::Opened.encode() });
    let body = opened.chain(pieces).map(|bytes| Ok(BodyFrame::data(bytes)));
    StreamBody::new(body).boxed_unsync()
}

fn joined(frames: &[ReplyFrame]) -> Bytes {
    match frames {
        [only] => only.encode(),
        frames => {
            let all = frames.iter().map(Frame::encode);
            all.fold(BytesMut::new(), |mut bytes, frame| {
                bytes.extend_from_slice(&frame);
                bytes
            })
            .freeze()
        }
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    response
}
