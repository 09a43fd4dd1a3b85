//! Which local user a connection over loopback comes from: whoever may use Docker through the agent is as good as root,
//! and any process of this machine can connect to loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Marks a request that came through the socket for root.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalRoot;

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) client: SocketAddr,
    pub(super) agent: SocketAddr,
}

impl Ends {
    /// Returns whether the client is a process of root, or of the agent's own user.
    pub(super) async fn are_trusted(self) -> bool {
        let own = rustix::process::geteuid().as_raw();
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let text = tokio::fs::read_to_string(table).await.unwrap_or_default();
            if let Some(user) = text.lines().find_map(|line| self.user(line)) {
                return user == 0 || user == own;
            }
        }
        false
    }

    /// Returns the user of a line of the kernel's table, if it is the client's end of this connection.
    fn user(self, line: &str) -> Option<u32> {
        let mut fields = line.split_whitespace().skip(1);
        let (local, remote) = (socket(fields.next()?)?, socket(fields.next()?)?);
        let user = fields.nth(4)?.parse().ok()?;
        (local == plain(self.client) && remote == plain(self.agent)).then_some(user)
    }
}

/// Writes an IPv4 address in one way only.
fn plain(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

/// Reads an address as the kernel writes it: words of 32 bits in the machine's order, in hexadecimal.
fn socket(text: &str) -> Option<(IpAddr, u16)> {
    let (ip, port) = text.split_once(':')?;
    let words = ip.as_bytes().chunks(8).map(|word| {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let bytes = words.collect::<Option<Vec<[u8; 4]>>>()?.concat();
    let ip = match (<[u8; 4]>::try_from(bytes.as_slice()), <[u8; 16]>::try_from(bytes.as_slice())) {
        (Ok(v4), _) => IpAddr::from(Ipv4Addr::from(v4)),
        (_, Ok(v6)) => IpAddr::from(Ipv6Addr::from(v6)).to_canonical(),
        _ => return None,
    };
    Some((ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_line_names_the_user_of_one_end_of_a_connection() {
        let ends =
            Ends { client: "127.0.0.1:40000".parse().unwrap(), agent: "127.0.0.1:7051".parse().unwrap() };
        let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        let v4 = word([127, 0, 0, 1]);
        let mapped = format!("{}{}{}{v4}", word([0; 4]), word([0; 4]), word([0, 0, 255, 255]));
        let line = |from: &str, to: &str| {
            format!(
                "   3: {from}:9C40 {to}:1B8B 01 00000000:00000000 00:00000000 00000000  1000        0 77 1"
            )
        };
        assert_eq!(ends.user(&line(&v4, &v4)), Some(1000));
        assert_eq!(ends.user(&line(&mapped, &mapped)), Some(1000), "an IPv6 socket may speak IPv4");
        assert_eq!(ends.user(&line(&v4, &word([127, 0, 0, 2]))), None);
        let agents = format!("   3: {v4}:1B8B {v4}:9C40 01 00000000:00000000 00:00000000 00000000  0 0 77 1");
        assert_eq!(ends.user(&agents), None, "the agent's own end says nothing");
        assert_eq!(ends.user("  sl  local_address rem_address   st tx_queue rx_queue"), None);
    }

    #[tokio::test]
    async fn a_process_of_the_agents_own_user_is_trusted_and_an_unknown_connection_is_not() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address).await else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (agent, from) = listener.accept().await.unwrap();
            let ends = Ends { client: from, agent: agent.local_addr().unwrap() };
            assert!(ends.are_trusted().await, "{address}");
            let other = Ends { client: SocketAddr::new(from.ip(), 1), ..ends };
            assert!(!other.are_trusted().await, "{address}");
            drop(client);
        }
    }
}
