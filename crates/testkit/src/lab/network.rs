//! Docker networks that a test created.

use bollard::Docker;

/// A user-defined network of one host, removed when the host is given back.
#[derive(Clone, Debug)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Docker's id for it.
    pub id: String,
    pub(super) docker: Docker,
    pub(super) host: String,
}

impl Network {
    /// Connects a container, by id or name.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn connect(&self, container: &str) -> Result<(), super::LabError> {
        let request =
            bollard::models::NetworkConnectRequest { container: container.into(), endpoint_config: None };
        self.docker.connect_network(&self.id, request).await.map_err(self.failed("connect a container"))
    }

    /// Disconnects a container, by id or name.
    ///
    /// # Errors
    /// Docker's error.
    pub async fn disconnect(&self, container: &str) -> Result<(), super::LabError> {
        let request =
            bollard::models::NetworkDisconnectRequest { container: container.into(), force: Some(false) };
        self.docker.disconnect_network(&self.id, request).await.map_err(self.failed("disconnect a container"))
    }

    fn failed(&self, verb: &str) -> impl FnOnce(bollard::errors::Error) -> super::LabError {
        let (host, verb) = (self.host.clone(), verb.to_owned());
        move |source| super::LabError::Docker { host, verb, source }
    }
}
