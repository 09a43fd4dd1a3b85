//! The shape of Rust files: their length, their names, and the documentation of a crate's root.

use super::{Source, Violation};

/// The maximum number of lines; longer files must be split.
const LONGEST: usize = 800;
/// Names that do not describe their content.
const EMPTY_NAMES: [&str; 9] =
    ["util", "utils", "common", "helper", "helpers", "misc", "shared_utils", "test_util", "test_utils"];

pub(super) fn check(source: &Source) -> Vec<Violation> {
    let Source { path, text } = source;
    let mut found = Vec::new();
    let mut complain = |line, message: String| found.push(Violation::new(path, line, message));
    let length = text.lines().count();
    if length > LONGEST {
        complain(LONGEST + 1, format!("{length} lines: split it, {LONGEST} are the most"));
    }
    let components = path.components().filter_map(|component| component.as_os_str().to_str());
    for name in components.map(|name| name.strip_suffix(".rs").unwrap_or(name)) {
        if EMPTY_NAMES.contains(&name) {
            complain(1, format!("{name:?} says nothing of what is inside"));
        }
    }
    for (number, line) in source.lines() {
        let line = line.trim_start();
        let line = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
        let inline = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix('{')).map(str::trim);
        if let Some(name) = inline.filter(|name| EMPTY_NAMES.contains(name)) {
            complain(number, format!("{name:?} says nothing of what is inside"));
        }
    }
    let is_root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
    if is_root && !text.starts_with("//!") {
        complain(1, "a crate starts with //! and what it is for".into());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_found() {
        let text = "//\n".repeat(LONGEST);
        assert!(check(&Source::sample("crates/a/src/b.rs", &text)).is_empty());
        let found = check(&Source::sample("crates/a/src/b.rs", &format!("{text}//\n")));
        assert_eq!((found.len(), found[0].line), (1, LONGEST + 1));
    }

    #[test]
    fn a_module_with_an_empty_name_is_found_as_file_folder_or_block() {
        assert_eq!(check(&Source::sample("crates/a/src/util.rs", "")).len(), 1);
        assert_eq!(check(&Source::sample("crates/a/src/helpers/b.rs", "")).len(), 1);
        let block = "fn a() {}\npub mod common {\n}\n";
        assert_eq!(check(&Source::sample("crates/a/src/b.rs", block))[0].line, 2);
        assert!(check(&Source::sample("crates/a/src/utility_poles.rs", "")).is_empty());
    }

    #[test]
    fn a_crate_says_first_what_it_is_for() {
        assert_eq!(check(&Source::sample("crates/a/src/lib.rs", "mod b;\n")).len(), 1);
        assert!(check(&Source::sample("crates/a/src/lib.rs", "//! A.\nmod b;\n")).is_empty());
        assert!(check(&Source::sample("crates/a/src/c.rs", "mod b;\n")).is_empty());
    }
}
