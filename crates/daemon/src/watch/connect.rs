//! From an address to a connection that answers.

use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};

use crate::config::{DockerAddress, DockerSettings};

/// How long one answer of Docker may take.
pub(super) const CALL: Duration = Duration::from_secs(20);

/// A connection to the engine, its API version agreed on.
pub(super) async fn connect(settings: &DockerSettings) -> Result<Docker, bollard::errors::Error> {
    let docker = open(settings)?.with_timeout(CALL);
    docker.negotiate_version().await
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
