//! The vocabulary of the tests, and the two engines that they run with.

use longshore_testkit::{Agent, Answer, Host, HttpError, Lab, TestResult, eventually};
use serde_json::Value;

/// Runs each named test, an `async fn(&Host, &mut Agent) -> TestResult`, with both engines.
macro_rules! with_both_engines {
    ($($name:ident),* $(,)?) => {
        mod built_in {
            $(#[tokio::test]
            async fn $name() -> longshore_testkit::TestResult {
                crate::engines::with("built-in", super::$name).await
            })*
        }
        mod haproxy {
            $(#[tokio::test]
            async fn $name() -> longshore_testkit::TestResult {
                crate::engines::with("haproxy", super::$name).await
            })*
        }
    };
}
pub(crate) use with_both_engines;

/// Starts an agent on a host with `engine` as its balancer.
pub(crate) async fn with(
    engine: &str,
    test: impl AsyncFnOnce(&Host, &mut Agent) -> TestResult,
) -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let mut agent = Agent::on(host).balancer(engine).start().await?;
    test(host, &mut agent).await
}

/// Sends a request to port 80 of the host, by host name and path.
pub(crate) async fn ask(host: &Host, name: &str, path: &str) -> Result<Answer, HttpError> {
    host.get(format!("http://127.0.0.1:80{path}")).host(name).send().await
}

/// Returns the status of a request, or 0 if there is no answer.
pub(crate) async fn status(host: &Host, name: &str, path: &str) -> u16 {
    ask(host, name, path).await.map_or(0, |answer| answer.status)
}

/// Returns the container that answers a request, if any.
pub(crate) async fn who(host: &Host, name: &str, path: &str) -> Option<String> {
    let answer = ask(host, name, path).await.ok()?;
    answer.name().filter(|_| answer.status == 200).map(str::to_owned)
}

/// Waits until this container answers a request.
pub(crate) async fn answered_by(host: &Host, name: &str, path: &str, container: &str) {
    eventually(&format!("{container} answers {name}{path}"), async || {
        who(host, name, path).await.as_deref() == Some(container)
    })
    .await;
}

/// Returns the names of the containers that take a route's traffic, in order; nothing if there is no such
/// route.
pub(crate) async fn upstreams(agent: &Agent, frontend: &str, name: &str, prefix: &str) -> Vec<String> {
    let routes = agent.api("/v1/routes").await.unwrap_or_default();
    let is_it =
        |route: &&Value| route["frontend"] == frontend && route["host"] == name && route["prefix"] == prefix;
    let route = routes.as_array().into_iter().flatten().find(is_it).cloned().unwrap_or_default();
    let upstreams = route["upstreams"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> =
        upstreams.iter().filter_map(|u| u["name"].as_str().map(str::to_owned)).collect();
    names.sort();
    names
}

/// Waits until exactly these containers take the traffic of `http:80 name/`.
pub(crate) async fn served_by(agent: &Agent, name: &str, containers: &[&str]) {
    let mut wanted: Vec<&str> = containers.to_vec();
    wanted.sort_unstable();
    eventually(&format!("{name} is served by {wanted:?}"), async || {
        upstreams(agent, "http:80", name, "/").await == wanted
    })
    .await;
}

/// Returns the problems of a container, as `key: message`.
pub(crate) async fn problems_of(agent: &Agent, container: &str) -> Vec<String> {
    let problems = agent.api("/v1/problems").await.unwrap_or_default();
    let about = |problem: &&Value| problem["container"] == container;
    let line = |problem: &Value| {
        format!("{}: {}", problem["key"].as_str().unwrap_or("-"), problem["message"].as_str().unwrap_or("-"))
    };
    problems.as_array().into_iter().flatten().filter(about).map(line).collect()
}
