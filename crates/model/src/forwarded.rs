//! Request headers in which a proxy describes its client. Programs behind a balancer trust them, so a client
//! must not be able to set them.
//!
//! Names are in lower case with hyphens and match in any case. CGI, WSGI, Rack and PHP map `X_Real_IP` and
//! `X-Real-IP` to the same variable, so every name here also matches its spellings with underscores. No proxy
//! writes those, and they are dropped from every peer.

/// Headers that only a trusted peer may send, in addition to those that begin with [`TRUSTED_HEADER_PREFIX`].
pub const TRUSTED_HEADERS: [&str; 17] = [
    "cf-connecting-ip",
    "client-ip",
    "fastly-client-ip",
    "forwarded",
    "forwarded-for",
    "front-end-https",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-original-for",
    "x-original-host",
    "x-original-proto",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
    "x-url-scheme",
];

/// The prefix of all other headers that only a trusted peer may send.
pub const TRUSTED_HEADER_PREFIX: &str = "x-forwarded-";

/// Headers that are always dropped: `Proxy` becomes CGI's `HTTP_PROXY`, the proxy that programs use for their
/// own requests (CVE-2016-5385, "httpoxy").
pub const FORBIDDEN_HEADERS: [&str; 1] = ["proxy"];

/// Returns whether a request header (its name in lower case) is passed on from a peer that is `trusted` or
/// not.
pub fn is_passed_header(name: &str, trusted: bool) -> bool {
    let bytes = name.as_bytes();
    // The first letter rules out most headers.
    if !matches!(bytes.first(), Some(b'c' | b'f' | b'p' | b't' | b'x')) {
        return true;
    }
    if FORBIDDEN_HEADERS.contains(&name) {
        return false;
    }
    let prefix = TRUSTED_HEADER_PREFIX.as_bytes();
    let begins = bytes.get(..prefix.len()).is_some_and(|start| same(start, prefix));
    if !begins && !TRUSTED_HEADERS.iter().any(|known| same(bytes, known.as_bytes())) {
        return true;
    }
    trusted && !bytes.contains(&b'_')
}

/// Returns whether two names are equal when underscores count as hyphens.
fn same(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len() && name.iter().zip(known).all(|(a, b)| a == b || (*a == b'_' && *b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_of_the_client_is_passed_on_from_a_trusted_peer_only() {
        let prefixed = ["x-forwarded-for", "x-forwarded-ssl", "x-forwarded-anything"];
        for name in TRUSTED_HEADERS.iter().chain(&prefixed) {
            assert!(!is_passed_header(name, false) && is_passed_header(name, true), "{name}");
            if name.contains('-') {
                let alias = name.replace('-', "_");
                assert!(!is_passed_header(&alias, false) && !is_passed_header(&alias, true), "{alias}");
            }
        }
    }

    #[test]
    fn an_underscore_hides_nothing() {
        for name in ["x_forwarded-for", "x-forwarded_for", "x_real-ip"] {
            assert!(!is_passed_header(name, false) && !is_passed_header(name, true), "{name}");
        }
    }

    #[test]
    fn proxy_is_passed_on_from_nobody() {
        assert!(!is_passed_header("proxy", true) && !is_passed_header("proxy", false));
    }

    #[test]
    fn other_headers_pass() {
        for name in [
            "host",
            "accept",
            "cookie",
            "x-request-id",
            "x_custom",
            "content-type",
            "forward",
            "x-forward",
            "x",
        ] {
            assert!(is_passed_header(name, false), "{name}");
        }
    }

    #[test]
    fn every_name_is_found_by_its_first_letter() {
        for name in TRUSTED_HEADERS.iter().chain(&FORBIDDEN_HEADERS).chain([&TRUSTED_HEADER_PREFIX]) {
            assert!(name.starts_with(['c', 'f', 'p', 't', 'x']), "{name}");
            assert_eq!(**name, name.to_ascii_lowercase());
        }
    }
}
