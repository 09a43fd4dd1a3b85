//! What an agent says to another that asks for a connection to one of its containers.

use std::fmt;

/// Why an agent opens no connection to one of its containers for another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RelayRefusal {
    /// This host has no such container that runs.
    NoContainer,
    /// No route and no service leads to this port of the container.
    NoRoute,
    /// The container is in no network that the agent can reach.
    NoAddress,
    /// The container refused the connection.
    Refused,
    /// The container did not accept the connection in time, or cannot be reached.
    Unreachable,
}

impl fmt::Display for RelayRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoContainer => "there is no such container that runs",
            Self::NoRoute => "no route leads to this port of the container",
            Self::NoAddress => "the agent cannot reach the container's networks",
            Self::Refused => "the container refused the connection",
            Self::Unreachable => "the container did not accept the connection",
        })
    }
}
