//! Authentication and cross-site checks.

use std::collections::BTreeSet;
use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;

use super::local_user::{Ends, LocalRoot};
use super::{Api, failure};

/// Answered without a token, as they reveal nothing about the containers: an orchestrator's probes carry none,
/// and a browser sends one only after the documentation page has asked for it.
const OPEN: &[&str] = &["/healthz", "/readyz", "/openapi.json", "/docs"];

/// How to authenticate, for a request that did not (RFC 6750).
const CHALLENGE: &str = r#"Bearer realm="longshore""#;
/// The same for a request with a wrong token.
const CHALLENGE_INVALID: &str = r#"Bearer realm="longshore", error="invalid_token""#;

/// The names by which a request without a token may address this host, all with `--insecure`. A page in a browser could read the API through
/// any other name, which its own site's DNS resolves to this host.
#[derive(Debug)]
pub(crate) enum NamesAllowed {
    /// These, addresses, and `localhost`.
    Own(BTreeSet<String>),
    /// All.
    Any,
}

impl NamesAllowed {
    /// Allows these names only.
    pub(crate) fn own(names: &[String]) -> Self {
        Self::Own(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }
}

pub(super) async fn check(State(api): State<Api>, request: Request, next: Next) -> Response {
    if request.extensions().get::<LocalRoot>().is_some() {
        return next.run(request).await;
    }
    let is_trusted = is_trusted(&api, &request).await;
    let headers = request.headers();
    match &api.token {
        _ if is_open(request.uri().path()) => {}
        Some(token) if !has_token(headers, token) => return unauthorized(headers),
        None if !is_addressed(headers, &api.names_allowed) => {
            let error = "unknown host name: use this host's name, its IP address, or localhost";
            return failure(StatusCode::MISDIRECTED_REQUEST, error);
        }
        None if !is_trusted => {
            let error = "without a token, only root and the agent's own user may use Docker through the agent, or change \
                         the cluster: start it with --token-file";
            return failure(StatusCode::FORBIDDEN, error);
        }
        _ => {}
    }
    // A browser lets any page open a websocket.
    let may_change = !request.method().is_safe() || headers.contains_key(header::UPGRADE);
    if may_change && !is_same_origin(headers) {
        return failure(StatusCode::FORBIDDEN, "cross-site request refused");
    }
    next.run(request).await
}

fn is_open(path: &str) -> bool {
    OPEN.contains(&path) || path.starts_with("/docs/")
}

/// Returns whether a request of this path reaches Docker, or changes the cluster: who may do that is as good as root.
fn needs_trust(method: &Method, path: &str) -> bool {
    let is_clusters = !method.is_safe() && (path.starts_with("/v1/hosts") || path.starts_with("/v1/cluster"));
    let is_list = path == "/v1/containers" && method.is_safe();
    let is_dockermods = path == "/" && !method.is_safe();
    is_clusters
        || is_dockermods
        || !is_list && (path.starts_with("/v1/containers") || path.starts_with("/v1/images"))
}

/// Returns whether a local process may send this request to an agent without a token.
fn is_trusted(api: &Api, request: &Request) -> impl Future<Output = bool> + use<> {
    let is_open = api.token.is_some() || matches!(*api.names_allowed, NamesAllowed::Any);
    let needs_trust = !is_open && needs_trust(request.method(), request.uri().path());
    let ends = request.extensions().get::<Ends>().copied();
    async move {
        match ends {
            _ if !needs_trust => true,
            Some(ends) => ends.are_trusted().await,
            None => false,
        }
    }
}

fn unauthorized(headers: &HeaderMap) -> Response {
    let (challenge, error) = match headers.contains_key(header::AUTHORIZATION) {
        true => (CHALLENGE_INVALID, "invalid token"),
        false => {
            (CHALLENGE, "authentication required: send the agent's token as Authorization: Bearer TOKEN")
        }
    };
    let mut response = failure(StatusCode::UNAUTHORIZED, error);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

/// Returns whether the request comes from a page of this API, or from a program: only browsers send `Origin`.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    origin.is_some() && origin == text(header::HOST)
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let sent = sent.and_then(|value| value.split_once(' '));
    let sent =
        sent.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map_or("", |(_, token)| token);
    sent.as_bytes().ct_eq(token.as_bytes()).into()
}

fn is_addressed(headers: &HeaderMap, allowed: &NamesAllowed) -> bool {
    let NamesAllowed::Own(names) = allowed else { return true };
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    host.parse::<Authority>().is_ok_and(|authority| {
        let name = authority.host().to_ascii_lowercase();
        name == "localhost"
            || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
            || names.contains(name.trim_end_matches('.'))
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
        assert!(is_same_origin(&with(header::HOST, "127.0.0.1:7051")));
        assert!(is_same_origin(&from("http://127.0.0.1:7051")));
        for bad in ["http://evil.example", "null", "http://127.0.0.1:8080"] {
            assert!(!is_same_origin(&from(bad)), "{bad}");
        }
    }

    #[test]
    fn a_page_of_another_name_cannot_read_the_api() {
        let own = NamesAllowed::own(&["Web1".to_owned(), "web1.example.com".to_owned()]);
        for good in [
            "127.0.0.1:7051",
            "[::1]:7051",
            "localhost:7051",
            "LOCALHOST",
            "web1:8080",
            "WEB1.example.com.:8080",
        ] {
            assert!(is_addressed(&with(header::HOST, good), &own), "{good}");
        }
        for bad in ["evil.example:7051", "127.0.0.1.evil.example", "web1.evil.example", ""] {
            let host = with(header::HOST, bad);
            assert!(!is_addressed(&host, &own) && is_addressed(&host, &NamesAllowed::Any), "{bad}");
        }
    }

    #[test]
    fn an_unauthorized_request_is_told_how_to_authenticate() {
        let challenge = |headers: &HeaderMap| {
            let response = unauthorized(headers);
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            response.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().to_owned()
        };
        assert_eq!(challenge(&HeaderMap::new()), CHALLENGE);
        assert_eq!(challenge(&with(header::AUTHORIZATION, "Bearer other")), CHALLENGE_INVALID);
    }

    #[test]
    fn only_probes_and_the_documentation_need_no_token() {
        for open in ["/healthz", "/readyz", "/openapi.json", "/docs", "/docs/index.html"] {
            assert!(is_open(open), "{open}");
        }
        for guarded in ["/metrics", "/v1/containers", "/docsx", "/", "/healthz/x"] {
            assert!(!is_open(guarded), "{guarded}");
        }
    }

    #[test]
    fn all_that_docker_does_or_tells_needs_a_trusted_user() {
        for guarded in ["/v1/containers/web", "/v1/containers/web/exec", "/v1/images", "/v1/images/pull"] {
            assert!(needs_trust(&Method::GET, guarded), "{guarded}");
        }
        for guarded in ["/v1/hosts/web1/leave", "/v1/hosts/web1/labels", "/v1/cluster/rotate"] {
            assert!(needs_trust(&Method::POST, guarded), "{guarded}");
        }
        for open in ["/v1/containers", "/v1/hosts", "/v1/cluster", "/v1/routes", "/metrics"] {
            assert!(!needs_trust(&Method::GET, open), "{open}");
        }
        assert!(needs_trust(&Method::POST, "/v1/containers"));
        assert!(needs_trust(&Method::POST, "/") && !needs_trust(&Method::GET, "/"));
    }

    #[test]
    fn a_token_must_be_the_whole_token() {
        for good in ["Bearer secret", "bearer secret"] {
            assert!(has_token(&with(header::AUTHORIZATION, good), "secret"), "{good}");
        }
        for bad in ["Bearer secre", "Bearer secrets", "secret", "Basic secret", "Bearer ", ""] {
            assert!(!has_token(&with(header::AUTHORIZATION, bad), "secret"), "{bad}");
        }
    }
}
