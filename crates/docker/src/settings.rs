use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::{Access, access};
use rustix::io::Errno;

/// Where a Docker Engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerAddress {
    /// A socket file: `unix:///var/run/docker.sock`.
    Unix(PathBuf),
    /// `tcp://host:port`.
    Tcp {
        /// A host name or an IP address.
        host: String,
        /// The port; by default 2375, or 2376 with TLS.
        port: Option<u16>,
    },
}

/// The text is not a valid Docker Engine address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected unix:///path/to/docker.sock or tcp://host:port")]
pub struct DockerAddressError;

impl FromStr for DockerAddress {
    type Err = DockerAddressError;

    fn from_str(text: &str) -> Result<Self, DockerAddressError> {
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(DockerAddressError) };
        }
        let rest = ["tcp://", "http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let authority = rest.ok_or(DockerAddressError)?.trim_end_matches('/');
        let authority: http::uri::Authority = authority.parse().map_err(|_| DockerAddressError)?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(DockerAddressError);
        }
        Ok(Self::Tcp { host, port: authority.port_u16() })
    }
}

impl DockerAddress {
    /// Returns what to do about an engine that does not respond at this address, judging by its socket.
    pub fn advice(&self) -> &'static str {
        let Self::Unix(path) = self else { return "start Docker, or set docker to its address" };
        match access(path, Access::READ_OK | Access::WRITE_OK) {
            Err(Errno::ACCESS | Errno::PERM) => "run as root, or add this user to the group docker",
            _ => "start Docker, or set docker to its address",
        }
    }
}

impl fmt::Display for DockerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port: Some(port) } => write!(f, "tcp://{host}:{port}"),
            Self::Tcp { host, port: None } => write!(f, "tcp://{host}"),
        }
    }
}

/// How to reach and read the Docker Engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerSettings {
    /// The engine's address.
    pub address: DockerAddress,
    /// The folder with `ca.pem`, `cert.pem` and `key.pem`, with TLS; `DOCKER_CERT_PATH`.
    pub cert_path: Option<PathBuf>,
    /// Whether a container's environment counts as labels (Docker Glue's `--include-env`). Only variables spelled
    /// like one of our labels are considered.
    pub include_env: bool,
}

impl DockerSettings {
    /// Returns the address of the engine's host, unless it is this host.
    pub fn remote(&self) -> Option<&str> {
        match &self.address {
            DockerAddress::Unix(_) => None,
            DockerAddress::Tcp { host, .. } => {
                let here = host == "localhost"
                    || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || is_own_address(ip));
                (!here).then_some(host.as_str())
            }
        }
    }

    /// Returns the path of a file in the certificate folder.
    pub fn cert_file(&self, name: &str) -> Option<PathBuf> {
        self.cert_path.as_deref().map(|folder: &Path| folder.join(name))
    }
}

/// Returns whether the address is one of this host's: only those can be bound.
fn is_own_address(ip: IpAddr) -> bool {
    std::net::UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_addresses_are_read_as_docker_writes_them() {
        for good in ["unix:///var/run/docker.sock", "tcp://10.0.0.1:2375", "tcp://docker.example"] {
            assert_eq!(good.parse::<DockerAddress>().unwrap().to_string(), good);
        }
        for bad in ["", "/var/run/docker.sock", "unix://relative", "tcp://", "ssh://host", "tcp://u@h:1"] {
            assert!(bad.parse::<DockerAddress>().is_err(), "{bad:?}");
        }
    }
}
