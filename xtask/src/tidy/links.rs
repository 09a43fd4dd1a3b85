//! Relative links in Markdown must exist.

use std::path::{Component, Path, PathBuf};

use super::{Source, Violation};

/// Checks links; `exists` receives paths from the workspace's root.
pub(super) fn check(source: &Source, exists: impl Fn(&Path) -> bool) -> Vec<Violation> {
    let folder = source.path.parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    let mut in_code = false;
    for (number, line) in source.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            continue;
        }
        if in_code {
            continue;
        }
        for target in targets(line) {
            let file = target.split(['#', '?']).next().unwrap_or_default();
            let elsewhere = target.contains("://") || target.starts_with("mailto:") || file.is_empty();
            if !elsewhere && !normal(&folder.join(file)).is_some_and(|path| exists(&path)) {
                found.push(Violation::new(&source.path, number, format!("{target:?} leads nowhere")));
            }
        }
    }
    found
}

/// Returns the targets of a line's inline links and images, and of a reference's definition.
fn targets(line: &str) -> Vec<&str> {
    let without_code: Vec<&str> = line.split('`').step_by(2).collect();
    let mut found: Vec<&str> = Vec::new();
    // If a link's text is code, its brackets are in two pieces, but the target still follows a bracket.
    for piece in without_code {
        for (start, _) in piece.match_indices("](") {
            let rest = piece.get(start + 2..).unwrap_or_default();
            let inside = rest.split(')').next().unwrap_or_default();
            found.extend(inside.split_whitespace().next());
        }
    }
    if let Some((_, target)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
        found.extend(target.split_whitespace().next());
    }
    found
}

/// Returns the path without `.` and `..`; `None` if it leaves the workspace.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut result = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => result.push(name),
            Component::ParentDir => result.pop().then_some(())?,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let source = Source::sample("docs/a.md", text);
        let exists = |path: &Path| path == Path::new("docs/b.md") || path == Path::new("README.md");
        check(&source, exists).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_link_to_a_file_that_is_not_there_is_found() {
        assert_eq!(lines("[b](b.md) and [`c`](c.md)\n[d]: ../d.md\n"), [1, 2]);
    }

    #[test]
    fn a_link_to_a_file_an_anchor_or_elsewhere_is_fine() {
        assert!(lines("[b](b.md#x) [up](../README.md) [here](#x) [web](https://example.com/x)\n").is_empty());
    }

    #[test]
    fn what_looks_like_a_link_in_code_is_none() {
        assert!(lines("```\n[x](nowhere.md)\n```\nand `[x](nowhere.md)`\n").is_empty());
    }

    #[test]
    fn a_link_cannot_leave_the_workspace() {
        assert_eq!(lines("[x](../../etc/passwd)\n"), [1]);
    }
}
