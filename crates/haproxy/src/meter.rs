//! HAProxy's traffic, read from its stats socket on demand.
//!
//! HAProxy counts per proxy, and each worker starts at zero. The meter adds up what it reads, per frontend. Traffic
//! of a replaced worker's last connections is not counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use longshore_model::{Frontend, Protocol};

use crate::command::Command;
use crate::layout::{Backend, State};
use crate::runtime::Runtime;
use crate::template::parse_frontend_name;

/// A frontend's counters since the engine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontendTraffic {
    /// HTTP responses by class: 1xx to 5xx. HAProxy's own answers count too.
    pub responses: [u64; 5],
    /// Client connections accepted.
    pub connections: u64,
    /// Client connections that are open.
    pub open: u64,
    /// Bytes that clients sent.
    pub bytes_in: u64,
    /// Bytes sent to clients.
    pub bytes_out: u64,
    /// Attempts beyond the first of a request or connection.
    pub retries: u64,
    /// Connections to an upstream that failed.
    pub upstream_failures: u64,
}

/// Reads and adds up HAProxy's counters. Every clone is the same meter.
#[derive(Clone)]
pub struct Meter(Arc<Inner>);

struct Inner {
    runtime: Runtime,
    /// The port whose routes a slot serves, or served last.
    slots: Mutex<BTreeMap<u32, u16>>,
    totals: tokio::sync::Mutex<Totals>,
}

#[derive(Default)]
struct Totals {
    /// The worker that was last read, and its counters.
    worker: u32,
    read: BTreeMap<Proxy, FrontendTraffic>,
    frontends: BTreeMap<Frontend, FrontendTraffic>,
}

/// A part of HAProxy with counters of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Proxy {
    Frontend(Frontend),
    Backend(Backend),
}

impl Meter {
    pub(crate) fn new(runtime: Runtime) -> Self {
        Self(Arc::new(Inner { runtime, slots: Mutex::default(), totals: tokio::sync::Mutex::default() }))
    }

    /// Reads HAProxy's counters and returns the totals. If HAProxy does not answer, they stay as they were.
    pub async fn read(&self) -> BTreeMap<Frontend, FrontendTraffic> {
        let mut totals = self.0.totals.lock().await;
        // Frontends and backends, without their servers.
        let lines = ["show info\n", "show stat -1 3 -1\n"].map(str::to_owned);
        if let Ok([info, stat]) = self.0.runtime.ask(&lines).await.as_deref() {
            let worker = info.lines().find_map(|line| line.strip_prefix("Pid: ")?.parse().ok()).unwrap_or(0);
            let slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
            totals.add(worker, parse(stat), &slots);
        }
        totals.frontends.clone()
    }

    /// Records which ports the slots of a state belong to.
    pub(crate) fn lay_out(&self, state: &State) {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for (port, map) in &state.maps {
            slots.extend(map.values().map(|target| (target.slot, *port)));
        }
    }

    /// Records which ports commands give slots to.
    pub(crate) fn follow(&self, commands: &[Command]) {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for command in commands {
            match command {
                Command::AddKey(port, _, target) => drop(slots.insert(target.slot, *port)),
                Command::Replace(port, map, _) => {
                    slots.extend(map.values().map(|target| (target.slot, *port)));
                }
                _ => {}
            }
        }
    }
}

impl Totals {
    fn add(&mut self, worker: u32, read: BTreeMap<Proxy, FrontendTraffic>, slots: &BTreeMap<u32, u16>) {
        let before = std::mem::replace(&mut self.read, read);
        let before =
            if std::mem::replace(&mut self.worker, worker) == worker { before } else { BTreeMap::new() };
        for total in self.frontends.values_mut() {
            total.open = 0;
        }
        for (proxy, is) in &self.read {
            let frontend = match *proxy {
                Proxy::Frontend(frontend) => frontend,
                Proxy::Backend(Backend::Tcp(port)) => Frontend { port, protocol: Protocol::Tcp },
                Proxy::Backend(Backend::Slot(slot)) => match slots.get(&slot) {
                    Some(&port) => Frontend { port, protocol: Protocol::Http },
                    None => continue,
                },
            };
            let was = before.get(proxy).copied().unwrap_or_default();
            let total = self.frontends.entry(frontend).or_default();
            // A counter that decreased was cleared.
            let grown = |is: u64, was: u64| is.checked_sub(was).unwrap_or(is);
            for ((total, is), was) in total.responses.iter_mut().zip(is.responses).zip(was.responses) {
                *total += grown(is, was);
            }
            total.connections += grown(is.connections, was.connections);
            total.open += is.open;
            total.bytes_in += grown(is.bytes_in, was.bytes_in);
            total.bytes_out += grown(is.bytes_out, was.bytes_out);
            total.retries += grown(is.retries, was.retries);
            total.upstream_failures += grown(is.upstream_failures, was.upstream_failures);
        }
    }
}

/// Parses `show stat`: a line of column names after `# `, then a line per proxy. Other proxies are skipped.
fn parse(text: &str) -> BTreeMap<Proxy, FrontendTraffic> {
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().unwrap_or_default().trim_start_matches("# ").split(',').collect();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |name: &str| Some(*fields.get(columns.iter().position(|column| *column == name)?)?);
        let number = |name: &str| field(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        let name = field("pxname")?;
        match field("svname")? {
            "FRONTEND" => {
                let traffic = FrontendTraffic {
                    responses: ["hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx"].map(number),
                    connections: number("conn_tot"),
                    open: number("scur"),
                    bytes_in: number("bin"),
                    bytes_out: number("bout"),
                    ..FrontendTraffic::default()
                };
                Some((Proxy::Frontend(parse_frontend_name(name)?), traffic))
            }
            "BACKEND" => {
                let (retries, upstream_failures) = (number("wretr"), number("econ"));
                let traffic = FrontendTraffic { retries, upstream_failures, ..FrontendTraffic::default() };
                Some((Proxy::Backend(Backend::parse(name)?), traffic))
            }
            _ => None,
        }
    };
    lines.filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "# pxname,svname,scur,bin,bout,econ,wretr,hrsp_2xx,hrsp_5xx,conn_tot,\n\
        http_80,FRONTEND,2,10,20,,,7,1,5,\nstats,FRONTEND,1,1,1,,,1,0,1,\nslot_0001,BACKEND,0,0,0,3,4,7,1,,\n\
        slot_0002,BACKEND,0,0,0,9,9,0,0,,\ntcp_5432,FRONTEND,1,5,6,,,,,3,\ntcp_5432,BACKEND,1,5,6,1,2,,,,\n";

    fn frontend(text: &str) -> Frontend {
        text.parse().unwrap()
    }

    #[test]
    fn counters_are_added_up_by_frontend_from_worker_to_worker() {
        let mut totals = Totals::default();
        let slots = BTreeMap::from([(1, 80)]);
        totals.add(100, parse(STAT), &slots);
        totals.add(100, parse(&STAT.replace("2,10,20", "0,15,20")), &slots);
        // After a reload the counters start at zero.
        totals.add(101, parse(STAT), &slots);
        let http = FrontendTraffic {
            responses: [0, 14, 0, 0, 2],
            connections: 10,
            open: 2,
            bytes_in: 25,
            bytes_out: 40,
            retries: 8,
            upstream_failures: 6,
        };
        let tcp = FrontendTraffic {
            connections: 6,
            open: 1,
            bytes_in: 10,
            bytes_out: 12,
            retries: 4,
            upstream_failures: 2,
            ..FrontendTraffic::default()
        };
        assert_eq!(
            totals.frontends,
            BTreeMap::from([(frontend("http:80"), http), (frontend("tcp:5432"), tcp)])
        );
    }

    #[test]
    fn what_is_no_statistics_is_nothing() {
        assert!(parse("").is_empty());
        assert!(parse("Unknown command.\nhttp_80,FRONTEND").is_empty());
    }
}
