//! The lab: real Docker hosts on one machine, and the vocabulary of the tests.
//!
//! A host is a network namespace on a bridge with its own `dockerd`. Hosts are machine-wide and outlive the test that
//! created them: a test leases one by a file lock (released even if the test dies), finds it clean, and has it to
//! itself. That holds across threads, test binaries and `nextest`'s process per test.
//!
//! ```no_run
//! # async fn shown() -> longshore_testkit::TestResult {
//! use longshore_testkit::{Agent, ContainerSpec, Lab, eventually};
//! let lab = Lab::up(1).await?;
//! let host = lab.host(0);
//! let web = host.run(ContainerSpec::server().label("longshore.http.80.host", "a.test")).await?;
//! let agent = Agent::on(host).start().await?;
//! eventually("the route leads to the container", || async {
//!     host.get("127.0.0.1:80").header("host", "a.test").send().await.is_ok_and(|a| a.status == 200)
//! })
//! .await;
//! # drop((web, agent)); Ok(()) }
//! ```
//!
//! Deliberately absent: any fake of Docker, and anything that Longshore itself runs on. It is a dev-dependency, and
//! xtask's.

mod agent;
mod eventually;
mod lab;
mod test_error;
mod traffic;

pub use agent::{Agent, AgentBuilder, AgentError};
pub use eventually::{eventually, eventually_within, never_within};
pub use lab::{
    Container, ContainerSpec, EngineOptions, Etcd, EtcdBuilder, Host, Lab, LabError, LabStatus, Layout,
    Network, OpenVswitch, PrivateRegistry, Relay, certificates, free_port, images,
};
pub use test_error::{TestError, TestResult};
pub use traffic::{
    Answer, Connections, Echo, HttpError, Load, LoadReport, RequestBuilder, Running, WebSocket,
    WebSocketError, quantile,
};

/// The bollard behind [`Host::docker`], so that a test needs no dependency of its own.
pub use bollard;
