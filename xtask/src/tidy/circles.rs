//! No import cycles inside a crate: a reader of a file can follow what it builds on without coming back to it.
//!
//! A file imports another if one of its paths leads to something that the other defines. Re-exports are resolved and
//! are not imports themselves; neither is what only tests use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree, Visibility};

use super::{Source, Violation};

/// A module's path from the crate's root; the root's own is empty.
type Module = Vec<String>;

/// One file of a crate.
#[derive(Default)]
struct File {
    path: PathBuf,
    /// Its re-exports: the name, and the path that it stands for, from the crate's root. `*` stands for all of a
    /// module.
    exports: BTreeMap<String, Vec<String>>,
    /// The paths that it mentions, from the crate's root.
    names: BTreeSet<Vec<String>>,
}

/// Checks `sources`, the workspace's files; `crates` are the folders of the crates' sources, such as
/// `crates/plan/src`.
pub(super) fn check(sources: &[Source], crates: &[PathBuf]) -> Vec<Violation> {
    crates.iter().flat_map(|folder| check_crate(sources, folder)).collect()
}

fn check_crate(sources: &[Source], folder: &Path) -> Vec<Violation> {
    let mut files: BTreeMap<Module, File> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.is("rs")) {
        let Ok(inside) = source.path.strip_prefix(folder) else { continue };
        let Some(module) = module_of(inside) else { continue };
        // A parse error is for the compiler to report.
        let Ok(parsed) = syn::parse_file(&source.text) else { continue };
        let mut reader = Reader { module: module.clone(), file: File::default() };
        parsed.items.iter().for_each(|item| reader.visit_item(item));
        files.insert(module, File { path: source.path.clone(), ..reader.file });
    }
    let imports: BTreeMap<&Module, BTreeSet<&Module>> = files
        .iter()
        .map(|(module, file)| {
            let to = file.names.iter().filter_map(|name| definition(&files, name, 0));
            (module, to.filter(|to| *to != module).collect())
        })
        .collect();
    circles(&imports)
        .into_iter()
        .filter_map(|circle| {
            let names =
                circle.iter().map(|module| files.get(*module).map(|file| file.path.display().to_string()));
            let first = files.get(*circle.first()?)?;
            let shown = names.flatten().collect::<Vec<_>>().join(" → ");
            Some(Violation::new(
                &first.path,
                1,
                format!("a circle of imports: {shown} → {}", first.path.display()),
            ))
        })
        .collect()
}

/// Returns the module of a file below `src`; `None` for standalone programs, and for tests in their own files.
fn module_of(inside: &Path) -> Option<Module> {
    let mut parts: Module =
        inside.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.first().is_some_and(|first| first == "bin") || parts.last()?.ends_with("tests") {
        return None;
    }
    if matches!(parts.last()?.as_str(), "mod" | "lib" | "main") {
        parts.pop();
    }
    Some(parts)
}

/// Returns the file that defines the item at a path, resolving re-exports.
fn definition<'a>(files: &'a BTreeMap<Module, File>, path: &[String], depth: usize) -> Option<&'a Module> {
    const MAX_REEXPORTS: usize = 16;
    let length = (0..=path.len())
        .rev()
        .find(|length| path.get(..*length).is_some_and(|module| files.contains_key(module)))?;
    let (module, file) = files.get_key_value(path.get(..length)?)?;
    let Some(name) = path.get(length) else { return Some(module) };
    if depth > MAX_REEXPORTS {
        return Some(module);
    }
    if let Some(target) = file.exports.get(name) {
        return definition(files, target, depth + 1);
    }
    Some(module)
}

/// Returns each cycle once: the modules that reach each other, beginning with the first by name.
fn circles<'a>(imports: &BTreeMap<&'a Module, BTreeSet<&'a Module>>) -> Vec<Vec<&'a Module>> {
    let mut found: Vec<Vec<&Module>> = Vec::new();
    for start in imports.keys() {
        if found.iter().any(|circle| circle.contains(start)) {
            continue;
        }
        if let Some(circle) = way_back(imports, start) {
            found.push(circle);
        }
    }
    found
}

/// Returns the shortest path from a module through its imports back to itself.
fn way_back<'a>(
    imports: &BTreeMap<&'a Module, BTreeSet<&'a Module>>,
    start: &&'a Module,
) -> Option<Vec<&'a Module>> {
    let mut came_from: BTreeMap<&Module, &Module> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([*start]);
    while let Some(module) = queue.pop_front() {
        for next in imports.get(module).into_iter().flatten() {
            if next == start {
                let mut way = vec![module];
                while let Some(before) = came_from.get(way.last()?) {
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, module);
                queue.push_back(next);
            }
        }
    }
    None
}

struct Reader {
    module: Module,
    file: File,
}

impl Reader {
    /// Returns a path from the crate's root; `None` if it leads out of the crate, or is only a local name.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let (first, mut rest) = path.split_first()?;
        let mut from = match first.as_str() {
            "crate" => Vec::new(),
            "self" => self.module.clone(),
            "super" => {
                let mut parent = self.module.clone();
                parent.pop()?;
                while rest.first().is_some_and(|next| next == "super") {
                    parent.pop()?;
                    rest = rest.get(1..)?;
                }
                parent
            }
            _ => return None,
        };
        from.extend(rest.iter().cloned());
        Some(from)
    }

    fn leaves(tree: &UseTree, before: &mut Vec<String>, out: &mut Vec<(Vec<String>, String)>) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                Self::leaves(&path.tree, before, out);
                before.pop();
            }
            UseTree::Name(name) if name.ident == "self" => {
                out.push((before.clone(), before.last().cloned().unwrap_or_default()));
            }
            UseTree::Name(name) => {
                out.push((joined(before, &name.ident.to_string()), name.ident.to_string()));
            }
            UseTree::Rename(rename) => {
                out.push((joined(before, &rename.ident.to_string()), rename.rename.to_string()));
            }
            UseTree::Glob(_) => out.push((before.clone(), "*".to_owned())),
            UseTree::Group(group) => group.items.iter().for_each(|tree| Self::leaves(tree, before, out)),
        }
    }
}

fn joined(before: &[String], last: &str) -> Vec<String> {
    before.iter().cloned().chain([last.to_owned()]).collect()
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string().contains("test"))
    })
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if is_for_tests(attributes) {
            return;
        }
        if let Item::Use(item) = item {
            let mut leaves = Vec::new();
            Self::leaves(&item.tree, &mut Vec::new(), &mut leaves);
            let is_export = !matches!(item.vis, Visibility::Inherited);
            for (path, name) in leaves {
                // `pub use submodule::Name` begins with one of this file's own modules.
                let path = match self.absolute(&path) {
                    Some(path) => path,
                    None if is_export => self.module.iter().cloned().chain(path).collect(),
                    None => continue,
                };
                if is_export {
                    self.file.exports.insert(name, path);
                } else {
                    self.file.names.insert(path);
                }
            }
            return;
        }
        visit::visit_item(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1
            && let Some(path) = self.absolute(&segments)
        {
            self.file.names.insert(path);
        }
        visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> = files.iter().map(|(path, text)| Source::sample(path, text)).collect();
        check(&sources, &["crates/x/src".into()]).into_iter().map(|violation| violation.message).collect()
    }

    #[test]
    fn two_files_that_import_each_other_are_a_circle_that_is_told_once() {
        let found = circles_of(&[
            ("crates/x/src/lib.rs", "mod a; mod b;"),
            ("crates/x/src/a.rs", "use crate::b::B; pub struct A;"),
            ("crates/x/src/b.rs", "pub struct B; fn f() { crate::a::A; }"),
        ]);
        assert_eq!(found, ["a circle of imports: crates/x/src/a.rs → crates/x/src/b.rs → crates/x/src/a.rs"]);
    }

    #[test]
    fn a_re_export_is_looked_through() {
        let root = ("crates/x/src/lib.rs", "mod a; mod b; pub use a::A; pub use b::B;");
        let a = ("crates/x/src/a.rs", "use crate::B; pub struct A;");
        assert!(circles_of(&[root, a, ("crates/x/src/b.rs", "pub struct B;")]).is_empty());
        assert_eq!(circles_of(&[root, a, ("crates/x/src/b.rs", "use super::A; pub struct B;")]).len(), 1);
    }

    #[test]
    fn what_only_tests_use_ties_nothing() {
        let found = circles_of(&[
            ("crates/x/src/lib.rs", "mod a; mod b;"),
            ("crates/x/src/a.rs", "use crate::b::B; pub struct A;"),
            ("crates/x/src/b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }"),
        ]);
        assert!(found.is_empty());
    }

    #[test]
    fn a_parent_and_its_child_may_be_a_circle() {
        let found = circles_of(&[
            ("crates/x/src/lib.rs", "mod a; use self::a::A; pub struct Root; fn f(_: A) {}"),
            ("crates/x/src/a.rs", "use crate::Root; pub struct A;"),
        ]);
        assert_eq!(found.len(), 1);
    }
}
