//! DNS names, kept up to date like World and answered from a snapshot.
//!
//! [`DnsServer`] follows World and publishes a zone with each change. The loops of `udp` and `tcp` use the zone that
//! was published last and never wait for the next.
//!
//! Deliberately absent: which names exist and how a request is answered (`longshore_plan::dns`).

mod forward;
mod ports;
mod responder;
mod server;
mod settings;
mod tcp;
mod udp;
mod zones;

pub use ports::DnsPorts;
pub use server::{DnsServer, SharedPorts, preview};
pub use settings::DnsSettings;
pub use zones::Zones;
