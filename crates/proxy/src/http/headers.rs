//! The headers that a proxy removes and adds (RFC 9110, 7.6; RFC 9113, 8.2).

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};
use longshore_model::is_passed_header;

use crate::client::Client;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Removes the headers that are for one hop only, those that `Connection` names, and those that `is_dropped` tells.
///
/// Most messages have few of them or none: one pass over the names that are there costs less than looking up each of
/// these names in the map.
fn strip(headers: &mut HeaderMap, is_dropped: impl Fn(&str) -> bool) {
    // Nearly every `Connection` names but the first three: they are no headers, or go in any case. The message would
    // have another meaning or recipient without the other two.
    let is_other = |member: &&str| {
        let ignored = ["close", "keep-alive", "upgrade", "content-length", "host"];
        !ignored.iter().any(|ignored| member.eq_ignore_ascii_case(ignored))
    };
    let named: Vec<&str> = listed(headers, &CONNECTION).filter(is_other).collect();
    let is_gone = |name: &&HeaderName| {
        let name = name.as_str();
        is_for_one_hop(name) || is_dropped(name) || named.iter().any(|named| named.eq_ignore_ascii_case(name))
    };
    let gone: Vec<HeaderName> = headers.keys().filter(is_gone).cloned().collect();
    for name in gone {
        headers.remove(&name);
        if name == TRANSFER_ENCODING {
            // The chunks delimit the message (RFC 9112, 6.3), so a length beside them is false.
            headers.remove(CONTENT_LENGTH);
        }
    }
}

/// Returns whether a header (its name in lower case) is meant for the next hop, whatever `Connection` says.
fn is_for_one_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "expect"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Returns the members of a comma-separated list, over all headers of the name.
fn listed<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers.get_all(name).iter().flat_map(members)
}

/// Returns the members of a comma-separated list.
fn members(list: &HeaderValue) -> impl Iterator<Item = &str> {
    list.to_str().unwrap_or_default().split(',').map(str::trim)
}

/// Returns the protocol that a request asks to upgrade to, if allowed: HTTP/2 over an upgrade would carry requests
/// past the routes.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let asked = listed(headers, &CONNECTION).any(|name| name.eq_ignore_ascii_case("upgrade"));
    let is_http = listed(headers, &UPGRADE).any(|protocol| {
        let protocol = protocol.to_ascii_lowercase();
        protocol.starts_with("h2") || protocol.starts_with("http")
    });
    let once = headers.get_all(UPGRADE).iter().nth(1).is_none();
    (asked && once && !is_http && protocol.to_str().is_ok()).then(|| protocol.clone())
}

/// Turns a client's headers into those of the request to the upstream.
pub(super) fn to_upstream(
    headers: &mut HeaderMap,
    client: &Client,
    port: &HeaderValue,
    upgrade: Option<HeaderValue>,
) {
    let takes_trailers = listed(headers, &TE).any(|coding| coding.eq_ignore_ascii_case("trailers"));
    strip(headers, |name| !is_passed_header(name, client.trusted));
    join_cookies(headers);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    name_client(headers, client, port);
}

/// Joins cookie headers: HTTP/2 may split them, HTTP/1.1 may not.
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let parts: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

fn name_client(headers: &mut HeaderMap, client: &Client, port: &HeaderValue) {
    let host = headers.get(HOST).cloned();
    if client.trusted {
        let before: Vec<&[u8]> = headers.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
        let chain = match before.as_slice() {
            [] => client.peer_text.clone(),
            before => {
                let mut chain = before.join(&b", "[..]);
                chain.extend_from_slice(b", ");
                chain.extend_from_slice(client.peer_text.as_bytes());
                HeaderValue::from_bytes(&chain).unwrap_or_else(|_| client.peer_text.clone())
            }
        };
        headers.insert(X_FORWARDED_FOR, chain);
        headers.entry(X_REAL_IP).or_insert_with(|| client.peer_text.clone());
        headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
        headers.entry(X_FORWARDED_PORT).or_insert_with(|| port.clone());
        if let Some(host) = host {
            headers.entry(X_FORWARDED_HOST).or_insert(host);
        }
        return;
    }
    headers.insert(X_FORWARDED_FOR, client.peer_text.clone());
    headers.insert(X_REAL_IP, client.peer_text.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    headers.insert(X_FORWARDED_PORT, port.clone());
    match host {
        Some(host) => drop(headers.insert(X_FORWARDED_HOST, host)),
        None => drop(headers.remove(X_FORWARDED_HOST)),
    }
}

/// Turns an upstream's headers into those of the response to the client.
pub(super) fn to_client(headers: &mut HeaderMap, upgraded: bool) {
    let protocol = if upgraded { headers.get(UPGRADE).cloned() } else { None };
    strip(headers, |_| false);
    if let Some(protocol) = protocol {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}
