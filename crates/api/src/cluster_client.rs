//! Calls about the cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::client::{Client, TIMEOUT};
use crate::client_error::ClientError;
use crate::{Cluster, HostLabels, HostLeft, LabelChanges, Rotation, RotationRequest};

/// How long all hosts may take to replace the secret.
const ROTATION: Duration = Duration::from_secs(60);

impl Client {
    /// Returns the cluster, and how each of its hosts sees it.
    ///
    /// # Errors
    /// As [`Client::containers`].
    pub async fn cluster(&self) -> Result<Cluster, ClientError> {
        self.get("/v1/cluster").await
    }

    /// Replaces the cluster's secret on all hosts.
    ///
    /// # Errors
    /// As [`Client::containers`]; refused with 409 where it was not begun, or stopped.
    pub async fn rotate(&self, request: RotationRequest) -> Result<Rotation, ClientError> {
        self.post("/v1/cluster/rotate", &request, ROTATION).await
    }

    /// Has a host give up its place in the cluster.
    ///
    /// # Errors
    /// As [`Client::containers`]; refused with 404 where there is no such host.
    pub async fn leave(&self, host: &str) -> Result<HostLeft, ClientError> {
        let host = utf8_percent_encode(host, NON_ALPHANUMERIC);
        self.post(&format!("/v1/hosts/{host}/leave"), &(), TIMEOUT).await
    }

    /// Changes labels of a host; `None` removes one.
    ///
    /// # Errors
    /// As [`Client::leave`]; refused with 409 where a label is invalid.
    pub async fn label(
        &self,
        host: &str,
        changes: BTreeMap<String, Option<String>>,
    ) -> Result<HostLabels, ClientError> {
        let host = utf8_percent_encode(host, NON_ALPHANUMERIC);
        self.post(&format!("/v1/hosts/{host}/labels"), &LabelChanges(changes), TIMEOUT).await
    }
}
