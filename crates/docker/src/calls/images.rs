//! Pulling images, and creating containers, which may need a pull.

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::StreamExt;
use longshore_model::{CallError, ImageReference, NewContainer, Output, PullPolicy};
use longshore_runtime::{OutputStream, Reply, chain};
use serde::Deserialize;

use super::engine::{Engine, Query, parse, segment, whole};
use super::output;
use crate::credentials;

/// Pulls an image with the agent's login. A name without a tag means `latest`: Docker's API would pull every tag.
pub(super) async fn pull(engine: &Engine, image: &str) -> Result<OutputStream, CallError> {
    let reference: ImageReference = image
        .parse()
        .map_err(|error: longshore_model::ImageReferenceError| CallError::Invalid(error.to_string()))?;
    let ImageReference { registry, repository, tag, digest } = reference;
    let query = Query::default()
        .with("fromImage", format!("{registry}/{repository}"))
        .with("tag", digest.or(tag).unwrap_or_else(|| "latest".to_owned()));
    let login = credentials::of_registry(&registry).await.unwrap_or_else(|error| {
        // Public images can still be pulled.
        tracing::warn!(image, "pulling without a login, as {}", chain(&error));
        None
    });
    let login = login.map(|login| ("x-registry-auth", credentials::encode(&login)));
    let headers = Vec::from_iter(login);
    let response = engine.post(&query.after("/images/create"), Bytes::new(), &headers).await?;
    let lines = output::json_lines(output::bytes(response.into_body()));
    // Docker reports what fails after the first line as another line.
    Ok(lines.map(|line| line.and_then(checked)).boxed())
}

fn checked(line: Output) -> Result<Output, CallError> {
    #[derive(Deserialize)]
    struct Line {
        error: Option<String>,
    }
    match &line {
        Output::Json(json) => match serde_json::from_slice::<Line>(json) {
            Ok(Line { error: Some(message) }) => Err(CallError::Docker { status: 500, message }),
            _ => Ok(line),
        },
        _ => Ok(line),
    }
}

/// Creates a container, after a pull of its image where the policy says so.
pub(super) async fn create_container(engine: &Engine, new: NewContainer) -> Result<Reply, CallError> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "Image", alias = "image", default)]
        image: String,
    }
    let NewContainer { body, name, pull: policy } = new;
    let Body { image } = serde_json::from_slice(&body)
        .map_err(|error| CallError::Invalid(format!("the container's definition cannot be read: {error}")))?;
    if policy == PullPolicy::Always {
        pulled(engine, &image).await?;
    }
    let path = Query::default().option("name", name).after("/containers/create");
    let created = match engine.post(&path, body.clone(), &[]).await {
        // What it shares a network or volumes with may be missing as well.
        Err(CallError::Docker { status: 404, .. })
            if policy == PullPolicy::Missing && is_missing(engine, &image).await =>
        {
            pulled(engine, &image).await?;
            engine.post(&path, body, &[]).await
        }
        created => created,
    }?;
    let json = whole(created.into_body()).await?;
    parse::<serde::de::IgnoredAny>(&json)?;
    Ok(Reply::Json(json))
}

async fn pulled(engine: &Engine, image: &str) -> Result<(), CallError> {
    pull(engine, image).await?.try_for_each(async |_| Ok(())).await
}

async fn is_missing(engine: &Engine, image: &str) -> bool {
    let found = engine.get(&format!("/images/{}/json", segment(image))).await;
    matches!(found, Err(CallError::Docker { status: 404, .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_reports_an_error_ends_the_pull() {
        let line = |json: &'static str| checked(Output::Json(Bytes::from_static(json.as_bytes())));
        assert!(line(r#"{"status":"Downloading","progressDetail":{}}"#).is_ok());
        let failed = line(r#"{"errorDetail":{"message":"denied"},"error":"denied"}"#);
        assert_eq!(failed, Err(CallError::Docker { status: 500, message: "denied".to_owned() }));
    }
}
