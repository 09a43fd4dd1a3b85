//! Finds hosts on the local network by multicast DNS (RFC 6762, `_longshore._udp`).
//!
//! What is announced tells a stranger that an agent is here, and nothing of its cluster: the instance's name is a mark
//! of this host's address that only holders of the secret and of the cluster's name recognise. It differs from host to
//! host and from secret to secret. Only the interface of the advertised address takes part, so that containers'
//! networks hear nothing.
//!
//! What is found is an address to greet, no more: whoever answers there still needs the secret.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use mdns_sd::{IfKind, ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio::sync::watch;

use crate::secret::{Keyring, Secret};

const SERVICE: &str = "_longshore._udp.local.";
/// How many addresses are taken from the network: anyone there can announce.
const MAX_FOUND: usize = 256;
/// The pause after multicast DNS failed, as when its port is taken.
const PAUSE: Duration = Duration::from_secs(60);

/// The addresses at which members say that they are.
pub(super) type Found = BTreeSet<SocketAddr>;

/// What is announced, and what is recognised.
#[derive(Clone, Debug)]
pub(super) struct Multicast {
    pub(super) cluster: String,
    pub(super) advertise: SocketAddr,
    pub(super) keyring: watch::Receiver<Keyring>,
}

impl Multicast {
    /// Announces this host and passes on who else does, for as long as the membership runs.
    pub(super) async fn run(self, found: &watch::Sender<Found>) {
        let mut keyrings = self.keyring.clone();
        loop {
            let keyring = keyrings.borrow_and_update().clone();
            tokio::select! {
                ended = self.session(&keyring, found) => {
                    let Err(error) = ended;
                    tracing::warn!(%error, "multicast DNS failed; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
                // The membership has ended.
                changed = keyrings.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn session(
        &self,
        keyring: &Keyring,
        found: &watch::Sender<Found>,
    ) -> Result<std::convert::Infallible, mdns_sd::Error> {
        let daemon = Daemon(ServiceDaemon::new()?);
        daemon.0.disable_interface(IfKind::All)?;
        daemon.0.enable_interface(IfKind::Addr(self.advertise.ip()))?;
        daemon.0.register(self.announcement(keyring.first())?)?;
        let events = daemon.0.browse(SERVICE)?;
        let mut instances: BTreeMap<String, Found> = BTreeMap::new();
        while let Ok(event) = events.recv_async().await {
            match event {
                ServiceEvent::ServiceResolved(service) => {
                    let addresses =
                        service.addresses.iter().map(|ip| SocketAddr::new(ip.to_ip_addr(), service.port));
                    let name = service.fullname.clone();
                    let ours: Found =
                        addresses.filter(|address| self.recognises(keyring, &name, *address)).collect();
                    if !ours.is_empty() && instances.len() < MAX_FOUND {
                        instances.insert(name, ours);
                    }
                }
                ServiceEvent::ServiceRemoved(_, name) => drop(instances.remove(&name)),
                _ => continue,
            }
            let all: Found = instances.values().flatten().copied().collect();
            found.send_if_modified(|known| {
                let is_new = *known != all;
                *known = all;
                is_new
            });
        }
        Err(mdns_sd::Error::Msg("it ended".to_owned()))
    }

    fn announcement(&self, secret: &Secret) -> Result<ServiceInfo, mdns_sd::Error> {
        let mark = self.mark(secret, self.advertise);
        let host = format!("{mark}.local.");
        let (ip, port) = (self.advertise.ip(), self.advertise.port());
        let mut info = ServiceInfo::new(SERVICE, &mark, &host, ip, port, None)?;
        // Nobody else has this name.
        info.set_requires_probe(false);
        Ok(info)
    }

    fn mark(&self, secret: &Secret, address: SocketAddr) -> String {
        let of = format!("multicast {} {address}", self.cluster);
        data_encoding::HEXLOWER.encode(secret.mark(of.as_bytes()).get(..12).unwrap_or_default())
    }

    /// Returns whether a member announces this address under this name, and this host does not.
    fn recognises(&self, keyring: &Keyring, fullname: &str, address: SocketAddr) -> bool {
        let Some((instance, _)) = fullname.split_once('.') else { return false };
        address != self.advertise
            && keyring.secrets().any(|secret| self.mark(secret, address).eq_ignore_ascii_case(instance))
    }
}

/// Says goodbye when it is dropped.
struct Daemon(ServiceDaemon);

impl Drop for Daemon {
    fn drop(&mut self) {
        // The thread that it started says the rest.
        let _ = self.0.shutdown();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn multicast(cluster: &str, address: &str, secret: u8) -> (Multicast, Keyring) {
        let keyring = Keyring::new(Secret::new([secret; 32]));
        let (_, watched) = watch::channel(keyring.clone());
        let own =
            Multicast { cluster: cluster.to_owned(), advertise: address.parse().unwrap(), keyring: watched };
        (own, keyring)
    }

    #[test]
    fn members_recognise_each_other_and_nobody_else_does() {
        let (one, ring) = multicast("c", "192.0.2.1:7052", 1);
        let announced = one.announcement(ring.first()).unwrap();
        let (name, at) = (announced.get_fullname().to_owned(), one.advertise);
        assert!(!name.contains("c.") && !announced.get_hostname().contains("192"), "{name}");
        let recognised = |cluster: &str, secret: u8, at: SocketAddr| {
            let (other, ring) = multicast(cluster, "192.0.2.2:7052", secret);
            other.recognises(&ring, &name, at)
        };
        assert!(recognised("c", 1, at));
        assert!(!recognised("d", 1, at) && !recognised("c", 2, at), "another cluster");
        assert!(!recognised("c", 1, "192.0.2.9:7052".parse().unwrap()), "a name that was copied");
        assert!(!one.recognises(&ring, &name, at), "its own");
        assert!(!one.recognises(&ring, "", at) && !one.recognises(&ring, "x", at));
    }
}
