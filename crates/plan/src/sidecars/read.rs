//! Parses a definition from a tree: compose's keys, by compose's rules.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::definition::{Attachment, Condition, Definition, Link, Mode, Restart};
use super::env_file::env_files;
use super::health::health_check;
use super::mounts::volumes;
use super::ports::{exposed, ports};
use super::reader::{Flaw, Reader, flag, is_name, text, texts};
use super::time::seconds;
use super::yaml::{Node, Value};
use crate::claim::quoted;

impl Reader<'_> {
    /// Returns the definition, unless a flaw makes it unusable.
    pub(super) fn definition(&mut self, node: &Node) -> Option<Definition> {
        let before = self.flaws.len();
        let Value::Map(entries) = &node.value else {
            self.fatal(node.line, "", format!("it is {}, not a map of its keys", node.kind()));
            return None;
        };
        let mut found = Definition::default();
        let mut has_command = false;
        for entry in entries {
            let (line, key, value) = (entry.line, entry.key.as_str(), &entry.value);
            has_command |= key == "command" && !matches!(value.value, Value::Null);
            if let Err(message) = self.key(&mut found, key, line, value) {
                self.fatal(line, key, message);
            }
        }
        let is_lost = |flaws: &[Flaw]| flaws.iter().skip(before).any(|flaw| flaw.fatal);
        if found.image.is_empty() && !is_lost(&self.flaws) {
            self.fatal(node.line, "image", "required");
        }
        if !has_command && !self.by_label {
            self.fatal(node.line, "command", "required; [] for the image's own");
        }
        self.check_network(&found, node.line);
        (!is_lost(&self.flaws)).then_some(found)
    }

    fn check_network(&mut self, found: &Definition, line: usize) {
        let Some(mode) = &found.network_mode else { return };
        let shares = match mode {
            Mode::Main | Mode::Of(_) => true,
            Mode::Docker(mode) => mode.starts_with("container:"),
        };
        let has_none = shares || matches!(mode, Mode::Docker(mode) if mode == "host" || mode == "none");
        if found.networks.is_some() {
            self.fatal(line, "networks", "cannot be combined with network_mode");
        }
        if has_none && !found.ports.is_empty() {
            self.fatal(
                line,
                "ports",
                "with this network_mode, the sidecar has no network of its own to publish from",
            );
        }
        if has_none && !found.links.is_empty() {
            self.fatal(
                line,
                "links",
                "with this network_mode, the sidecar has no network of its own for links",
            );
        }
        if shares && found.hostname.is_some() {
            self.fatal(line, "hostname", "the network of another container has that container's host name");
        }
    }

    fn key(&mut self, found: &mut Definition, key: &str, line: usize, node: &Node) -> Result<(), String> {
        match key {
            "image" => found.image = image(node)?,
            "command" => found.command = words(node)?,
            "entrypoint" => found.entrypoint = words(node)?,
            "env_file" => found.env_files = env_files(node, self)?,
            "environment" => found.environment = self.environment(node)?,
            "labels" => found.labels = self.labels(node)?,
            "ports" => found.ports = ports(node, self)?,
            "expose" => {
                for text in texts(node)? {
                    let ports = exposed(&text)
                        .ok_or_else(|| format!("invalid port {}: expected 80 or 53/udp", quoted(&text)))?;
                    found.expose.extend(ports);
                }
            }
            "volumes" => found.volumes = volumes(node, self)?,
            "links" => found.links = texts(node)?.iter().map(|text| link(text)).collect::<Result<_, _>>()?,
            "depends_on" => found.depends_on = self.depends_on(node)?,
            "networks" => found.networks = Some(self.networks(node)?),
            "network_mode" => found.network_mode = Some(mode(node)?),
            "restart" => found.restart = Some(restart(node)?),
            "healthcheck" => found.health_check = health_check(node, self)?,
            "user" => found.user = Some(text(node)?),
            "working_dir" => found.working_dir = Some(text(node)?),
            "hostname" => found.hostname = Some(text(node)?),
            "stop_signal" => found.stop_signal = Some(text(node)?),
            "stop_grace_period" => found.stop_grace = Some(seconds(node)?),
            "privileged" => found.privileged = truthy(node)?,
            "read_only" => found.read_only = truthy(node)?,
            "init" => found.init = Some(truthy(node)?),
            "cap_add" => found.cap_add = texts(node)?,
            "cap_drop" => found.cap_drop = texts(node)?,
            "extra_hosts" => found.extra_hosts = self.extra_hosts(node)?,
            "dns" => found.dns = texts(node)?,
            // Compose's extension fields.
            _ if key.starts_with("x-") => {}
            _ => self.unsupported(line, key),
        }
        Ok(())
    }

    /// Reads a map or a list of `KEY=value`; as in compose, a variable without a value takes the agent's own.
    fn environment(&mut self, node: &Node) -> Result<BTreeMap<String, String>, String> {
        let mut found = BTreeMap::new();
        for (name, value) in self.pairs(node, "environment")? {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(format!("invalid variable name {}", quoted(&name)));
            }
            let value = match value {
                Some(value) => Some(value),
                None => match self.environment {
                    Some(own) => own.get(&name).cloned(),
                    None => return Err(format!("{} has no value", quoted(&name))),
                },
            };
            found.extend(value.map(|value| (name, value)));
        }
        Ok(found)
    }

    fn labels(&mut self, node: &Node) -> Result<BTreeMap<String, String>, String> {
        let mut found = BTreeMap::new();
        for (name, value) in self.pairs(node, "labels")? {
            if super::sidecar::is_reserved(&name) {
                return Err(format!("{} is reserved for Longshore", quoted(&name)));
            }
            found.insert(name, value.unwrap_or_default());
        }
        Ok(found)
    }

    fn extra_hosts(&mut self, node: &Node) -> Result<Vec<String>, String> {
        if matches!(node.value, Value::Map(_)) {
            let pairs = self.pairs(node, "extra_hosts")?;
            return Ok(pairs
                .into_iter()
                .map(|(name, ip)| format!("{name}:{}", ip.unwrap_or_default()))
                .collect());
        }
        Ok(texts(node)?.iter().map(|text| text.replacen('=', ":", 1)).collect())
    }

    fn pairs(&mut self, node: &Node, key: &str) -> Result<Vec<(String, Option<String>)>, String> {
        if !matches!(node.value, Value::Map(_)) {
            let texts = texts(node)?.into_iter();
            return Ok(texts
                .map(|text| match text.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (text, None),
                })
                .collect());
        }
        let mut found = Vec::new();
        for (name, value) in self.entries(node, key) {
            match (&value.value, value.scalar()) {
                (Value::Null, _) => found.push((name.to_owned(), None)),
                (_, Some(text)) => found.push((name.to_owned(), Some(text))),
                (_, None) => return Err(format!("{} is {}, not a string", quoted(name), value.kind())),
            }
        }
        Ok(found)
    }

    fn depends_on(&mut self, node: &Node) -> Result<BTreeMap<String, Condition>, String> {
        if !matches!(node.value, Value::Map(_)) {
            return Ok(texts(node)?.into_iter().map(|name| (name, Condition::Started)).collect());
        }
        let mut found = BTreeMap::new();
        for (name, entry) in self.entries(node, "depends_on") {
            let (mut condition, mut required) = (Condition::Started, true);
            for (key, value) in self.entries(entry, "depends_on") {
                match (key, value.scalar().unwrap_or_default().as_str()) {
                    ("condition", "service_started") => condition = Condition::Started,
                    ("condition", "service_healthy") => condition = Condition::Healthy,
                    ("condition", "service_completed_successfully") => condition = Condition::Completed,
                    ("condition", other) => {
                        let known =
                            "expected service_started, service_healthy or service_completed_successfully";
                        return Err(format!("{}: condition {}: {known}", quoted(name), quoted(other)));
                    }
                    ("required", "false") => required = false,
                    ("required", "true") | ("restart", "false") => {}
                    _ => self.unsupported(value.line, &format!("depends_on.{name}.{key}")),
                }
            }
            if required {
                found.insert(name.to_owned(), condition);
            }
        }
        Ok(found)
    }

    fn networks(&mut self, node: &Node) -> Result<BTreeMap<String, Attachment>, String> {
        let mut found = BTreeMap::new();
        if !matches!(node.value, Value::Map(_)) {
            found.extend(texts(node)?.into_iter().map(|name| (name, Attachment::default())));
        } else {
            for (name, entry) in self.entries(node, "networks") {
                let mut attachment = Attachment::default();
                for (key, value) in self.entries(entry, "networks") {
                    match key {
                        "aliases" => attachment.aliases = texts(value)?,
                        "ipv4_address" => attachment.ipv4 = Some(address(value, name)?),
                        "ipv6_address" => attachment.ipv6 = Some(address(value, name)?),
                        _ => self.unsupported(value.line, &format!("networks.{name}.{key}")),
                    }
                }
                found.insert(name.to_owned(), attachment);
            }
        }
        if found.is_empty() {
            return Err("no network given; leave it out for the main's networks".to_owned());
        }
        if let Some(name) = found.keys().find(|name| matches!(name.as_str(), "host" | "none")) {
            return Err(format!("{name} is not a network: use network_mode: {name}"));
        }
        Ok(found)
    }
}

fn image(node: &Node) -> Result<String, String> {
    let text = text(node)?;
    text.parse::<longshore_model::ImageReference>()
        .map_err(|_| format!("invalid image reference {}", quoted(&text)))?;
    Ok(text)
}

/// Returns a list of words, or a text split as a shell would.
fn words(node: &Node) -> Result<Option<Vec<String>>, String> {
    match &node.value {
        Value::Null => Ok(None),
        Value::Text(text) => match shlex::split(text) {
            Some(words) => Ok(Some(words)),
            None => Err(format!("invalid command {}: unclosed quote", quoted(text))),
        },
        Value::Number(_) => Ok(node.scalar().map(|word| vec![word])),
        Value::List(items) => {
            let word = |item: &Node| item.scalar().filter(|word| !word.contains('\0'));
            let words: Option<Vec<String>> = items.iter().map(word).collect();
            words.map(Some).ok_or_else(|| "an entry is not a string".to_owned())
        }
        Value::Bool(_) | Value::Map(_) => Err(format!("it is {}, not a string or a list", node.kind())),
    }
}

fn link(text: &str) -> Result<Link, String> {
    let (target, alias) = text.split_once(':').unwrap_or((text, text));
    let good = |name: &str| is_name(name) || name.strip_prefix('/').is_some_and(is_name);
    if !good(target) || !is_name(alias) {
        return Err(format!("invalid link {}: expected NAME or NAME:ALIAS", quoted(text)));
    }
    Ok(Link { target: target.trim_start_matches('/').to_owned(), alias: alias.to_owned() })
}

fn mode(node: &Node) -> Result<Mode, String> {
    let text = text(node)?;
    match text.as_str() {
        "service" | "service:main" => Ok(Mode::Main),
        "bridge" | "host" | "none" => Ok(Mode::Docker(text)),
        _ if text.strip_prefix("container:").is_some_and(is_name) => Ok(Mode::Docker(text)),
        _ if let Some(name) = text.strip_prefix("service:").filter(|name| is_name(name)) => {
            Ok(Mode::Of(name.to_owned()))
        }
        _ => {
            let known = "expected service (the main's), service:NAME, host, none, bridge or container:NAME";
            Err(format!("invalid network mode {}: {known}", quoted(&text)))
        }
    }
}

fn restart(node: &Node) -> Result<Restart, String> {
    let text = match node.value {
        // Unquoted `no` is false in YAML 1.1, and some people write it so.
        Value::Bool(false) => "no".to_owned(),
        _ => text(node)?,
    };
    match text.split_once(':').unwrap_or((&text, "")) {
        ("always" | "unless-stopped", "") => Ok(Restart::Always),
        ("no", "") => Ok(Restart::No),
        ("on-failure", "") => Ok(Restart::OnFailure(None)),
        ("on-failure", times) if times.parse::<u16>().is_ok() => Ok(Restart::OnFailure(times.parse().ok())),
        _ => Err(format!(
            "invalid restart policy {}: expected always, no, unless-stopped or on-failure[:times]",
            quoted(&text)
        )),
    }
}

fn truthy(node: &Node) -> Result<bool, String> {
    flag(node).ok_or_else(|| "expected true or false".to_owned())
}

fn address(node: &Node, name: &str) -> Result<IpAddr, String> {
    let text = node.scalar().unwrap_or_default();
    text.parse().map_err(|_| format!("{}: invalid address {}", quoted(name), quoted(&text)))
}
