//! Names in DNS: kept like World, and answered from a snapshot.
//!
//! [`DnsServer`] follows World and publishes a zone with each change; the loops of `udp` and `tcp` hold whatever zone was
//! published last and never wait for the next.
//!
//! Deliberately absent: which names there are and which answer a request gets (`longshore_plan::dns`).

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
