//! Tests whether a port can be bound, in the way HAProxy binds it.
//!
//! One failed bind makes HAProxy refuse its whole configuration, and pauses its listeners while it tries. Each
//! frontend is therefore tested before it is written.

use std::io;
use std::net::{IpAddr, SocketAddr};

use longshore_model::Frontend;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use crate::template::parse_frontend_name;

/// Binds and closes. HAProxy's own listener on the same address does not interfere: both set `SO_REUSEPORT`.
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

/// Returns why this port cannot be bound at one of these addresses, or `None` if it can.
pub(crate) fn bind_error(addresses: &[IpAddr], port: u16) -> Option<String> {
    let fails = |ip: &IpAddr| {
        let address = SocketAddr::new(*ip, port);
        try_bind(address).err().map(|error| format!("cannot listen on {address}: {error}"))
    };
    addresses.iter().find_map(fails)
}

/// Returns the addresses without those of a protocol that this host does not have.
pub(crate) fn supported(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let supported = |ip: &&IpAddr| !ip.is_unspecified() || try_bind(SocketAddr::new(**ip, 0)).is_ok();
    addresses.iter().filter(supported).copied().collect()
}

/// Returns the frontends that HAProxy reports it cannot bind:
/// `Binding [f:41] for frontend http_80: cannot bind socket …`.
pub(crate) fn bind_failures(lines: &[String]) -> Vec<(Frontend, String)> {
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
        let reason = bind_error(&local, port).unwrap();
        assert!(reason.starts_with(&format!("cannot listen on 127.0.0.1:{port}: ")), "{reason}");
        drop(taken);
        assert_eq!(bind_error(&local, port), None);
    }

    #[test]
    fn an_address_that_the_host_does_not_have_is_an_obstacle() {
        assert!(bind_error(&["192.0.2.1".parse().unwrap()], 0).is_some());
    }

    #[test]
    fn haproxys_complaint_names_the_frontend() {
        let line = "[ALERT]    (25724) : Binding [h.cfg:41] for frontend http_18081: cannot bind socket (Address \
                    already in use) for [127.0.0.1:18081]";
        let found = bind_failures(&[line.to_owned(), "[ALERT] (1) : frontend x: cannot bind y".to_owned()]);
        let reason = "cannot bind socket (Address already in use) for [127.0.0.1:18081]".to_owned();
        assert_eq!(found, [("http:18081".parse().unwrap(), reason)]);
    }
}
