//! The only way to the Docker Engine: from an address to calls.

use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};
use http::Uri;
use http::uri::PathAndQuery;
use tokio::sync::Mutex;

use crate::{DockerAddress, DockerSettings, InspectionCache};

/// How long Docker may take to answer a call.
pub(crate) const CALL: Duration = Duration::from_secs(20);

/// The engine's API. Cheap to clone; all clones share one connection, which opens when first needed.
#[derive(Clone, Debug)]
pub struct DockerClient {
    settings: DockerSettings,
    agreed: Arc<Mutex<Option<Docker>>>,
    inspections: InspectionCache,
}

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineDescription {
    /// Its version: `29.0.1`.
    pub version: String,
    /// The number of its host's CPUs.
    pub cpus: u32,
    /// Its host's memory, in bytes.
    pub memory: u64,
}

impl DockerClient {
    /// Creates a client that connects when first needed.
    pub fn new(settings: DockerSettings) -> Self {
        Self { settings, agreed: Arc::default(), inspections: InspectionCache::default() }
    }

    /// Returns the connection settings.
    pub fn settings(&self) -> &DockerSettings {
        &self.settings
    }

    /// Returns the cached inspections of all containers, kept up to date while the engine is [watched](crate::watch).
    pub fn inspections(&self) -> &InspectionCache {
        &self.inspections
    }

    /// Returns what the engine says of itself; `None` if it does not answer.
    pub async fn describe(&self) -> Option<EngineDescription> {
        let info = self.ready().await.ok()?.info().await.ok()?;
        Some(EngineDescription {
            version: info.server_version?,
            cpus: u32::try_from(info.ncpu?).ok()?,
            memory: u64::try_from(info.mem_total?).ok()?,
        })
    }

    /// Returns the connection, with its API version negotiated.
    ///
    /// # Errors
    /// Returns an error while Docker does not answer.
    pub async fn ready(&self) -> Result<Docker, Error> {
        let mut agreed = self.agreed.lock().await;
        match &*agreed {
            Some(docker) => Ok(docker.clone()),
            None => Ok(agreed.insert(connect(&self.settings).await?).clone()),
        }
    }

    /// Reconnects all clones: the engine may have a different version from here on.
    pub(crate) async fn reconnect(&self) -> Result<Docker, Error> {
        let docker = connect(&self.settings).await?;
        *self.agreed.lock().await = Some(docker.clone());
        Ok(docker)
    }
}

/// Returns the API version of a connection: `1.44`.
pub(crate) fn version(docker: &Docker) -> String {
    let version = docker.client_version();
    format!("{}.{}", version.major_version, version.minor_version)
}

/// Connects, negotiates the API version and names it in every request, so an upgraded engine keeps answering in it.
async fn connect(settings: &DockerSettings) -> Result<Docker, Error> {
    let docker = open(settings)?.with_timeout(CALL).negotiate_version().await?;
    let prefix = format!("/v{}", version(&docker));
    Ok(docker.with_request_modifier(move |mut request| {
        // The client writes paths without a version.
        if let Some(uri) = versioned(request.uri(), &prefix) {
            *request.uri_mut() = uri;
        }
        request
    }))
}

fn versioned(uri: &Uri, prefix: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    let path = parts.path_and_query.as_ref().map_or("/", PathAndQuery::as_str);
    parts.path_and_query = Some(format!("{prefix}{path}").parse().ok()?);
    Uri::from_parts(parts).ok()
}

fn open(settings: &DockerSettings) -> Result<Docker, Error> {
    let seconds = CALL.as_secs();
    match &settings.address {
        DockerAddress::Unix(path) => {
            Docker::connect_with_unix(&path.to_string_lossy(), seconds, API_DEFAULT_VERSION)
        }
        DockerAddress::Tcp { host, port } => {
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            match (
                settings.cert_file("key.pem"),
                settings.cert_file("cert.pem"),
                settings.cert_file("ca.pem"),
            ) {
                (Some(key), Some(cert), Some(ca)) => {
                    let address = format!("tcp://{host}:{}", port.unwrap_or(2376));
                    Docker::connect_with_ssl(&address, &key, &cert, &ca, seconds, API_DEFAULT_VERSION)
                }
                _ => {
                    let address = format!("tcp://{host}:{}", port.unwrap_or(2375));
                    Docker::connect_with_http(&address, seconds, API_DEFAULT_VERSION)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request. Returns the request's first line.
    async fn answer(listener: &TcpListener, body: &str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
        let text = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(text.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap().lines().next().unwrap().to_owned()
    }

    #[tokio::test]
    async fn every_request_names_the_api_version_that_was_agreed_on_and_a_reconnect_agrees_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (host, port) = ("127.0.0.1".to_owned(), Some(listener.local_addr().unwrap().port()));
        let address = DockerAddress::Tcp { host, port };
        let client = DockerClient::new(DockerSettings { address, cert_path: None, include_env: false });
        let engine = async {
            let mut lines = Vec::new();
            for version in ["1.41", "1.44"] {
                answer(&listener, &format!(r#"{{"ApiVersion":"{version}"}}"#)).await;
                lines.push(answer(&listener, "[]").await);
            }
            lines
        };
        let calls = async {
            client.ready().await.unwrap().list_containers(None).await.unwrap();
            client.reconnect().await.unwrap();
            client.ready().await.unwrap().list_containers(None).await.unwrap();
        };
        let (lines, ()) = tokio::join!(engine, calls);
        assert_eq!(lines, ["GET /v1.41/containers/json HTTP/1.1", "GET /v1.44/containers/json HTTP/1.1"]);
    }
}
