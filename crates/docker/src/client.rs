//! The one way to the Docker Engine: from an address to calls.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::sync::OnceCell;

use crate::{DockerAddress, DockerSettings};

/// How long one answer of Docker may take.
pub(crate) const CALL: Duration = Duration::from_secs(20);

/// A connection to the engine, its API version agreed on.
pub(crate) async fn connect(settings: &DockerSettings) -> Result<Docker, bollard::errors::Error> {
    let docker = open(settings)?.with_timeout(CALL);
    docker.negotiate_version().await
}

/// The engine's API for those who act on it. Cheap to clone; connects when it is first needed, and again by itself.
#[derive(Clone, Debug)]
pub struct DockerClient {
    settings: DockerSettings,
    open: Arc<OnceLock<Docker>>,
    agreed: Arc<OnceCell<()>>,
}

impl DockerClient {
    /// Makes a client that connects when it is first needed.
    pub fn new(settings: DockerSettings) -> Self {
        Self { settings, open: Arc::default(), agreed: Arc::default() }
    }

    /// How the engine is reached.
    pub fn settings(&self) -> &DockerSettings {
        &self.settings
    }

    /// The connection. It fails while there is no socket.
    pub fn get(&self) -> Result<&Docker, bollard::errors::Error> {
        if let Some(docker) = self.open.get() {
            return Ok(docker);
        }
        let docker = open(&self.settings)?.with_timeout(CALL);
        Ok(self.open.get_or_init(|| docker))
    }
}

impl DockerClient {
    /// The connection, its API version agreed on. It fails while Docker does not answer.
    pub async fn ready(&self) -> Result<Docker, bollard::errors::Error> {
        let docker = self.get()?.clone();
        // The version is shared by all clones of a connection.
        let agree = || async { docker.clone().negotiate_version().await.map(drop) };
        self.agreed.get_or_try_init(agree).await?;
        Ok(docker)
    }
}

fn open(settings: &DockerSettings) -> Result<Docker, bollard::errors::Error> {
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
