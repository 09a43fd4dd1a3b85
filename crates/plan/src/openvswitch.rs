//! Decides which containers are connected to Open vSwitch, where, and which ports are removed.
//!
//! Every running container without a Docker network (network mode `none`) is connected. A port is ours if we
//! marked it. Ports that others attached are left alone, and one that provides the interface we would add is
//! used as it is. The mark records the container's run and the port's arguments, which distinguishes ports of
//! an earlier run or of other settings from the desired one.
//!
//! | label | old spelling | value |
//! |---|---|---|
//! | `longshore.ovs.bridge` | `ovs_bridge` | a bridge that exists |
//! | `longshore.ovs.interface` | `ovs_interface` | the interface's name in the container |
//! | `longshore.ovs.options` | `ovs_options` | `--ipaddress=`, `--macaddress=`, `--gateway=`, `--mtu=` |

use std::collections::BTreeSet;
use std::net::IpAddr;

use longshore_model::{Container, ContainerId, FollowerJob, OpenVswitchJob, Problem, Subject};

use crate::handlers::FollowerClass;
use crate::handlers::reader::Reader;

/// Connects containers to Open vSwitch, as Docker Glue's script did.
pub const CLASS: FollowerClass = FollowerClass {
    names: &["openvswitch"],
    scripts: &["ovs-handler.sh"],
    secrets: &[],
    parse: |reader| Some(FollowerJob::new(CLASS.name(), job(reader)?)),
};

/// Reads a handler's file, in our own keys or the script's.
fn job(reader: &mut Reader<'_>) -> Option<OpenVswitchJob> {
    let mut named = |short: &str, long: &str, usual: &str| {
        let text = reader.text(long).or_else(|| reader.text(short)).unwrap_or(usual);
        text.to_owned()
    };
    let bridge = named("bridge", "ovs-bridge", "br-int");
    let interface = named("interface", "ovs-interface", "eth0");
    let key = if reader.param("ovs-options").is_some() { "ovs-options" } else { "options" };
    let options = if reader.param(key).is_some() { reader.words(key)? } else { Vec::new() };
    Some(OpenVswitchJob { bridge, interface, options })
}

/// Distinguishes our ports from others'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// We created it for this [`Attachment::mark`].
    Ours(String),
    /// We began to create it and were interrupted before marking it.
    Unfinished,
    /// Someone else created it.
    Others,
}

/// A port of Open vSwitch that leads into a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name on the host.
    pub name: String,
    /// The container, as its creator named it: we use the full id.
    pub container: ContainerId,
    /// The interface inside the container.
    pub interface: String,
    /// Its owner.
    pub mark: Mark,
}

/// How a container should be connected: the arguments of `ovs-docker add-port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The bridge.
    pub bridge: String,
    /// The interface's name inside the container.
    pub interface: String,
    /// Additional arguments, each validated.
    pub options: Vec<String>,
    /// The port's mark: the container's run and these arguments. It contains no quotes and no backslashes.
    pub mark: String,
}

/// One action for a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Remove the port of this name.
    Remove(String),
    /// Connect the container.
    Add(Attachment),
}

/// The actions for one container, in order, and the problems with its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The actions.
    pub actions: Vec<Action>,
    /// The problems.
    pub problems: Vec<Problem>,
}

/// One handler's rules.
#[derive(Clone, Debug)]
pub struct OpenVswitchPlan {
    /// The handler's name.
    pub handler: String,
    /// Its settings.
    pub job: OpenVswitchJob,
}

const BRIDGE: Names = Names { ours: "longshore.ovs.bridge", old: "ovs_bridge", setting: "ovs-bridge" };
const INTERFACE: Names =
    Names { ours: "longshore.ovs.interface", old: "ovs_interface", setting: "ovs-interface" };
const OPTIONS: Names = Names { ours: "longshore.ovs.options", old: "ovs_options", setting: "ovs-options" };

/// The names of one value: two labels, of which ours wins, and the handler's option.
struct Names {
    ours: &'static str,
    old: &'static str,
    setting: &'static str,
}

/// Returns whether a container is connected while it runs.
pub fn concerns(container: &Container) -> bool {
    container.network_mode == "none"
}

impl OpenVswitchPlan {
    /// Returns what to do for one container (absent if it was removed), given its ports and the existing
    /// bridges.
    pub fn decide(
        &self,
        container: Option<&Container>,
        ports: &[Port],
        bridges: &BTreeSet<String>,
    ) -> Decision {
        let mut problems = Vec::new();
        let wanted = container
            .filter(|container| concerns(container) && container.state.is_alive())
            .and_then(|container| self.attachment(container, bridges, &mut problems));
        let mut there = false;
        let mut actions = Vec::new();
        for port in ports {
            let fits = wanted.as_ref().is_some_and(|wanted| wanted.interface == port.interface);
            let keep = match &port.mark {
                Mark::Others => {
                    there |= fits;
                    true
                }
                Mark::Unfinished => false,
                Mark::Ours(mark) => {
                    let is_it = fits && !there && wanted.as_ref().is_some_and(|wanted| wanted.mark == *mark);
                    there |= is_it;
                    is_it
                }
            };
            if !keep {
                actions.push(Action::Remove(port.name.clone()));
            }
        }
        actions.extend(wanted.filter(|_| !there).map(Action::Add));
        Decision { actions, problems }
    }

    /// Returns how a container should be connected; `None` if a label or the handler's file is invalid.
    fn attachment(
        &self,
        container: &Container,
        bridges: &BTreeSet<String>,
        problems: &mut Vec<Problem>,
    ) -> Option<Attachment> {
        problems.extend(unknown_labels(container));
        let bridge = self.value(container, &BRIDGE, &self.job.bridge, |text| {
            let bridge = interface_name(text)?;
            // The handler's own bridge is created if it is missing; a label must not create any.
            let is_made = text == self.job.bridge || bridges.contains(text);
            is_made.then_some(bridge).ok_or_else(|| {
                (format!("no such bridge: {}", shown(text)), "create it: ovs-vsctl add-br".to_owned())
            })
        });
        let interface = self.value(container, &INTERFACE, &self.job.interface, |text| match text {
            "lo" => Err((
                "every container already has a \"lo\"".to_owned(),
                "the usual name is \"eth0\"".to_owned(),
            )),
            _ => interface_name(text),
        });
        let options = self.value(container, &OPTIONS, &self.job.options.join(" "), |text| {
            text.split_whitespace().map(option).collect::<Result<Vec<_>, _>>()
        });
        let (bridge, interface, options) = match (bridge, interface, options) {
            (Ok(bridge), Ok(interface), Ok(options)) => (bridge, interface, options),
            (bridge, interface, options) => {
                problems.extend([bridge.err(), interface.err(), options.err()].into_iter().flatten());
                return None;
            }
        };
        let mut mark = format!("{} {bridge} {interface}", container.started);
        for option in &options {
            mark.push(' ');
            mark.push_str(option);
        }
        Some(Attachment { bridge, interface, options, mark })
    }

    /// Reads a value that a label may override.
    fn value<T>(
        &self,
        container: &Container,
        names: &Names,
        default: &str,
        read: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Result<T, Problem> {
        let label = [names.ours, names.old]
            .into_iter()
            .find_map(|name| container.labels.get(name).map(|value| (name, value)));
        let (subject, key, text, lost) = match label {
            Some((name, text)) => (container.into(), name, text.as_str(), "it is"),
            None => {
                let subject = Subject::Handler { name: self.handler.clone() };
                (subject, names.setting, default, "containers without a label of their own are")
            }
        };
        read(text).map_err(|(why, hint)| Problem {
            subject,
            key: Some(key.to_owned()),
            message: format!("{why}: {lost} not connected to Open vSwitch"),
            hint: Some(hint),
        })
    }
}

/// What is wrong, and what to do about it.
type Wrong = (String, String);

/// Returns a problem for each label that resembles ours but is unknown.
fn unknown_labels(container: &Container) -> impl Iterator<Item = Problem> {
    let known = [BRIDGE.ours, INTERFACE.ours, OPTIONS.ours];
    let ours = container.labels.keys().filter(|key| key.starts_with("longshore.ovs."));
    ours.filter(move |key| !known.contains(&key.as_str())).map(move |key| Problem {
        subject: container.into(),
        key: Some(key.chars().take(100).collect()),
        message: "unknown label, ignored".to_owned(),
        hint: Some(format!("expected {}", known.join(", "))),
    })
}

/// Returns a valid Linux interface name that no program takes for an option.
fn interface_name(text: &str) -> Result<String, Wrong> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let good = (1..=15).contains(&text.len())
        && text.chars().all(plain)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if good {
        return Ok(text.to_owned());
    }
    Err((
        format!("invalid interface name {}", shown(text)),
        "expected 1 to 15 letters, digits, dots, underscores and hyphens, not starting with a hyphen"
            .to_owned(),
    ))
}

/// Returns an option of `ovs-docker` with a valid value.
fn option(text: &str) -> Result<String, Wrong> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let good = match name {
        "--ipaddress" => is_network(value),
        "--gateway" => value.parse::<IpAddr>().is_ok(),
        "--macaddress" => is_mac(value),
        "--mtu" => value.bytes().all(|b| b.is_ascii_digit()) && matches!(value.parse(), Ok(68..=65_535_u32)),
        _ => {
            let hint = "expected --ipaddress=, --macaddress=, --gateway= and --mtu=".to_owned();
            return Err((format!("unknown option {}", shown(text)), hint));
        }
    };
    if good {
        return Ok(text.to_owned());
    }
    let hint = "--ipaddress=10.0.0.2/24 --macaddress=a2:c3:0d:49:7f:f8 --gateway=10.0.0.1 --mtu=1450";
    Err((format!("invalid value in {}", shown(text)), format!("examples: {hint}")))
}

/// Returns whether the text is an address, with or without a prefix length.
fn is_network(text: &str) -> bool {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    prefix.is_none_or(|prefix| {
        prefix.len() <= 3
            && prefix.bytes().all(|b| b.is_ascii_digit())
            && prefix.parse::<u8>().is_ok_and(|prefix| prefix <= longest)
    })
}

fn is_mac(text: &str) -> bool {
    let mut pairs = 0;
    text.split(':').all(|pair| {
        pairs += 1;
        pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit())
    }) && pairs == 6
}

/// Returns untrusted text, short and in quotes.
fn shown(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    format!("{short:?}")
}
