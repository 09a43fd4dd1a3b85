//! Whether a port can be listened on, tried the way HAProxy does it.
//!
//! One bind that fails makes HAProxy refuse its whole configuration, and pauses the listeners that it has while it
//! tries: so each frontend is tried before it is written.

use std::io;
use std::net::{IpAddr, SocketAddr};

use longshore_model::Frontend;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use crate::template::parse_frontend_name;

/// Binds and lets go. HAProxy's own listener on the same address is no obstacle, as both say `SO_REUSEPORT`.
pub(crate) fn try_bind(address: SocketAddr) -> io::Result<()> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(bind(&socket, &address)?)
}

/// Why this port cannot be listened on at these addresses; none if it can.
pub(crate) fn obstacle(addresses: &[IpAddr], port: u16) -> Option<String> {
    let fails = |ip: &IpAddr| {
        let address = SocketAddr::new(*ip, port);
        try_bind(address).err().map(|error| format!("cannot listen on {address}: {error}"))
    };
    addresses.iter().find_map(fails)
}

/// The addresses without those of a protocol that this host does not have.
pub(crate) fn present(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let present = |ip: &&IpAddr| !ip.is_unspecified() || try_bind(SocketAddr::new(**ip, 0)).is_ok();
    addresses.iter().filter(present).copied().collect()
}

/// The frontends that HAProxy complains it cannot bind: `Binding [f:41] for frontend http_80: cannot bind socket …`.
pub(crate) fn complained_of(lines: &[String]) -> Vec<(Frontend, String)> {
    let read = |line: &String| {
        let (_, rest) = line.split_once("frontend ")?;
        let (name, complaint) = rest.split_once(": cannot bind ")?;
        Some((parse_frontend_name(name)?, format!("cannot bind {complaint}")))
    };
    lines.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn a_port_that_another_program_listens_on_is_an_obstacle_and_a_free_one_is_none() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let local = [IpAddr::from(Ipv4Addr::LOCALHOST)];
        let reason = obstacle(&local, port).unwrap();
        assert!(reason.starts_with(&format!("cannot listen on 127.0.0.1:{port}: ")), "{reason}");
        drop(taken);
        assert_eq!(obstacle(&local, port), None);
    }

    #[test]
    fn an_address_that_the_host_does_not_have_is_an_obstacle() {
        assert!(obstacle(&["192.0.2.1".parse().unwrap()], 0).is_some());
    }

    #[test]
    fn haproxys_complaint_names_the_frontend() {
        let line = "[ALERT]    (25724) : Binding [h.cfg:41] for frontend http_18081: cannot bind socket (Address \
                    already in use) for [127.0.0.1:18081]";
        let found = complained_of(&[line.to_owned(), "[ALERT] (1) : frontend x: cannot bind y".to_owned()]);
        let reason = "cannot bind socket (Address already in use) for [127.0.0.1:18081]".to_owned();
        assert_eq!(found, [("http:18081".parse().unwrap(), reason)]);
    }
}
