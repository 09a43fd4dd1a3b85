//! How a route table maps to an HAProxy that is configured once. Pure, no IO.
//!
//! An HTTP frontend looks a request up in its map, which names a *slot*, one of a pool of equal backends, and how
//! many segments to strip off the path. Servers are added to slots, and removed, at run time. A TCP frontend has a
//! backend of its own. Only a change of the [`Shape`] needs a reload.
//!
//! A map's key is the host pattern, the prefix and a slash, marked so that one kind of pattern is never taken for
//! another: `>example.com/p/`, `example.com/p/` (of `*.example.com`), `/p/`; no host name has the marks `>`, `?` and
//! `/`. The longest key that a request's `>host/path/` begins with is then the longest prefix in whole segments.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;

use longshore_model::{Frontend, HostPattern, Protocol, Route, RouteKey, RouteTable, Upstream};

/// The key that marks a map with wildcards. No request begins with it.
pub(crate) const WILDCARDS: &str = "?";

/// How the key of an exact host name begins.
pub(crate) const EXACT: char = '>';

/// How many labels the names of wildcards may have (`*.example.com` has two): the layout has a rule for each number
/// up to one of these, and a reload goes to the next. A name has at most 127.
pub(crate) const WILDCARD_LABELS: [usize; 6] = [4, 8, 16, 32, 64, 128];

/// A backend of the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Backend {
    /// A slot of the pool, counted from 1.
    Slot(u32),
    /// The backend of the TCP frontend on this port.
    Tcp(u16),
}

impl Backend {
    /// Parses what `Display` writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, number) = text.split_once('_')?;
        let backend = match kind {
            "slot" => Self::Slot(number.parse().ok()?),
            "tcp" => Self::Tcp(number.parse().ok()?),
            _ => return None,
        };
        (backend.to_string() == text).then_some(backend)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot(number) => write!(f, "slot_{number:04}"),
            Self::Tcp(port) => write!(f, "tcp_{port}"),
        }
    }
}

/// What only a reload can change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The HTTP and TCP frontends.
    pub(crate) frontends: BTreeSet<Frontend>,
    /// How many slots there are.
    pub(crate) pool: u32,
    /// Whether there is a statistics page.
    pub(crate) stats: bool,
    /// How many labels the name of a wildcard may have: one of [`WILDCARD_LABELS`].
    pub(crate) wildcard_labels: usize,
}

/// The value of a map's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) slot: u32,
    /// How many segments to strip off the path.
    pub(crate) strip: usize,
}

impl Target {
    /// Parses what `Display` writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (backend, strip) = text.split_once(':')?;
        let Backend::Slot(slot) = Backend::parse(backend)? else { return None };
        Some(Self { slot, strip: strip.parse().ok()? })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Backend::Slot(self.slot), self.strip)
    }
}

/// A server of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// 0 to 256.
    pub(crate) weight: u16,
    /// Whether it takes traffic; if not, it is in maintenance until its connections have ended.
    pub(crate) serving: bool,
}

/// Servers by name.
pub(crate) type Servers = BTreeMap<String, Server>;

/// One HTTP frontend's map, without the wildcard mark.
pub(crate) type Map = BTreeMap<String, Target>;

/// The actual or desired state of an HAProxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) shape: Shape,
    /// By the port of an HTTP frontend.
    pub(crate) maps: BTreeMap<u16, Map>,
    /// The ports whose maps are marked as having wildcards.
    pub(crate) marked: BTreeSet<u16>,
    /// A backend without an entry has no servers.
    pub(crate) servers: BTreeMap<Backend, Servers>,
}

impl State {
    /// Lays the table out in this shape. A route keeps the slot that it has in `before`. Routes without a slot, and
    /// those of frontends that the shape does not have, are left out.
    pub(crate) fn lay_out(shape: &Shape, table: &RouteTable, before: Option<&Self>) -> Self {
        let mut state = Self { shape: shape.clone(), ..Self::default() };
        let carried = |route: &&Route| shape.frontends.contains(&route.key.frontend);
        let routes: Vec<&Route> = table.iter().map(AsRef::as_ref).filter(carried).collect();
        let http = |route: &&&Route| route.key.frontend.protocol == Protocol::Http;
        let old_slot = |route: &Route| {
            let map = before?.maps.get(&route.key.frontend.port)?;
            map.get(&map_key(&route.key)).map(|target| target.slot).filter(|&slot| slot <= shape.pool)
        };
        let kept: BTreeSet<u32> = routes.iter().filter(http).filter_map(|route| old_slot(route)).collect();
        let mut free = (1..=shape.pool).filter(|slot| !kept.contains(slot));
        for frontend in &shape.frontends {
            if frontend.protocol == Protocol::Http {
                state.maps.entry(frontend.port).or_default();
            }
        }
        for route in routes {
            let port = route.key.frontend.port;
            let backend = match route.key.frontend.protocol {
                Protocol::Tcp => Backend::Tcp(port),
                Protocol::Udp => continue,
                Protocol::Http => {
                    let Some(slot) = old_slot(route).or_else(|| free.next()) else { continue };
                    let target = Target { slot, strip: strip(route) };
                    state.maps.entry(port).or_default().insert(map_key(&route.key), target);
                    if matches!(route.key.host, HostPattern::Wildcard(_)) {
                        state.marked.insert(port);
                    }
                    Backend::Slot(slot)
                }
            };
            state.servers.insert(backend, servers(route));
        }
        state
    }

    /// Returns the slots without a key and without servers, in order.
    pub(crate) fn empty_slots(&self) -> VecDeque<u32> {
        let led_to: BTreeSet<u32> =
            self.maps.values().flat_map(Map::values).map(|target| target.slot).collect();
        (1..=self.shape.pool)
            .filter(|slot| !led_to.contains(slot) && !self.servers.contains_key(&Backend::Slot(*slot)))
            .collect()
    }

    /// Returns the slots without a key that still have servers.
    pub(crate) fn orphaned_slots(&self) -> Vec<u32> {
        let led_to: BTreeSet<u32> =
            self.maps.values().flat_map(Map::values).map(|target| target.slot).collect();
        let slot = |backend: &Backend| match backend {
            Backend::Slot(slot) => Some(*slot),
            Backend::Tcp(_) => None,
        };
        self.servers.keys().filter_map(slot).filter(|slot| !led_to.contains(slot)).collect()
    }
}

/// Returns a route's key in its frontend's map.
pub(crate) fn map_key(key: &RouteKey) -> String {
    let mut text = match &key.host {
        HostPattern::Any => String::new(),
        HostPattern::Wildcard(name) => name.as_str().to_owned(),
        HostPattern::Exact(name) => format!("{EXACT}{}", name.as_str()),
    };
    text.push('/');
    if !key.prefix.is_empty() {
        text.push_str(key.prefix.as_str());
        text.push('/');
    }
    text
}

/// Returns the route of a map's key, or `None` if [`map_key`] does not produce such a key.
pub(crate) fn route_key(port: u16, text: &str) -> Option<RouteKey> {
    let (host, prefix) = text.split_once('/')?;
    let host = match host {
        "" => HostPattern::Any,
        host => match host.strip_prefix(EXACT) {
            Some(name) => HostPattern::Exact(name.parse().ok()?),
            None => HostPattern::Wildcard(host.parse().ok()?),
        },
    };
    let frontend = Frontend { port, protocol: Protocol::Http };
    let key = RouteKey { frontend, host, prefix: prefix.parse().ok()? };
    (map_key(&key) == text).then_some(key)
}

/// Returns how many labels a route's name has, if it is a wildcard.
pub(crate) fn wildcard_labels(key: &RouteKey) -> Option<usize> {
    match &key.host {
        HostPattern::Wildcard(name) => Some(name.as_str().split('.').count()),
        HostPattern::Exact(_) | HostPattern::Any => None,
    }
}

/// Returns the lowest of [`WILDCARD_LABELS`] that covers every wildcard of the table.
pub(crate) fn wildcard_labels_needed(table: &RouteTable) -> usize {
    let most = table.iter().filter_map(|route| wildcard_labels(&route.key)).max().unwrap_or(0);
    WILDCARD_LABELS.into_iter().find(|&labels| labels >= most).unwrap_or(most)
}

/// Returns how many segments a route strips off the path.
pub(crate) fn strip(route: &Route) -> usize {
    if route.strip_prefix { route.key.prefix.segments() } else { 0 }
}

/// Returns a route's upstreams as servers that take traffic.
pub(crate) fn servers(route: &Route) -> Servers {
    let mut servers = Servers::new();
    for upstream in &route.upstreams {
        // HAProxy knows no way but an address: whoever has another gives it one.
        let Some(address) = upstream.way.direct() else { continue };
        let server = Server { address, weight: weight(route, upstream), serving: true };
        servers.insert(server_name(upstream, address), server);
    }
    servers
}

/// Returns an upstream's weight in HAProxy, which never sends traffic to a server of weight 0, even if there is no
/// other.
pub(crate) fn weight(route: &Route, upstream: &Upstream) -> u16 {
    let all_zero = route.upstreams.iter().all(|upstream| upstream.weight.get() == 0);
    if all_zero { 1 } else { upstream.weight.get() }
}

/// Returns a server's name. Its address is part of it: a new address is another server, and requests to the old one
/// finish.
fn server_name(upstream: &Upstream, address: SocketAddr) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric();
    let id: String = upstream.container.id.as_str().chars().filter(plain).take(12).collect();
    format!("{id}-{}-{}", address.ip(), address.port())
}

/// Returns an address without the scope of IPv6, which HAProxy does not support.
pub(crate) fn bare(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{key, table, upstream};

    fn shape(frontends: &[&str], pool: u32) -> Shape {
        Shape {
            frontends: frontends.iter().map(|f| f.parse().unwrap()).collect(),
            pool,
            stats: true,
            wildcard_labels: 4,
        }
    }

    #[test]
    fn a_key_marks_what_kind_of_host_it_is() {
        assert_eq!(map_key(&key("http:80", "a.com", "")), ">a.com/");
        assert_eq!(map_key(&key("http:80", "*.a.com", "p/q")), "a.com/p/q/");
        assert_eq!(map_key(&key("http:80", "*", "p")), "/p/");
        assert_eq!(map_key(&key("http:80", "*", "")), "/");
    }

    #[test]
    fn the_templates_binary_digits_reach_the_longest_prefix() {
        const { assert!(longshore_model::PathPrefix::MAX_SEGMENTS < 32) };
    }

    #[test]
    fn a_strangers_map_key_is_no_route() {
        for text in [
            "",
            "?",
            "a.com",
            "*.a.com/",
            ">a.com",
            ">A.com/",
            ">a.com/p",
            ">*.a.com/",
            "=a.com/",
            "*.a.com//",
            "[::1]/",
        ] {
            assert_eq!(route_key(80, text), None, "{text:?}");
        }
    }

    #[test]
    fn a_backend_is_read_as_it_is_written_and_a_strangers_is_not() {
        for backend in [Backend::Slot(1), Backend::Slot(12345), Backend::Tcp(5432)] {
            assert_eq!(Backend::parse(&backend.to_string()), Some(backend));
        }
        for text in ["slot_1", "slot_+001", "tcp_05", "tcp_70000", "web", "web_1", ""] {
            assert_eq!(Backend::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_route_keeps_its_slot_when_others_come_and_go() {
        let shape = shape(&["http:80"], 8);
        let one = table(&[("http:80 b.com/", &[1])]);
        let before = State::lay_out(&shape, &one, None);
        let two = table(&[("http:80 a.com/", &[1]), ("http:80 b.com/", &[1]), ("http:80 c.com/", &[2])]);
        let after = State::lay_out(&shape, &two, Some(&before));
        assert_eq!(after.maps[&80][">b.com/"].slot, before.maps[&80][">b.com/"].slot);
        let slots: BTreeSet<u32> = after.maps[&80].values().map(|target| target.slot).collect();
        assert_eq!(slots.len(), 3);
        assert_eq!(after.empty_slots().len(), 5);
    }

    #[test]
    fn routes_beyond_the_pool_and_of_absent_frontends_are_left_out() {
        let routes =
            table(&[("http:80 a.com/", &[1]), ("http:80 b.com/", &[1]), ("tcp:81", &[1]), ("udp:53", &[1])]);
        let state = State::lay_out(&shape(&["http:80", "http:8080"], 1), &routes, None);
        assert_eq!(state.maps[&80].len(), 1);
        assert!(state.maps[&8080].is_empty());
        assert_eq!(state.servers.len(), 1);
    }

    #[test]
    fn weights_that_are_all_zero_share_equally() {
        let mut route = (**table(&[("tcp:81", &[1, 2])]).iter().next().unwrap()).clone();
        route.upstreams = vec![upstream(1, "0"), upstream(2, "0")];
        assert!(servers(&route).values().all(|server| server.weight == 1));
        route.upstreams = vec![upstream(1, "0"), upstream(2, "7")];
        let weights: Vec<u16> = servers(&route).values().map(|server| server.weight).collect();
        assert_eq!(weights, [0, 7]);
    }

    #[test]
    fn an_id_that_is_not_dockers_cannot_leave_the_servers_name() {
        let mut hostile = upstream(1, "1");
        hostile.container.id = longshore_model::ContainerId::new("a/b;del server x\n");
        let address = hostile.way.direct().unwrap();
        assert_eq!(server_name(&hostile, address), "abdelserverx-127.0.0.1-20001");
    }

    proptest! {
        #[test]
        fn every_route_is_found_again_by_its_key(
            host in "(\\*|(\\*\\.)?[a-z]{1,3}(\\.[a-z0-9_]{1,3}){0,3})",
            prefix in "([a-z~;'=*]{1,3}(/[a-z$&.]{1,2}x){0,3})?",
            port in 1u16..,
        ) {
            let frontend = Frontend { port, protocol: Protocol::Http };
            let key = RouteKey { frontend, host: host.parse().unwrap(), prefix: prefix.parse().unwrap() };
            prop_assert_eq!(route_key(port, &map_key(&key)), Some(key));
        }
    }
}
