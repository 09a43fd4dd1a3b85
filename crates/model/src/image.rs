//! Image references, as Docker parses them.

use std::fmt;
use std::str::FromStr;

/// The text is not an image reference; holds the text and the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid image reference {0:?}: {1}")]
pub struct ImageReferenceError(String, &'static str);

/// The longest registry and path together, as in Docker's reference library.
const MAX_NAME: usize = 255;
/// The longest tag.
const MAX_TAG: usize = 128;

/// An image by registry, path, tag and digest; `busybox` is `docker.io/library/busybox`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    /// The registry's host, with its port if given.
    pub registry: String,
    /// The path within the registry.
    pub repository: String,
    /// The tag, if given.
    pub tag: Option<String>,
    /// The digest (`sha256:…`), if given.
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
        if !is_registry(registry) {
            return Err(bad("expected a host name before the first '/', such as registry.example:5000"));
        }
        if !path.split('/').all(is_component) {
            return Err(bad(
                "expected a path of lower-case letters and digits, separated by '.', '_', '__' or '-'",
            ));
        }
        if rest.len() > MAX_NAME {
            return Err(bad("its name is longer than 255 characters"));
        }
        if !tag.is_none_or(is_tag) {
            return Err(bad("expected a tag of 1 to 128 letters, digits, '.', '_' and '-'"));
        }
        if !digest.is_none_or(is_digest) {
            return Err(bad("expected a digest such as sha256:…"));
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository: path,
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }
}

/// Returns whether the text is a host, with or without a port.
fn is_registry(text: &str) -> bool {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "0"));
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_ipv6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_ipv6 = is_ipv6.is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    (is_ipv6 || host.split('.').all(is_label)) && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
}

/// Returns whether the text is a path component: letters and digits, with single separators between them.
fn is_component(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator =
        |between: &str| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-');
    text.starts_with(is_word) && text.ends_with(is_word) && text.split(is_word).all(is_separator)
}

fn is_tag(text: &str) -> bool {
    text.len() <= MAX_TAG
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// Returns whether the text is an algorithm followed by hexadecimal digits.
fn is_digest(text: &str) -> bool {
    let Some((algorithm, encoded)) = text.split_once(':') else { return false };
    algorithm.starts_with(|c: char| c.is_ascii_alphabetic())
        && algorithm.chars().all(|c| c.is_ascii_alphanumeric() || "+._-".contains(c))
        && !encoded.is_empty()
        && encoded.bytes().all(|b| b.is_ascii_hexdigit())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_read_as_docker_reads_it() {
        for (text, whole) in [
            ("busybox", "docker.io/library/busybox"),
            ("team/app:1.0", "docker.io/team/app:1.0"),
            ("localhost/app", "localhost/app"),
            ("registry.example:5000/a/b_c__d-e.f:x_Y", "registry.example:5000/a/b_c__d-e.f:x_Y"),
            ("[::1]:5000/app", "[::1]:5000/app"),
            ("app@sha256:0aF", "docker.io/library/app@sha256:0aF"),
            ("app:1@sha256:0a", "docker.io/library/app:1@sha256:0a"),
        ] {
            assert_eq!(text.parse::<ImageReference>().unwrap().to_string(), whole, "{text}");
        }
    }

    #[test]
    fn what_docker_refuses_is_no_image() {
        for text in [
            "",
            "A",
            "a b",
            "a/",
            "/a",
            "a//b",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a._b",
            "a:",
            "a:-x",
            "a:x y",
            "a@sha256",
            "a@:00",
            "a@sha256:",
            "a@sha256:xyz",
            "bad_host.example:5000/a",
            "h.example:x/a",
        ] {
            assert!(text.parse::<ImageReference>().is_err(), "{text:?}");
        }
        assert!(format!("a/{}", "b".repeat(255)).parse::<ImageReference>().is_err());
        assert!(format!("a:{}", "b".repeat(129)).parse::<ImageReference>().is_err());
    }
}
