//! Which address a balancer can reach a container's port by.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use longshore_model::{Container, ContainerId, NetworkScope, Transport, World};

/// Where the balancer stands, seen from the containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vantage {
    /// In the network namespace of the containers' host: bridges are reachable.
    Host,
    /// In this container of that host: its own networks are reachable.
    Container(ContainerId),
    /// On another host: only published ports are reachable, at this address.
    Remote(IpAddr),
}

/// [`Vantage`], looked up in World.
#[derive(Clone, Copy)]
enum Standing<'a> {
    Host,
    In(&'a Container),
    Remote(IpAddr),
}

/// A `container:<id>` network mode leads to another container; no chain is longer than this.
const MAX_BORROWING: usize = 4;

/// The container whose network this one uses in place of one of its own.
pub(crate) fn lender(container: &Container) -> Option<ContainerId> {
    container.network_mode.strip_prefix("container:").map(ContainerId::new)
}

/// The container whose network a container is in, its own in the usual case; `None` where that one is not known.
pub(crate) fn holder<'a>(world: &'a World, container: &'a Container) -> Option<&'a Container> {
    let mut holder = container;
    let mut steps = 0;
    while let Some(id) = lender(holder) {
        holder = world.containers.get(&id)?;
        steps += 1;
        if steps > MAX_BORROWING {
            return None;
        }
    }
    Some(holder)
}

/// Whether the host can reach the addresses of a network. One that has not been listed yet is taken for a bridge, the
/// usual kind.
pub(crate) fn is_of_the_host(world: &World, network: &str) -> bool {
    world.networks.get(network).is_none_or(|network| network.scope == NetworkScope::Host)
}

/// The address to connect to for a port of a container, or `None` where no way leads there.
pub(crate) fn address(
    world: &World,
    vantage: &Vantage,
    container: &Container,
    port: u16,
    transport: Transport,
) -> Option<SocketAddr> {
    let holder = holder(world, container)?;
    let preferred = container.labels.get("longshore.network");
    // A balancer in a container on the host's own network stands where the host does.
    let standing = match vantage {
        Vantage::Container(id) => match world.containers.get(id) {
            Some(own) if own.network_mode != "host" => Standing::In(own),
            _ => Standing::Host,
        },
        Vantage::Host => Standing::Host,
        Vantage::Remote(host) => Standing::Remote(*host),
    };
    own_address(world, standing, holder, port, preferred)
        .or_else(|| published_address(standing, holder, port, transport))
}

fn own_address(
    world: &World,
    standing: Standing<'_>,
    holder: &Container,
    port: u16,
    preferred: Option<&String>,
) -> Option<SocketAddr> {
    if holder.network_mode == "host" {
        return match standing {
            Standing::Host => Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
            Standing::Remote(host) => Some(SocketAddr::new(host, port)),
            Standing::In(_) => None,
        };
    }
    let reachable = |id: &String| match standing {
        Standing::Host => is_of_the_host(world, id),
        Standing::In(own) => own.networks.values().any(|endpoint| endpoint.network_id == *id),
        Standing::Remote(_) => false,
    };
    let mut endpoints: Vec<_> =
        holder.networks.iter().filter(|(_, endpoint)| reachable(&endpoint.network_id)).collect();
    endpoints.sort_by_key(|(name, _)| (Some(*name) != preferred, *name));
    let ip = endpoints.iter().find_map(|(_, endpoint)| endpoint.ipv4.or(endpoint.ipv6))?;
    Some(SocketAddr::new(ip, port))
}

fn published_address(
    standing: Standing<'_>,
    holder: &Container,
    port: u16,
    transport: Transport,
) -> Option<SocketAddr> {
    let of_port = |p: &&longshore_model::Published| p.container_port == port && p.transport == transport;
    holder.published.iter().filter(of_port).find_map(|published| {
        let ip = match (standing, published.host_ip) {
            (Standing::Host, ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            (Standing::Host, ip) => ip,
            (Standing::Remote(host), ip) if ip.is_unspecified() => host,
            (Standing::Remote(_), ip) if !ip.is_loopback() => ip,
            (Standing::Remote(_) | Standing::In(_), _) => return None,
        };
        Some(SocketAddr::new(ip, published.host_port))
    })
}
