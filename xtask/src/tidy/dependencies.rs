//! Every dependency that the workspace declares must be used by some crate.

use std::collections::BTreeSet;
use std::path::Path;

use super::Violation;
use xtask::workspace::Metadata;

pub(super) fn check(manifest: &str, metadata: &Metadata) -> Vec<Violation> {
    let needed = metadata.packages.iter().flat_map(|package| &package.dependencies);
    unused(manifest, &needed.map(|dependency| dependency.name.as_str()).collect())
}

fn unused(manifest: &str, used: &BTreeSet<&str>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut inside = false;
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.trim() == "[workspace.dependencies]";
        } else if let Some((name, _)) = line.split_once('=')
            && inside
            && !line.starts_with('#')
        {
            let name = name.trim();
            if !used.contains(name) {
                let message = format!("no crate uses {name}: remove it");
                found.push(Violation::new(Path::new("Cargo.toml"), index + 1, message));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_that_nobody_uses_is_found_at_its_line() {
        let manifest = "[workspace]\nmembers = []\n\n[workspace.dependencies]\nserde = \"1\"\nleft-over = \"2\"\n\n[profile.dev]\ndebug = 1\n";
        let found = unused(manifest, &BTreeSet::from(["serde"]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 6);
    }
}
