//! Hazelcast's `cluster.xml`: who is asked to join, and what the cluster is called.

use std::path::Path;

use longshore_daemon::config::{HostAddress, JoinAddress};
use longshore_runtime::files::{Guard, read};
use roxmltree::{Document, Node, ParsingOptions};

use super::{MAX_LENGTH, error};
use crate::config_error::ConfigErrors;

/// Maximum number of nodes in the file.
const MAX_NODES: u32 = 100_000;

/// What `cluster.xml` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ClusterXml {
    /// The name of the cluster.
    pub(super) name: Option<String>,
    /// The hosts to join.
    pub(super) join: Vec<JoinAddress>,
    /// Whether hosts are found by multicast.
    pub(super) multicast: Option<bool>,
    /// What has no effect, by its path below the root.
    pub(super) ignored: Vec<String>,
}

impl ClusterXml {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigErrors> {
        let failed = |line, message: String| ConfigErrors(vec![error(path, line, None, message)]);
        let text = read(path, MAX_LENGTH, Guard::Writers)
            .map_err(|cause| failed(None, format!("cannot be read: {cause}")))?;
        Self::parse(&text).map_err(|cause| {
            let line = usize::try_from(cause.pos().row).ok();
            failed(line, format!("is not XML: {cause}"))
        })
    }

    fn parse(text: &str) -> Result<Self, roxmltree::Error> {
        let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
        let document = Document::parse_with_options(text, options)?;
        let mut xml = Self::default();
        xml.look(document.root_element(), "");
        Ok(xml)
    }

    /// Reads the elements inside `parent`, which is at `path`.
    fn look(&mut self, parent: Node<'_, '_>, path: &str) {
        for node in parent.children().filter(Node::is_element) {
            let name = node.tag_name().name();
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            let is_on = || node.attribute("enabled").is_none_or(|on| on.trim().eq_ignore_ascii_case("true"));
            let text = || node.text().unwrap_or_default().trim();
            match path.as_str() {
                "group" | "network" | "network/join" => self.look(node, &path),
                "group/name" if !text().is_empty() => self.name = Some(text().to_owned()),
                "network/join/multicast" => {
                    self.multicast = Some(is_on());
                    self.look(node, &path);
                }
                "network/join/tcp-ip" if is_on() => self.look(node, &path),
                // Switched off, and so it stays.
                "network/join/tcp-ip" => {}
                "network/join/tcp-ip/hostname"
                | "network/join/tcp-ip/member"
                | "network/join/tcp-ip/members"
                | "network/join/tcp-ip/interface" => self.join(text(), &path),
                _ => self.ignore(path),
            }
        }
    }

    /// Adds the hosts of an element, which are separated by commas.
    fn join(&mut self, text: &str, path: &str) {
        for host in text.split(',').map(str::trim).filter(|host| !host.is_empty()) {
            match without_port(host).parse::<JoinAddress>() {
                Ok(host) if !self.join.contains(&host) => self.join.push(host),
                Ok(_) => {}
                // A range of addresses, for example.
                Err(_) => self.ignore(format!("{path} {host}")),
            }
        }
    }

    fn ignore(&mut self, path: String) {
        if !self.ignored.contains(&path) {
            self.ignored.push(path);
        }
    }
}

/// Returns a host without Hazelcast's port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, _)) if host.parse::<HostAddress>().is_err() => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ClusterXml {
        ClusterXml::parse(text).unwrap()
    }

    fn joined(xml: &ClusterXml) -> Vec<String> {
        xml.join.iter().map(ToString::to_string).collect()
    }

    /// The file that Vert.x 2 came with, in part.
    const VERTX: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<hazelcast xsi:schemaLocation="http://www.hazelcast.com/schema/config hazelcast-config-2.5.xsd"
           xmlns="http://www.hazelcast.com/schema/config" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <group>
    <name>dev</name>
    <password>dev-pass</password>
  </group>
  <network>
    <port auto-increment="true">5701</port>
    <join>
      <multicast enabled="true">
        <multicast-group>224.2.2.3</multicast-group>
        <multicast-port>54327</multicast-port>
      </multicast>
      <tcp-ip enabled="false">
        <interface>192.168.1.2</interface>
      </tcp-ip>
    </join>
    <interfaces enabled="false"><interface>10.10.1.*</interface></interfaces>
  </network>
  <executor-service><core-pool-size>16</core-pool-size></executor-service>
</hazelcast>"#;

    #[test]
    fn vertxs_own_file_finds_hosts_by_multicast() {
        let expected = ClusterXml {
            name: Some("dev".to_owned()),
            join: Vec::new(),
            multicast: Some(true),
            ignored: [
                "group/password",
                "network/port",
                "network/join/multicast/multicast-group",
                "network/join/multicast/multicast-port",
                "network/interfaces",
                "executor-service",
            ]
            .map(str::to_owned)
            .into(),
        };
        assert_eq!(parse(VERTX), expected);
    }

    #[test]
    fn hosts_are_joined_at_our_port_whatever_hazelcasts_was() {
        let xml = parse(
            "<hazelcast><network><join><multicast enabled=\"false\"/><tcp-ip enabled=\"TRUE\">\
             <hostname>node1:5701</hostname><member>10.0.0.1</member><member>10.0.0.1:5702</member>\
             <members>10.0.0.2, [2001:db8::1]:5701</members><interface>2001:db8::2</interface>\
             <interface>10.0.1.*</interface><required-member>10.0.0.9</required-member></tcp-ip></join></network></hazelcast>",
        );
        assert_eq!(
            joined(&xml),
            ["node1:7052", "10.0.0.1:7052", "10.0.0.2:7052", "[2001:db8::1]:7052", "[2001:db8::2]:7052"]
        );
        assert_eq!(xml.multicast, Some(false));
        let ignored = ["network/join/tcp-ip/interface 10.0.1.*", "network/join/tcp-ip/required-member"];
        assert_eq!(xml.ignored, ignored);
    }

    #[test]
    fn what_is_not_xml_is_named_with_its_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "<hazelcast>\n<group>\n</hazelcast>").unwrap();
        let errors = ClusterXml::read(file.path()).unwrap_err().to_string();
        assert!(errors.contains(":3: is not XML"), "{errors}");
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><hazelcast>&a;</hazelcast>";
        assert!(ClusterXml::parse(bomb).is_err(), "no entities are expanded");
        assert_eq!(parse("<hazelcast/>"), ClusterXml::default());
    }
}
