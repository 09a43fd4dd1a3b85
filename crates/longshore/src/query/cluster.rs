use std::process::ExitCode;

use longshore_api::{Cluster, ClusterHost, Rotation, RotationRequest};
use longshore_cluster::secret::Secret;

use super::agent::client;
use super::print_answer;
use crate::cli::{ClusterCommand, RotateCluster};
use crate::output::{Terminal, print};
use crate::table::{Table, Tone, cell, printable, toned};

pub(crate) async fn cluster(command: ClusterCommand) -> anyhow::Result<ExitCode> {
    match command {
        ClusterCommand::Secret => print(Secret::generate()?.text().as_str())?,
        ClusterCommand::Status(query) => {
            let cluster = client(&query.connection)?.cluster().await?;
            print_answer(query.json, &cluster, |cluster| text(cluster, Terminal::of_output()))?;
        }
        ClusterCommand::Rotate(RotateCluster { leave_out_absent, query }) => {
            let rotated = client(&query.connection)?.rotate(RotationRequest { leave_out_absent }).await?;
            print_answer(query.json, &rotated, rotation)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn text(cluster: &Cluster, terminal: Terminal) -> String {
    let Some(name) = &cluster.name else {
        return "a cluster of one".to_owned();
    };
    let rows = cluster.hosts.iter().map(|host| {
        let state = match host.state.as_str() {
            "alive" if !host.answered => toned("alive, no answer", Tone::Waiting),
            "alive" => toned("alive", Tone::Good),
            "suspect" => toned("suspect", Tone::Waiting),
            "dead" => toned("dead", Tone::Bad),
            other => cell(other),
        };
        let secrets = if host.secrets.is_empty() { "-".to_owned() } else { host.secrets.join(" ") };
        let clock = match host.clock_ahead_seconds {
            0 => "in step".to_owned(),
            ahead => format!("{ahead:+} s"),
        };
        let unreachable =
            if host.unreachable.is_empty() { "-".to_owned() } else { host.unreachable.join(" ") };
        [cell(&host.name), state, cell(&host.address), cell(secrets), cell(clock), cell(unreachable)]
    });
    let table = Table::new(["NAME", "STATE", "ADDRESS", "SECRETS", "CLOCK", "UNREACHABLE"], rows);
    let mut lines = vec![format!("cluster {}", printable(name)), String::new(), table.render(terminal)];
    lines.extend(differing(&cluster.hosts));
    lines.join("\n")
}

/// Says so if hosts use different secrets.
fn differing(hosts: &[ClusterHost]) -> Option<String> {
    let mut known = hosts.iter().filter(|host| !host.secrets.is_empty()).map(|host| &host.secrets);
    let first = known.next()?;
    let is_same = first.len() == 1 && known.all(|secrets| secrets == first);
    (!is_same).then(|| {
        "\na rotation of the secret is under way, or stopped: `longshore cluster rotate` finishes it"
            .to_owned()
    })
}

fn rotation(rotation: &Rotation) -> String {
    let names: Vec<String> = rotation.hosts.iter().map(|host| printable(&host.name)).collect();
    let mut lines = vec![format!("secret {} in use on {}", rotation.fingerprint, names.join(", "))];
    for host in &rotation.hosts {
        if let Some(file) = &host.secret_file {
            lines.push(format!(
                "{}: {} still has the old secret: copy cluster-secret-rotated in the agent's data directory over it",
                printable(&host.name),
                printable(file)
            ));
        }
    }
    for name in &rotation.left_out {
        lines.push(format!(
            "{}: left out; give it a copy of the new secret, in the file of its own, before it is started again",
            printable(name)
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use longshore_api::RotatedHost;

    use super::*;

    fn host(name: &str, secrets: &[&str]) -> ClusterHost {
        ClusterHost {
            id: "id".to_owned(),
            name: name.to_owned(),
            address: "192.0.2.1:7052".to_owned(),
            state: "alive".to_owned(),
            since_seconds: 5,
            answered: true,
            secrets: secrets.iter().map(|secret| (*secret).to_owned()).collect(),
            secret_file: None,
            unreachable: Vec::new(),
            clock_ahead_seconds: 0,
        }
    }

    #[test]
    fn the_cluster_is_shown_with_pairs_that_are_cut_and_secrets_that_differ() {
        let behind = ClusterHost { clock_ahead_seconds: -3600, ..host("web2", &["aa", "bb"]) };
        let cut = ClusterHost { unreachable: vec!["web2".to_owned()], ..host("web1", &["bb", "aa"]) };
        let silent = ClusterHost { answered: false, ..host("web3", &[]) };
        let cluster = Cluster { name: Some("prod".to_owned()), hosts: vec![cut, behind, silent] };
        let shown = text(&cluster, Terminal::default());
        for part in ["cluster prod", "bb aa", "-3600 s", "alive, no answer", "cluster rotate"] {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
        let whole =
            Cluster { name: Some("prod".to_owned()), hosts: vec![host("a", &["aa"]), host("b", &["aa"])] };
        assert!(!text(&whole, Terminal::default()).contains("rotate"));
        assert_eq!(text(&Cluster { name: None, ..whole }, Terminal::default()), "a cluster of one");
    }

    #[test]
    fn a_rotation_says_what_is_left_to_do() {
        let hosts = [("web1", None), ("web2", Some("/etc/secret"))]
            .map(|(name, file)| RotatedHost { name: name.to_owned(), secret_file: file.map(str::to_owned) });
        let shown = rotation(&Rotation {
            fingerprint: "aa".to_owned(),
            hosts: hosts.into(),
            left_out: vec!["web3".to_owned()],
        });
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "secret aa in use on web1, web2");
        assert!(lines[1].starts_with("web2: /etc/secret still has the old secret"), "{shown}");
        assert!(lines[2].starts_with("web3: left out") && lines.len() == 3, "{shown}");
    }
}
