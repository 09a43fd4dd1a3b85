use std::time::Duration;

use axum::Json;
use axum::body::Body as ResponseBody;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use longshore_api::{Failure, HostImages, PullRequest, PullUpdate};
use longshore_model::{Call, CallError, HostId, ImageReference, Output};
use longshore_runtime::{OutputStream, Reply};
use serde_json::value::RawValue;

use super::Api;
use super::body::Body;
use super::errors::Refusal;
use super::output::LINES;
use super::params::{Params, invalid};
use super::target::{QUESTION, explained};
use crate::calls::Caller;

/// How long a registry may take to begin its answer.
const PULL_BEGINS: Duration = Duration::from_secs(120);
/// How long a pull may go without progress.
const PULL_PAUSE: Duration = Duration::from_secs(300);

/// Lists the images of all hosts.
///
/// A host that does not answer within 20 seconds has an `error` instead.
#[utoipa::path(
    get,
    path = "/v1/images",
    operation_id = "list_images",
    tag = "images",
    params(("host" = Option<Vec<String>>, Query, description = "Only those of this host; may be given several times.")),
    responses(
        (status = 200, description = "The images, host by host.", body = Vec<HostImages>),
        (status = 404, description = "There is no such host.", body = Failure)
    )
)]
pub(super) async fn images(State(api): State<Api>, params: Params) -> Result<Response, Refusal> {
    let hosts = chosen(&api, Some(params.all("host")).filter(|hosts| !hosts.is_empty()).as_deref())?;
    let replies = api.caller.ask_all(hosts, &Call::ListImages, QUESTION).await;
    let all = replies.into_iter().map(|(id, reply)| {
        let host = api.host_name(id);
        let images = reply.and_then(|reply| match reply {
            Reply::Json(json) => {
                serde_json::from_slice(&json).map_err(|error| CallError::Broken(error.to_string()))
            }
            reply => Err(unexpected(&reply)),
        });
        match images {
            Ok(images) => HostImages { host, images: Some(images), error: None },
            Err(error) => HostImages { images: None, error: Some(explained(&host, &error)), host },
        }
    });
    Ok(Json(all.collect::<Vec<_>>()).into_response())
}

/// Pulls an image on all hosts, or on those that are named.
///
/// The answer is a stream of JSON values, one in each line: progress of a host, and the end of each, with the error if it
/// failed.
#[utoipa::path(
    post,
    path = "/v1/images/pull",
    operation_id = "pull_image",
    tag = "images",
    request_body(content = PullRequest, description = "The image, and the hosts that pull it."),
    responses(
        (
            status = 200,
            description = "The progress of each host, and its end.",
            body = PullUpdate,
            content_type = "application/x-ndjson"
        ),
        (status = 404, description = "There is no such host.", body = Failure)
    )
)]
pub(super) async fn pull(
    State(api): State<Api>,
    Body(PullRequest { image, hosts }): Body<PullRequest>,
) -> Result<Response, Refusal> {
    if let Err(error) = image.parse::<ImageReference>() {
        return Err(invalid("image", &image, &error));
    }
    let hosts = chosen(&api, hosts.as_deref())?;
    tracing::info!(image, hosts = hosts.len(), "a client of the API pulls this image");
    let pulls = hosts.into_iter().map(|host| of_host(api.clone(), host, image.clone()));
    let lines = stream::select_all(pulls).map(|update| {
        let mut line = serde_json::to_vec(&update).unwrap_or_default();
        line.push(b'\n');
        Ok::<_, std::convert::Infallible>(Bytes::from(line))
    });
    Ok(([(header::CONTENT_TYPE, LINES)], ResponseBody::from_stream(lines)).into_response())
}

/// Returns the hosts with these names or ids; all if none are named.
fn chosen(api: &Api, names: Option<&[String]>) -> Result<Vec<HostId>, Refusal> {
    match names {
        None => Ok(api.all_hosts()),
        Some(names) => names.iter().map(|name| api.host_named(name)).collect(),
    }
}

/// The pull of one host.
enum Pull {
    Begins { image: String },
    Runs(OutputStream),
    Ended,
}

fn of_host(api: Api, id: HostId, image: String) -> BoxStream<'static, PullUpdate> {
    let host = api.host_name(id);
    let updates = stream::unfold(Pull::Begins { image }, move |pull| {
        let (caller, host) = (api.caller.clone(), host.clone());
        async move {
            let outcome = match step(&caller, id, pull).await {
                Step::Over => return None,
                Step::Progress(progress, pull) => return Some((update(host, Some(progress)), pull)),
                Step::Ended(outcome) => outcome,
            };
            let error = outcome.err().map(|error| explained(&host, &error));
            Some((PullUpdate { error, ..update(host, None) }, Pull::Ended))
        }
    });
    updates.boxed()
}

fn update(host: String, progress: Option<Box<RawValue>>) -> PullUpdate {
    PullUpdate { host, done: progress.is_none(), progress, error: None }
}

enum Step {
    Progress(Box<RawValue>, Pull),
    Ended(Result<(), CallError>),
    Over,
}

async fn step(caller: &Caller, host: HostId, pull: Pull) -> Step {
    let mut progress = match pull {
        Pull::Ended => return Step::Over,
        Pull::Runs(progress) => progress,
        Pull::Begins { image } => match caller.call(host, Call::PullImage { image }, PULL_BEGINS).await {
            Ok(Reply::Stream(progress)) => progress,
            Ok(reply) => return Step::Ended(Err(unexpected(&reply))),
            Err(error) => return Step::Ended(Err(error)),
        },
    };
    loop {
        return match tokio::time::timeout(PULL_PAUSE, progress.next()).await {
            Err(_) => Step::Ended(Err(CallError::Timeout(PULL_PAUSE))),
            Ok(None) => Step::Ended(Ok(())),
            Ok(Some(Err(error))) => Step::Ended(Err(error)),
            Ok(Some(Ok(Output::Json(json)))) => match serde_json::from_slice(&json) {
                Ok(value) => Step::Progress(value, Pull::Runs(progress)),
                Err(error) => Step::Ended(Err(CallError::Broken(error.to_string()))),
            },
            Ok(Some(Ok(Output::Stdout(_) | Output::Stderr(_) | Output::Exited(_)))) => continue,
        };
    }
}

fn unexpected(reply: &Reply) -> CallError {
    CallError::Broken(format!("unexpected reply {reply:?}"))
}
