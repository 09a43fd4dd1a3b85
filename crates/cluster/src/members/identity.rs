use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use bytes::{Buf, BufMut};
use longshore_model::{DomainName, HostId, TextError};

use crate::seal::Cookie;

/// How many characters the name of a host may have: many members share one datagram.
const MAX_NAME: usize = 63;

/// The name of a host, unique in its cluster: a host name of at most 63 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(DomainName);

impl HostName {
    /// Returns the name, in lower case.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for HostName {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let name: DomainName = text.parse()?;
        if name.as_str().len() > MAX_NAME {
            return Err(TextError::TooLong(MAX_NAME));
        }
        Ok(Self(name))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Orders all that a host ever says about itself: what bears a lower epoch is out of date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// The run of the agent: it rises with each start.
    pub run: u32,
    /// How often the agent renewed its membership within the run: after it was held for dead, and when it says that it
    /// ends.
    pub renewal: u32,
}

/// What a host intends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    Restarting,
    Left,
}

/// A host in one epoch, as members tell each other of it. Host and epoch determine the rest.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) host: HostId,
    pub(super) epoch: Epoch,
    pub(super) cookie: Cookie,
    pub(super) phase: Phase,
    pub(super) address: SocketAddr,
    pub(super) name: HostName,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        (self.host, self.epoch) == (other.host, other.epoch)
    }
}

impl Eq for Identity {}

impl foca::Identity for Identity {
    type Addr = HostId;

    /// Never renews by itself: two agents that share an id would renew against each other without an end. The core
    /// renews, and limits how often.
    fn renew(&self) -> Option<Self> {
        None
    }

    fn addr(&self) -> HostId {
        self.host
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.epoch > adversary.epoch
    }
}

impl Identity {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u128(self.host.as_u128());
        out.put_u32(self.epoch.run);
        out.put_u32(self.epoch.renewal);
        out.put_u64(self.cookie.0);
        let phase = match self.phase {
            Phase::Running => 0,
            Phase::Restarting => 1,
            Phase::Left => 2,
        };
        match self.address.ip() {
            IpAddr::V4(ip) => {
                out.put_u8(phase);
                out.put_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.put_u8(phase | 0x80);
                out.put_slice(&ip.octets());
            }
        }
        out.put_u16(self.address.port());
        let name = self.name.as_str();
        out.put_u8(u8::try_from(name.len()).unwrap_or_default());
        out.put_slice(name.as_bytes());
    }

    /// Reads an identity; `None` if it is incomplete or has an invalid part.
    pub(super) fn decode(from: &mut impl Buf) -> Option<Self> {
        let host = HostId::from_u128(from.try_get_u128().ok()?);
        let epoch = Epoch { run: from.try_get_u32().ok()?, renewal: from.try_get_u32().ok()? };
        let cookie = Cookie(from.try_get_u64().ok()?);
        let form = from.try_get_u8().ok()?;
        let phase = match form & 0x7f {
            0 => Phase::Running,
            1 => Phase::Restarting,
            2 => Phase::Left,
            _ => return None,
        };
        let ip: IpAddr = if form & 0x80 == 0 {
            from.try_get_u32().ok()?.to_be_bytes().into()
        } else {
            from.try_get_u128().ok()?.to_be_bytes().into()
        };
        let address = SocketAddr::new(ip, from.try_get_u16().ok()?);
        let mut name = [0; MAX_NAME];
        let name = name.get_mut(..usize::from(from.try_get_u8().ok()?))?;
        from.try_copy_to_slice(name).ok()?;
        let name = std::str::from_utf8(name).ok()?.parse().ok()?;
        Some(Self { host, epoch, cookie, phase, address, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn longest() -> Identity {
        Identity {
            host: HostId::from_u128(u128::MAX),
            epoch: Epoch { run: 1, renewal: 2 },
            cookie: Cookie(3),
            phase: Phase::Restarting,
            address: "[2001:db8::1]:7052".parse().unwrap(),
            name: "a".repeat(63).parse().unwrap(),
        }
    }

    #[test]
    fn an_identity_survives_its_bytes_and_no_part_of_them_is_one() {
        let four = Identity { address: "192.0.2.1:7052".parse().unwrap(), ..longest() };
        for identity in [four, longest()] {
            let mut bytes = Vec::new();
            identity.encode(&mut bytes);
            let mut rest = bytes.as_slice();
            let read = Identity::decode(&mut rest).unwrap();
            assert!(rest.is_empty());
            assert_eq!(format!("{read:?}"), format!("{identity:?}"));
            for end in 0..bytes.len() {
                assert!(Identity::decode(&mut &bytes[..end]).is_none(), "{end} bytes");
            }
        }
    }

    #[test]
    fn an_invalid_name_or_phase_is_refused() {
        let mut bytes = Vec::new();
        longest().encode(&mut bytes);
        let end = bytes.len() - 1;
        for (at, byte) in [(end, b'\n'), (end, 0xff), (end, b'-'), (32, 3), (end - 63, 64), (end - 63, 0)] {
            let mut changed = bytes.clone();
            changed[at] = byte;
            assert!(Identity::decode(&mut changed.as_slice()).is_none(), "{at}: {byte}");
        }
    }

    #[test]
    fn a_name_is_a_short_host_name() {
        assert_eq!("Web-1".parse::<HostName>().unwrap().as_str(), "web-1");
        assert_eq!("a".repeat(64).parse::<HostName>(), Err(TextError::Label("a".repeat(64))));
        let dotted = format!("{}.b", "a".repeat(62));
        assert_eq!(dotted.parse::<HostName>(), Err(TextError::TooLong(63)));
        assert!("a b".parse::<HostName>().is_err() && "".parse::<HostName>().is_err());
    }
}
