//! The headers that frontends drop, as regular expressions of whole names. HAProxy converts names to lower case.

use longshore_model::{FORBIDDEN_HEADERS, TRUSTED_HEADER_PREFIX, TRUSTED_HEADERS};

/// Request headers for the next hop only, except `TE`, which HAProxy handles, and `Upgrade`.
const REQUEST_HOP_BY_HOP: [&str; 5] =
    ["connection", "http2-settings", "keep-alive", "proxy-authorization", "proxy-connection"];

/// Response headers for the next hop only. HAProxy handles `Connection` and `Transfer-Encoding`.
const RESPONSE_HOP_BY_HOP: [&str; 4] = ["keep-alive", "proxy-authenticate", "proxy-connection", "te"];

/// Returns the pattern of headers dropped from every request.
pub(crate) fn dropped() -> String {
    let names = REQUEST_HOP_BY_HOP.into_iter().chain(FORBIDDEN_HEADERS).map(str::to_owned);
    let aliases = TRUSTED_HEADERS.into_iter().flat_map(aliases);
    let prefixed = aliases_of_prefix(TRUSTED_HEADER_PREFIX);
    alternatives(names.chain(aliases).chain(prefixed))
}

/// Returns the pattern of headers dropped from requests of untrusted peers.
pub(crate) fn trusted() -> String {
    let prefix = format!("{TRUSTED_HEADER_PREFIX}.*");
    alternatives(TRUSTED_HEADERS.into_iter().map(str::to_owned).chain([prefix]))
}

/// Returns the pattern of headers dropped from every response.
pub(crate) fn dropped_from_responses() -> String {
    alternatives(RESPONSE_HOP_BY_HOP.into_iter().map(str::to_owned))
}

fn alternatives(names: impl Iterator<Item = String>) -> String {
    format!("^({})$", names.collect::<Vec<String>>().join("|"))
}

/// Returns patterns that together match a name's spellings with underscores: one for each hyphen that may be one.
fn aliases(name: &str) -> Vec<String> {
    let hyphens = name.match_indices('-');
    let alias = |(at, _): (usize, &str)| {
        let (before, rest) = name.split_at(at);
        let after = rest.get(1..).unwrap_or_default();
        format!("{before}_{}", after.replace('-', "[-_]"))
    };
    hyphens.map(alias).collect()
}

fn aliases_of_prefix(prefix: &str) -> Vec<String> {
    let mut patterns: Vec<String> = aliases(prefix).into_iter().map(|alias| format!("{alias}.*")).collect();
    patterns.push(format!("{prefix}.*_.*"));
    patterns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_name_with_an_underscore_has_a_pattern() {
        assert_eq!(aliases("x-real-ip"), ["x_real[-_]ip", "x-real_ip"]);
        assert_eq!(aliases("forwarded"), [""; 0]);
        assert_eq!(
            aliases_of_prefix("x-forwarded-"),
            ["x_forwarded[-_].*", "x-forwarded_.*", "x-forwarded-.*_.*"]
        );
    }
}
