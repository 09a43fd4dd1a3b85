//! Volumes as compose writes them, short and long.

use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use super::reader::{Reader, flag};
use super::yaml::{Node, Value};
use crate::claim::quoted;

/// What is mounted into a sidecar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Volume {
    /// A folder or file of the host, or a named volume.
    Bind {
        /// An absolute path of the host, or a volume's name.
        source: String,
        /// Where it is in the sidecar.
        target: String,
        /// Options as Docker takes them: `ro`, `z`, `nocopy`, `rshared` and the like.
        options: Vec<String>,
        /// Whether a path of the host that is not there is made.
        create: bool,
    },
    /// A volume without a name, which goes with the sidecar.
    Anonymous {
        /// Where it is in the sidecar.
        target: String,
        /// Whether it cannot be written.
        read_only: bool,
    },
    /// Memory.
    Tmpfs {
        /// Where it is in the sidecar.
        target: String,
        /// Options of the mount, as `size=64m`.
        options: Vec<String>,
    },
}

/// Options that Docker takes after a bind's second colon.
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

/// One entry of `volumes`, or what is wrong with it. Relative paths are of `dir`; without one, there are none.
pub(super) fn volume(node: &Node, reader: &mut Reader<'_>) -> Result<Volume, String> {
    match &node.value {
        Value::Text(text) => short(text, reader.dir),
        Value::Map(_) => long(node, reader),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) => {
            Err(format!("{} is no volume", node.kind()))
        }
    }
}

/// `[source:]target[:options]`.
fn short(text: &str, dir: Option<&Path>) -> Result<Volume, String> {
    let bad = |why: &str| format!("{} is no volume: {why}", quoted(text));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => return Err(bad("it has more than two colons")),
    };
    let target = inside(target).ok_or_else(|| bad("its place in the sidecar is no absolute path"))?;
    let options: Vec<String> = options.split(',').filter(|o| !o.is_empty()).map(str::to_owned).collect();
    if let Some(option) = options.iter().find(|option| !OPTIONS.contains(&option.as_str())) {
        return Err(bad(&format!("{} is no option of it", quoted(option))));
    }
    match source {
        None => Ok(Volume::Anonymous { target, read_only: false }),
        Some(source) => {
            let source = outside(source, dir).map_err(|why| bad(&why))?;
            Ok(Volume::Bind { source, target, options, create: true })
        }
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
                if flag(value).ok_or("read_only is neither true nor false")? {
                    options.push("ro".to_owned());
                }
            }
            "bind" => {
                for (key, value) in reader.entries(value, "volumes.bind") {
                    match key {
                        "propagation" => {
                            let word = value.scalar().unwrap_or_default();
                            if !OPTIONS.contains(&word.as_str()) {
                                return Err(format!("bind.propagation: {} is none", quoted(&word)));
                            }
                            options.push(word);
                        }
                        "create_host_path" => {
                            create = flag(value).ok_or("bind.create_host_path is neither true nor false")?;
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
                        ("size" | "mode", _) => return Err(format!("tmpfs.{key} is not understood")),
                        _ => reader.unsupported(value.line, &format!("volumes.tmpfs.{key}")),
                    }
                }
            }
            _ => reader.unsupported(value.line, &format!("volumes.{key}")),
        }
    }
    let target = target.ok_or("target is missing")?;
    let target = inside(&target).ok_or_else(|| format!("target: {} is no absolute path", quoted(&target)))?;
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
        (Some(other), _) => Err(format!("type: {} is none of bind, volume and tmpfs", quoted(other))),
        (None, _) => Err("type is missing".to_owned()),
    }
}

/// A place in the sidecar.
fn inside(path: &str) -> Option<String> {
    (path.starts_with('/') && !path.contains(['\0', '\n', ':'])).then(|| path.to_owned())
}

/// A path of the host, made absolute, or a volume's name.
fn outside(source: &str, dir: Option<&Path>) -> Result<String, String> {
    if source.contains(['\0', '\n', ':']) {
        return Err(format!("the source {} has a colon or a line break in it", quoted(source)));
    }
    if source.starts_with('/') {
        return Ok(source.to_owned());
    }
    if source.starts_with('.') {
        let dir = dir.ok_or("a label cannot name a relative path: write it from / on")?;
        return Ok(normal(&dir.join(source)).display().to_string());
    }
    if source.starts_with('~') {
        return Err("~ is not understood: write the path from / on".to_owned());
    }
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if source.chars().all(good) && source.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Ok(source.to_owned());
    }
    Err(format!("{} is neither a path nor a volume's name", quoted(source)))
}

/// The path without `.` and `..`.
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
