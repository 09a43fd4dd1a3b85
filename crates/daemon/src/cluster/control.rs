//! What hosts order of each other about the cluster itself: this host's side of it, and the way to another's.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use longshore_cluster::identity::Identity;
use longshore_cluster::peer::{self, Body, PeerHandler};
use longshore_cluster::secret::Step;
use longshore_model::HostId;
use longshore_runtime::chain;
use longshore_wire::control::{CONTROL, ControlRow, MAX_CONTROL, SecretRow};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

use super::membership::{Membership, WeakMembership};

/// How long another host may take to obey.
pub(super) const LIMIT: Duration = Duration::from_secs(5);
/// How long a reply has to leave before what carries it ends.
const REPLY_PAUSE: Duration = Duration::from_millis(200);

/// Why another host did not obey.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    /// No such host is known.
    #[error("unknown host")]
    Unknown,
    /// It is not reached.
    #[error("cannot reach it: {0}")]
    Unreachable(String),
    /// It did not answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// It refused.
    #[error("{0}")]
    Refused(String),
}

/// Answers orders, and passes on all other calls.
pub(super) struct Control<H> {
    membership: WeakMembership,
    others: H,
}

impl<H> Control<H> {
    pub(super) fn new(membership: &Membership, others: H) -> Self {
        Self { membership: membership.downgrade(), others }
    }
}

impl<H: PeerHandler> PeerHandler for Control<H> {
    async fn call(&self, from: HostId, call: Request<Incoming>) -> Response<Body> {
        if call.uri().path() != CONTROL {
            return self.others.call(from, call).await;
        }
        if call.method() != Method::POST {
            return reply(StatusCode::METHOD_NOT_ALLOWED, "POST only");
        }
        let Ok(body) = Limited::new(call.into_body(), MAX_CONTROL).collect().await else {
            return reply(StatusCode::BAD_REQUEST, "the order broke off, or is too long");
        };
        let Ok(order) = serde_json::from_slice::<ControlRow>(&body.to_bytes()) else {
            return reply(StatusCode::BAD_REQUEST, "this release does not know the order");
        };
        let Some(membership) = self.membership.upgrade() else {
            return reply(StatusCode::CONFLICT, "the agent is shutting down");
        };
        match obey(&membership, from, order).await {
            Ok(json) => reply(StatusCode::OK, json),
            Err(why) => reply(StatusCode::CONFLICT, why),
        }
    }

    async fn relay(&self, from: HostId, stream: TlsStream<TcpStream>) {
        self.others.relay(from, stream).await;
    }
}

/// Obeys another host. Returns JSON, or why not.
async fn obey(membership: &Membership, from: HostId, order: ControlRow) -> Result<String, String> {
    let json = |value: serde_json::Value| Ok(value.to_string());
    let step = match order {
        ControlRow::Look => {
            let look = membership.look().await;
            return serde_json::to_string(&look).map_err(|error| error.to_string());
        }
        ControlRow::Leave => {
            tracing::info!(%from, "leaving the cluster, as another host ordered");
            let membership = membership.clone();
            tokio::spawn(async move {
                tokio::time::sleep(REPLY_PAUSE).await;
                membership.leave().await;
            });
            return json(serde_json::Value::Null);
        }
        ControlRow::Label { changes } => {
            let labels = membership.labels().change(&changes).map_err(|error| chain(&error))?;
            return json(serde_json::json!(labels));
        }
        ControlRow::Accept { secret: SecretRow(text) } => {
            Step::Accept(text.parse().map_err(|error| format!("{error}"))?)
        }
        ControlRow::Prefer { fingerprint } => Step::Prefer(fingerprint),
        ControlRow::Keep { fingerprint } => Step::Keep(fingerprint),
    };
    membership.take_step(&step, Instant::now()).await.map_err(|error| chain(&error))?;
    if matches!(step, Step::Keep(_)) {
        // The connection that brought the order ends with the key that it may have been opened with.
        let membership = membership.clone();
        tokio::spawn(async move {
            tokio::time::sleep(REPLY_PAUSE).await;
            membership.trust_ring().await;
        });
    }
    json(serde_json::Value::Null)
}

/// Orders something of another host, and returns its reply, which is JSON.
pub(super) async fn order(
    identity: &Identity,
    host: HostId,
    address: SocketAddr,
    order: &ControlRow,
) -> Result<Bytes, OrderError> {
    let unreachable = |why: String| OrderError::Unreachable(why);
    let asked = async {
        let client = peer::connect(identity, host, address).await.map_err(|e| unreachable(chain(&e)))?;
        let body = serde_json::to_vec(order).map_err(|error| unreachable(error.to_string()))?;
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
        let call = Request::post(format!("https://{host}{CONTROL}")).body(body);
        let call = call.map_err(|error| unreachable(error.to_string()))?;
        let response = client.call(call).await.map_err(|error| unreachable(chain(&error)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_CONTROL).collect().await;
        let body = body.map_err(|error| unreachable(error.to_string()))?.to_bytes();
        match status {
            StatusCode::OK => Ok(body),
            StatusCode::NOT_FOUND => {
                Err(OrderError::Refused("its release does not know this order".to_owned()))
            }
            _ => Err(OrderError::Refused(String::from_utf8_lossy(&body).into_owned())),
        }
    };
    timeout(LIMIT, asked).await.unwrap_or(Err(OrderError::Silent(LIMIT)))
}

fn reply(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(text.into()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
