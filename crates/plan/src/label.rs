//! The grammar of the labels that ask for traffic: which key says what.
//!
//! | Docker Glue's spelling | Longshore's | value |
//! |---|---|---|
//! | `glue_http_ports`, `glue_tcp_ports`, `glue_udp_ports` | `longshore.http.<port>` (also `tcp`, `udp`) | ports with commas; or empty or `true` |
//! | `glue_http_<port>_host` | `longshore.http.<port>.host` | host names with commas, `*.domain`, `*` |
//! | `glue_http_<port>_prefix` | `longshore.http.<port>.prefix` | path prefix |
//! | `glue_http_<port>_strip_prefix` | `longshore.http.<port>.strip-prefix` | `1` or `0`, `true` or `false` |
//! | `glue_<protocol>_<port>_weight` | `longshore.<protocol>.<port>.weight` | 0 to 256 |
//! | | `longshore.<protocol>.<port>.listen` | the frontend's port |
//! | | `longshore.network` | the network to reach the container by |
//! | | `longshore.service` | the service that the container is one of, for its name |

use longshore_model::Protocol;

/// One property of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Attribute {
    /// The route is asked for, and nothing else said.
    Enabled,
    Host,
    Prefix,
    StripPrefix,
    Weight,
    Listen,
}

/// Whose spelling a label has; of two labels that say the same thing, ours counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Spelling {
    Glue,
    Longshore,
}

/// What a label's key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A property of the route to one port.
    Attribute(Spelling, Protocol, u16, Attribute),
    /// Docker Glue's list of ports.
    Ports(Protocol),
    /// The network to reach the container by.
    Network,
    /// The service that the container is one of.
    Service,
    /// It names a port's route and asks something unknown of it, which is lost for it.
    UnknownAttribute(Protocol, u16, Option<&'static str>),
    /// It looks like one of ours and is none.
    Unknown(Option<&'static str>),
}

/// Reads a label's key; `None` for the labels of others.
pub(crate) fn read(key: &str) -> Option<Key> {
    if let Some(rest) = key.strip_prefix("longshore.") {
        // Open vSwitch's and the sidecars' are read elsewhere.
        return (!rest.starts_with("ovs.") && !is_of_sidecars(rest)).then(|| read_longshore(rest));
    }
    key.strip_prefix("glue_").and_then(read_glue)
}

/// Labels that ask for sidecars, and those that sidecars bear.
fn is_of_sidecars(rest: &str) -> bool {
    matches!(rest, "owner" | "spec" | "sidecar") || rest.starts_with("sidecar.")
}

fn read_longshore(rest: &str) -> Key {
    if rest == "network" {
        return Key::Network;
    }
    if rest == "service" {
        return Key::Service;
    }
    let (first, rest) = rest.split_once('.').unwrap_or((rest, ""));
    let Some(protocol) = protocol(first) else {
        return Key::Unknown(nearest(first, &["http", "tcp", "udp", "network", "service"]));
    };
    let (number, attribute) = match rest.split_once('.') {
        Some((number, attribute)) => (number, Some(attribute)),
        None => (rest, None),
    };
    let Some(port) = port(number) else { return Key::Unknown(None) };
    let attribute = match (attribute, protocol) {
        (None, _) => Attribute::Enabled,
        (Some("weight"), _) => Attribute::Weight,
        (Some("listen"), _) => Attribute::Listen,
        (Some("host"), Protocol::Http) => Attribute::Host,
        (Some("prefix"), Protocol::Http) => Attribute::Prefix,
        (Some("strip-prefix"), Protocol::Http) => Attribute::StripPrefix,
        (Some(other), _) => {
            let known: &[&str] = match protocol {
                Protocol::Http => &["host", "prefix", "strip-prefix", "weight", "listen"],
                Protocol::Tcp | Protocol::Udp => &["weight", "listen"],
            };
            return Key::UnknownAttribute(protocol, port, nearest(other, known));
        }
    };
    Key::Attribute(Spelling::Longshore, protocol, port, attribute)
}

fn read_glue(rest: &str) -> Option<Key> {
    let (first, rest) = rest.split_once('_')?;
    let Some(protocol) = protocol(first) else {
        // Others may well have labels that start with `glue_`: only a slip of the pen is ours.
        return nearest(first, &["http", "tcp", "udp"]).map(|near| Key::Unknown(Some(near)));
    };
    if rest == "ports" {
        return Some(Key::Ports(protocol));
    }
    let (number, attribute) = rest.split_once('_').unwrap_or((rest, ""));
    let Some(port) = port(number) else { return Some(Key::Unknown(nearest(rest, &["ports"]))) };
    let attribute = match (attribute, protocol) {
        ("weight", _) => Attribute::Weight,
        ("host", Protocol::Http) => Attribute::Host,
        ("prefix", Protocol::Http) => Attribute::Prefix,
        ("strip_prefix", Protocol::Http) => Attribute::StripPrefix,
        (other, _) => {
            let known: &[&str] = match protocol {
                Protocol::Http => &["host", "prefix", "strip_prefix", "weight"],
                Protocol::Tcp | Protocol::Udp => &["weight"],
            };
            return Some(Key::UnknownAttribute(protocol, port, nearest(other, known)));
        }
    };
    Some(Key::Attribute(Spelling::Glue, protocol, port, attribute))
}

fn protocol(text: &str) -> Option<Protocol> {
    match text {
        "http" => Some(Protocol::Http),
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        _ => None,
    }
}

/// A port from 1 to 65535 in plain digits, so that one port has one spelling.
pub(crate) fn port(text: &str) -> Option<u16> {
    if text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// The known word that a misspelt one was meant to be, if one is near enough.
fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    // Comparing costs the product of the lengths, and a label may be a megabyte.
    if word.len() > 32 {
        return None;
    }
    let near = known.iter().map(|&k| (strsim::damerau_levenshtein(word, k), k)).min()?;
    (near.0 <= 2).then_some(near.1)
}
