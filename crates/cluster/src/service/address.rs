use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use longshore_model::{DomainName, TextError};

/// How long the system may take to resolve a name.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where a host is reached: at an address, or at a name that is resolved when it is needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostAddress {
    /// An address.
    Ip(IpAddr),
    /// A name.
    Name(DomainName),
}

/// Why a text is neither an address nor a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostAddressError {
    /// It is not a name.
    #[error("expected a host name or an IP address")]
    Name(#[source] TextError),
    /// It looks like an address, and is none: a host name has a letter.
    #[error("invalid address {0:?}")]
    Address(String),
}

impl FromStr for HostAddress {
    type Err = HostAddressError;

    fn from_str(text: &str) -> Result<Self, HostAddressError> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        match bare.parse() {
            Ok(ip) => Ok(Self::Ip(ip)),
            Err(_) if !text.is_empty() && !text.chars().any(|c| c.is_ascii_alphabetic()) => {
                Err(HostAddressError::Address(text.to_owned()))
            }
            Err(_) => text.parse().map(Self::Name).map_err(HostAddressError::Name),
        }
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name.as_str()),
        }
    }
}

impl HostAddress {
    /// Returns all its addresses, with this port.
    ///
    /// # Errors
    /// The name cannot be resolved within ten seconds.
    pub async fn resolve(&self, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Ip(ip) => Ok(vec![SocketAddr::new(*ip, port)]),
            Self::Name(name) => {
                let lookup = tokio::net::lookup_host((name.as_str(), port));
                Ok(tokio::time::timeout(TIMEOUT, lookup).await??.collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_without_a_port() {
        for good in ["192.0.2.10", "2001:db8::10", "myhostname", "node1.example.com"] {
            assert_eq!(good.parse::<HostAddress>().unwrap().to_string(), good);
        }
        assert_eq!("[2001:db8::1]".parse::<HostAddress>().unwrap().to_string(), "2001:db8::1");
        for bad in ["", "node1:7052", "a b", "http://node", "[node]"] {
            assert!(matches!(bad.parse::<HostAddress>(), Err(HostAddressError::Name(_))), "{bad:?}");
        }
        for bad in ["192.0.2", "192.0.2.10:7052"] {
            assert!(matches!(bad.parse::<HostAddress>(), Err(HostAddressError::Address(_))), "{bad:?}");
        }
    }
}
