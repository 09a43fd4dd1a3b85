//! The DNS server, kept up to date like World and answering from a snapshot.
//!
//! [`DnsServer`] follows World and publishes a [`Zone`] with each change. The loops of `udp` and `tcp` use the zone
//! that was published last and never wait for the next. `longshore_plan::dns` decides how a request is answered.
//!
//! A successor inherits its predecessor's open ports ([`DnsPorts`]), so no request is lost in between.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_resolver::TlsConfig;
use hickory_resolver::net::NetError;
use longshore_model::{Change, Host, HostId, NameTable, Problem, Subject, World};
use longshore_plan::dns::{Zone, ZoneParts};
use longshore_plan::{Asker, BalancerLocation, NamePlan, NameSettings};
use longshore_runtime::{Follower, OwnThread, Passed, Reached, local_addr};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::forward::Forwarder;
use crate::ports::DnsPorts;
use crate::responder::Responder;
use crate::zones::Zones;
use crate::{DnsSettings, tcp, udp};

/// How long open questions may take once the server is stopped.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// The server's ports once they are open, for handing them over.
pub type SharedPorts = Arc<OnceLock<DnsPorts>>;

/// The DNS server.
pub struct DnsServer {
    settings: DnsSettings,
    /// The host's name as configured.
    node: String,
    location: BalancerLocation,
    ports: SharedPorts,
    plan: NamePlan,
    /// The names for those who ask from the other hosts of the cluster, and these hosts' addresses.
    elsewhere: Option<(BTreeSet<IpAddr>, NamePlan)>,
    zones: Zones,
    serial: u32,
    /// Created with the ports, which open when first needed.
    responder: Option<Arc<Responder>>,
    /// Answers independently of the rest of the agent; started with the ports.
    thread: Option<OwnThread>,
    forwarder: Arc<OnceLock<Forwarder>>,
    /// Creates the TLS configuration for forwarding.
    tls: fn() -> Result<TlsConfig, NetError>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_when_dropped: DropGuard,
}

impl DnsServer {
    /// Creates a server that answers nothing until its first pass. It uses a predecessor's ports if they are bound to
    /// the configured address.
    pub fn new(
        settings: DnsSettings,
        node: &str,
        location: BalancerLocation,
        inherited: Option<DnsPorts>,
    ) -> Self {
        let names = NameSettings {
            domain: settings.domain.clone(),
            node: node.parse().ok(),
            host: Vec::new(),
            asker: Asker::Here,
        };
        // Also grows across restarts, provided that the clock does.
        let serial = jiff::Timestamp::now().as_second() as u32;
        let plan = NamePlan::new(names);
        let stop = CancellationToken::new();
        let inherited = inherited.filter(|ports| ports.are_at(settings.listen));
        Self {
            node: node.to_owned(),
            location,
            ports: Arc::new(inherited.map_or_else(OnceLock::new, OnceLock::from)),
            zones: Arc::new(ArcSwap::from_pointee(zone(&plan, &settings, serial))),
            plan,
            elsewhere: None,
            serial,
            responder: None,
            thread: None,
            forwarder: Arc::default(),
            tls: TlsConfig::new,
            tasks: TaskTracker::new(),
            _stop_when_dropped: stop.clone().drop_guard(),
            stop,
            settings,
        }
    }

    /// Returns the zone that is answered from, for display.
    pub fn zones(&self) -> Zones {
        Arc::clone(&self.zones)
    }

    /// Returns the ports; they are set as soon as they are open.
    pub fn ports(&self) -> SharedPorts {
        Arc::clone(&self.ports)
    }

    /// Answers the requests already taken, then ends.
    pub async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, self.tasks.wait()).await;
    }

    /// Updates the plan from what changed; returns whether a name changed.
    fn look_at(&mut self, world: &World, changed: &BTreeSet<Change>) -> bool {
        if changed.iter().all(|change| matches!(change, Change::Container(_))) {
            return changed.iter().fold(false, |moved, change| self.plan.update(world, change) | moved);
        }
        let host = host_addresses(self.settings.listen.ip(), &self.location, world);
        let settings = NameSettings { host, ..self.plan.settings().clone() };
        if *self.plan.settings() == settings {
            return self.plan.update(world, &Change::All);
        }
        self.plan = NamePlan::of(world, settings);
        true
    }

    /// Updates what those on other hosts are told; returns whether a name changed.
    fn look_at_elsewhere(&mut self, world: &World, changed: &BTreeSet<Change>) -> bool {
        if let Some((_, plan)) = &mut self.elsewhere
            && changed.iter().all(|change| matches!(change, Change::Container(_)))
        {
            return changed.iter().fold(false, |moved, change| plan.update(world, change) | moved);
        }
        let addresses = |(_, host): (HostId, &Host)| host.info.addresses.clone();
        let others = world.hosts().filter(|(host, _)| *host != world.me()).flat_map(addresses);
        let hosts: BTreeSet<IpAddr> = others.map(|address| address.to_canonical()).collect();
        if hosts.is_empty() {
            return self.elsewhere.take().is_some();
        }
        let settings = NameSettings { asker: Asker::Elsewhere, ..self.plan.settings().clone() };
        self.elsewhere = Some((hosts, NamePlan::of(world, settings)));
        true
    }

    fn publish(&mut self) {
        self.serial = self.serial.wrapping_add(1);
        let zone = zone(&self.plan, &self.settings, self.serial);
        self.zones.store(Arc::new(match &self.elsewhere {
            Some((hosts, plan)) => zone.with_elsewhere(hosts.clone(), plan),
            None => zone,
        }));
    }

    /// Opens the ports if they are not open yet.
    fn open(&mut self) -> std::io::Result<()> {
        if self.responder.is_some() {
            return Ok(());
        }
        let ports = match self.ports.get() {
            Some(ports) => ports,
            None => {
                let opened = DnsPorts::open(self.settings.listen)?;
                self.ports.get_or_init(|| opened)
            }
        };
        let thread = OwnThread::start("dns")?;
        let runtime = thread.runtime();
        let in_thread = runtime.enter();
        let (datagrams, connections) = ports.watch()?;
        let responder = Arc::new(Responder::new(self.zones(), Arc::clone(&self.forwarder)));
        let (tasks, stop) = (&self.tasks, &self.stop);
        tasks.spawn_on(udp::serve(datagrams, Arc::clone(&responder), tasks.clone(), stop.clone()), runtime);
        tasks.spawn_on(tcp::serve(connections, Arc::clone(&responder), tasks.clone(), stop.clone()), runtime);
        drop(in_thread);
        (self.responder, self.thread) = (Some(responder), Some(thread));
        tracing::info!(listen = %self.settings.listen, domain = self.settings.domain.as_str(), "answering DNS");
        Ok(())
    }

    /// Sets up forwarding if it is configured and not set up yet.
    fn forward(&self) -> Result<(), NetError> {
        if !self.settings.forward.is_empty() && self.forwarder.get().is_none() {
            let forwarder = Forwarder::new(&self.settings.forward, (self.tls)()?);
            self.forwarder.get_or_init(|| forwarder);
        }
        Ok(())
    }
}

impl Follower for DnsServer {
    const NAME: &'static str = "dns";

    async fn pass(&mut self, world: &World, changed: &BTreeSet<Change>) -> Passed {
        let moved = self.look_at(world, changed) | self.look_at_elsewhere(world, changed);
        if moved || self.responder.is_none() {
            self.publish();
        }
        let mut problems: Vec<Problem> = self.plan.problems().cloned().collect();
        if self.plan.settings().node.is_none() {
            problems.push(no_node(&self.node));
        }
        let (forwards, opened) = (self.forward(), self.open());
        let reached = if forwards.is_ok() && opened.is_ok() { Reached::All } else { Reached::Part };
        problems.extend(forwards.err().map(|error| unforwarded(self.settings.listen, &error)));
        problems.extend(opened.err().map(|error| closed(self.settings.listen, &error)));
        Passed { problems, reached, ..Passed::default() }
    }
}

fn zone(plan: &NamePlan, settings: &DnsSettings, serial: u32) -> Zone {
    let listen = settings.listen.ip();
    let server = if listen.is_unspecified() { plan.settings().host.clone() } else { vec![listen] };
    let (ttl, forwards) = (seconds(settings.ttl), !settings.forward.is_empty());
    Zone::new(plan, ZoneParts { server, ttl, serial, forwards })
}

fn closed(listen: SocketAddr, error: &std::io::Error) -> Problem {
    Problem {
        subject: Subject::Dns { listen: listen.to_string() },
        key: Some("dns".to_owned()),
        message: format!("cannot listen there over UDP and TCP, so no name is answered: {error}"),
        hint: Some("retrying; stop what listens there, or choose another address".to_owned()),
    }
}

fn unforwarded(listen: SocketAddr, error: &NetError) -> Problem {
    Problem {
        subject: Subject::Dns { listen: listen.to_string() },
        key: Some("dns-forward".to_owned()),
        message: format!("cannot set up forwarding, so names of other domains are not answered: {error}"),
        hint: Some("retrying".to_owned()),
    }
}

fn no_node(node: &str) -> Problem {
    Problem {
        subject: Subject::File { path: "settings".to_owned(), line: None },
        key: Some("node".to_owned()),
        message: format!("invalid host name {node:?} for DNS: containers have no names"),
        hint: Some("expected letters, digits and hyphens: set it with --node".to_owned()),
    }
}

/// Rounds to whole seconds, as DNS counts.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).min(i32::MAX as u32)
}

/// Returns the names that a server with these settings would answer, and the problems of names that it would not.
pub fn preview(
    settings: &DnsSettings,
    node: &str,
    location: &BalancerLocation,
    world: &World,
) -> (NameTable, Vec<Problem>) {
    let host = host_addresses(settings.listen.ip(), location, world);
    let names =
        NameSettings { domain: settings.domain.clone(), node: node.parse().ok(), host, asker: Asker::Here };
    let plan = NamePlan::of(world, names);
    let problems = plan.problems().cloned().chain(plan.settings().node.is_none().then(|| no_node(node)));
    (plan.table().clone(), problems.collect())
}

/// Returns the addresses at which others reach the containers' host.
fn host_addresses(listen: IpAddr, location: &BalancerLocation, world: &World) -> Vec<IpAddr> {
    match location {
        BalancerLocation::Outside => return world.own().info.addresses.clone(),
        BalancerLocation::Container(own)
            if world.container(own).is_none_or(|own| own.network_mode != "host") =>
        {
            return Vec::new();
        }
        BalancerLocation::Container(_) | BalancerLocation::Host(_) => {}
    }
    if !listen.is_unspecified() && !listen.is_loopback() {
        return vec![listen];
    }
    let found: Vec<IpAddr> = local_addr::addresses().collect();
    // A host without a route out is only reachable from itself.
    if found.is_empty() { vec![Ipv4Addr::LOCALHOST.into()] } else { found }
}

#[cfg(test)]
mod tests {
    use tokio::net::UdpSocket;

    use super::*;

    /// A question for the address of `example.com`, with the id 7.
    const QUESTION: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01";

    #[tokio::test]
    async fn forwarding_that_cannot_be_set_up_is_a_problem_and_is_tried_again() {
        let free = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let (listen, upstream) = (free.local_addr().expect("its address"), "127.0.0.1:9".parse());
        drop(free);
        let me = HostId::from_u128(1);
        let settings = DnsSettings {
            listen,
            domain: "longshore.internal".parse().expect("a domain"),
            ttl: Duration::from_secs(5),
            forward: vec![upstream.expect("an address")],
        };
        let mut server = DnsServer::new(settings, "h1", BalancerLocation::Host(me), None);
        server.tls = || Err(NetError::from("no certificates"));
        let world = World::new(me, Host::default());
        let passed = server.pass(&world, &BTreeSet::from([Change::All])).await;
        assert_eq!(passed.reached, Reached::Part);
        let told: Vec<String> = passed.problems.iter().map(ToString::to_string).collect();
        assert!(
            matches!(&told[..], [one] if one.contains("dns-forward") && one.contains("no certificates")),
            "{told:?}"
        );

        // Own names are answered; a question for any other gets a server failure.
        let client = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        client.send_to(QUESTION, listen).await.expect("sent");
        let mut answer = [0; 512];
        let answered = tokio::time::timeout(Duration::from_secs(10), client.recv(&mut answer)).await;
        assert!(answered.expect("an answer").expect("read") > 12);
        assert_eq!(answer[3] & 0xf, 2, "SERVFAIL");

        server.tls = TlsConfig::new;
        let passed = server.pass(&world, &BTreeSet::new()).await;
        assert_eq!((passed.reached, passed.problems), (Reached::All, Vec::new()));
    }
}
