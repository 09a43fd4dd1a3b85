//! Volumes in compose's short and long syntax.

use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use super::reader::{MAX_ITEMS, Reader, flag, items};
use super::yaml::{Node, Value};
use crate::claim::quoted;

/// A mount of a sidecar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Volume {
    /// A folder or file of the host, or a named volume.
    Bind {
        /// An absolute path of the host, or a volume's name.
        source: String,
        /// The path in the sidecar.
        target: String,
        /// Options as Docker takes them: `ro`, `z`, `nocopy`, `rshared`, ….
        options: Vec<String>,
        /// Whether a missing path on the host is created.
        create: bool,
    },
    /// A volume without a name, removed with the sidecar.
    Anonymous {
        /// The path in the sidecar.
        target: String,
        /// Whether it is read-only.
        read_only: bool,
    },
    /// A tmpfs.
    Tmpfs {
        /// The path in the sidecar.
        target: String,
        /// Mount options: `size=64m`.
        options: Vec<String>,
    },
}

/// Options that Docker accepts after a bind's second colon.
const OPTIONS: [&str; 14] = [
    "ro",
    "rw",
    "z",
    "Z",
    "nocopy",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "private",
    "rprivate",
    "cached",
    "delegated",
    "consistent",
];

/// Returns all of `volumes`, or what is wrong with it.
pub(super) fn volumes(node: &Node, reader: &mut Reader<'_>) -> Result<Vec<Volume>, String> {
    if !matches!(node.value, Value::Map(_)) {
        return items(node)?.into_iter().map(|item| volume(item, reader)).collect();
    }
    let entries = reader.entries(node, "volumes");
    if entries.len() > MAX_ITEMS {
        return Err(format!("more than {MAX_ITEMS} entries"));
    }
    entries.into_iter().map(|(source, value)| bound(source, value, reader)).collect()
}

/// Returns an entry of Podder's map: a host path or a volume's name, mapped to a path in the sidecar, or to a
/// map with `bind`, and `mode` or `ro`, as in Docker's Python library.
fn bound(source: &str, node: &Node, reader: &mut Reader<'_>) -> Result<Volume, String> {
    let (mut target, mut options) = (None, Vec::new());
    match &node.value {
        Value::Null => {
            let target = inside(source).ok_or_else(|| {
                format!("invalid volume {}: expected its path in the sidecar after the colon", quoted(source))
            })?;
            return Ok(Volume::Anonymous { target, read_only: false });
        }
        Value::Map(_) => {
            for (key, value) in reader.entries(node, "volumes") {
                match key {
                    "bind" => target = value.scalar(),
                    "mode" | "propagation" => {
                        options.extend(mount_options(&value.scalar().unwrap_or_default())?);
                    }
                    "ro" => {
                        if flag(value).ok_or("ro: expected true or false")? {
                            options.push("ro".to_owned());
                        }
                    }
                    _ => reader.unsupported(value.line, &format!("volumes.{key}")),
                }
            }
        }
        _ => {
            let text = node.scalar().unwrap_or_default();
            let (path, rest) = text.split_once(':').unwrap_or((&text, ""));
            options = mount_options(rest)?;
            target = Some(path.to_owned());
        }
    }
    let bad = |why: &str| format!("invalid volume {}: {why}", quoted(source));
    let target = target.ok_or_else(|| bad("bind, its path in the sidecar, is missing"))?;
    let target = inside(&target).ok_or_else(|| bad("its path in the sidecar is not absolute"))?;
    let source = outside(source, reader.dir).map_err(|why| bad(&why))?;
    Ok(Volume::Bind { source, target, options, create: true })
}

/// Returns one entry of `volumes`, or what is wrong with it. Relative paths start at `dir`; without it, they
/// are invalid.
fn volume(node: &Node, reader: &mut Reader<'_>) -> Result<Volume, String> {
    match &node.value {
        Value::Text(text) => short(text, reader.dir),
        Value::Map(_) => long(node, reader),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) => {
            Err(format!("invalid volume: expected a string or a map, not {}", node.kind()))
        }
    }
}

/// Reads `[source:]target[:options]`.
fn short(text: &str, dir: Option<&Path>) -> Result<Volume, String> {
    let bad = |why: &str| format!("invalid volume {}: {why}", quoted(text));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => return Err(bad("it has more than two colons")),
    };
    let target = inside(target).ok_or_else(|| bad("its path in the sidecar is not absolute"))?;
    let options = mount_options(options).map_err(|why| bad(&why))?;
    match source {
        None => Ok(Volume::Anonymous { target, read_only: false }),
        Some(source) => {
            let source = outside(source, dir).map_err(|why| bad(&why))?;
            Ok(Volume::Bind { source, target, options, create: true })
        }
    }
}

/// Returns comma-separated options, each of them known to Docker.
fn mount_options(text: &str) -> Result<Vec<String>, String> {
    let options: Vec<String> = text.split(',').filter(|o| !o.is_empty()).map(str::to_owned).collect();
    match options.iter().find(|option| !OPTIONS.contains(&option.as_str())) {
        Some(option) => Err(format!("unknown option {}", quoted(option))),
        None => Ok(options),
    }
}

fn long(node: &Node, reader: &mut Reader<'_>) -> Result<Volume, String> {
    let (mut kind, mut source, mut target) = (None, None, None);
    let (mut options, mut tmpfs, mut create) = (Vec::new(), Vec::new(), true);
    for (key, value) in reader.entries(node, "volumes") {
        let text = || value.scalar().ok_or_else(|| format!("{key} is {}", value.kind()));
        match key {
            "type" => kind = Some(text()?),
            "source" | "src" => source = Some(text()?),
            "target" | "dst" | "destination" => target = Some(text()?),
            "read_only" => {
                if flag(value).ok_or("read_only: expected true or false")? {
                    options.push("ro".to_owned());
                }
            }
            "bind" => {
                for (key, value) in reader.entries(value, "volumes.bind") {
                    match key {
                        "propagation" => {
                            let word = value.scalar().unwrap_or_default();
                            if !OPTIONS.contains(&word.as_str()) {
                                return Err(format!("bind.propagation: unknown {}", quoted(&word)));
                            }
                            options.push(word);
                        }
                        "create_host_path" => {
                            create = flag(value).ok_or("bind.create_host_path: expected true or false")?;
                        }
                        "selinux" => options.extend(value.scalar().filter(|word| word == "z" || word == "Z")),
                        _ => reader.unsupported(value.line, &format!("volumes.bind.{key}")),
                    }
                }
            }
            "volume" => {
                for (key, value) in reader.entries(value, "volumes.volume") {
                    match key {
                        "nocopy" if flag(value) == Some(true) => options.push("nocopy".to_owned()),
                        "nocopy" => {}
                        _ => reader.unsupported(value.line, &format!("volumes.volume.{key}")),
                    }
                }
            }
            "tmpfs" => {
                for (key, value) in reader.entries(value, "volumes.tmpfs") {
                    match (key, value.scalar()) {
                        ("size" | "mode", Some(text)) if text.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                            tmpfs.push(format!("{key}={text}"));
                        }
                        ("size" | "mode", _) => return Err(format!("invalid tmpfs.{key}")),
                        _ => reader.unsupported(value.line, &format!("volumes.tmpfs.{key}")),
                    }
                }
            }
            _ => reader.unsupported(value.line, &format!("volumes.{key}")),
        }
    }
    let target = target.ok_or("target is missing")?;
    let target =
        inside(&target).ok_or_else(|| format!("target: {} is not an absolute path", quoted(&target)))?;
    let read_only = options.iter().any(|option| option == "ro");
    match (kind.as_deref(), source) {
        (Some("tmpfs"), None) => Ok(Volume::Tmpfs { target, options: tmpfs }),
        (Some("tmpfs"), Some(_)) => Err("a tmpfs has no source".to_owned()),
        (Some("volume"), None) => Ok(Volume::Anonymous { target, read_only }),
        (Some(kind @ ("bind" | "volume")), Some(source)) => {
            let source = outside(&source, reader.dir)?;
            if source.starts_with('/') != (kind == "bind") {
                return Err(format!("source: {} does not suit the type {kind}", quoted(&source)));
            }
            Ok(Volume::Bind { source, target, options, create })
        }
        (Some("bind"), None) => Err("source is missing".to_owned()),
        (Some(other), _) => Err(format!("type: {} is not bind, volume or tmpfs", quoted(other))),
        (None, _) => Err("type is missing".to_owned()),
    }
}

/// Returns a path in the sidecar.
fn inside(path: &str) -> Option<String> {
    (path.starts_with('/') && !path.contains(['\0', '\n', ':'])).then(|| path.to_owned())
}

/// Returns a host path, made absolute, or a volume's name.
fn outside(source: &str, dir: Option<&Path>) -> Result<String, String> {
    if source.contains(['\0', '\n', ':']) {
        return Err(format!("the source {} has a colon or a line break in it", quoted(source)));
    }
    if source.starts_with('/') {
        return Ok(source.to_owned());
    }
    if source.starts_with('.') {
        let dir = dir.ok_or("a label cannot name a relative path: use an absolute one")?;
        return Ok(normal(&dir.join(source)).display().to_string());
    }
    if source.starts_with('~') {
        return Err("~ is not expanded: use an absolute path".to_owned());
    }
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if source.chars().all(good) && source.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Ok(source.to_owned());
    }
    Err(format!("invalid source {}: expected a path or a volume name", quoted(source)))
}

/// Returns the path with `.` and `..` resolved.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut found = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                found.pop();
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) | Component::Normal(_) => found.push(component),
        }
    }
    found
}
