//! Which crate may depend on which.

use std::path::Path;

use super::Violation;
use xtask::workspace::{Metadata, Package};

/// The rooms by floor: a room may depend on those on lower floors, and on none on its own.
const FLOORS: [&[&str]; 6] = [
    &["longshore-model", "longshore-etcd"],
    &["longshore-wire", "longshore-plan", "longshore-net", "longshore-api"],
    &["longshore-proxy", "longshore-haproxy", "longshore-runtime"],
    &["longshore-docker", "longshore-delivery", "longshore-dns", "longshore-store", "longshore-cluster"],
    &["longshore-daemon", "longshore-simulation"],
    &["longshore"],
];

/// External crates that only the room in charge of them may use.
const ROOMS_OF: [(&str, &[&str]); 6] = [
    ("bollard", &["longshore-docker", "longshore-daemon", "longshore-testkit"]),
    ("axum", &["longshore-daemon", "longshore-delivery"]),
    ("hickory-proto", &["longshore-plan", "longshore-dns", "longshore"]),
    ("redb", &["longshore-delivery", "longshore-store"]),
    ("tonic", &["longshore-etcd"]),
    ("prost", &["longshore-etcd"]),
];

const TESTKIT: &str = "longshore-testkit";
const WORKBENCH: &str = "workbench";

pub(super) fn check(root: &Path, metadata: &Metadata) -> Vec<Violation> {
    let all = metadata.by_name();
    let mut found = Vec::new();
    for package in all.values() {
        let file = package.manifest_path.strip_prefix(root).unwrap_or(&package.manifest_path);
        let text = std::fs::read_to_string(&package.manifest_path).unwrap_or_default();
        for (dependency, message) in wrong(package, |name| all.contains_key(name)) {
            found.push(Violation::new(file, line_of(&text, &dependency), message));
        }
    }
    found
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&name))
}

/// Returns the forbidden dependencies of this package, each by name and with the reason.
fn wrong(package: &Package, is_ours: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let from = package.name.as_str();
    let mut found = Vec::new();
    for dependency in &package.dependencies {
        let to = dependency.name.as_str();
        let for_tests = dependency.kind.as_deref() == Some("dev");
        let rooms = ROOMS_OF.iter().find(|(part, _)| *part == to).map(|(_, rooms)| *rooms);
        let message = if let Some(rooms) = rooms {
            (!rooms.contains(&from)).then(|| format!("{to} stays inside {}", rooms.join(" and ")))
        } else if !is_ours(to) {
            None
        } else if to == TESTKIT {
            (from != WORKBENCH && !for_tests).then(|| format!("{TESTKIT} is only a dev-dependency"))
        } else if (from, to) == (WORKBENCH, "xtask") {
            None
        } else if [TESTKIT, WORKBENCH, "xtask"].contains(&from) {
            Some(format!("{from} runs Longshore from outside and needs no part of it, but {to}"))
        } else {
            match (floor(from), floor(to)) {
                (Some(upper), Some(lower)) if lower < upper => None,
                (Some(_), Some(_)) => Some(format!("{from} may not need {to}: it is not on a lower floor")),
                _ => Some(format!("{from} → {to}: give both a floor in xtask/src/tidy/arrows.rs")),
            }
        };
        found.extend(message.map(|message| (to.to_owned(), message)));
    }
    found
}

fn line_of(manifest: &str, dependency: &str) -> usize {
    let starts =
        |line: &str| line.strip_prefix(dependency).is_some_and(|rest| rest.starts_with([' ', '.', '=']));
    manifest.lines().position(starts).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xtask::workspace::Dependency;

    fn verdict(from: &str, to: &str, kind: Option<&str>) -> Vec<String> {
        let dependencies = vec![Dependency { name: to.into(), kind: kind.map(Into::into) }];
        let package = Package { name: from.into(), manifest_path: "Cargo.toml".into(), dependencies };
        wrong(&package, |name| name.starts_with("longshore"))
            .into_iter()
            .map(|(_, message)| message)
            .collect()
    }

    #[test]
    fn an_arrow_goes_down() {
        assert!(verdict("longshore-daemon", "longshore-proxy", None).is_empty());
        assert!(verdict("longshore", "longshore-model", None).is_empty());
        assert!(verdict("longshore-model", "serde", None).is_empty());
    }

    #[test]
    fn an_arrow_up_or_sideways_is_wrong() {
        assert_eq!(verdict("longshore-model", "longshore-plan", None).len(), 1);
        assert_eq!(verdict("longshore-plan", "longshore-api", None).len(), 1);
        assert_eq!(verdict("longshore-dns", "longshore-docker", Some("dev")).len(), 1);
    }

    #[test]
    fn a_room_that_is_on_no_floor_is_wrong() {
        assert_eq!(verdict("longshore-attic", "longshore-model", None).len(), 1);
    }

    #[test]
    fn the_testkit_is_for_tests_and_the_workbench() {
        assert!(verdict("longshore", TESTKIT, Some("dev")).is_empty());
        assert!(verdict(WORKBENCH, TESTKIT, None).is_empty());
        assert_eq!(verdict("longshore", TESTKIT, None).len(), 1);
        assert_eq!(verdict(TESTKIT, "longshore-model", None).len(), 1);
    }

    #[test]
    fn docker_is_spoken_in_its_room_only() {
        assert!(verdict("longshore-daemon", "bollard", None).is_empty());
        assert_eq!(verdict("longshore-plan", "bollard", None).len(), 1);
        assert_eq!(verdict("longshore", "bollard", Some("dev")).len(), 1);
    }

    #[test]
    fn the_line_is_the_dependencys() {
        assert_eq!(
            line_of("[dependencies]\nbollard-stubs = \"1\"\nbollard.workspace = true\n", "bollard"),
            3
        );
    }
}
