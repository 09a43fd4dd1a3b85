use std::fmt;
use std::str::FromStr;

use http::Uri;
use longshore_model::normalize_path;

/// A request to explain: `wp1.example.com/blog`, `[::1]:8080/`, or a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestTarget {
    /// The host, without a port; empty where the target names none.
    pub host: String,
    /// The port that the request is sent to: the target's own, else that of its scheme, else 80.
    pub port: u16,
    /// The path in its normal form, with a leading slash and without the query.
    pub path: String,
}

/// The text is not a valid request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid request {0:?}: expected HOST/PATH or a URL, such as wp1.example.com/blog")]
pub struct RequestTargetError(String);

impl FromStr for RequestTarget {
    type Err = RequestTargetError;

    fn from_str(text: &str) -> Result<Self, RequestTargetError> {
        let error = || RequestTargetError(text.to_owned());
        let normal = |path: &str| normalize_path(path).map(|path| path.into_owned()).map_err(|_| error());
        let (rest, scheme_port) = match text.split_once("://") {
            Some(("http" | "ws", rest)) => (rest, 80),
            Some(("https" | "wss", rest)) => (rest, 443),
            Some((scheme, _)) if !scheme.contains(['/', '?', '#']) => return Err(error()),
            _ => (text, 80),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.is_empty() {
            let path = path.split('?').next().filter(|path| !path.is_empty());
            return match path {
                Some(path) => Ok(Self { host: String::new(), port: scheme_port, path: normal(path)? }),
                None => Err(error()),
            };
        }
        let uri: Uri = format!("http://{authority}{path}").parse().map_err(|_| error())?;
        let authority = uri.authority().ok_or_else(error)?;
        let is_port = |rest: &str| rest.is_empty() || authority.port_u16().is_some();
        let after_host = authority.as_str().strip_prefix(authority.host()).ok_or_else(error)?;
        if !is_port(after_host) {
            return Err(error());
        }
        let port = authority.port_u16().unwrap_or(scheme_port);
        Ok(Self { host: authority.host().to_owned(), port, path: normal(uri.path())? })
    }
}

impl fmt::Display for RequestTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_a_person_writes_it() {
        for (text, host, port, path) in [
            ("wp1.example.com", "wp1.example.com", 80, "/"),
            ("wp1.example.com/blog?a=b#c", "wp1.example.com", 80, "/blog"),
            ("wp1.example.com:8080/blog", "wp1.example.com", 8080, "/blog"),
            ("wp1.example.com?a=b://c", "wp1.example.com", 80, "/"),
            ("http://wp1.example.com", "wp1.example.com", 80, "/"),
            ("https://wp1.example.com/a", "wp1.example.com", 443, "/a"),
            ("https://wp1.example.com:8443/a", "wp1.example.com", 8443, "/a"),
            ("[::1]/x", "[::1]", 80, "/x"),
            ("[::1]:8080/x", "[::1]", 8080, "/x"),
            ("/blog", "", 80, "/blog"),
            ("a.example/pub/../%61dmin", "a.example", 80, "/admin"),
        ] {
            let expected = RequestTarget { host: host.to_owned(), port, path: path.to_owned() };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_names_no_request_is_an_error() {
        for text in ["", "ftp://a/b", "a b/c", "[::1/x", "a:99999/", "a:x/", "u@h/", "http://", "a/100%"] {
            assert!(text.parse::<RequestTarget>().is_err(), "{text:?}");
        }
    }
}
