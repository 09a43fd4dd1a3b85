//! The headers that a proxy removes and adds (RFC 9110, 7.6; RFC 9113, 8.2).

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use longshore_model::is_passed_header;

use crate::client::Client;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Returns whether any header is relevant to the functions below. Most messages have none, and looking up each name
/// in the map costs more than one pass over the names that are there.
fn needs_care(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        matches!(
            name.as_str(),
            "connection"
                | "cookie"
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
    })
}

/// Removes hop-by-hop headers: those that `Connection` names, and those that are hop-by-hop by definition.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = listed(headers, &CONNECTION)
            .filter_map(|name| name.parse().ok())
            // Removing these would change the message's meaning or recipient.
            .filter(|name| ![HOST, TE, CONTENT_LENGTH].contains(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, UPGRADE] {
        headers.remove(name);
    }
    if headers.remove(TRANSFER_ENCODING).is_some() {
        // The chunks delimit the message (RFC 9112, 6.3), so a length beside them is false.
        headers.remove(CONTENT_LENGTH);
    }
}

/// Returns the members of a comma-separated list, over all headers of the name.
fn listed<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
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
    drop_forged(headers, client.trusted);
    if needs_care(headers) {
        strip_hop_by_hop(headers);
        for name in [PROXY_AUTHORIZATION, EXPECT, HTTP2_SETTINGS] {
            headers.remove(name);
        }
        if headers.contains_key(TE) {
            let trailers = listed(headers, &TE).any(|coding| coding.eq_ignore_ascii_case("trailers"));
            headers.remove(TE);
            if trailers {
                headers.insert(TE, HeaderValue::from_static("trailers"));
            }
        }
        join_cookies(headers);
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    name_client(headers, client, port);
}

/// Removes headers that this client may not set.
fn drop_forged(headers: &mut HeaderMap, trusted: bool) {
    let is_forged = |name: &&HeaderName| !is_passed_header(name.as_str(), trusted);
    if headers.keys().any(|name| is_forged(&name)) {
        let forged: Vec<HeaderName> = headers.keys().filter(is_forged).cloned().collect();
        for name in forged {
            headers.remove(name);
        }
    }
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
    if !needs_care(headers) {
        return;
    }
    let protocol = if upgraded { headers.get(UPGRADE).cloned() } else { None };
    strip_hop_by_hop(headers);
    headers.remove(PROXY_AUTHENTICATE);
    headers.remove(TE);
    if let Some(protocol) = protocol {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}
