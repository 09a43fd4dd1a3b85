//! Decides which connections this host's agent opens to its containers for other hosts.

use std::net::SocketAddr;

use longshore_model::{Container, ContainerId, ContainerRef, PortState, RelayRefusal, Transport, World};

use crate::claim::claims;
use crate::names::SERVICE;
use crate::reach::{self, BalancerLocation};

/// Returns the addresses that lead to a port of one of this host's containers, the most likely first.
///
/// # Errors
/// The container does not run, nothing leads to the port (neither a route nor, for an exposed port, a service's name),
/// or this host cannot reach it.
pub fn relay(
    world: &World,
    location: &BalancerLocation,
    container: &ContainerId,
    port: u16,
    transport: Transport,
) -> Result<Vec<SocketAddr>, RelayRefusal> {
    let id = ContainerRef::new(world.me(), container.clone());
    let found = world.container(&id).filter(|container| container.state.is_alive());
    let container = found.ok_or(RelayRefusal::NoContainer)?;
    if !is_led_to(container, port, transport) {
        return Err(RelayRefusal::NoRoute);
    }
    let mut addresses = reach::addresses(world, location, &id, port, transport);
    addresses.sort_by_key(|address| world.ports.get(&(id.clone(), *address)) != Some(&PortState::Open));
    if addresses.is_empty() { Err(RelayRefusal::NoAddress) } else { Ok(addresses) }
}

fn is_led_to(container: &Container, port: u16, transport: Transport) -> bool {
    let (claims, _) = claims(container);
    claims.iter().any(|claim| claim.port == port && claim.key.frontend.protocol.transport() == transport)
        || (container.labels.contains_key(SERVICE) && container.exposed.contains(&(port, transport)))
}
