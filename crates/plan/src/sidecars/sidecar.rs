//! A sidecar as it is to be made: a definition, settled for one main.

use std::collections::BTreeMap;
use std::net::IpAddr;

use longshore_model::{Container, Host};
use sha2::{Digest, Sha256};

use super::definition::{Definition, Mode};
use super::reader::is_name;
use crate::claim::quoted;

/// The label that says whose a container is.
pub const OWNER: &str = "longshore.owner";
/// Its value on every sidecar.
pub const OWNER_VALUE: &str = "sidecar";
/// The label with the sidecar's name.
pub const SIDECAR: &str = "longshore.sidecar";
/// The label with its main's id.
pub const MAIN: &str = "longshore.sidecar.main";
/// The label that says what asked for it: [`FROM_FILE`] or [`FROM_LABELS`].
pub(super) const FROM: &str = "longshore.sidecar.from";
pub(super) const FROM_FILE: &str = "file";
pub(super) const FROM_LABELS: &str = "labels";
/// The label with the fingerprint of what it was made of.
pub const SPEC: &str = "longshore.spec";

/// Where compose says which instance of a service a container is, which project it is of, and which service.
const NUMBER: &str = "com.docker.compose.container-number";
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";

/// A sidecar, ready to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// What it is.
    pub definition: Definition,
    /// Its container's name.
    pub name: String,
    /// All its environment, `KEY=value`, in order.
    pub environment: Vec<String>,
    /// All its labels, those of ownership among them.
    pub labels: BTreeMap<String, String>,
    /// Docker's network mode: that of its first network, where it is on any.
    pub network_mode: String,
    /// The networks that it is on, the first one first.
    pub networks: Vec<Joined>,
}

/// A network that a sidecar is on.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Joined {
    /// Docker's name of it.
    pub network: String,
    /// Names that others reach it by.
    pub aliases: Vec<String>,
    /// Its own address.
    pub ipv4: Option<IpAddr>,
    /// Its own IPv6 address.
    pub ipv6: Option<IpAddr>,
    /// Containers that it reaches by an alias, `container:alias`.
    pub links: Vec<String>,
}

/// Where a sidecar is on the network.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Place {
    pub(super) mode: String,
    pub(super) networks: Vec<Joined>,
    /// When the run began of the container whose network it shares: what ran before that is on a network that is gone.
    #[serde(skip)]
    pub(super) since: i64,
}

impl Place {
    /// Without a network of its own.
    fn alone(mode: String) -> Self {
        Self { mode, networks: Vec::new(), since: 0 }
    }

    /// In the network of another container.
    pub(super) fn shared(holder: &Container) -> Self {
        Self { since: holder.started, ..Self::alone(format!("container:{}", holder.id.as_str())) }
    }
}

/// Returns whether a container is a sidecar of ours.
pub(super) fn is_sidecar(container: &Container) -> bool {
    container.labels.get(OWNER).is_some_and(|owner| owner == OWNER_VALUE)
}

/// Labels that only Longshore gives a sidecar.
pub(super) fn is_reserved(label: &str) -> bool {
    label == OWNER || label == SPEC || label == SIDECAR || label.starts_with("longshore.sidecar.")
}

/// Compose's project and service of a container.
pub(super) fn project(container: &Container) -> Option<&str> {
    container.labels.get(PROJECT).map(String::as_str).filter(|project| is_name(project))
}

pub(super) fn service(container: &Container) -> Option<&str> {
    container.labels.get(SERVICE).map(String::as_str)
}

/// Names for a main's sidecar, the best first: the next one counts where another main's sidecar has the one before.
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

/// Returns where a sidecar is on the network, without its links, if that is no other sidecar's; what is wrong where it cannot
/// be there.
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
    // The main's own first network is also the sidecar's: it decides its default route.
    networks.sort_by_key(|joined| joined.network != main.network_mode);
    Ok(match networks.first() {
        Some(first) => Place { mode: first.network.clone(), networks, since: 0 },
        // On the host's network, on none, or in another container's: so is the sidecar.
        None => Place::alone(main.network_mode.clone()),
    })
}

/// Docker's name of a network that a file names: its own, or the one that compose gave the main's project.
fn network(name: &str, main: &Container, host: &Host) -> Result<String, String> {
    let of_project = project(main).map(|project| format!("{project}_{name}"));
    let exists = |wanted: &str| host.networks.values().any(|network| network.name == wanted);
    match of_project {
        _ if exists(name) => Ok(name.to_owned()),
        Some(of_project) if exists(&of_project) => Ok(of_project),
        _ => Err(format!("no such network: {}", quoted(name))),
    }
}

/// Returns the fingerprint of what a sidecar is made of. Its main's name is no part of it, as a rename changes nothing.
pub(super) fn fingerprint(definition: &Definition, place: &Place) -> String {
    let text = serde_json::to_vec(&(definition, place)).unwrap_or_default();
    Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns all that is needed to make it.
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
