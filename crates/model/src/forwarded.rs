//! Request headers by which a proxy speaks of the client behind it. A program behind a balancer believes them, so a client
//! must not be able to write them.
//!
//! Names are in lower case and with hyphens, and stand for themselves in any case. CGI, WSGI, Rack and PHP show a program
//! `X_Real_IP` as the same variable as `X-Real-IP`; so every name here also stands for its spellings with underscores, which
//! no proxy writes: those are dropped whoever sends them.

/// Headers that are passed on only from a trusted peer, beside those that begin with [`TRUSTED_HEADER_PREFIX`].
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

/// How the rest of the headers begin that are passed on only from a trusted peer.
pub const TRUSTED_HEADER_PREFIX: &str = "x-forwarded-";

/// Headers that are passed on from nobody: `Proxy` becomes CGI's `HTTP_PROXY`, the address of the proxy that programs send
/// their own requests through (CVE-2016-5385, "httpoxy").
pub const FORBIDDEN_HEADERS: [&str; 1] = ["proxy"];

/// Returns whether a request's header (its name in lower case) is passed on from a peer that is `trusted` or not.
pub fn is_passed_header(name: &str, trusted: bool) -> bool {
    let bytes = name.as_bytes();
    // Most headers are told by their first letter.
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

/// Returns whether two names are one, where an underscore is read as a hyphen.
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
