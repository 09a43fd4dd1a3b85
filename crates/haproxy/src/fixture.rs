//! Compact route tables for the tests of this module.

use std::net::SocketAddr;

use longshore_model::{
    ContainerId, ContainerRef, HostId, HostPattern, PathPrefix, Route, RouteKey, RouteTable, Upstream, Way,
};

pub(crate) fn key(frontend: &str, host: &str, prefix: &str) -> RouteKey {
    RouteKey {
        frontend: frontend.parse().unwrap(),
        host: host.parse::<HostPattern>().unwrap(),
        prefix: prefix.parse::<PathPrefix>().unwrap(),
    }
}

/// Returns container number `n`, at 127.0.0.1:(20000 + n).
pub(crate) fn upstream(n: u16, weight: &str) -> Upstream {
    at(SocketAddr::from(([127, 0, 0, 1], 20000 + n)), weight)
}

/// Returns the container at this address; its id follows from the port.
pub(crate) fn at(address: SocketAddr, weight: &str) -> Upstream {
    Upstream {
        container: ContainerRef::new(
            HostId::from_u128(1),
            ContainerId::new(format!("{:012x}{:052x}", address.port(), 0)),
        ),
        name: format!("c{}", address.port()),
        port: 80,
        way: Way::Direct(address),
        weight: weight.parse().unwrap(),
    }
}

/// Parses `http:80 example.com/prefix` or `tcp:5432`, followed by `strip` if the prefix is stripped.
pub(crate) fn route(text: &str, upstreams: Vec<Upstream>) -> Route {
    let (text, strip_prefix) = match text.strip_suffix(" strip") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (frontend, rest) = text.split_once(' ').unwrap_or((text, "*/"));
    let (host, prefix) = rest.split_once('/').unwrap();
    Route { key: key(frontend, host, prefix), strip_prefix, upstreams, waiting: Vec::new() }
}

pub(crate) fn table(routes: &[(&str, &[u16])]) -> RouteTable {
    let upstreams = |numbers: &[u16]| numbers.iter().map(|&n| upstream(n, "100")).collect();
    routes.iter().map(|(text, numbers)| route(text, upstreams(numbers))).collect()
}
