//! Request paths: what a route matches, and what the container receives.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::TextError;

/// A percent sign in a path is not followed by two hexadecimal digits (RFC 3986, 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a percent sign is not followed by two hexadecimal digits")]
pub struct BadEscape;

/// Returns a request's path (without its query) in the normal form of RFC 3986, 6.2.2: unnecessary escapes
/// are decoded, other escapes have upper-case digits, and dot segments are resolved. Both forms name the same
/// resource, so routes are matched against the normal form and containers receive it. A path in normal form
/// is returned unchanged.
///
/// # Errors
/// An escape is invalid. Two programs could read it differently (`%%36%31` may become `%61`, and that `a`),
/// so the request is refused.
pub fn normalize_path(path: &str) -> Result<Cow<'_, str>, BadEscape> {
    if is_normal(path.as_bytes())? {
        return Ok(Cow::Borrowed(path));
    }
    let mut normal = normalize_escapes(path)?;
    if has_dot_segment(normal.as_bytes()) {
        normal = resolve_dot_segments(&normal);
    }
    Ok(Cow::Owned(normal))
}

/// Returns a path with each run of slashes merged into one. Routes are matched in this form because many
/// servers do the same.
pub fn merge_slashes(path: &str) -> Cow<'_, str> {
    if !path.as_bytes().windows(2).any(|pair| pair == b"//") {
        return Cow::Borrowed(path);
    }
    let mut merged = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !merged.ends_with('/') {
            merged.push(c);
        }
    }
    Cow::Owned(merged)
}

fn is_normal(path: &[u8]) -> Result<bool, BadEscape> {
    let mut is_normal = !has_dot_segment(path);
    if path.contains(&b'%') {
        for (at, _) in path.iter().enumerate().filter(|&(_, &b)| b == b'%') {
            let digits = path.get(at + 1..at + 3).unwrap_or_default();
            is_normal &= !is_unreserved(escape(digits)?) && !digits.iter().any(u8::is_ascii_lowercase);
        }
    }
    Ok(is_normal)
}

/// Returns the byte that the two digits of an escape encode.
fn escape(digits: &[u8]) -> Result<u8, BadEscape> {
    let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(BadEscape);
    let &[high, low] = digits else { return Err(BadEscape) };
    u8::try_from(digit(high)? << 4 | digit(low)?).map_err(|_| BadEscape)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn has_dot_segment(path: &[u8]) -> bool {
    path.windows(2).enumerate().any(|(at, pair)| {
        pair == b"/."
            && matches!(path.get(at + 2..).unwrap_or_default(), [] | [b'/', ..] | [b'.'] | [b'.', b'/', ..])
    })
}

fn normalize_escapes(path: &str) -> Result<String, BadEscape> {
    let mut normal = String::with_capacity(path.len());
    let mut parts = path.split('%');
    normal.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).ok_or(BadEscape)?;
        let byte = escape(digits.as_bytes())?;
        if is_unreserved(byte) {
            normal.push(char::from(byte));
        } else {
            normal.push('%');
            normal.push_str(&digits.to_ascii_uppercase());
        }
        normal.push_str(rest);
    }
    Ok(normal)
}

/// Resolves dot segments (RFC 3986, 5.2.4) in a path that begins with a slash; returns any other unchanged.
fn resolve_dot_segments(path: &str) -> String {
    let Some(segments) = path.strip_prefix('/') else { return path.to_owned() };
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = segments.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if segments.peek().is_none() {
            // A dot segment at the end names a folder.
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

/// A path prefix of whole segments, without slashes at either end; empty matches every path.
///
/// Kept in the normal form of [`normalize_path`], so `%61dmin` is `admin`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPrefix(Arc<str>);

impl PathPrefix {
    /// The longest prefix accepted, in characters.
    pub const MAX: usize = 1024;
    /// The most segments accepted.
    pub const MAX_SEGMENTS: usize = 16;

    /// Returns the prefix without slashes at either end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether it is empty: every path matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether it matches `path` (as sent by a client, from its first slash, without the query):
    /// `/dash` matches `/dash`, `/dash/x`, `/%64ash` and `/x/../dash`, but not `/dashboard`.
    pub fn covers(&self, path: &str) -> bool {
        normalize_path(path).is_ok_and(|path| self.strip(&path).is_some())
    }

    /// Returns what follows the prefix in a normalized path, without leading slashes, or `None` if the path
    /// does not begin with the prefix. Runs of slashes count as one.
    pub fn strip<'p>(&self, path: &'p str) -> Option<&'p str> {
        if self.is_empty() {
            return Some(path);
        }
        let mut rest = path;
        for segment in self.0.split('/') {
            let from = rest.trim_start_matches('/');
            if from.len() == rest.len() {
                return None;
            }
            rest = from.strip_prefix(segment)?;
        }
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/'))
    }

    /// Returns the number of segments.
    pub fn segments(&self) -> usize {
        if self.is_empty() { 0 } else { self.0.split('/').count() }
    }
}

impl FromStr for PathPrefix {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let text = text.trim_matches('/');
        if text.len() > Self::MAX {
            return Err(TextError::TooLong(Self::MAX));
        }
        // RFC 3986 `pchar`, and the slash between segments.
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%/".contains(c);
        if let Some(c) = text.chars().find(|&c| !allowed(c)) {
            return Err(TextError::Character(c));
        }
        if text.is_empty() {
            return Ok(Self::default());
        }
        if text.split('/').count() > Self::MAX_SEGMENTS {
            return Err(TextError::TooLong(Self::MAX_SEGMENTS));
        }
        let text = normalize_escapes(text).map_err(|_| TextError::Character('%'))?;
        if let Some(segment) = text.split('/').find(|s| matches!(*s, "" | "." | "..")) {
            return Err(TextError::Segment(segment.to_owned()));
        }
        Ok(Self(Arc::from(text)))
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CASES: &str = include_str!("../cases/paths.txt");

    #[test]
    fn a_path_is_read_as_the_table_of_cases_says() {
        let admin: PathPrefix = "admin".parse().unwrap();
        for line in CASES.lines().filter(|line| line.starts_with('/')) {
            let (sent, matched, passed) = match line.split_whitespace().collect::<Vec<_>>()[..] {
                [sent, matched, passed] => (sent, matched, passed),
                [sent, "400"] => {
                    assert_eq!(normalize_path(sent), Err(BadEscape), "{sent}");
                    assert!(!admin.covers(sent), "{sent}");
                    continue;
                }
                _ => panic!("two or three columns: {line:?}"),
            };
            let normal = normalize_path(sent).unwrap();
            assert_eq!(normal, passed, "{sent}");
            assert_eq!(merge_slashes(&normal), matched, "{sent}");
            let claims = matched == "/admin" || matched.starts_with("/admin/");
            assert_eq!(admin.covers(sent), claims, "{sent}");
        }
    }

    #[test]
    fn a_path_that_is_normal_is_not_copied() {
        for path in ["/", "/a/b.c", "/a%20b", "/.a", "/a..", "*", ""] {
            assert!(matches!(normalize_path(path), Ok(Cow::Borrowed(_))), "{path}");
            assert!(matches!(merge_slashes(path), Cow::Borrowed(_)), "{path}");
        }
    }

    #[test]
    fn a_prefix_covers_whole_segments_only() {
        let prefix: PathPrefix = "dash".parse().unwrap();
        assert!(prefix.covers("/dash") && prefix.covers("/dash/") && prefix.covers("/dash/x"));
        assert!(!prefix.covers("/dashboard") && !prefix.covers("/") && !prefix.covers("dash"));
    }

    #[test]
    fn what_follows_a_prefix_begins_without_a_slash() {
        let prefix: PathPrefix = "a/b".parse().unwrap();
        for (path, rest) in [
            ("/a/b", Some("")),
            ("/a/b/", Some("")),
            ("/a/b/c//d", Some("c//d")),
            ("/a/b//c", Some("c")),
            ("//a///b/c", Some("c")),
            ("/a/bc", None),
            ("/ab", None),
            ("/a", None),
            ("a/b", None),
        ] {
            assert_eq!(prefix.strip(path), rest, "{path}");
        }
        assert_eq!(PathPrefix::default().strip("//x"), Some("//x"));
    }

    #[test]
    fn a_prefix_loses_its_outer_slashes() {
        assert_eq!("/dash/board/".parse::<PathPrefix>().unwrap().as_str(), "dash/board");
        assert_eq!("/".parse::<PathPrefix>().unwrap(), PathPrefix::default());
    }

    #[test]
    fn a_prefix_is_kept_in_normal_form() {
        for (written, kept) in [("%61dmin", "admin"), ("a%2fb", "a%2Fb"), ("caf%c3%a9", "caf%C3%A9")] {
            assert_eq!(written.parse::<PathPrefix>().unwrap().as_str(), kept);
        }
    }

    #[test]
    fn a_prefix_cannot_climb_or_carry_a_query() {
        for hostile in ["a/../b", "a/%2e%2E/b", "a//b", "./a", "a?b", "a#b", "a b", "a\r\nb", "a\"b", "a\\b"]
        {
            assert!(hostile.parse::<PathPrefix>().is_err(), "{hostile:?}");
        }
    }

    proptest! {
        #[test]
        fn a_normal_form_is_its_own_normal_form(
            path in "(/(\\.|\\.\\.|%2e|%2E\\.|%41|%2f|%%36%31|%|[a-c.é]{0,3})){0,6}/?",
        ) {
            let Ok(once) = normalize_path(&path) else { return Ok(()) };
            prop_assert_eq!(normalize_path(&once), Ok(once.clone()));
            prop_assert!(!once.split('/').any(|segment| segment == "." || segment == ".."), "{}", once);
        }

        #[test]
        fn a_prefix_that_parses_survives_being_written_and_read_again(text in "[a-c.%/2eE4]{0,20}") {
            if let Ok(prefix) = text.parse::<PathPrefix>() {
                prop_assert_eq!(&prefix.to_string().parse::<PathPrefix>().unwrap(), &prefix);
                prop_assert!(prefix.covers(&prefix.to_string()));
            }
        }
    }
}
