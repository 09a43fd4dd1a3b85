//! Calls of users and of other hosts, carried out on this host's Docker.
//!
//! Docker's answers pass through as they are: `bollard` would read them into its own types, which drop what they do
//! not know, and hide the difference between 204 and 304. So these calls use the same address and API version, but a
//! plain HTTP client.

mod engine;
mod exec;
mod images;
mod output;

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Method;
use longshore_model::{Call, CallError, ContainerCall, ContainerId, ContainerOrder, LogsRequest};
use longshore_runtime::{Execute, Reply};

use self::engine::{Engine, Query, segment};
use crate::DockerClient;

impl Execute for DockerClient {
    fn execute(&self, call: Call, limit: Duration) -> BoxFuture<'_, Result<Reply, CallError>> {
        let done = async move {
            let engine = Engine::of(self).await?;
            match call {
                Call::Container { id, call } => of_container(engine, &id, call).await,
                Call::CreateContainer(new) => images::create_container(&engine, new).await,
                Call::ListContainers => engine.json("/containers/json?all=true").await,
                Call::ListImages => engine.json("/images/json").await,
                Call::PullImage { image } => Ok(Reply::Stream(images::pull(&engine, &image).await?)),
                Call::Agent(_) => Err(CallError::Invalid("this is for an agent, not for Docker".to_owned())),
            }
        };
        async move { tokio::time::timeout(limit, done).await.unwrap_or(Err(CallError::Timeout(limit))) }
            .boxed()
    }
}

async fn of_container(engine: Engine, id: &ContainerId, call: ContainerCall) -> Result<Reply, CallError> {
    let path = format!("/containers/{}", segment(id.as_str()));
    match call {
        ContainerCall::Order(order) => carry_out(&engine, &path, order).await,
        ContainerCall::Inspect => engine.json(&format!("{path}/json")).await,
        ContainerCall::Logs(logs) => {
            let has_terminal = has_terminal(&engine, &path).await?;
            let body = engine.get(&query_of(&logs).after(&format!("{path}/logs"))).await?;
            let bytes = output::bytes(body);
            Ok(Reply::Stream(if has_terminal { output::plain(bytes) } else { output::multiplexed(bytes) }))
        }
        ContainerCall::Stats { follow } => {
            let query = Query::default().with("stream", follow);
            let body = engine.get(&query.after(&format!("{path}/stats"))).await?;
            Ok(Reply::Stream(output::json_lines(output::bytes(body))))
        }
        ContainerCall::Exec(request) => exec::exec(engine, &path, request).await,
    }
}

async fn carry_out(engine: &Engine, path: &str, order: ContainerOrder) -> Result<Reply, CallError> {
    let query = Query::default();
    let (verb, query) = match order {
        ContainerOrder::Start => ("start", query),
        ContainerOrder::Stop { timeout } => ("stop", query.option("t", timeout)),
        ContainerOrder::Restart { timeout } => ("restart", query.option("t", timeout)),
        ContainerOrder::Kill { signal } => ("kill", query.option("signal", signal)),
        ContainerOrder::Pause => ("pause", query),
        ContainerOrder::Unpause => ("unpause", query),
        ContainerOrder::Remove { force, volumes } => {
            let query = query.with("force", force).with("v", volumes);
            return engine.order(Method::DELETE, &query.after(path)).await;
        }
    };
    engine.order(Method::POST, &query.after(&format!("{path}/{verb}"))).await
}

/// Returns whether the container has a terminal: its log is then not divided into standard output and error.
async fn has_terminal(engine: &Engine, path: &str) -> Result<bool, CallError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Inspection {
        config: Config,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Config {
        tty: bool,
    }
    let inspection: Inspection = engine.read(&format!("{path}/json")).await?;
    Ok(inspection.config.tty)
}

fn query_of(logs: &LogsRequest) -> Query {
    let LogsRequest { stdout, stderr, follow, tail, since, until, timestamps } = logs;
    let time = |at: &i64| format!("{}.{:09}", at.div_euclid(1_000_000_000), at.rem_euclid(1_000_000_000));
    Query::default()
        .with("stdout", *stdout)
        .with("stderr", *stderr)
        .with("follow", *follow)
        .with("timestamps", *timestamps)
        .option("tail", *tail)
        .option("since", since.as_ref().map(time))
        .option("until", until.as_ref().map(time))
}
