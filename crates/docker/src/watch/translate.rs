//! Translates Docker's containers, networks and events into the model.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, EventMessage, HealthStatusEnum,
    PortMap,
};
use longshore_model::{
    Container, ContainerEvent, ContainerId, Endpoint, EventKind, Health, Network, NetworkEvent, NetworkScope,
    Published, RunState, Transport,
};
use longshore_runtime::state::DockerEvent;

use super::signal;
use super::summary::Summary;

/// Returns an inspected container; `None` if the answer has no id or no name, which does not occur in practice.
pub(crate) fn container(inspected: ContainerInspectResponse, include_env: bool) -> Option<Container> {
    let id = ContainerId::new(inspected.id?);
    let state = inspected.state.unwrap_or_default();
    let config = inspected.config.unwrap_or_default();
    let settings = inspected.network_settings.unwrap_or_default();
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    if include_env {
        let pairs = config.env.unwrap_or_default();
        let ours = pairs.iter().filter_map(|pair| pair.split_once('='));
        let ours = ours.filter(|(key, _)| key.starts_with("glue_") || key.starts_with("longshore."));
        labels.extend(ours.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    labels.extend(config.labels.unwrap_or_default());
    Some(Container {
        id,
        name: inspected.name?.trim_start_matches('/').to_owned(),
        image: config.image.unwrap_or_default(),
        labels,
        image_labels: BTreeSet::new(),
        exit_code: state.exit_code.filter(|_| state.status == Some(ContainerStateStatusEnum::EXITED)),
        state: run_state(state.status),
        health: health(state.health.and_then(|health| health.status)),
        stopping: false,
        created: inspected.created.as_deref().map_or(0, nanoseconds),
        started: state.started_at.as_deref().map_or(0, nanoseconds),
        network_mode: inspected.host_config.and_then(|config| config.network_mode).unwrap_or_default(),
        networks: networks(settings.networks.unwrap_or_default()),
        published: published(settings.ports.unwrap_or_default()),
        exposed: exposed(&config.exposed_ports.unwrap_or_default()),
        ports: BTreeMap::new(),
        stop_signal: config.stop_signal.as_deref().and_then(signal::number),
    })
}

/// Returns an entry of the container list; `None` if it has no id, which does not occur in practice.
pub(super) fn summary(summary: ContainerSummary) -> Option<Summary> {
    let names = summary.names.unwrap_or_default();
    // A linked container has additional names with a slash inside.
    let mut names = names.iter().filter_map(|name| name.strip_prefix('/'));
    let health = match summary.status.as_deref().unwrap_or_default().rsplit_once('(') {
        Some((_, "healthy)")) => Health::Healthy,
        Some((_, "unhealthy)")) => Health::Unhealthy,
        Some((_, "health: starting)")) => Health::Starting,
        _ => Health::None,
    };
    let endpoints = summary.network_settings.and_then(|settings| settings.networks);
    Some(Summary {
        id: ContainerId::new(summary.id?),
        name: names.find(|name| !name.contains('/')).map(str::to_owned),
        state: summary.state.map(|state| state.to_string()),
        health,
        networks: networks(endpoints.unwrap_or_default()),
    })
}

/// Returns a network and its id.
pub(super) fn network(network: bollard::models::Network) -> Option<(String, Network)> {
    let scope = match network.driver.as_deref() {
        Some("bridge" | "nat") => NetworkScope::Host,
        _ => NetworkScope::Elsewhere,
    };
    Some((network.id?, Network { name: network.name?, scope }))
}

/// Returns an event in the model's terms; `None` if nothing depends on it.
pub(crate) fn event(message: EventMessage) -> Option<DockerEvent> {
    use bollard::models::EventMessageTypeEnum as Type;
    let at = message.time_nano.or(message.time.map(|s| s.saturating_mul(1_000_000_000))).unwrap_or(0);
    let actor = message.actor?;
    let action = message.action?;
    let mut attributes: BTreeMap<String, String> = actor.attributes.unwrap_or_default().into_iter().collect();
    let (id, kind) = match (message.typ?, action.as_str()) {
        (Type::CONTAINER, action) => {
            // `health_status: healthy`, `exec_start: /bin/sh`: what follows the colon is not part of the name.
            let (action, detail) = action.split_once(": ").unwrap_or((action, ""));
            if !detail.is_empty() {
                attributes.insert(action.to_owned(), detail.to_owned());
            }
            (actor.id?, container_event(action, &attributes))
        }
        (Type::NETWORK, "connect") => (attributes.remove("container")?, EventKind::Connect),
        (Type::NETWORK, "disconnect") => (attributes.remove("container")?, EventKind::Disconnect),
        (Type::NETWORK, "create" | "destroy" | "remove") => {
            let name = attributes.remove("name").unwrap_or_default();
            return Some(DockerEvent::Network(NetworkEvent { network: actor.id?, name, action, at }));
        }
        _ => return None,
    };
    // In an event of a network, the name is the network's.
    let name = match kind {
        EventKind::Connect | EventKind::Disconnect => {
            let network = attributes.remove("name");
            attributes.extend(network.map(|name| ("network".to_owned(), name)));
            String::new()
        }
        _ => attributes.remove("name").unwrap_or_default(),
    };
    Some(DockerEvent::Container(ContainerEvent {
        container: ContainerId::new(id),
        name,
        kind,
        at,
        attributes,
    }))
}

fn container_event(action: &str, attributes: &BTreeMap<String, String>) -> EventKind {
    match action {
        "create" => EventKind::Create,
        "start" => EventKind::Start,
        "kill" => EventKind::Kill(attributes.get("signal").and_then(|signal| signal.parse().ok())),
        "die" => EventKind::Die,
        "pause" => EventKind::Pause,
        "unpause" => EventKind::Unpause,
        "rename" => EventKind::Rename,
        "destroy" => EventKind::Destroy,
        "health_status" => EventKind::Health,
        action => EventKind::Other(action.to_owned()),
    }
}

fn run_state(status: Option<ContainerStateStatusEnum>) -> RunState {
    use ContainerStateStatusEnum as Status;
    match status {
        Some(Status::RUNNING) => RunState::Running,
        Some(Status::PAUSED) => RunState::Paused,
        Some(Status::RESTARTING) => RunState::Restarting,
        Some(Status::REMOVING) => RunState::Removing,
        Some(Status::EXITED) => RunState::Exited,
        Some(Status::DEAD) => RunState::Dead,
        _ => RunState::Created,
    }
}

fn health(status: Option<HealthStatusEnum>) -> Health {
    match status {
        Some(HealthStatusEnum::STARTING) => Health::Starting,
        Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
        Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
        _ => Health::None,
    }
}

fn networks(networks: HashMap<String, bollard::models::EndpointSettings>) -> BTreeMap<String, Endpoint> {
    let address = |text: Option<String>| text.and_then(|text| text.parse::<IpAddr>().ok());
    let endpoint = |settings: bollard::models::EndpointSettings| Endpoint {
        network_id: settings.network_id.unwrap_or_default(),
        ipv4: address(settings.ip_address),
        ipv6: address(settings.global_ipv6_address),
    };
    // `host` and `none` are modes without an address, not reachable networks.
    let real = networks.into_iter().filter(|(name, _)| name != "host" && name != "none");
    real.map(|(name, settings)| (name, endpoint(settings))).collect()
}

fn published(ports: PortMap) -> Vec<Published> {
    let mut published = Vec::new();
    for (port, bindings) in ports {
        let Some((container_port, transport)) = port_and_transport(&port) else { continue };
        for binding in bindings.unwrap_or_default() {
            let host_port = binding.host_port.and_then(|port| port.parse().ok());
            let ip = binding.host_ip.filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned());
            if let (Some(host_port), Ok(host_ip)) = (host_port, ip.parse()) {
                published.push(Published { container_port, transport, host_ip, host_port });
            }
        }
    }
    published.sort();
    published
}

fn exposed(ports: &[String]) -> Vec<(u16, Transport)> {
    let mut exposed: Vec<_> = ports.iter().filter_map(|port| port_and_transport(port)).collect();
    exposed.sort();
    exposed
}

/// Parses `80/tcp`; SCTP is not supported.
fn port_and_transport(text: &str) -> Option<(u16, Transport)> {
    let (port, transport) = text.split_once('/').unwrap_or((text, "tcp"));
    let transport = match transport {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        _ => return None,
    };
    Some((port.parse().ok()?, transport))
}

/// Parses Docker's times, which are RFC 3339; its zero is the year 1, which counts as never.
pub(crate) fn nanoseconds(text: &str) -> i64 {
    let time = text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_nanosecond);
    time.and_then(|time| i64::try_from(time).ok()).filter(|time| *time > 0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(json: &str) -> Option<DockerEvent> {
        event(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_kill_carries_its_signal_and_what_follows_a_colon_is_no_part_of_the_name() {
        let kill = r#"{"Type":"container","Action":"kill","Actor":{"ID":"ab","Attributes":{"name":"wp1","signal":"15"}},"timeNano":7}"#;
        let Some(DockerEvent::Container(event)) = heard(kill) else { panic!("not heard") };
        assert_eq!((event.kind, event.at, event.name.as_str()), (EventKind::Kill(Some(15)), 7, "wp1"));
        let exec = r#"{"Type":"container","Action":"exec_start: /probe","Actor":{"ID":"ab","Attributes":{}},"timeNano":7}"#;
        let Some(DockerEvent::Container(event)) = heard(exec) else { panic!("not heard") };
        assert_eq!(event.kind, EventKind::Other("exec_start".to_owned()));
        assert_eq!(event.attributes["exec_start"], "/probe");
    }

    #[test]
    fn a_connect_is_heard_for_its_container_without_the_networks_name() {
        let connect = r#"{"Type":"network","Action":"connect","Actor":{"ID":"net","Attributes":{"container":"ab","name":"zoo"}},"timeNano":7}"#;
        let Some(DockerEvent::Container(event)) = heard(connect) else { panic!("not heard") };
        assert_eq!((event.container.as_str(), event.name.as_str()), ("ab", ""));
    }

    #[test]
    fn dockers_times_are_read_to_the_nanosecond_and_its_zero_is_never() {
        assert_eq!(nanoseconds("1970-01-01T00:00:01.000000002Z"), 1_000_000_002);
        assert_eq!(nanoseconds("0001-01-01T00:00:00Z"), 0);
        assert_eq!(nanoseconds("rubbish"), 0);
    }
}
