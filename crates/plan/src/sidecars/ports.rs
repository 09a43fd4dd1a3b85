//! Ports in compose's short and long syntax.

use std::net::IpAddr;

use longshore_model::Transport;
use serde::Serialize;

use super::reader::{MAX_ITEMS, Reader, items};
use super::yaml::{Node, Value};
use crate::claim::quoted;
use crate::label;

/// The most ports that one entry may expand to.
const MAX_RANGE: u16 = 1024;

/// A published port of the sidecar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Port {
    /// The port inside the sidecar.
    pub target: u16,
    /// The transport protocol.
    pub transport: Transport,
    /// The host's port, or a range from which Docker picks a free one; absent means any free port.
    pub published: Option<(u16, u16)>,
    /// The host address it listens on; absent means all.
    pub host_ip: Option<IpAddr>,
}

/// Returns all of `ports`, or what is wrong with it.
pub(super) fn ports(node: &Node, reader: &mut Reader<'_>) -> Result<Vec<Port>, String> {
    let mut found = Vec::new();
    if matches!(node.value, Value::Map(_)) {
        for (key, value) in reader.entries(node, "ports") {
            found.extend(bound(key, value)?);
        }
    } else {
        for item in items(node)? {
            found.extend(port(item, reader)?);
        }
    }
    if found.len() > MAX_ITEMS { Err(format!("more than {MAX_ITEMS} ports")) } else { Ok(found) }
}

/// Returns an entry of Podder's map: `port[/protocol]` of the sidecar, mapped to one host port or several. An
/// empty value means any free port, as in Docker's Python library.
fn bound(key: &str, value: &Node) -> Result<Vec<Port>, String> {
    let bad = || format!("invalid port {}: expected a port of the sidecar, as 80 or 53/udp", quoted(key));
    let (rest, transport) = transport(key.trim()).ok_or_else(bad)?;
    let target = label::port(rest).ok_or_else(bad)?;
    let bindings = match &value.value {
        Value::List(_) => items(value)?,
        _ => vec![value],
    };
    let of_host = |binding: &Node| {
        let bad = |text: &str| {
            format!("invalid host port {} for port {key}: expected as 8080 or 127.0.0.1:8080", quoted(text))
        };
        let text = match &binding.value {
            Value::Null => return Ok((None, None)),
            Value::Map(entries) => {
                let of = |name: &str| entries.iter().find(|entry| entry.key == name)?.value.scalar();
                if let Some(entry) =
                    entries.iter().find(|e| !["HostIp", "HostPort"].contains(&e.key.as_str()))
                {
                    return Err(bad(&entry.key));
                }
                format!("{}:{}", of("HostIp").unwrap_or_default(), of("HostPort").unwrap_or_default())
            }
            _ => binding.scalar().ok_or_else(|| bad(binding.kind()))?,
        };
        let (ip, port) = match text.rsplit_once(':') {
            Some(("", port)) => (None, port),
            Some((ip, port)) => (Some(address(ip).ok_or_else(|| bad(&text))?), port),
            None => (None, text.as_str()),
        };
        let port = if port.is_empty() { None } else { Some(range(port).ok_or_else(|| bad(&text))?) };
        Ok((ip, port))
    };
    let port = |binding: &Node| {
        of_host(binding).map(|(host_ip, published)| Port { target, transport, published, host_ip })
    };
    bindings.into_iter().map(port).collect()
}

/// Returns the ports of one entry of `ports`, or what is wrong with it.
fn port(node: &Node, reader: &mut Reader<'_>) -> Result<Vec<Port>, String> {
    match &node.value {
        Value::Text(text) | Value::Number(text) => short(text),
        Value::Map(_) => Ok(vec![long(node, reader)?]),
        Value::Null | Value::Bool(_) | Value::List(_) => {
            Err(format!("invalid port: expected a string, a number or a map, not {}", node.kind()))
        }
    }
}

/// Reads `[[address:]host port:]port[/protocol]`, each port a number or a range.
pub(super) fn short(text: &str) -> Result<Vec<Port>, String> {
    let bad = || format!("invalid port {}: expected 80, 8080:80 or 127.0.0.1:8080:80/tcp", quoted(text));
    let (rest, transport) = transport(text.trim()).ok_or_else(bad)?;
    let (rest, target) = match rest.rsplit_once(':') {
        Some((rest, target)) => (Some(rest), target),
        None => (None, rest),
    };
    let target = range(target).ok_or_else(bad)?;
    let (host_ip, published) = match rest {
        None => (None, None),
        Some(rest) => {
            let (ip, port) = match rest.rsplit_once(':') {
                Some((ip, port)) => (Some(address(ip).ok_or_else(bad)?), port),
                None => (None, rest),
            };
            let published = if port.is_empty() { None } else { Some(range(port).ok_or_else(bad)?) };
            if ip.is_none() && published.is_none() {
                return Err(bad());
            }
            (ip, published)
        }
    };
    let (first, last) = target;
    let count = last - first;
    let pairs = published.is_some_and(|(from, to)| to - from == count);
    if published.is_some() && !pairs && count > 0 {
        return Err(format!("invalid port {}: its ranges differ in length", quoted(text)));
    }
    let one = |offset: u16| {
        let published =
            published.map(|(from, to)| if pairs { (from + offset, from + offset) } else { (from, to) });
        Port { target: first + offset, transport, published, host_ip }
    };
    Ok((0..=count).map(one).collect())
}

/// Returns a port with its protocol (`53/udp`), or a range of them.
pub(super) fn exposed(text: &str) -> Option<Vec<(u16, Transport)>> {
    let (rest, transport) = transport(text.trim())?;
    let (first, last) = range(rest)?;
    Some((first..=last).map(|port| (port, transport)).collect())
}

fn long(node: &Node, reader: &mut Reader<'_>) -> Result<Port, String> {
    let (mut target, mut published, mut host_ip, mut transport) = (None, None, None, Transport::Tcp);
    for (key, value) in reader.entries(node, "ports") {
        let bad = || format!("invalid {key} {}", quoted(&value.scalar().unwrap_or_default()));
        let text = value.scalar().ok_or_else(|| format!("{key} is {}", value.kind()))?;
        match key {
            "target" => target = Some(label::port(&text).ok_or_else(bad)?),
            "published" => published = Some(range(&text).ok_or_else(bad)?),
            "host_ip" => host_ip = Some(address(&text).ok_or_else(bad)?),
            "protocol" => transport = named(&text).ok_or_else(bad)?,
            // Settings for swarms and other tools have no effect on one host: compose accepts and ignores
            // them.
            "mode" | "name" | "app_protocol" => {}
            _ => reader.unsupported(value.line, &format!("ports.{key}")),
        }
    }
    let target = target.ok_or("target is missing")?;
    Ok(Port { target, transport, published, host_ip })
}

fn transport(text: &str) -> Option<(&str, Transport)> {
    match text.rsplit_once('/') {
        Some((rest, name)) => Some((rest, named(name)?)),
        None => Some((text, Transport::Tcp)),
    }
}

fn named(text: &str) -> Option<Transport> {
    match text {
        "tcp" => Some(Transport::Tcp),
        "udp" => Some(Transport::Udp),
        _ => None,
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (label::port(first)?, label::port(last)?);
    (first <= last && last - first < MAX_RANGE).then_some((first, last))
}

fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    bare.unwrap_or(text).parse().ok()
}
