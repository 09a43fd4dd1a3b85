//! Claims: the routes that one container's labels ask for.

use std::collections::{BTreeMap, BTreeSet};

use longshore_model::{
    Container, Frontend, HostPattern, PathPrefix, Problem, Protocol, RouteKey, TextError, Weight,
};

use crate::label::{self, Attribute, Key, Spelling};

/// The most routes that one container may claim, which bounds what it can make the balancer open.
const MAX_CLAIMS: usize = 1024;

/// One route that a port of a container claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The route.
    pub key: RouteKey,
    /// The port inside the container.
    pub port: u16,
    /// Whether the prefix is to be removed.
    pub strip_prefix: bool,
    /// Its share of the route's traffic.
    pub weight: Weight,
    /// The label that claims it, for problems to name.
    pub label: String,
    /// The label that sets the frontend's port.
    pub listen_label: String,
}

/// What the labels specify for one port and protocol, before validation.
#[derive(Default)]
struct Draft<'a> {
    attributes: BTreeMap<Attribute, (Spelling, &'a str, &'a str)>,
    broken: bool,
    /// Docker Glue's `_ports` list named it.
    listed: bool,
}

/// Reads a container's labels and returns its valid claims, with a problem for each invalid label. An invalid
/// label costs only the route that it belongs to.
pub fn claims(container: &Container) -> (Vec<Claim>, Vec<Problem>) {
    let mut reading = Reading { container, problems: Vec::new() };
    let drafts = reading.drafts();
    let mut claims = Vec::new();
    for ((protocol, port), draft) in &drafts {
        if !draft.broken {
            reading.claim(*protocol, *port, draft, &mut claims);
        }
    }
    if claims.len() > MAX_CLAIMS {
        let message = format!("{} routes requested: only the first {MAX_CLAIMS} are created", claims.len());
        reading.problem(None, message, None);
        claims.truncate(MAX_CLAIMS);
    }
    (claims, reading.problems)
}

type Drafts<'a> = BTreeMap<(Protocol, u16), Draft<'a>>;

struct Reading<'a> {
    container: &'a Container,
    problems: Vec<Problem>,
}

impl<'a> Reading<'a> {
    fn problem(&mut self, key: Option<&str>, message: String, hint: Option<String>) {
        let subject = self.container.into();
        self.problems.push(Problem { subject, key: key.map(shown), message, hint });
    }

    fn drafts(&mut self) -> Drafts<'a> {
        let mut drafts = Drafts::default();
        let mut lists = BTreeMap::new();
        for (label, value) in &self.container.labels {
            match label::read(label) {
                None | Some(Key::Network | Key::Service) => {}
                Some(Key::Attribute(spelling, protocol, port, attribute)) => {
                    let said = &mut drafts.entry((protocol, port)).or_default().attributes;
                    if said.get(&attribute).is_none_or(|(other, ..)| *other < spelling) {
                        said.insert(attribute, (spelling, label, value));
                    }
                }
                Some(Key::Ports(protocol)) => {
                    lists.insert(protocol, label.as_str());
                    for port in self.ports(label, value) {
                        drafts.entry((protocol, port)).or_default().listed = true;
                    }
                }
                Some(Key::UnknownAttribute(protocol, port, near)) => {
                    drafts.entry((protocol, port)).or_default().broken = true;
                    let message = format!("unknown property: no {protocol} route to port {port}");
                    self.problem(Some(label), message, near.map(|near| format!("did you mean {near:?}?")));
                }
                Some(Key::Unknown(message, hint)) => {
                    self.problem(Some(label), format!("{message}: ignored"), hint);
                }
            }
        }
        self.drop_unlisted(&mut drafts, &lists);
        drafts
    }

    /// Drops ports that are not listed: if Docker Glue's list of ports is given, its other labels apply to
    /// listed ports only.
    fn drop_unlisted(&mut self, drafts: &mut Drafts<'a>, lists: &BTreeMap<Protocol, &str>) {
        for ((protocol, port), draft) in drafts.iter_mut() {
            let Some(list) = lists.get(protocol).filter(|_| !draft.listed && !draft.broken) else { continue };
            let ours = draft.attributes.values().any(|(spelling, ..)| *spelling == Spelling::Longshore);
            if let (false, Some((_, label, _))) = (ours, draft.attributes.values().next()) {
                let message = format!("no effect: {list} does not list port {port}");
                self.problem(Some(label), message, None);
                draft.broken = true;
            }
        }
    }

    fn ports(&mut self, label: &str, value: &str) -> BTreeSet<u16> {
        let mut ports = BTreeSet::new();
        for word in value.split(',').map(str::trim).filter(|word| !word.is_empty()).take(MAX_CLAIMS) {
            match label::port(word) {
                Some(port) => {
                    ports.insert(port);
                }
                None => {
                    let message = format!("invalid port {}: expected 1–65535; no route to it", quoted(word));
                    self.problem(Some(label), message, None);
                }
            }
        }
        ports
    }

    fn claim(&mut self, protocol: Protocol, port: u16, draft: &Draft<'_>, claims: &mut Vec<Claim>) {
        let before = self.problems.len();
        let lost = format!("no {protocol} route to port {port}");
        let said = |attribute| draft.attributes.get(&attribute).map(|(_, label, value)| (*label, *value));

        let mut wanted = true;
        if let Some((label, value)) = said(Attribute::Enabled) {
            match truth(value) {
                _ if value.is_empty() => {}
                Some(on) => wanted = on,
                None => self.problem(
                    Some(label),
                    format!("invalid value {}: expected true or false; {lost}", quoted(value)),
                    None,
                ),
            }
        }
        let weight = match said(Attribute::Weight) {
            None => Weight::default(),
            Some((label, value)) => value.trim().parse().unwrap_or_else(|_| {
                let message = format!("invalid weight {}: expected 0–256; {lost}", quoted(value));
                self.problem(Some(label), message, None);
                Weight::default()
            }),
        };
        let listen = match said(Attribute::Listen) {
            None => port,
            Some((label, value)) => label::port(value.trim()).unwrap_or_else(|| {
                let message = format!("invalid port {}: expected 1–65535; {lost}", quoted(value));
                self.problem(Some(label), message, None);
                port
            }),
        };
        let strip_prefix = match said(Attribute::StripPrefix) {
            None => false,
            Some((label, value)) => truth(value).unwrap_or_else(|| {
                let message = format!("invalid value {}: expected 1 or 0; {lost}", quoted(value));
                self.problem(Some(label), message, None);
                false
            }),
        };
        let prefix = match said(Attribute::Prefix) {
            None => PathPrefix::default(),
            Some((label, value)) => value.trim().parse().unwrap_or_else(|error: TextError| {
                let message = format!("invalid path prefix {}: {error}; {lost}", quoted(value));
                self.problem(Some(label), message, None);
                PathPrefix::default()
            }),
        };
        if self.problems.len() > before || !wanted {
            return;
        }
        let frontend = Frontend { port: listen, protocol };
        let label = draft
            .attributes
            .values()
            .next()
            .map_or_else(|| format!("glue_{protocol}_ports"), |(_, label, _)| (*label).to_owned());
        let listen_label =
            said(Attribute::Listen).map_or_else(|| label.clone(), |(label, _)| label.to_owned());
        for host in self.hosts(said(Attribute::Host), &lost) {
            let key = RouteKey { frontend, host, prefix: prefix.clone() };
            let (label, listen_label) = (label.clone(), listen_label.clone());
            claims.push(Claim { key, port, strip_prefix, weight, label, listen_label });
        }
    }

    /// Returns the hosts of a route: each valid one in the list, or any host if no label names one.
    fn hosts(&mut self, said: Option<(&str, &str)>, lost: &str) -> BTreeSet<HostPattern> {
        let Some((label, value)) = said else { return BTreeSet::from([HostPattern::Any]) };
        let mut hosts = BTreeSet::new();
        for word in value.split(',').take(MAX_CLAIMS) {
            match word.trim().parse::<HostPattern>() {
                Ok(host) => {
                    hosts.insert(host);
                }
                Err(error) => {
                    let message = format!("invalid host name {}: {error}; {lost}", quoted(word));
                    let hint = Some("use a name such as wp1.example.com, or *.example.com".to_owned());
                    self.problem(Some(label), message, hint);
                }
            }
        }
        hosts
    }
}

fn truth(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "" | "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Returns untrusted text, safe to print: quoted, escaped, and of bounded length.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// Returns a label's key, cut to a bounded length.
pub(crate) fn shown(key: &str) -> String {
    key.chars().take(120).collect()
}
