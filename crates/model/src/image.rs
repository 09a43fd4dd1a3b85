//! Image references, as Docker reads them.

use std::fmt;
use std::str::FromStr;

/// Why a text is no image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no image reference: {1}")]
pub struct ImageReferenceError(String, &'static str);

/// An image by registry, path, tag and digest; `busybox` is `docker.io/library/busybox`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    /// Registry host, with its port where one is named.
    pub registry: String,
    /// The path within the registry.
    pub repository: String,
    /// The tag, where one is named.
    pub tag: Option<String>,
    /// The digest (`sha256:…`), where one is named.
    pub digest: Option<String>,
}

impl FromStr for ImageReference {
    type Err = ImageReferenceError;

    fn from_str(text: &str) -> Result<Self, ImageReferenceError> {
        let bad = |why| ImageReferenceError(text.to_owned(), why);
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let (rest, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        // The rule of Docker's reference library: the first part is a registry only if it looks like a host.
        let (registry, path) = match rest.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => {
                (first, path.to_owned())
            }
            Some(_) => ("docker.io", rest.to_owned()),
            None => ("docker.io", format!("library/{rest}")),
        };
        let part = |p: &str| {
            !p.is_empty()
                && p.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
                && p.starts_with(|c: char| c.is_ascii_alphanumeric())
        };
        if !path.split('/').all(part) {
            return Err(bad("a part of its path is not lower-case letters, digits, '.', '_' and '-'"));
        }
        if tag.is_some_and(|t| {
            t.is_empty()
                || t.len() > 128
                || !t.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        }) {
            return Err(bad("its tag is not 1 to 128 letters, digits, '.', '_' and '-'"));
        }
        if digest.is_some_and(|d| !d.contains(':')) {
            return Err(bad("its digest names no algorithm"));
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository: path,
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}
