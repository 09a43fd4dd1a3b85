//! Determines at which addresses a balancer can reach a container's port.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use longshore_model::{
    Change, Container, ContainerId, ContainerRef, Endpoint, Host, HostId, NetworkScope, PeerState, Problem,
    Published, RunState, Transport, WaitingReason, Way, World,
};

use crate::claim::quoted;

/// The label that names the network at which to reach a container.
const NETWORK: &str = "longshore.network";

/// Where the balancer runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BalancerLocation {
    /// In this host's network namespace: its bridges are reachable.
    Host(HostId),
    /// In this container: the container's networks are reachable.
    Container(ContainerRef),
    /// On a machine whose containers are not in World: only published ports are reachable.
    Outside,
}

/// How the balancer reaches the containers of one host.
#[derive(Clone, Copy)]
enum Access<'a> {
    /// Through the host's bridges.
    Bridges,
    /// Through the networks of the balancer's own container.
    NetworksOf(&'a Container),
    /// Through the ports that the host publishes at this address.
    PublishedPorts(IpAddr),
    /// Through the ports that another host of the cluster publishes at these addresses, or through its agent.
    Peer(&'a [IpAddr]),
}

impl BalancerLocation {
    /// Returns how the containers of a host are reached; `None` if they are unreachable.
    fn access<'a>(&self, world: &'a World, host: HostId) -> Option<Access<'a>> {
        if host != world.me() {
            return world.host(host).map(|host| Access::Peer(&host.info.addresses));
        }
        match self {
            Self::Host(own) if *own == host => Some(Access::Bridges),
            Self::Container(own) if own.host == host => match world.container(own) {
                Some(own) if own.network_mode != "host" => Some(Access::NetworksOf(own)),
                _ => Some(Access::Bridges),
            },
            Self::Host(_) | Self::Container(_) | Self::Outside => {
                world.host(host)?.info.addresses.first().copied().map(Access::PublishedPorts)
            }
        }
    }
}

/// The longest chain of `container:<id>` network modes that is followed.
const MAX_NETWORK_CHAIN: usize = 4;

/// Returns the containers affected by a change, both those in World and those `known` to a plan.
pub(crate) fn concerned<'a>(
    world: &World,
    change: &Change,
    known: impl Iterator<Item = &'a ContainerRef>,
) -> Vec<ContainerRef> {
    match change {
        Change::Container(container) => vec![container.clone()],
        Change::Networks(host) | Change::Host(host) => {
            let present = world.host(*host).into_iter().flat_map(|known| known.containers.keys());
            let present = present.map(|id| ContainerRef::new(*host, id.clone()));
            known.filter(|container| container.host == *host).cloned().chain(present).collect()
        }
        Change::All => known.cloned().chain(world.containers().map(|(container, _)| container)).collect(),
    }
}

/// Returns the container of `host` whose network this one uses instead of its own.
pub(crate) fn network_owner(host: HostId, container: &Container) -> Option<ContainerRef> {
    let id = container.network_mode.strip_prefix("container:")?;
    Some(ContainerRef::new(host, ContainerId::new(id)))
}

/// Returns the container whose network a container uses, usually its own; `None` if that container is
/// unknown.
pub(crate) fn holder<'a>(host: &'a Host, container: &'a Container) -> Option<&'a Container> {
    let mut holder = container;
    let mut steps = 0;
    while let Some(id) = holder.network_mode.strip_prefix("container:") {
        holder = host.containers.get(&ContainerId::new(id))?;
        steps += 1;
        if steps > MAX_NETWORK_CHAIN {
            return None;
        }
    }
    Some(holder)
}

/// Returns whether the host can reach the addresses of a network. One not listed yet is assumed to be a
/// bridge, the usual kind.
pub(crate) fn is_of_the_host(host: &Host, network: &str) -> bool {
    host.networks.get(network).is_none_or(|network| network.scope == NetworkScope::Host)
}

/// The ways that may lead to a port of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ways {
    /// The addresses, the most likely first, at most one per family: a server may listen on one family only, and
    /// Docker does not report which.
    pub(crate) direct: Vec<SocketAddr>,
    /// Through the agent of the container's host, where no address leads to the port.
    pub(crate) agent: Option<Way>,
}

/// Returns the ways that may lead to a port of a container.
pub(crate) fn ways(
    world: &World,
    balancer: &BalancerLocation,
    container: &ContainerRef,
    port: u16,
    transport: Transport,
) -> Ways {
    let agent = world.peers.get(&container.host).map(|peer| Way::Agent(peer.agent));
    Ways { direct: addresses(world, balancer, container, port, transport), agent }
}

/// Returns why what a way leads to takes no traffic as long as others do; `None` if it does. This agent's own host
/// always does.
pub(crate) fn doubt(world: &World, host: HostId, way: Option<Way>) -> Option<WaitingReason> {
    if host == world.me() {
        return None;
    }
    match world.peers.get(&host).map(|peer| peer.state) {
        Some(PeerState::Restarting) if matches!(way, Some(Way::Agent(_))) => {
            Some(WaitingReason::AgentRestarting)
        }
        Some(PeerState::Alive | PeerState::Restarting) => None,
        Some(PeerState::Unreachable) => Some(WaitingReason::HostUnreachable),
        // One that is no member any more is about to be forgotten.
        Some(PeerState::Suspect) | None => Some(WaitingReason::HostSuspect),
    }
}

/// Returns the addresses that may lead to a port of a container, as [`Ways::direct`]. Empty if there are none.
pub(crate) fn addresses(
    world: &World,
    balancer: &BalancerLocation,
    container: &ContainerRef,
    port: u16,
    transport: Transport,
) -> Vec<SocketAddr> {
    let found = || {
        let access = balancer.access(world, container.host)?;
        let host = world.host(container.host)?;
        let container = host.containers.get(&container.id)?;
        let holder = holder(host, container)?;
        let preferred = container.labels.get(NETWORK);
        let own = own_addresses(host, access, holder, preferred);
        if own.is_empty() {
            return Some(published_addresses(access, holder, port, transport));
        }
        Some(own.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    };
    let mut addresses: Vec<SocketAddr> = found().unwrap_or_default();
    let (mut v4, mut v6) = (0, 0);
    addresses.retain(|address| {
        let seen = if address.is_ipv4() { &mut v4 } else { &mut v6 };
        *seen += 1;
        *seen == 1
    });
    addresses
}

fn own_addresses(
    host: &Host,
    access: Access<'_>,
    holder: &Container,
    preferred: Option<&String>,
) -> Vec<IpAddr> {
    if holder.network_mode == "host" {
        return match access {
            Access::Bridges => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            Access::PublishedPorts(address) => vec![address],
            Access::Peer(addresses) => addresses.to_vec(),
            Access::NetworksOf(_) => Vec::new(),
        };
    }
    let reachable = |id: &String| is_reachable(host, access, id);
    let mut endpoints: Vec<_> =
        holder.networks.iter().filter(|(_, endpoint)| reachable(&endpoint.network_id)).collect();
    endpoints.sort_by_key(|(name, _)| (Some(*name) != preferred, *name));
    // All of one network: the others' addresses belong to the same server.
    let of_network = |endpoint: &Endpoint| endpoint.ipv4.into_iter().chain(endpoint.ipv6).collect::<Vec<_>>();
    let networks = endpoints.iter().map(|(_, endpoint)| of_network(endpoint));
    networks.into_iter().find(|addresses| !addresses.is_empty()).unwrap_or_default()
}

/// Returns whether the balancer can reach this host's containers at their addresses in a network.
fn is_reachable(host: &Host, access: Access<'_>, network: &str) -> bool {
    match access {
        Access::Bridges => is_of_the_host(host, network),
        Access::NetworksOf(own) => own.networks.values().any(|endpoint| endpoint.network_id == network),
        Access::PublishedPorts(_) | Access::Peer(_) => false,
    }
}

/// Returns the network problems of a running container that claims routes; `unmet` are its ports without a
/// reachable address. Empty while the container it depends on is not known yet.
pub(crate) fn problems(
    world: &World,
    balancer: &BalancerLocation,
    id: &ContainerRef,
    unmet: &BTreeSet<u16>,
) -> Vec<Problem> {
    let known = || {
        let access = balancer.access(world, id.host)?;
        let host = world.host(id.host)?;
        let container =
            host.containers.get(&id.id).filter(|container| container.state == RunState::Running)?;
        Some((access, host, container, holder(host, container)?))
    };
    let Some((access, host, container, holder)) = known() else { return Vec::new() };
    // Its own host reports them, and its agent leads to it.
    if matches!(access, Access::Peer(_)) {
        return Vec::new();
    }
    let problem = |key: Option<&str>, message: String, hint: String| Problem {
        subject: (&**container).into(),
        key: key.map(str::to_owned),
        message,
        hint: Some(hint),
    };
    let networks = holder.networks.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    if let Some(port) = unmet.first() {
        let own = match networks.as_str() {
            "" => "it has no network".to_owned(),
            networks => format!("the balancer cannot reach its networks ({networks})"),
        };
        let hint = match access {
            Access::Bridges => "put it on a bridge network, or publish the port: docker run -p".to_owned(),
            Access::NetworksOf(own) => {
                format!("put it on a network of the container {}, which the balancer runs in", own.name)
            }
            Access::PublishedPorts(_) | Access::Peer(_) => "publish the port: docker run -p".to_owned(),
        };
        let message =
            format!("{own}, and port {port} is not published on an address that it can reach: no traffic");
        return vec![problem(None, message, hint)];
    }
    let Some(wanted) = container.labels.get(NETWORK) else { return Vec::new() };
    let why = match holder.networks.get(wanted) {
        None => format!("the container is not on the network {}", quoted(wanted)),
        // If published ports are used, the network label has no effect.
        Some(_) if matches!(access, Access::PublishedPorts(_)) => return Vec::new(),
        Some(endpoint) if is_reachable(host, access, &endpoint.network_id) => return Vec::new(),
        Some(_) => format!("the balancer cannot reach the network {}", quoted(wanted)),
    };
    let usable = holder.networks.iter().filter(|(_, on)| is_reachable(host, access, &on.network_id));
    let usable = usable.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let hint = match usable.as_str() {
        "" => "remove the label: the container can only be reached by a published port".to_owned(),
        usable => format!("expected one of {usable}"),
    };
    vec![problem(Some(NETWORK), format!("{why}: traffic takes another path"), hint)]
}

fn published_addresses(
    access: Access<'_>,
    holder: &Container,
    port: u16,
    transport: Transport,
) -> Vec<SocketAddr> {
    let of_port = |p: &&Published| p.container_port == port && p.transport == transport;
    let reachable = |published: &Published| {
        let ip = match (access, published.host_ip) {
            (Access::Bridges, IpAddr::V4(ip)) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            (Access::Bridges, IpAddr::V6(ip)) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            (Access::Bridges, ip) => ip,
            (Access::PublishedPorts(address), ip) if ip.is_unspecified() => address,
            (Access::PublishedPorts(_), ip) if !ip.is_loopback() => ip,
            (Access::Peer(addresses), ip) => published_at(addresses, ip)?,
            (Access::PublishedPorts(_) | Access::NetworksOf(_), _) => return None,
        };
        Some(SocketAddr::new(ip, published.host_port))
    };
    holder.published.iter().filter(of_port).filter_map(reachable).collect()
}

/// Returns the address of a host at which others reach a port that it publishes at `ip`; `None` if they do not.
pub(crate) fn published_at(addresses: &[IpAddr], ip: IpAddr) -> Option<IpAddr> {
    let leads_there = |address: &&IpAddr| match ip.is_unspecified() {
        true => address.is_ipv4() == ip.is_ipv4(),
        false => **address == ip,
    };
    addresses.iter().find(leads_there).copied()
}
