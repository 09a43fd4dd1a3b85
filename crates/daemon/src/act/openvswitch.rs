//! Ports of Open vSwitch, listed and changed with its own programs.
//!
//! `ovs-docker` connects a container in several steps and continues after one that failed. Output on standard
//! error therefore counts as failure, and what exists of the port is removed. Before it starts, the attempt is
//! recorded in Open vSwitch's own database, where the next agent finds it if this one is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use longshore_model::ContainerId;
use longshore_plan::openvswitch::{Attachment, Mark, Port};
use longshore_runtime::{ProcessGroup as Group, descriptors};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::config::DockerSettings;

/// Timeout of one query or change.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Timeout of `ovs-docker`, which makes several changes and asks Docker.
const ADD_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum bytes read of a program's output.
const MAX_OUTPUT: u64 = 64 * 1024 * 1024;
/// Maximum characters of a program's error that are repeated.
const MAX_SHOWN: usize = 300;

/// Key for the owner of a port: the agent's name for its host.
const NODE: &str = "longshore";
/// Key for the agent's handler that the port was created for.
const HANDLER: &str = "longshore_handler";
/// Key for the settings that the port was created for.
const MARK: &str = "longshore_mark";
/// Prefix of the key of an unfinished port, followed by the container's id, `_` and the interface. Its value is
/// the node, a space and the handler.
const ADDING: &str = "longshore_adding_";

/// The result of a query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Ports that lead into containers, by container.
    pub(crate) ports: BTreeMap<ContainerId, Vec<Port>>,
    /// Interfaces that were started and not finished, by container.
    pub(crate) unfinished: BTreeMap<ContainerId, BTreeSet<String>>,
    /// The bridges.
    pub(crate) bridges: BTreeSet<String>,
}

/// The owner of the ports that are created.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    /// The agent's name for its host.
    pub(crate) node: String,
    /// The handler.
    pub(crate) handler: String,
    /// All handlers that connect containers. Any of them may remove the ports of a handler that is not among
    /// them.
    pub(crate) all: watch::Receiver<BTreeSet<String>>,
}

impl Owner {
    /// Returns whether another handler is responsible for what was created for this one.
    fn leaves_to(&self, handler: &str) -> bool {
        handler != self.handler && self.all.borrow().contains(handler)
    }

    fn note(&self) -> String {
        format!("{} {}", self.node, self.handler)
    }

    /// Returns whether a [note](Self::note) is ours, or of a handler that no longer exists.
    fn has_begun(&self, note: &str) -> bool {
        let handler = note.strip_prefix(&self.node).and_then(|rest| rest.strip_prefix(' '));
        handler.is_some_and(|handler| !self.leaves_to(handler))
    }
}

/// Open vSwitch of this host.
#[derive(Clone, Debug)]
pub(crate) struct OpenVswitch {
    owner: Owner,
    /// For the `docker` that `ovs-docker` runs.
    docker: Vec<(&'static str, String)>,
}

impl OpenVswitch {
    pub(crate) fn new(owner: Owner, docker: &DockerSettings) -> Self {
        let mut environment = vec![("DOCKER_HOST", docker.address.to_string())];
        if let Some(folder) = &docker.cert_path {
            environment.push(("DOCKER_CERT_PATH", folder.display().to_string()));
            environment.push(("DOCKER_TLS_VERIFY", "1".to_owned()));
        }
        Self { owner, docker: environment }
    }

    /// Queries the ports of one container, or of all.
    ///
    /// # Errors
    /// The error as a sentence, as for all of these.
    pub(crate) async fn list(&self, only: Option<&ContainerId>) -> Result<Listing, String> {
        let of = only.map(|id| format!("external_ids:container_id={}", id.as_str()));
        let mut line = vec!["--format=json", "--columns=name,external_ids"];
        match &of {
            Some(of) => line.extend(["find", "interface", of]),
            None => line.extend(["list", "interface"]),
        }
        line.extend(["--", "--columns=external_ids", "list", "Open_vSwitch", "--", "list-br"]);
        let text = self.vsctl(&line).await?;
        parse(&text, &self.owner).ok_or_else(|| format!("unexpected output of ovs-vsctl: {}", short(&text)))
    }

    /// Connects a container. Leaves nothing behind on failure.
    pub(crate) async fn add(&self, id: &ContainerId, attachment: &Attachment) -> Result<(), String> {
        let interface = attachment.interface.as_str();
        let adding = adding(id, interface);
        let begun = format!("external_ids:{adding}={}", quoted(&self.owner.note()));
        self.vsctl(&["set", "Open_vSwitch", ".", &begun]).await?;
        let mut line = vec!["add-port", &attachment.bridge, interface, id.as_str()];
        line.extend(attachment.options.iter().map(String::as_str));
        let made = self.run("ovs-docker", &line, ADD_TIMEOUT).await.and_then(|(_, complaint)| {
            if complaint.is_empty() { Ok(()) } else { Err(format!("ovs-docker: {}", short(&complaint))) }
        });
        let ports = self.list(Some(id)).await?.ports.remove(id).unwrap_or_default();
        let is_it = |port: &Port| port.mark == Mark::Unfinished && port.interface == interface;
        let mut ports = ports.into_iter().filter(is_it);
        let failure = match made {
            Ok(()) => {
                let Some(port) = ports.next() else {
                    self.settle(id, interface).await?;
                    return Err("ovs-docker created no port, and reported no error".to_owned());
                };
                let marks =
                    [(NODE, &self.owner.node), (HANDLER, &self.owner.handler), (MARK, &attachment.mark)];
                let marks = marks.map(|(key, value)| format!("external_ids:{key}={}", quoted(value)));
                let mut line = vec!["set", "interface", &port.name];
                line.extend(marks.iter().map(String::as_str));
                line.extend(["--", "remove", "Open_vSwitch", ".", "external_ids", &adding]);
                return self.vsctl(&line).await.map(drop);
            }
            Err(failure) => failure,
        };
        for port in ports {
            self.remove(&port.name).await?;
        }
        self.settle(id, interface).await?;
        Err(failure)
    }

    /// Removes a port, and the pair of interfaces that it is one end of.
    pub(crate) async fn remove(&self, port: &str) -> Result<(), String> {
        self.vsctl(&["--if-exists", "del-port", port]).await?;
        // The pair is removed with the container's namespace, and may be gone already.
        let _ = self.run("ip", &["link", "delete", port], CALL_TIMEOUT).await;
        Ok(())
    }

    /// Removes the note of an unfinished interface, of which nothing is left.
    pub(crate) async fn settle(&self, id: &ContainerId, interface: &str) -> Result<(), String> {
        let adding = adding(id, interface);
        self.vsctl(&["remove", "Open_vSwitch", ".", "external_ids", &adding]).await.map(drop)
    }

    async fn vsctl(&self, line: &[&str]) -> Result<String, String> {
        let line: Vec<&str> = ["--timeout=10"].into_iter().chain(line.iter().copied()).collect();
        self.run("ovs-vsctl", &line, CALL_TIMEOUT).await.map(|(output, _)| output)
    }

    /// Runs a program to completion; returns its standard output and standard error.
    async fn run(&self, program: &str, line: &[&str], limit: Duration) -> Result<(String, String), String> {
        let mut command = Command::new(program);
        command.args(line).envs(self.docker.iter().cloned()).env("LC_ALL", "C").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = descriptors::spawn(&mut command).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                format!("{program} is not installed (on Debian: apt-get install openvswitch-switch)")
            }
            _ => format!("cannot run {program}: {error}"),
        })?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let mut group = Group::led_by(child);
        let ended = timeout(limit, async { tokio::join!(read(out), read(err), group.ended()) }).await;
        let Ok((out, err, status)) = ended else {
            group.end().await;
            return Err(format!("{program} did not exit within {limit:?}"));
        };
        let status = status.map_err(|error| format!("cannot wait for {program}: {error}"))?;
        let err = err.trim().to_owned();
        if status.success() {
            return Ok((out, err));
        }
        let why = if err.is_empty() { status.to_string() } else { short(&err) };
        Err(if why.starts_with(program) { why } else { format!("{program}: {why}") })
    }
}

fn adding(id: &ContainerId, interface: &str) -> String {
    format!("{ADDING}{}_{interface}", id.as_str())
}

async fn read(source: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(source) = source {
        // Output that cannot be read is missing, and the caller notices that.
        let _ = source.take(MAX_OUTPUT).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns a program's message on one line, shortened.
fn short(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").escape_debug().take(MAX_SHOWN).collect()
}

/// Returns a string quoted for Open vSwitch's database, as in JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A table as `ovs-vsctl --format=json` writes it.
#[derive(Debug, Deserialize)]
struct Table<Row> {
    data: Vec<Row>,
}

/// A map as Open vSwitch's database writes it: `["map", [[key, value]…]]`.
type Map = (String, Vec<(String, String)>);

/// Parses three answers of `ovs-vsctl`: two tables, and bridges, one per line.
fn parse(text: &str, owner: &Owner) -> Option<Listing> {
    let mut lines = text.lines();
    let interfaces: Table<(String, Map)> = serde_json::from_str(lines.next()?).ok()?;
    let of_all: Table<(Map,)> = serde_json::from_str(lines.next()?).ok()?;
    let mut listing =
        Listing { bridges: lines.map(|line| line.trim().to_owned()).collect(), ..Listing::default() };
    for (key, note) in of_all.data.into_iter().flat_map(|((_, pairs),)| pairs) {
        if let Some((id, interface)) = key.strip_prefix(ADDING).and_then(|rest| rest.split_once('_'))
            && owner.has_begun(&note)
        {
            listing.unfinished.entry(ContainerId::new(id)).or_default().insert(interface.to_owned());
        }
    }
    for (name, (_, pairs)) in interfaces.data {
        let mut ids: BTreeMap<String, String> = pairs.into_iter().collect();
        let Some(container) = ids.get("container_id").map(ContainerId::new) else { continue };
        let interface = ids.remove("container_iface").unwrap_or_default();
        let is_begun = || listing.unfinished.get(&container).is_some_and(|begun| begun.contains(&interface));
        let is_anothers = ids.get(HANDLER).is_some_and(|handler| owner.leaves_to(handler));
        let mark = match ids.get(NODE) {
            Some(node) if *node == owner.node && !is_anothers => {
                Mark::Ours(ids.remove(MARK).unwrap_or_default())
            }
            None if is_begun() => Mark::Unfinished,
            _ => Mark::Others,
        };
        let port = Port { name, container: container.clone(), interface, mark };
        listing.ports.entry(container).or_default().push(port);
    }
    Some(listing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ovs_vsctl_writes_is_read() {
        let text = concat!(
            r#"{"data":[["br-int",["map",[]]],"#,
            r#"["p1_l",["map",[["container_id","aa"],["container_iface","eth0"],["longshore","h 1"],["longshore_mark","7 br-int eth0"]]]],"#,
            r#"["p2_l",["map",[["container_id","bb"],["container_iface","eth0"]]]],"#,
            r#"["p3_l",["map",[["container_id","bb"],["container_iface","eth1"]]]],"#,
            r#"["p4_l",["map",[["container_id","aa"],["container_iface","eth1"],["longshore","h2"]]]],"#,
            r#"["p5_l",["map",[["container_id","cc"],["container_iface","eth0"],["longshore","h 1"],["longshore_handler","two"]]]],"#,
            r#"["p6_l",["map",[["container_id","cc"],["container_iface","eth1"],["longshore","h 1"],["longshore_handler","gone"]]]]],"headings":["name","external_ids"]}"#,
            "\n",
            r#"{"data":[[["map",[["hostname","h1"],["longshore_adding_bb_eth0","h 1 one"],["longshore_adding_bb_eth1","h 1 two"],["longshore_adding_cc_eth0","h2 one"]]]]],"headings":["external_ids"]}"#,
            "\nbr-int\nbr-other\n"
        );
        let handlers = ["one", "two"].map(str::to_owned).into();
        let owner = |handler: &str| Owner {
            node: "h 1".to_owned(),
            handler: handler.to_owned(),
            all: watch::channel(BTreeSet::clone(&handlers)).1,
        };
        let listing = parse(text, &owner("one")).unwrap();
        let marks: Vec<(&str, &Mark)> =
            listing.ports.values().flatten().map(|p| (p.name.as_str(), &p.mark)).collect();
        let ours = Mark::Ours("7 br-int eth0".to_owned());
        assert_eq!(
            marks,
            [
                ("p1_l", &ours),
                ("p4_l", &Mark::Others),
                ("p2_l", &Mark::Unfinished),
                ("p3_l", &Mark::Others),
                ("p5_l", &Mark::Others),
                ("p6_l", &Mark::Ours(String::new()))
            ]
        );
        assert_eq!(listing.unfinished, [(ContainerId::new("bb"), ["eth0".to_owned()].into())].into());
        assert_eq!(listing.bridges, ["br-int", "br-other"].map(str::to_owned).into());
        assert_eq!(super::parse("ovs-vsctl: no", &owner("one")), None);
    }
}
