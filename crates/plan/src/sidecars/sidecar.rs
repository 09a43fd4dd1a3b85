//! A sidecar to create: a definition, resolved for one main.

use std::collections::BTreeMap;
use std::net::IpAddr;

use longshore_model::{Container, Host};
use sha2::{Digest, Sha256};

use super::definition::{Definition, Mode};
use super::reader::is_name;
use crate::claim::quoted;

/// The label that marks a container's owner.
pub const OWNER: &str = "longshore.owner";
/// Its value on every sidecar.
pub const OWNER_VALUE: &str = "sidecar";
/// The label with the sidecar's name.
pub const SIDECAR: &str = "longshore.sidecar";
/// The label with its main's id.
pub const MAIN: &str = "longshore.sidecar.main";
/// The label with the source of the definition: [`FROM_FILE`] or [`FROM_LABELS`].
pub(super) const FROM: &str = "longshore.sidecar.from";
pub(super) const FROM_FILE: &str = "file";
pub(super) const FROM_LABELS: &str = "labels";
/// The label with the fingerprint of what it was created from.
pub const SPEC: &str = "longshore.spec";

/// Compose's labels for a container's instance number, project and service.
const NUMBER: &str = "com.docker.compose.container-number";
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";

/// A sidecar, ready to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// Its definition.
    pub definition: Definition,
    /// Its container's name.
    pub name: String,
    /// Its full environment, `KEY=value`, sorted.
    pub environment: Vec<String>,
    /// All its labels, including those of ownership.
    pub labels: BTreeMap<String, String>,
    /// Docker's network mode: its first network, if it has any.
    pub network_mode: String,
    /// Its networks, the first one first.
    pub networks: Vec<Joined>,
}

/// A network that a sidecar joins.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Joined {
    /// Docker's name of the network.
    pub network: String,
    /// Names that others reach it by.
    pub aliases: Vec<String>,
    /// A fixed IPv4 address.
    pub ipv4: Option<IpAddr>,
    /// A fixed IPv6 address.
    pub ipv6: Option<IpAddr>,
    /// Containers that it reaches by an alias, `container:alias`.
    pub links: Vec<String>,
}

/// A sidecar's place on the network.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Place {
    pub(super) mode: String,
    pub(super) networks: Vec<Joined>,
    /// When the container whose network it shares was started: anything older is on a network that is gone.
    #[serde(skip)]
    pub(super) since: i64,
}

impl Place {
    /// Creates a place without a network of its own.
    fn alone(mode: String) -> Self {
        Self { mode, networks: Vec::new(), since: 0 }
    }

    /// Creates a place in another container's network.
    pub(super) fn shared(holder: &Container) -> Self {
        Self { since: holder.started, ..Self::alone(format!("container:{}", holder.id.as_str())) }
    }
}

/// Returns whether a container is one of our sidecars.
pub(super) fn is_sidecar(container: &Container) -> bool {
    container.labels.get(OWNER).is_some_and(|owner| owner == OWNER_VALUE)
}

/// Returns whether only Longshore may set this label on a sidecar.
pub(super) fn is_reserved(label: &str) -> bool {
    label == OWNER || label == SPEC || label == SIDECAR || label.starts_with("longshore.sidecar.")
}

/// Returns a container's compose project.
pub(super) fn project(container: &Container) -> Option<&str> {
    container.labels.get(PROJECT).map(String::as_str).filter(|project| is_name(project))
}

pub(super) fn service(container: &Container) -> Option<&str> {
    container.labels.get(SERVICE).map(String::as_str)
}

/// Returns the possible names of a main's sidecar, the best first: the next is used if another main's sidecar
/// has the previous one.
pub(super) fn names(main: &Container, sidecar: &str) -> Vec<String> {
    let number = main.labels.get(NUMBER).map(String::as_str).filter(|number| is_name(number));
    let own = main.id.short();
    let mut names = vec![format!("podder_{sidecar}_{}", number.unwrap_or(own))];
    if let (Some(number), Some(project)) = (number, project(main)) {
        names.push(format!("podder_{sidecar}_{project}_{number}"));
    }
    names.push(format!("podder_{sidecar}_{own}"));
    names
}

/// Returns a sidecar's place on the network, without its links, unless it depends on another sidecar; an
/// error if the place does not exist.
pub(super) fn place(definition: &Definition, main: &Container, host: &Host) -> Result<Place, String> {
    match &definition.network_mode {
        Some(Mode::Main) => return Ok(Place::shared(main)),
        Some(Mode::Docker(mode)) if mode != "bridge" => return Ok(Place::alone(mode.clone())),
        Some(Mode::Of(_) | Mode::Docker(_)) | None => {}
    }
    let joined =
        |network: String| Joined { network, aliases: Vec::new(), ipv4: None, ipv6: None, links: Vec::new() };
    if let Some(Mode::Docker(mode)) = &definition.network_mode {
        return Ok(Place { mode: mode.clone(), networks: vec![joined(mode.clone())], since: 0 });
    }
    let mut networks: Vec<Joined> = match &definition.networks {
        None => main.networks.keys().cloned().map(joined).collect(),
        Some(named) => {
            let mut found = Vec::new();
            for (name, attachment) in named {
                let network = network(name, main, host)?;
                let attachment = attachment.clone();
                found.push(Joined {
                    aliases: attachment.aliases,
                    ipv4: attachment.ipv4,
                    ipv6: attachment.ipv6,
                    ..joined(network)
                });
            }
            found
        }
    };
    // The main's own first network also comes first for the sidecar: it decides the default route.
    networks.sort_by_key(|joined| joined.network != main.network_mode);
    Ok(match networks.first() {
        Some(first) => Place { mode: first.network.clone(), networks, since: 0 },
        // The main uses the host's network, none, or another container's; so does the sidecar.
        None => Place::alone(main.network_mode.clone()),
    })
}

/// Returns Docker's name of a network in the file: the name itself, or the one that compose gave it in the
/// main's project.
fn network(name: &str, main: &Container, host: &Host) -> Result<String, String> {
    let of_project = project(main).map(|project| format!("{project}_{name}"));
    let exists = |wanted: &str| host.networks.values().any(|network| network.name == wanted);
    match of_project {
        _ if exists(name) => Ok(name.to_owned()),
        Some(of_project) if exists(&of_project) => Ok(of_project),
        _ => Err(format!("no such network: {}", quoted(name))),
    }
}

/// Returns the fingerprint of a sidecar's definition and place. It excludes the main's name, as a rename changes
/// nothing.
pub(super) fn fingerprint(definition: &Definition, place: &Place) -> String {
    let text = serde_json::to_vec(&(definition, place)).unwrap_or_default();
    Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns everything that is needed to create the sidecar.
pub(super) fn settle(
    sidecar: &str,
    from: &str,
    definition: &Definition,
    main: &Container,
    mut place: Place,
    name: String,
    links: &[String],
) -> Sidecar {
    let spec = fingerprint(definition, &place);
    for joined in &mut place.networks {
        joined.links = links.to_vec();
    }
    let mut environment = definition.environment.clone();
    environment.insert("PODDER_MASTER".to_owned(), main.name.clone());
    let mut labels = definition.labels.clone();
    labels.extend([
        (OWNER.to_owned(), OWNER_VALUE.to_owned()),
        (SIDECAR.to_owned(), sidecar.to_owned()),
        (MAIN.to_owned(), main.id.as_str().to_owned()),
        (FROM.to_owned(), from.to_owned()),
        (SPEC.to_owned(), spec),
    ]);
    Sidecar {
        definition: definition.clone(),
        name,
        environment: environment.into_iter().map(|(key, value)| format!("{key}={value}")).collect(),
        labels,
        network_mode: place.mode,
        networks: place.networks,
    }
}
