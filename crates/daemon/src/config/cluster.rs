//! The cluster that a host belongs to, and how it finds the others.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub use longshore_cluster::service::{HostAddress, JoinAddress};

/// Maximum length of a cluster's name.
const MAX_NAME: usize = 63;
/// Maximum length of a label's key or value.
const MAX_LABEL: usize = 255;

/// Settings of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Its name: hosts of another name are none of this one's.
    pub name: ClusterName,
    /// Where the other hosts reach this one; chosen by the agent if `None`.
    pub advertise: Option<HostAddress>,
    /// Hosts that are asked at the start; any one of them suffices.
    pub join: Vec<JoinAddress>,
    /// Whether hosts on the local network are found by multicast DNS.
    pub multicast: bool,
    /// File with the cluster's secret; the one in the data directory if `None`.
    pub secret_file: Option<PathBuf>,
    /// This host's labels.
    pub labels: BTreeMap<String, String>,
}

/// Why a text is none of these settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterTextError {
    /// It is not the name of a cluster.
    #[error("expected a name of at most 63 letters, digits, dots, hyphens and underscores")]
    Name,
    /// It is not a label.
    #[error("expected KEY=VALUE, such as zone=a")]
    Label,
}

/// The name of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterName(String);

impl FromStr for ClusterName {
    type Err = ClusterTextError;

    fn from_str(text: &str) -> Result<Self, ClusterTextError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        match !text.is_empty() && text.len() <= MAX_NAME && text.chars().all(allowed) {
            true => Ok(Self(text.to_owned())),
            false => Err(ClusterTextError::Name),
        }
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A label of a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostLabel {
    /// Its key.
    pub key: String,
    /// Its value; may be empty.
    pub value: String,
}

impl FromStr for HostLabel {
    type Err = ClusterTextError;

    fn from_str(text: &str) -> Result<Self, ClusterTextError> {
        let (key, value) = text.split_once('=').ok_or(ClusterTextError::Label)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
        let is_key = !key.is_empty() && key.len() <= MAX_LABEL && key.chars().all(allowed);
        let is_value = value.len() <= MAX_LABEL && !value.chars().any(char::is_control);
        match is_key && is_value {
            true => Ok(Self { key: key.to_owned(), value: value.to_owned() }),
            false => Err(ClusterTextError::Label),
        }
    }
}

impl fmt::Display for HostLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_has_a_name_that_needs_no_quotes() {
        for good in ["deblox", "a", "Prod-1.eu_west"] {
            assert_eq!(good.parse::<ClusterName>().unwrap().to_string(), good);
        }
        for bad in ["", "a b", "a/b", "é", &"a".repeat(64)] {
            assert_eq!(bad.parse::<ClusterName>(), Err(ClusterTextError::Name), "{bad:?}");
        }
    }

    #[test]
    fn a_label_has_a_key_and_perhaps_an_empty_value() {
        for good in ["zone=a", "disk=", "example.com/rack=r1=b 2"] {
            assert_eq!(good.parse::<HostLabel>().unwrap().to_string(), good);
        }
        for bad in ["", "zone", "=a", "a b=c", "a=b\n"] {
            assert_eq!(bad.parse::<HostLabel>(), Err(ClusterTextError::Label), "{bad:?}");
        }
    }
}
