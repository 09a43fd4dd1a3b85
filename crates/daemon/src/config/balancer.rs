use std::net::IpAddr;

use longshore_net::IpNet;

/// How the balancer runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalancerSettings {
    /// The addresses that its frontends listen on; empty means all.
    pub bind: Vec<IpAddr>,
    /// Proxies in front of this one that the built-in engine trusts to report where a request came from.
    pub trusted: Vec<IpNet>,
    /// Threads of the built-in engine.
    pub workers: usize,
    /// Which engine carries HTTP and TCP. UDP is always carried by the built-in one.
    pub engine: EngineSettings,
}

/// An engine and what only it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineSettings {
    /// No balancer; routing labels are ignored.
    None,
    /// The agent's own data plane.
    BuiltIn,
    /// A HAProxy that the agent runs, or one that is already running.
    Haproxy(Box<longshore_haproxy::Settings>),
}
