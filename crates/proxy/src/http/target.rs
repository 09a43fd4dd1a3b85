//! The host and path of a request, parsed strictly: anything that two programs could read differently is rejected.

use std::borrow::Cow;

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Uri, Version};
use longshore_model::{BadEscape, PathPrefix, merge_slashes, normalize_path};

/// The request's host is missing, duplicate, or invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadHost;

/// Returns the request's host, normalized like the route table's; empty if an HTTP/1.0 client sent none.
///
/// HTTP/1.1 requires exactly one Host header (RFC 9112, 3.2). The host of an absolute-form target or of `:authority`
/// takes precedence.
pub(super) fn host<'r>(
    version: Version,
    uri: &'r Uri,
    headers: &'r HeaderMap,
) -> Result<Cow<'r, str>, BadHost> {
    let mut named = headers.get_all(HOST).iter();
    let first = named.next();
    let must_be_named =
        version == Version::HTTP_11 || version == Version::HTTP_2 && uri.authority().is_none();
    if named.next().is_some() || (first.is_none() && must_be_named) {
        return Err(BadHost);
    }
    match uri.authority() {
        Some(authority) => spelled(authority.as_str().as_bytes()),
        None => spelled(first.map_or(b"", HeaderValue::as_bytes)),
    }
}

/// Returns `host` without its port and final dot, in lower case.
fn spelled(host: &[u8]) -> Result<Cow<'_, str>, BadHost> {
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+;=".contains(b);
    if !host.iter().all(allowed) {
        return Err(BadHost);
    }
    let host = std::str::from_utf8(host).map_err(|_| BadHost)?;
    let name = match host.rfind([':', ']']) {
        Some(at) if host.as_bytes().get(at) == Some(&b':') => {
            let (name, port) = host.split_at(at);
            if !port.bytes().skip(1).all(|b| b.is_ascii_digit()) {
                return Err(BadHost);
            }
            name
        }
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        return Ok(Cow::Owned(name.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(name))
}

/// The path and query of a request.
pub(super) struct Target<'r> {
    uri: &'r Uri,
    /// Normalized, as routes and containers read it.
    path: Cow<'r, str>,
}

impl<'r> Target<'r> {
    /// Parses the target of a request.
    pub(super) fn of(uri: &'r Uri) -> Result<Self, BadEscape> {
        Ok(Self { uri, path: normalize_path(uri.path())? })
    }

    /// Returns the path that routes are matched against.
    pub(super) fn matched(&self) -> Cow<'_, str> {
        merge_slashes(&self.path)
    }

    /// Returns the target for the upstream, without the prefix to strip.
    pub(super) fn for_upstream(&self, strip: Option<&PathPrefix>) -> Option<Uri> {
        let path = match (strip.and_then(|prefix| prefix.strip(&self.path)), &self.path) {
            (Some(rest), _) => format!("/{rest}"),
            (None, Cow::Owned(path)) => path.clone(),
            (None, Cow::Borrowed(_)) if self.uri.authority().is_none() => return Some(self.uri.clone()),
            (None, Cow::Borrowed(_)) => {
                return Some(
                    self.uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from),
                );
            }
        };
        let query = self.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        PathAndQuery::try_from(path + &query).ok().map(Uri::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_loses_port_dot_and_case() {
        for (written, read) in [
            ("Example.COM:8080", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:80", "example.com"),
            ("example.com:", "example.com"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("127.0.0.1:1", "127.0.0.1"),
        ] {
            assert_eq!(spelled(written.as_bytes()).unwrap(), read, "{written}");
        }
    }

    #[test]
    fn what_is_not_a_host_is_refused() {
        for bad in ["a b", "a,b", "a/b", "user@host", "a\"", "a\\b", "a:80:x", "a:8x", "é", "a\tb", "<a>"] {
            assert_eq!(spelled(bad.as_bytes()), Err(BadHost), "{bad}");
        }
    }

    #[test]
    fn a_request_names_its_host_once() {
        let uri = Uri::from_static("/");
        let mut headers = HeaderMap::new();
        assert_eq!(host(Version::HTTP_11, &uri, &headers), Err(BadHost));
        assert_eq!(host(Version::HTTP_10, &uri, &headers).unwrap(), "");
        headers.append(HOST, HeaderValue::from_static("a"));
        assert_eq!(host(Version::HTTP_11, &uri, &headers).unwrap(), "a");
        assert_eq!(host(Version::HTTP_11, &Uri::from_static("http://b:1/"), &headers).unwrap(), "b");
        headers.append(HOST, HeaderValue::from_static("a"));
        assert_eq!(host(Version::HTTP_11, &uri, &headers), Err(BadHost));
    }

    fn for_upstream(target: &str, strip: Option<&PathPrefix>) -> Uri {
        Target::of(&target.parse().unwrap()).unwrap().for_upstream(strip).unwrap()
    }

    #[test]
    fn a_stripped_prefix_leaves_one_slash() {
        for (target, sent) in [
            ("/p/x", "/x"),
            ("/p", "/"),
            ("/p/", "/"),
            ("/p?q=/p/", "/?q=/p/"),
            ("/p/?q", "/?q"),
            ("/p//x", "/x"),
            ("/p//evil.example/x?y", "/evil.example/x?y"),
            ("/p/p/x", "/p/x"),
            ("//p//x", "/x"),
            ("/%70/x", "/x"),
            ("/q/../p/./x?y", "/x?y"),
            ("/p/http://x", "/http://x"),
            ("http://h/p/x?y", "/x?y"),
        ] {
            assert_eq!(for_upstream(target, Some(&"p".parse().unwrap())), sent, "{target}");
        }
        for (target, sent) in [("/a?b", "/a?b"), ("http://h/a?b", "/a?b"), ("http://h", "/"), ("*", "*")] {
            assert_eq!(for_upstream(target, None), sent, "{target}");
        }
    }
}
