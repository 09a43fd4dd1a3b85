use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use longshore_daemon::config::{ClusterName, ClusterSettings, HostAddress, HostLabel, JoinAddress};

use super::Invalid;

/// The name of a cluster that has none.
const DEFAULT_NAME: &str = "longshore";

/// The cluster.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterFlags {
    /// Name of the cluster that this host belongs to [default: a cluster of one].
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<ClusterName>,
    /// Address or name at which the other hosts reach this one.
    #[arg(long, value_name = "HOST")]
    pub(crate) advertise: Option<HostAddress>,
    /// Host to join, with a port if it is not 7052; repeatable.
    #[arg(long, value_name = "HOST[:PORT]", action = clap::ArgAction::Append)]
    pub(crate) join: Vec<JoinAddress>,
    /// Whether hosts of the cluster find each other on the local network, by multicast DNS.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) multicast: bool,
    /// File with the cluster's secret, readable only by its owner [default: the one in the data directory].
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_secret_file: Option<PathBuf>,
    /// Label of this host; repeatable.
    #[arg(long, value_name = "KEY=VALUE", action = clap::ArgAction::Append)]
    pub(crate) host_label: Vec<HostLabel>,
}

impl ClusterFlags {
    /// Returns the cluster; `None` for a cluster of one.
    pub(crate) fn settings(&self) -> Result<Option<ClusterSettings>, Vec<Invalid>> {
        let mut labels = BTreeMap::new();
        let mut invalid = Vec::new();
        for HostLabel { key, value } in self.host_label.clone() {
            if labels.get(&key).is_some_and(|known| *known != value) {
                invalid.push(("host-label", format!("{key} has two values: give it one")));
            }
            labels.insert(key, value);
        }
        if !invalid.is_empty() {
            return Err(invalid);
        }
        let is_one = self.cluster.is_none() && self.join.is_empty() && self.cluster_secret_file.is_none();
        let name = self.cluster.clone().or_else(|| DEFAULT_NAME.parse().ok()).filter(|_| !is_one);
        Ok(name.map(|name| ClusterSettings {
            name,
            advertise: self.advertise.clone(),
            join: self.join.clone(),
            multicast: self.multicast,
            secret_file: self.cluster_secret_file.clone(),
            labels,
        }))
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    fn read(line: &str) -> Result<Option<ClusterSettings>, Vec<Invalid>> {
        let command = ClusterFlags::augment_args(clap::Command::new("run").no_binary_name(true));
        let matches = command.try_get_matches_from(line.split_whitespace()).unwrap();
        ClusterFlags::from_arg_matches(&matches).unwrap().settings()
    }

    #[test]
    fn without_its_flags_a_host_is_a_cluster_of_one() {
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("--advertise node1 --host-label zone=a --multicast false"), Ok(None));
        let joined = read("--join 192.0.2.1 --join node2:7000").unwrap().unwrap();
        assert_eq!(joined.name.to_string(), "longshore");
        assert_eq!(
            joined.join.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["192.0.2.1:7052", "node2:7000"]
        );
    }

    #[test]
    fn every_flag_reaches_the_settings() {
        let line = "--cluster prod --advertise 192.0.2.1 --multicast false --cluster-secret-file /s \
                    --host-label zone=a --host-label disk=";
        let settings = read(line).unwrap().unwrap();
        let expected = ClusterSettings {
            name: "prod".parse().unwrap(),
            advertise: Some("192.0.2.1".parse().unwrap()),
            join: Vec::new(),
            multicast: false,
            secret_file: Some("/s".into()),
            labels: [("disk", ""), ("zone", "a")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn a_label_has_one_value() {
        let invalid = read("--cluster a --host-label zone=a --host-label zone=b").unwrap_err();
        assert_eq!(invalid, [("host-label", "zone has two values: give it one".to_owned())]);
        assert!(read("--cluster a --host-label zone=a --host-label zone=a").is_ok());
    }
}
