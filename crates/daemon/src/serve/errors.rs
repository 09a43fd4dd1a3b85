//! Errors as JSON, whether from a handler, an extractor, the router or the documentation pages.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use longshore_api::Failure;
use longshore_api::dockermod::Reply;

/// Longest error text that is passed on, in bytes.
const MAX_TEXT: usize = 16 * 1024;

/// Marks a response that has DockerMod's form.
#[derive(Clone, Copy)]
pub(super) struct IsDockerMods;

/// Returns an error response with this message.
pub(super) fn failure(status: StatusCode, error: impl Into<String>) -> Response {
    (status, Json(Failure { error: error.into() })).into_response()
}

/// A request that is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: String,
}

impl Refusal {
    /// Creates a refusal with this message.
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        failure(self.status, self.error)
    }
}

/// Gives every error a JSON body: those of extractors are plain text, and the router's have none.
pub(super) async fn as_json(request: Request, next: Next) -> Response {
    let (method, is_dockermods) = (request.method().clone(), request.uri().path() == "/");
    let response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let is_finished = match is_dockermods {
        true => response.extensions().get::<IsDockerMods>().is_some(),
        false => is_json(&response),
    };
    if !is_error || is_finished {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let error = match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            format!("{method} is not allowed here: see the Allow header")
        }
        _ => error_in(body).await.unwrap_or_else(|| status.canonical_reason().unwrap_or("error").to_owned()),
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = match is_dockermods {
        true => serde_json::to_vec(&Reply::error(status.as_u16(), error).body).unwrap_or_default(),
        false => serde_json::to_vec(&Failure { error }).unwrap_or_default(),
    };
    Response::from_parts(parts, Body::from(body))
}

fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/json"))
}

/// Returns the message of an error response, which is a text or a [`Failure`].
async fn error_in(body: Body) -> Option<String> {
    let bytes = to_bytes(body, MAX_TEXT).await.ok()?;
    if let Ok(Failure { error }) = serde_json::from_slice(&bytes) {
        return Some(error);
    }
    Some(String::from_utf8_lossy(&bytes).trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use axum::{Router, middleware};
    use tower_service::Service;

    use super::*;

    async fn ask(request: axum::http::request::Builder, body: &'static str) -> (u16, Option<String>, String) {
        #[derive(serde::Deserialize)]
        struct Wanted {
            #[expect(dead_code, reason = "what counts is that it is wanted")]
            word: String,
        }
        let mut router = Router::new()
            .route("/one", get(async || "ok"))
            .route("/json", post(async |Json(_): Json<Wanted>| "ok"))
            .fallback(async || failure(StatusCode::NOT_FOUND, "nothing here"))
            .layer(middleware::from_fn(as_json));
        let response = router.call(request.body(Body::from(body)).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, MAX_TEXT).await.unwrap();
        let allow = parts.headers.get(header::ALLOW).map(|allow| allow.to_str().unwrap().to_owned());
        let error = match parts.status.is_success() {
            true => String::new(),
            false => {
                assert_eq!(parts.headers[header::CONTENT_TYPE], "application/json");
                serde_json::from_slice::<Failure>(&body).unwrap().error
            }
        };
        (parts.status.as_u16(), allow, error)
    }

    #[tokio::test]
    async fn every_error_has_a_json_body_with_its_reason() {
        let post_json = || Request::post("/json").header(header::CONTENT_TYPE, "application/json");
        assert_eq!(ask(Request::get("/one"), "").await.0, 200);
        let (status, allow, error) = ask(Request::delete("/one"), "").await;
        assert_eq!((status, allow.as_deref()), (405, Some("GET,HEAD")));
        assert_eq!(error, "DELETE is not allowed here: see the Allow header");
        let (status, _, error) = ask(Request::post("/json"), "{}").await;
        assert!(status == 415 && error.contains("application/json"), "{status} {error}");
        let (status, _, error) = ask(post_json(), "{}").await;
        assert!(status == 422 && error.contains("missing field `word`"), "{status} {error}");
        let (status, _, error) = ask(post_json(), "{").await;
        assert!(status == 400 && error.contains("EOF"), "{status} {error}");
        assert_eq!(ask(Request::get("/two"), "").await, (404, None, "nothing here".to_owned()));
    }

    #[tokio::test]
    async fn an_error_at_dockermods_path_has_its_status_in_the_body_too() {
        let mut router = Router::new()
            .route("/", post(async || failure(StatusCode::FORBIDDEN, "not you")))
            .layer(middleware::from_fn(as_json));
        for (method, expected) in [
            ("POST", serde_json::json!({ "statusCode": 403, "error": "not you" })),
            (
                "PUT",
                serde_json::json!({ "statusCode": 405, "error": "PUT is not allowed here: see the Allow header" }),
            ),
        ] {
            let request = Request::builder().method(method).uri("/").body(Body::empty()).unwrap();
            let body = to_bytes(router.call(request).await.unwrap().into_body(), MAX_TEXT).await.unwrap();
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap(), expected);
        }
    }
}
