//! Host names that are safe to write into any configuration file.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not a valid name or path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The text is empty.
    #[error("empty")]
    Empty,
    /// The text is too long; the limit is in characters.
    #[error("longer than {0} characters")]
    TooLong(usize),
    /// A character that is not allowed.
    #[error("contains the character {0:?}")]
    Character(char),
    /// A part between two dots is empty, too long, or starts or ends with a hyphen.
    #[error("{0:?} is not a valid label of a host name")]
    Label(String),
    /// A path segment that normalization would remove.
    #[error("contains the segment {0:?}")]
    Segment(String),
}

/// A DNS host name in lower case, at most 253 characters (RFC 1123; underscores are accepted because Docker
/// Compose uses them).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainName(Arc<str>);

impl DomainName {
    /// Returns the name, in lower case and without a final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DomainName {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(TextError::Empty);
        }
        if text.len() > 253 {
            return Err(TextError::TooLong(253));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if let Some(c) = text.chars().find(|&c| !allowed(c)) {
            return Err(TextError::Character(c));
        }
        for label in text.split('.') {
            if label.is_empty() || label.len() > 63 || label.starts_with('-') || label.ends_with('-') {
                return Err(TextError::Label(label.to_owned()));
            }
        }
        Ok(Self(Arc::from(text.to_ascii_lowercase())))
    }
}

impl TryFrom<String> for DomainName {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        text.parse()
    }
}

impl From<DomainName> for String {
    fn from(name: DomainName) -> Self {
        name.0.as_ref().to_owned()
    }
}

/// Which Host headers a route answers to.
///
/// The order is the reverse of the search order: an exact name beats a wildcard, which beats any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// Every request.
    Any,
    /// Every name below this one (`*.example.com` matches `a.b.example.com`, but not `example.com`).
    Wildcard(DomainName),
    /// This name.
    Exact(DomainName),
}

impl HostPattern {
    /// Returns whether the pattern matches `host` (a name without port, in any case).
    pub fn covers(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        match self {
            Self::Any => true,
            Self::Exact(name) => host.eq_ignore_ascii_case(name.as_str()),
            Self::Wildcard(name) => {
                let suffix = name.as_str();
                // At least one character and a dot must precede the suffix.
                host.len() > suffix.len() + 1
                    && host.is_char_boundary(host.len() - suffix.len())
                    && host
                        .get(host.len() - suffix.len()..)
                        .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
                    && host.as_bytes().get(host.len() - suffix.len() - 1) == Some(&b'.')
            }
        }
    }

    /// Returns how specific it is: of two patterns that match a host, the one with the greater value wins.
    pub fn precedence(&self) -> (u8, usize) {
        match self {
            Self::Any => (0, 0),
            Self::Wildcard(name) => (1, name.as_str().len()),
            Self::Exact(name) => (2, name.as_str().len()),
        }
    }
}

impl FromStr for HostPattern {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        match text.strip_prefix("*.") {
            Some(rest) => rest.parse().map(Self::Wildcard),
            None => text.parse().map(Self::Exact),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Wildcard(name) => write!(f, "*.{}", name.as_str()),
            Self::Exact(name) => f.write_str(name.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_host_name_is_lower_cased_and_its_final_dot_dropped() {
        assert_eq!("WP1.Example.COM.".parse::<DomainName>().unwrap().as_str(), "wp1.example.com");
    }

    #[test]
    fn nothing_that_could_end_a_line_or_a_string_is_a_host_name() {
        for hostile in ["a\nb", "a b", "a\"b", "a'b", "{{x}}", "a;b", "a#b", "é.com", "", ".", "a..b", "-a"]
        {
            assert!(hostile.parse::<HostPattern>().is_err(), "{hostile:?}");
        }
    }

    #[test]
    fn an_exact_name_sorts_after_a_wildcard_after_any() {
        let sorted: Vec<HostPattern> = ["*", "*.a.b", "a.b"].iter().map(|t| t.parse().unwrap()).collect();
        assert!(sorted.is_sorted());
    }

    #[test]
    fn a_wildcard_covers_every_depth_below_it_and_not_the_name_itself() {
        let pattern: HostPattern = "*.example.com".parse().unwrap();
        assert!(pattern.covers("a.example.com") && pattern.covers("A.b.Example.com."));
        assert!(!pattern.covers("example.com") && !pattern.covers(".example.com"));
        assert!(!pattern.covers("aexample.com") && !pattern.covers("éxample.com"));
    }

    proptest! {
        #[test]
        fn what_parses_survives_being_written_and_read_again(text in "\\PC{0,40}") {
            if let Ok(host) = text.parse::<HostPattern>() {
                prop_assert_eq!(host.to_string().parse::<HostPattern>().unwrap(), host);
            }
        }
    }
}
