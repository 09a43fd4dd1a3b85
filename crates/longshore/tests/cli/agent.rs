//! A real agent for queries, which waits for a Docker.

use longshore_testkit::{Agent, TestError, eventually, free_port};

use crate::longshore::Longshore;

/// An agent with its API on loopback.
pub(crate) struct Asked {
    /// Ends with this.
    _agent: Agent,
    pub(crate) address: String,
}

impl Asked {
    /// Starts one with more flags, and waits until its API answers.
    pub(crate) async fn start(flags: &[&str]) -> Result<Self, TestError> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let docker = "unix:///nonexistent/docker.sock".to_owned();
        let agent = Agent::of_docker(docker, "cli".to_owned()).listen(&address).flags(flags).spawn()?;
        eventually("the API answers", async || agent.get("/healthz").await.is_ok()).await;
        Ok(Self { _agent: agent, address })
    }

    /// Returns a command that asks it.
    pub(crate) fn ask(&self, arguments: &str) -> Longshore {
        Longshore::new(arguments).env("LONGSHORE_AGENT", &self.address)
    }
}
