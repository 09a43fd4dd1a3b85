//! Which container a text names.

use longshore_model::{ContainerId, ContainerRef, HostId, World};

/// Why a text names no container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No container has this id or name, nor an id that begins with it.
    #[error("no such container: {0}")]
    Unknown(String),
    /// Several containers have this name, or an id that begins with it.
    #[error("{text} names {} containers", .matches.len())]
    Ambiguous {
        /// The text.
        text: String,
        /// All of them, with their names, host by host.
        matches: Vec<(ContainerRef, String)>,
    },
}

/// Returns the containers of one host that a text names.
type Rule = fn(&World, HostId, &str) -> Vec<ContainerRef>;

const RULES: [Rule; 3] = [by_id, by_name, by_prefix];

/// Returns the container that a text names: by its id, its name, or the beginning of its id, in this order, as Docker
/// does. Looks at one host only if it is given, at all of them otherwise.
///
/// # Errors
/// There is no such container, or there are several.
pub fn address(world: &World, host: Option<HostId>, text: &str) -> Result<ContainerRef, AddressError> {
    let text = text.strip_prefix('/').unwrap_or(text);
    for rule in RULES {
        let hosts = world.hosts().map(|(id, _)| id).filter(|id| host.is_none_or(|only| only == *id));
        let mut found: Vec<ContainerRef> = hosts.flat_map(|id| rule(world, id, text)).collect();
        match found.len() {
            0 => {}
            1 => return Ok(found.swap_remove(0)),
            _ => {
                let name = |id: &ContainerRef| world.container(id).map_or(String::new(), |c| c.name.clone());
                let matches = found.into_iter().map(|id| (id.clone(), name(&id))).collect();
                return Err(AddressError::Ambiguous { text: text.to_owned(), matches });
            }
        }
    }
    Err(AddressError::Unknown(text.to_owned()))
}

fn by_id(world: &World, host: HostId, text: &str) -> Vec<ContainerRef> {
    let id = ContainerRef::new(host, ContainerId::new(text));
    if world.container(&id).is_some() { vec![id] } else { Vec::new() }
}

fn by_name(world: &World, host: HostId, text: &str) -> Vec<ContainerRef> {
    let containers = world.host(host).into_iter().flat_map(|host| host.containers.values());
    let named = containers.filter(|container| container.name == text);
    named.map(|container| ContainerRef::new(host, container.id.clone())).collect()
}

fn by_prefix(world: &World, host: HostId, text: &str) -> Vec<ContainerRef> {
    if text.is_empty() {
        return Vec::new();
    }
    let first = ContainerId::new(text);
    let containers = world.host(host).into_iter().flat_map(|host| host.containers.range(first.clone()..));
    let begin = containers.map(|(id, _)| id).take_while(|id| id.as_str().starts_with(text));
    begin.map(|id| ContainerRef::new(host, id.clone())).collect()
}
