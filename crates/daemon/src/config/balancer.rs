use std::net::IpAddr;

use longshore_net::IpNet;

/// How the balancer is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalancerSettings {
    /// The addresses that its frontends listen on; empty means all.
    pub bind: Vec<IpAddr>,
    /// Proxies before this one, whose word on where a request came from is believed by the built-in engine.
    pub trusted: Vec<IpNet>,
    /// Threads of the built-in engine.
    pub workers: usize,
    /// Which engine carries HTTP and TCP. UDP is always carried by the built-in one.
    pub engine: EngineSettings,
}

/// An engine and what only it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineSettings {
    /// Nobody: labels of routes mean nothing.
    None,
    /// The agent's own data plane.
    BuiltIn,
    /// A HAProxy that the agent runs, or one that runs already.
    Haproxy(Box<longshore_haproxy::Settings>),
}
