//! Names, addresses and paths of a lab.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::LabError;

/// The number of the default lab.
const USUAL: u8 = 213;

/// One lab's names, addresses and paths, all derived from its number N: addresses 10.N.0.0/24, bridge `longshoreN`,
/// namespaces `longshoreN-HOST`, files below `/var/tmp/longshore-lab/N`. Labs of different numbers do not collide.
#[derive(Clone, Debug)]
pub struct Layout {
    number: u8,
    root: PathBuf,
}

impl Layout {
    /// How many hosts a lab can have.
    pub const HOSTS: u8 = 200;

    /// Returns the lab that `LONGSHORE_LAB` names by number (1 to 254), else number 213.
    ///
    /// # Errors
    /// [`LabError::Number`].
    pub fn from_env() -> Result<Self, LabError> {
        match std::env::var("LONGSHORE_LAB") {
            Ok(text) => match text.parse() {
                Ok(number @ 1..=254) => Ok(Self::of_number(number)),
                _ => Err(LabError::Number(text)),
            },
            Err(_) => Ok(Self::of_number(USUAL)),
        }
    }

    /// Returns the lab of this number.
    pub fn of_number(number: u8) -> Self {
        Self { number, root: Path::new("/var/tmp/longshore-lab").join(number.to_string()) }
    }

    /// Returns the directory of all its files.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the bridge's name.
    pub fn bridge(&self) -> String {
        format!("longshore{}", self.number)
    }

    /// Returns the machine's own address on the bridge.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 0, 1)
    }

    /// Returns the bridge's hardware address, fixed because it would otherwise change with every connected host.
    pub(crate) fn gateway_mac(&self) -> String {
        mac(self.gateway())
    }

    /// Returns the registry's address.
    pub fn registry(&self) -> SocketAddr {
        (self.gateway(), 5000).into()
    }

    /// Returns the seat of a host, counted from 1.
    pub(crate) fn seat(&self, index: u8) -> Seat {
        let name = format!("h{index}");
        let address = Ipv4Addr::new(10, self.number, 0, index.saturating_add(10));
        Seat {
            namespace: format!("longshore{}-{name}", self.number),
            address: address.into(),
            mac: mac(address),
            // An interface's name has at most 15 characters.
            link: format!("ls{}-{name}", self.number),
            dir: self.root.join(&name),
            lease: self.root.join(format!("{name}.lease")),
            name,
        }
    }
}

/// Returns a hardware address derived from an IP address: locally administered and unique.
fn mac(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// One host's names, address and paths.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// `h1`, `h2`, …
    pub(crate) name: String,
    /// Its network namespace, which is also its containerd namespace and its cgroup.
    pub(crate) namespace: String,
    /// Its address on the bridge.
    pub(crate) address: IpAddr,
    /// Its hardware address, which never changes: neighbours cache it for half a minute.
    pub(crate) mac: String,
    /// The bridge's end of its cable.
    pub(crate) link: String,
    /// Its files.
    pub(crate) dir: PathBuf,
    /// The lock file that its user holds.
    pub(crate) lease: PathBuf,
}

impl Seat {
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("docker.sock")
    }

    pub(crate) fn data_root(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub(crate) fn exec_root(&self) -> PathBuf {
        self.dir.join("exec")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("dockerd.log")
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.dir.join("dockerd.json")
    }

    pub(crate) fn namespace_file(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.namespace)
    }

    /// Returns the cgroup of all its containers, in the form that dockerd expects.
    pub(crate) fn cgroup(&self) -> String {
        format!("/{}", self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labs_of_two_numbers_share_no_name_address_or_path() {
        let (one, two) = (Layout::of_number(7), Layout::of_number(8));
        assert_ne!(one.bridge(), two.bridge());
        assert_ne!(one.registry(), two.registry());
        let (a, b) = (one.seat(1), two.seat(1));
        assert_ne!(a.namespace, b.namespace);
        assert_ne!(a.address, b.address);
        assert_ne!(a.link, b.link);
        assert_ne!(a.dir, b.dir);
    }

    #[test]
    fn the_longest_interface_name_fits_the_kernel() {
        let layout = Layout::of_number(254);
        assert!(layout.seat(Layout::HOSTS).link.len() <= 15);
        assert!(layout.bridge().len() <= 15);
    }
}
