//! Balances one port over some upstreams, for benchmarks:
//! `serve LISTEN_PORT UPSTREAM_ADDRESS… [--workers N]`.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use longshore_model::{
    ContainerId, ContainerRef, Frontend, HostId, HostPattern, PathPrefix, Protocol, Route, RouteKey,
    RouteTable, Upstream, Way, Weight,
};
use longshore_proxy::{Balancer, Settings};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut settings = Settings { workers: 1, ..Settings::default() };
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().ok_or("which port to listen on?")?.parse()?;
    let mut upstreams = Vec::new();
    while let Some(argument) = arguments.next() {
        if argument == "--workers" {
            settings.workers = arguments.next().ok_or("how many workers?")?.parse()?;
            continue;
        }
        let address: SocketAddr = argument.parse()?;
        upstreams.push(Upstream {
            container: ContainerRef::new(HostId::from_u128(1), ContainerId::new(&argument)),
            name: argument,
            port: address.port(),
            way: Way::Direct(address),
            weight: Weight::default(),
        });
    }
    let frontend = Frontend { port, protocol: Protocol::Http };
    let key = RouteKey { frontend, host: HostPattern::Any, prefix: PathPrefix::default() };
    let route = Route { key: key.clone(), strip_prefix: false, upstreams, waiting: Vec::new() };
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let (balancer, mut observations) = Balancer::start(settings)?;
        let table: RouteTable = [route].into_iter().collect();
        if let Some((_, error)) = balancer.apply(&table, &BTreeSet::from([key])).await.pop() {
            return Err(error.into());
        }
        while observations.recv().await.is_some() {}
        Ok(())
    })
}
