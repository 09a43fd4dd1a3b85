//! Hosts: their layout, wiring, start, leases and cleanup.
//!
//! [`Layout`] has everything's name and path; [`wiring`] creates bridge and namespaces; [`engine`] runs a `dockerd`;
//! [`lease`] keeps two tests off one host; [`Host`] is what a test holds, [`Container`] what it runs there.

mod certificates;
mod command;
mod container;
mod engine;
mod error;
mod etcd;
mod host;
pub mod images;
mod layout;
mod lease;
mod namespace;
mod network;
mod openvswitch;
mod process;
mod registry;
mod relay;
mod shared;
mod wiring;

pub use certificates::certificates;
pub use container::{Container, ContainerSpec};
pub use engine::EngineOptions;
pub use error::LabError;
pub use etcd::{Etcd, EtcdBuilder};
pub use host::{Host, free_port};
pub use layout::Layout;
pub use network::Network;
pub use openvswitch::OpenVswitch;
pub use registry::PrivateRegistry;
pub use relay::Relay;
pub use shared::{Lab, LabStatus};
