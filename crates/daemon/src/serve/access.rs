//! Who may ask.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;

use super::{Api, failure};

/// What tells nothing of the containers: an orchestrator's probes carry no token.
const OPEN: &[&str] = &["/healthz", "/readyz"];

pub(super) async fn check(State(api): State<Api>, request: Request, next: Next) -> Response {
    if OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match &api.token {
        Some(token) if !has_token(request.headers(), token) => {
            failure(StatusCode::UNAUTHORIZED, "send the agent's token: Authorization: Bearer …")
        }
        None if !names_an_address(request.headers()) => {
            failure(StatusCode::MISDIRECTED_REQUEST, "ask by the agent's address, or by localhost")
        }
        _ if !request.method().is_safe() && !is_from_here(request.headers()) => {
            failure(StatusCode::FORBIDDEN, "a page of another site must not change anything here")
        }
        _ => next.run(request).await,
    }
}

/// A browser names the page that a request comes from, and a program does not.
fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    origin.is_some() && origin == text(header::HOST)
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let sent = sent.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    sent.as_bytes().ct_eq(token.as_bytes()).into()
}

fn names_an_address(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    host.parse::<Authority>().is_ok_and(|authority| {
        let name = authority.host();
        name.eq_ignore_ascii_case("localhost") || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn a_page_of_another_site_cannot_change_anything() {
        let from = |origin: &str| {
            let mut headers = with(header::HOST, "127.0.0.1:7051");
            headers.insert(header::ORIGIN, origin.parse().unwrap());
            headers
        };
        assert!(is_from_here(&with(header::HOST, "127.0.0.1:7051")));
        assert!(is_from_here(&from("http://127.0.0.1:7051")));
        for bad in ["http://evil.example", "null", "http://127.0.0.1:8080"] {
            assert!(!is_from_here(&from(bad)), "{bad}");
        }
    }

    #[test]
    fn a_page_of_another_name_cannot_read_the_api() {
        for good in ["127.0.0.1:7051", "[::1]:7051", "localhost:7051", "LOCALHOST"] {
            assert!(names_an_address(&with(header::HOST, good)), "{good}");
        }
        for bad in ["evil.example:7051", "127.0.0.1.evil.example", ""] {
            assert!(!names_an_address(&with(header::HOST, bad)), "{bad}");
        }
    }

    #[test]
    fn a_token_must_be_the_whole_token() {
        assert!(has_token(&with(header::AUTHORIZATION, "Bearer secret"), "secret"));
        for bad in ["Bearer secre", "Bearer secrets", "secret", "Basic secret", "Bearer "] {
            assert!(!has_token(&with(header::AUTHORIZATION, bad), "secret"), "{bad}");
        }
    }
}
