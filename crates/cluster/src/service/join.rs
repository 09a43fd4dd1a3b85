use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::address::{HostAddress, HostAddressError};
use super::multicast::Multicast;
use super::thread::Control;
use crate::members::{Command, Roster};

/// The port of the cluster, for datagrams and for connections.
pub const DEFAULT_PORT: u16 = 7052;

/// How often names are resolved while this host is alone, and otherwise.
const ALONE: Duration = Duration::from_secs(2);
const TOGETHER: Duration = Duration::from_secs(30);

/// A host to join the cluster through: a name or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinAddress {
    host: HostAddress,
    port: u16,
}

/// Why a text is not an address to join through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinAddressError {
    /// The part before the port is neither a name nor an address.
    #[error("invalid host: expected HOST or HOST:PORT, and an IPv6 address with a port as [ADDRESS]:PORT")]
    Host(#[source] HostAddressError),
    /// The port is not a number from 1 to 65535.
    #[error("invalid port {0:?}: expected 1–65535")]
    Port(String),
}

impl FromStr for JoinAddress {
    type Err = JoinAddressError;

    fn from_str(text: &str) -> Result<Self, JoinAddressError> {
        // An IPv6 address has colons of its own.
        if let Ok(host @ HostAddress::Ip(_)) = text.parse() {
            return Ok(Self { host, port: DEFAULT_PORT });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => {
                let number = port.parse().ok().filter(|number| *number != 0);
                (host, number.ok_or_else(|| JoinAddressError::Port(port.to_owned()))?)
            }
            None => (text, DEFAULT_PORT),
        };
        Ok(Self { host: host.parse().map_err(JoinAddressError::Host)?, port })
    }
}

impl fmt::Display for JoinAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HostAddress::Name(name) => write!(f, "{}:{}", name.as_str(), self.port),
            HostAddress::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
        }
    }
}

impl JoinAddress {
    async fn resolve(&self) -> Vec<SocketAddr> {
        self.host.resolve(self.port).await.unwrap_or_else(|error| {
            tracing::debug!(%self, %error, "cannot resolve a host to join through; retrying");
            Vec::new()
        })
    }
}

/// Keeps the addresses to join through up to date for as long as the membership runs: the names that were given are
/// resolved again and again, and multicast DNS finds others.
pub(super) async fn keep(
    join: Vec<JoinAddress>,
    multicast: Option<Multicast>,
    control: Control,
    roster: watch::Receiver<Arc<Roster>>,
) {
    let found = watch::Sender::new(BTreeSet::new());
    let mut found_there = found.subscribe();
    let finding = async {
        if let Some(multicast) = multicast {
            multicast.run(&found).await;
        }
    };
    let telling = async {
        let has_names = join.iter().any(|address| matches!(address.host, HostAddress::Name(_)));
        let (mut given, mut told, mut is_stale) = (BTreeSet::new(), BTreeSet::new(), true);
        loop {
            if is_stale {
                let mut resolved = BTreeSet::new();
                for address in &join {
                    resolved.extend(address.resolve().await);
                }
                // A name that cannot be resolved for a moment takes nothing away.
                if !resolved.is_empty() {
                    given = resolved;
                }
            }
            let addresses: BTreeSet<_> = given.union(&found_there.borrow_and_update()).copied().collect();
            if addresses != told {
                control.command(Command::Join(addresses.iter().copied().collect()));
                told = addresses;
            }
            let is_alone = roster.borrow().alive_peers().next().is_none();
            let again = async {
                match has_names {
                    true => tokio::time::sleep(if is_alone { ALONE } else { TOGETHER }).await,
                    false => std::future::pending().await,
                }
            };
            is_stale = tokio::select! {
                () = again => true,
                _ = found_there.changed() => false,
            };
        }
    };
    tokio::join!(finding, telling);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_name_or_an_ip_with_or_without_a_port() {
        let shown = |text: &str| text.parse::<JoinAddress>().unwrap().to_string();
        assert_eq!(shown("node-1"), "node-1:7052");
        assert_eq!(shown("Node-1.example.:99"), "node-1.example:99");
        assert_eq!(shown("192.0.2.1"), "192.0.2.1:7052");
        assert_eq!(shown("192.0.2.1:99"), "192.0.2.1:99");
        assert_eq!(shown("2001:db8::1"), "[2001:db8::1]:7052");
        assert_eq!(shown("[2001:db8::1]"), "[2001:db8::1]:7052");
        assert_eq!(shown("[2001:db8::1]:99"), "[2001:db8::1]:99");
    }

    #[test]
    fn a_wrong_address_says_what_is_expected() {
        let error = |text: &str| text.parse::<JoinAddress>().unwrap_err();
        assert_eq!(error("node:0"), JoinAddressError::Port("0".into()));
        assert_eq!(error("node:http"), JoinAddressError::Port("http".into()));
        for text in ["", ":7052", "a b", "http://node:7052", "[node]:7052"] {
            assert!(matches!(error(text), JoinAddressError::Host(_)), "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_stands_for_all_its_addresses_and_an_unknown_one_for_none() {
        let local: JoinAddress = "localhost:7".parse().unwrap();
        assert!(local.resolve().await.contains(&"127.0.0.1:7".parse().unwrap()));
        let unknown: JoinAddress = "no-such-host.invalid".parse().unwrap();
        assert!(unknown.resolve().await.is_empty());
    }
}
