//! The grammar of routing labels: the meaning of each key.
//!
//! | Docker Glue's spelling | Longshore's | value |
//! |---|---|---|
//! | `glue_http_ports`, `glue_tcp_ports`, `glue_udp_ports` | `longshore.http.<port>` (also `tcp`, `udp`) | comma-separated ports; or empty or `true` |
//! | `glue_http_<port>_host` | `longshore.http.<port>.host` | comma-separated host names, `*.domain`, `*` |
//! | `glue_http_<port>_prefix` | `longshore.http.<port>.prefix` | path prefix |
//! | `glue_http_<port>_strip_prefix` | `longshore.http.<port>.strip-prefix` | `1` or `0`, `true` or `false` |
//! | `glue_<protocol>_<port>_weight` | `longshore.<protocol>.<port>.weight` | 0 to 256 |
//! | | `longshore.<protocol>.<port>.listen` | the frontend's port |
//! | | `longshore.network` | the network at which to reach the container |
//! | | `longshore.service` | the service that the container belongs to, for its DNS name |

use longshore_model::Protocol;

/// One attribute of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Attribute {
    /// The route exists, with defaults.
    Enabled,
    Host,
    Prefix,
    StripPrefix,
    Weight,
    Listen,
}

/// Whose spelling a label uses; if two labels set the same attribute, ours wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Spelling {
    Glue,
    Longshore,
}

/// The meaning of a label's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// An attribute of the route to one port.
    Attribute(Spelling, Protocol, u16, Attribute),
    /// Docker Glue's list of ports.
    Ports(Protocol),
    /// The network at which to reach the container.
    Network,
    /// The service that the container belongs to.
    Service,
    /// It names a port's route and an unknown attribute. That route is lost.
    UnknownAttribute(Protocol, u16, Option<&'static str>),
    /// It resembles one of our keys but is not valid: what is wrong, and what to write.
    Unknown(&'static str, Option<String>),
}

const UNKNOWN: &str = "unknown label";
const NO_PORT: &str = "the label names no port";
const INVALID_PORT: &str = "invalid port";

/// Reads a label's key; `None` for labels that are not ours.
pub(crate) fn read(key: &str) -> Option<Key> {
    let found = read_exactly(key);
    if matches!(found, None | Some(Key::Unknown(..))) {
        return read_in_lower_case(key).or(found);
    }
    found
}

fn read_exactly(key: &str) -> Option<Key> {
    if let Some(rest) = key.strip_prefix("longshore.") {
        // Labels of Open vSwitch and sidecars are read elsewhere.
        return (!rest.starts_with("ovs.") && !is_of_sidecars(rest)).then(|| read_longshore(rest));
    }
    key.strip_prefix("glue_").and_then(read_glue)
}

/// Returns a key that would be ours in lower case. Docker's labels are case-sensitive, and so are ours.
fn read_in_lower_case(key: &str) -> Option<Key> {
    // A label may be a megabyte long.
    if key.len() > 128 || !key.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let lower = key.to_ascii_lowercase();
    match read_exactly(&lower) {
        None | Some(Key::Unknown(..)) => None,
        Some(_) => {
            Some(Key::Unknown("label keys are case-sensitive", Some(format!("did you mean {lower:?}?"))))
        }
    }
}

/// Returns whether a label asks for sidecars or marks one.
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
    let Some(protocol) = protocol(first) else { return unknown_word(first) };
    let (number, attribute) = match rest.split_once('.') {
        Some((number, attribute)) => (number, Some(attribute)),
        None => (rest, None),
    };
    let Some(port) = port(number) else { return without_port(&format!("longshore.{protocol}."), ".", rest) };
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

/// The words that may follow `longshore.`
const WORDS: [&str; 5] = ["http", "tcp", "udp", "network", "service"];

fn unknown_word(word: &str) -> Key {
    let hint = match word {
        "https" | "tls" | "ssl" => Some(
            "TLS is not terminated here; longshore.tcp.443 passes it through to the container".to_owned(),
        ),
        _ => nearest(word, &WORDS).map(|near| format!("did you mean \"longshore.{near}\"?")),
    };
    Key::Unknown(UNKNOWN, hint)
}

/// Returns the error of a key in which the port after `start` is missing.
fn without_port(start: &str, separator: &str, rest: &str) -> Key {
    let (first, after) = rest.split_once(separator).unwrap_or((rest, ""));
    if !first.is_empty() && first.bytes().all(|b| b.is_ascii_digit()) {
        return Key::Unknown(INVALID_PORT, Some("expected 1 to 65535 without leading zeros".to_owned()));
    }
    let attributes = ["host", "prefix", "strip-prefix", "strip_prefix", "weight", "listen"];
    let example = match first {
        "" => format!("{start}80"),
        known if attributes.contains(&rest) || attributes.contains(&known) => {
            format!("{start}80{separator}{rest}")
        }
        _ if attributes.contains(&after) => format!("{start}80{separator}{after}"),
        _ => format!("{start}80"),
    };
    Key::Unknown(NO_PORT, Some(format!("write the container's port: {example:?}")))
}

fn read_glue(rest: &str) -> Option<Key> {
    let (first, rest) = rest.split_once('_')?;
    let Some(protocol) = protocol(first) else {
        // Others may well use labels that start with `glue_`: only a likely typo is reported.
        let near = nearest(first, &["http", "tcp", "udp"])?;
        return Some(Key::Unknown(UNKNOWN, Some(format!("did you mean \"glue_{near}\"?"))));
    };
    if rest == "ports" {
        return Some(Key::Ports(protocol));
    }
    let (number, attribute) = rest.split_once('_').unwrap_or((rest, ""));
    let Some(port) = port(number) else {
        if nearest(rest, &["ports"]).is_some() {
            return Some(Key::Unknown(UNKNOWN, Some(format!("did you mean \"glue_{protocol}_ports\"?"))));
        }
        return Some(without_port(&format!("glue_{protocol}_"), "_", rest));
    };
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

/// Returns a port from 1 to 65535 in plain digits, which gives each port exactly one spelling.
pub(crate) fn port(text: &str) -> Option<u16> {
    if text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Returns the known word that a misspelt one was probably meant to be, if one is close enough.
fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    // A comparison costs the product of the lengths, and a label may be a megabyte long.
    if word.len() > 32 {
        return None;
    }
    let near = known.iter().map(|&k| (strsim::damerau_levenshtein(word, k), k)).min()?;
    (near.0 <= 2).then_some(near.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the error of a key that resembles one of ours.
    fn hint(key: &str) -> String {
        match read(key) {
            Some(Key::Unknown(message, hint)) => format!("{message}; {}", hint.unwrap_or_default()),
            other => panic!("{key}: {other:?}"),
        }
    }

    #[test]
    fn a_label_that_is_nearly_right_is_shown_as_it_should_be() {
        for (key, said) in [
            (
                "longshore.http.host",
                "the label names no port; write the container's port: \"longshore.http.80.host\"",
            ),
            ("longshore.http", "the label names no port; write the container's port: \"longshore.http.80\""),
            (
                "longshore.tcp.web.weight",
                "names no port; write the container's port: \"longshore.tcp.80.weight\"",
            ),
            ("longshore.http.99999.host", "invalid port; expected 1 to 65535"),
            ("longshore.http.080", "invalid port; expected 1 to 65535 without leading zeros"),
            ("Longshore.http.80.host", "case-sensitive; did you mean \"longshore.http.80.host\"?"),
            ("longshore.HTTP.80.Host", "case-sensitive; did you mean \"longshore.http.80.host\"?"),
            ("GLUE_HTTP_80_HOST", "case-sensitive; did you mean \"glue_http_80_host\"?"),
            ("longshore.https.443.host", "unknown label; TLS is not terminated here; longshore.tcp.443"),
            ("longshore.htpp.80", "unknown label; did you mean \"longshore.http\"?"),
            ("glue_http_host", "names no port; write the container's port: \"glue_http_80_host\""),
            ("glue_http_port", "unknown label; did you mean \"glue_http_ports\"?"),
            ("glue_http_70000_host", "invalid port"),
        ] {
            let found = hint(key);
            assert!(found.contains(said), "{key}: {found}");
        }
    }

    #[test]
    fn the_labels_of_others_are_nobodys_business() {
        for key in ["com.example.Longshore.http.80", "glue_stick", "Glue", "LONGSHOREMAN", "maintainer"] {
            assert_eq!(read(key), None, "{key}");
        }
    }
}
