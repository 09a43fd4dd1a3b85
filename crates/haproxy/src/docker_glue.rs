//! The variables of Docker Glue's templates. They have no port but the frontend's, and no route without upstreams.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use longshore_model::{Frontend, HostPattern, Protocol, Route, RouteTable};
use minijinja::context;
use minijinja::value::Value;

use crate::layout::weight;
use crate::python::DefaultDict;

type Hosts = BTreeMap<String, BTreeMap<String, Value>>;

/// Returns Docker Glue's variables.
pub(crate) fn variables(routes: &[&Route]) -> Value {
    let mut http: BTreeMap<String, Hosts> = BTreeMap::new();
    let mut tcp: BTreeMap<String, Value> = BTreeMap::new();
    for route in routes {
        let Frontend { port, protocol } = route.key.frontend;
        let strip = if route.strip_prefix { "1" } else { "0" };
        let addresses =
            route.upstreams.iter().filter_map(|upstream| Some((upstream, upstream.way.direct()?)));
        let upstreams = addresses.filter(|(_, address)| on_port(*address, port));
        let mut upstreams = upstreams.peekable();
        if upstreams.peek().is_none() {
            continue;
        }
        let pair = |(upstream, address): (&longshore_model::Upstream, SocketAddr)| {
            (address.ip().to_string(), weight(route, upstream).to_string())
        };
        match protocol {
            Protocol::Udp => {}
            Protocol::Tcp => {
                let list = upstreams.map(|upstream| {
                    let (ip, weight) = pair(upstream);
                    Value::from(vec![ip, weight])
                });
                tcp.insert(port.to_string(), Value::from(list.collect::<Vec<_>>()));
            }
            Protocol::Http => {
                let host = match &route.key.host {
                    HostPattern::Any => String::new(),
                    host => host.to_string(),
                };
                let list = upstreams.map(|upstream| {
                    let (ip, weight) = pair(upstream);
                    Value::from(vec![ip, weight, strip.to_owned()])
                });
                let list = Value::from(list.collect::<Vec<_>>());
                let hosts = http.entry(port.to_string()).or_default();
                hosts.entry(host).or_default().insert(route.key.prefix.as_str().to_owned(), list);
            }
        }
    }
    let sorted = |(port, hosts): (&String, &Hosts)| (port.clone(), Value::from(sort(hosts)));
    let sorted: BTreeMap<String, Value> = http.iter().map(sorted).collect();
    let none = || Value::from(Vec::<Value>::new());
    let prefixes = |prefixes: BTreeMap<String, Value>| dict(prefixes, none());
    let hosts = |hosts: Hosts| {
        dict(hosts.into_iter().map(|(host, of)| (host, prefixes(of))), prefixes(BTreeMap::new()))
    };
    let http = dict(http.into_iter().map(|(port, of)| (port, hosts(of))), hosts(Hosts::new()));
    context! { sorted_config_by_port => sorted, http_mapping => http, tcp_mapping => dict(tcp, none()) }
}

fn dict(entries: impl IntoIterator<Item = (String, Value)>, default: Value) -> Value {
    Value::from_object(DefaultDict { entries: entries.into_iter().collect(), default })
}

/// Returns whether Docker Glue's templates can name this address: they use the frontend's port for the container's.
fn on_port(address: SocketAddr, port: u16) -> bool {
    address.port() == port
}

/// Returns hosts with their prefixes, the longest first.
fn sort(hosts: &Hosts) -> Vec<Value> {
    let mut names: Vec<&String> = hosts.keys().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    let host = |name: &String| {
        let mut prefixes: Vec<String> =
            hosts.get(name).into_iter().flat_map(BTreeMap::keys).cloned().collect();
        prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
        Value::from(vec![Value::from(name.as_str()), Value::from(prefixes)])
    };
    names.into_iter().map(host).collect()
}

/// Returns the routes that Docker Glue's variables cannot express.
pub(crate) fn lacking(table: &RouteTable) -> Vec<&Route> {
    let lacks = |route: &&Route| {
        let is_expressible = |address| on_port(address, route.key.frontend.port);
        route.upstreams.iter().any(|upstream| !upstream.way.direct().is_some_and(is_expressible))
    };
    table.iter().map(AsRef::as_ref).filter(lacks).collect()
}
