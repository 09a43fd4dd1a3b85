//! Observations of upstreams from the traffic, for whoever decides on the routes.

use std::io;
use std::net::SocketAddr;

use longshore_model::ContainerRef;
use tokio::sync::mpsc;

/// An observation from the traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// An upstream refused a connection, did not accept it in time, or cannot be reached. Reported at most once in
    /// 100 ms per upstream and worker.
    UpstreamFailed {
        /// The container at that address.
        container: ContainerRef,
        /// The address.
        address: SocketAddr,
        /// How it failed.
        error: io::ErrorKind,
    },
}

/// Where observations are reported.
#[derive(Clone, Debug)]
pub(crate) struct Observer(mpsc::UnboundedSender<Observation>);

impl Observer {
    /// Returns an observer, and the receiver of its reports.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Observation>) {
        let (send, receive) = mpsc::unbounded_channel();
        (Self(send), receive)
    }

    /// Reports an observation.
    pub(crate) fn report(&self, observation: Observation) {
        // The receiver may be dropped.
        let _ = self.0.send(observation);
    }
}
