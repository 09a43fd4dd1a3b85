//! The commands about the cluster itself, and a host's place in it.

use clap::{Args, Subcommand};

use super::nouns::{Connection, Query};

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Print a new secret for a cluster; needs no agent.
    #[command(
        after_help = "Every host of the cluster needs a copy that only the agent's user can read.\n\nExample:\n  \
                      (umask 077; longshore cluster secret > /etc/longshore/cluster-secret)"
    )]
    Secret,
    /// Show the hosts, which of them do not reach each other, and which secrets they use.
    #[command(
        visible_alias = "show",
        after_help = "A secret is shown by its fingerprint; a host uses the first, and accepts all of them.\n\nExample:\n  \
                      longshore cluster status"
    )]
    Status(Query),
    /// Replace the cluster's secret on all hosts, while they run.
    #[command(
        after_help = "Agents save the new secret themselves. Where --cluster-secret-file names the file, it stays as it \
                      is, and the agent says what to copy there. A rotation that stopped half way is finished by \
                      running it again.\n\nExample:\n  longshore cluster rotate"
    )]
    Rotate(RotateCluster),
}

#[derive(Debug, Args)]
pub(crate) struct RotateCluster {
    /// Go on without hosts that do not answer. They cannot come back with the old secret: give them the new one by
    /// hand.
    #[arg(long)]
    pub(crate) leave_out_absent: bool,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, Args)]
pub(crate) struct LeaveHost {
    /// Name or ID of the host [default: the one that is asked].
    #[arg(value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Do not ask for confirmation.
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct LabelHost {
    /// Name or ID of the host.
    #[arg(value_name = "HOST")]
    pub(crate) host: String,
    /// KEY=VALUE sets a label, KEY- removes it.
    #[arg(value_name = "KEY=VALUE|KEY-", required = true, value_parser = change, allow_hyphen_values = true)]
    pub(crate) labels: Vec<(String, Option<String>)>,
    #[command(flatten)]
    pub(crate) query: Query,
}

fn change(text: &str) -> Result<(String, Option<String>), String> {
    match (text.split_once('='), text.strip_suffix('-')) {
        (Some((key, value)), _) if !key.is_empty() => Ok((key.to_owned(), Some(value.to_owned()))),
        (None, Some(key)) if !key.is_empty() => Ok((key.to_owned(), None)),
        _ => Err("expected KEY=VALUE to set a label, or KEY- to remove it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_set_or_removed() {
        assert_eq!(change("zone=a"), Ok(("zone".to_owned(), Some("a".to_owned()))));
        assert_eq!(change("zone=a-"), Ok(("zone".to_owned(), Some("a-".to_owned()))), "a value may end so");
        assert_eq!(change("disk="), Ok(("disk".to_owned(), Some(String::new()))));
        assert_eq!(change("disk-"), Ok(("disk".to_owned(), None)));
        for bad in ["", "-", "=", "=a", "zone"] {
            assert!(change(bad).is_err(), "{bad}");
        }
    }
}
