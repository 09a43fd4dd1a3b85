//! Explains why a request goes where it goes.

use longshore_model::{
    Container, Frontend, HostPattern, Problem, Protocol, Route, RouteTable, RunState, Upstream, Way, World,
};

use crate::claim::claims;
use crate::label::{self, Attribute, Key};
use crate::reach;

/// The outcome for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A container with a share of the traffic answers it.
    Routed,
    /// A route matches, but no container behind it takes traffic: 503.
    NoUpstream,
    /// No route matches: 404, or nothing listens there.
    NoRoute,
}

/// A container that is related to the request, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Its short id.
    pub id: String,
    /// Whether it takes a share of this request's traffic.
    pub serves: bool,
    /// The reason, in words.
    pub why: String,
}

/// Where a request goes, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The outcome.
    pub verdict: Verdict,
    /// The route that it takes, in the text form of [`longshore_model::RouteKey`].
    pub route: Option<String>,
    /// Containers: those that serve first, then those that could.
    pub candidates: Vec<Candidate>,
}

/// Explains a request to `frontend` for `host` (without port) and `path` (without query).
pub fn explain(world: &World, table: &RouteTable, frontend: Frontend, host: &str, path: &str) -> Explanation {
    let route = table.find(frontend, host, path);
    let mut candidates: Vec<Candidate> = route.map(|route| of_route(world, route)).unwrap_or_default();
    for (_, container) in world.containers() {
        if candidates.iter().all(|candidate| candidate.id != container.id.short()) {
            candidates.extend(beside(container, route.map(AsRef::as_ref), frontend, host, path));
        }
    }
    let verdict = match route {
        None => Verdict::NoRoute,
        Some(route) if route.upstreams.is_empty() => Verdict::NoUpstream,
        Some(_) => Verdict::Routed,
    };
    Explanation { verdict, route: route.map(|route| route.key.to_string()), candidates }
}

fn of_route(world: &World, route: &Route) -> Vec<Candidate> {
    let all: u32 = route.upstreams.iter().map(|upstream| u32::from(upstream.weight.get())).sum();
    let serving = route.upstreams.iter().map(|upstream| {
        let weight = u32::from(upstream.weight.get());
        // Weights that are all zero count as equal.
        let share = (weight * 100).checked_div(all).unwrap_or(100 / route.upstreams.len().max(1) as u32);
        Candidate {
            name: upstream.name.clone(),
            id: upstream.container.id.short().to_owned(),
            serves: all == 0 || weight > 0,
            why: format!("takes {share}% {} (weight {weight})", way(world, upstream)),
        }
    });
    let waiting = route.waiting.iter().map(|waiting| Candidate {
        name: waiting.name.clone(),
        id: waiting.container.id.short().to_owned(),
        serves: false,
        why: format!("waits: {}", waiting.reason),
    });
    serving.chain(waiting).collect()
}

/// Says which way leads to an upstream, and why this one.
fn way(world: &World, upstream: &Upstream) -> String {
    let host = upstream.container.host;
    let name = || world.host(host).map_or_else(|| host.to_string(), |host| host.info.name.clone());
    let mut text = match upstream.way {
        Way::Direct(address) if host == world.me() => return format!("at {address}"),
        Way::Direct(address) => format!("at {address}, a port of host {}", name()),
        Way::Agent(agent) => {
            let is_it = |published: &longshore_model::Published| published.container_port == upstream.port;
            let container = world.container(&upstream.container);
            let why = if container.is_some_and(|container| container.published.iter().any(is_it)) {
                "its published port cannot be reached from here"
            } else {
                "it publishes no port"
            };
            format!("through the agent of host {} at {}, as {why}", name(), agent.address)
        }
    };
    if let Some(doubt) = reach::doubt(world, host, Some(upstream.way)) {
        text.push_str(&format!("; as the last resort: {doubt}"));
    }
    text
}

/// Returns a container outside the route whose labels nearly match the request.
fn beside(
    container: &Container,
    taken: Option<&Route>,
    frontend: Frontend,
    host: &str,
    path: &str,
) -> Option<Candidate> {
    let (claims, problems) = claims(container);
    let candidate = |why| {
        Some(Candidate {
            name: container.name.clone(),
            id: container.id.short().to_owned(),
            serves: false,
            why,
        })
    };
    let is_http = frontend.protocol == Protocol::Http;
    let names_host = |claim: &&crate::Claim| !is_http || claim.key.host.covers(host);
    let Some(claim) = claims
        .iter()
        .find(|claim| names_host(claim) && claim.key.frontend == frontend && claim.key.prefix.covers(path))
    else {
        if let Some(claim) = claims.iter().find(|claim| claim.key.frontend == frontend && names_host(claim)) {
            return candidate(format!("claims {}, which does not cover {path}", claim.key));
        }
        if let Some(claim) = claims.iter().find(|claim| claim.key.prefix.covers(path) && names_host(claim)) {
            return candidate(format!("claims {}, which is on another frontend", claim.key));
        }
        let mut bad = problems.iter().filter(|problem| concerns(container, problem, frontend, host));
        return bad.next().and_then(|problem| candidate(format!("has a bad label: {problem}")));
    };
    if container.state != RunState::Running {
        return candidate(format!("claims {}, but is {}", claim.key, container.state));
    }
    match taken {
        Some(route) if route.key != claim.key => {
            candidate(format!("claims {}, but {} is more specific", claim.key, route.key))
        }
        _ => candidate(format!(
            "claims {}, but lost it to another container: see `longshore problem ls`",
            claim.key
        )),
    }
}

/// Returns whether an invalid label concerns a request: it names this frontend, and not only other hosts.
fn concerns(container: &Container, problem: &Problem, frontend: Frontend, host: &str) -> bool {
    let Some(key) = &problem.key else { return false };
    match label::read(key) {
        Some(Key::Attribute(_, protocol, port, _) | Key::UnknownAttribute(protocol, port, _)) => {
            let listens = values(container, protocol, Some(port), Attribute::Listen);
            let listen = listens.filter_map(label::port).last().unwrap_or(port);
            (protocol, listen) == (frontend.protocol, frontend.port)
                && may_name(values(container, protocol, Some(port), Attribute::Host), host)
        }
        Some(Key::Ports(protocol)) => {
            protocol == frontend.protocol
                && may_name(values(container, protocol, None, Attribute::Host), host)
        }
        // A misspelt key may still have a valid value.
        Some(Key::Unknown(..)) => {
            let value = container.labels.get(key).map_or("", |value| value.trim());
            let mut hosts = value.split(',').filter_map(|word| word.trim().parse::<HostPattern>().ok());
            hosts.any(|pattern| pattern != HostPattern::Any && pattern.covers(host))
        }
        Some(Key::Network | Key::Service) | None => false,
    }
}

/// Returns the values of a container's labels for one attribute, of one port or all.
fn values(
    container: &Container,
    protocol: Protocol,
    port: Option<u16>,
    attribute: Attribute,
) -> impl Iterator<Item = &str> {
    let of = move |key: &str| match label::read(key) {
        Some(Key::Attribute(_, p, number, a)) => {
            (p, a) == (protocol, attribute) && port.is_none_or(|port| port == number)
        }
        _ => false,
    };
    container.labels.iter().filter(move |(key, _)| of(key)).map(|(_, value)| value.trim())
}

/// Returns whether lists of hosts match a host, or may have been meant to: without a list, any host
/// matches, and an invalid name may stand for any host.
fn may_name<'a>(lists: impl Iterator<Item = &'a str>, host: &str) -> bool {
    let mut words = lists.flat_map(|list| list.split(',')).peekable();
    let covers = |word: &str| word.trim().parse::<HostPattern>().map_or(true, |pattern| pattern.covers(host));
    words.peek().is_none() || words.any(covers)
}
