//! How long a change takes until traffic sees it. Run with `--ignored --nocapture`, on a quiet machine.

use std::time::Instant;

use super::lab::{Lab, Upstream, free_port, get, to};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn a_route_is_added() {
    for routed in [1usize, 100, 1000] {
        let mut lab = Lab::with(|settings| settings.pool = 2048).await;
        let port = free_port();
        let a = Upstream::new("a").await;
        let mut routes: Vec<_> = (0..routed).map(|n| to(format!("http:{port} h{n}.com/"), &[&a])).collect();
        let started = Instant::now();
        lab.set(&routes).await;
        let start = started.elapsed();
        let mut applied = Vec::new();
        let mut served = Vec::new();
        for n in 0..300 {
            routes.push(to(format!("http:{port} n{n}.com/p strip"), &[&a]));
            let build = |(text, upstreams): &(String, Vec<(std::net::SocketAddr, u16)>)| {
                super::super::fixture::route(
                    text,
                    upstreams.iter().map(|(address, _)| super::super::fixture::at(*address, "100")).collect(),
                )
            };
            let route = build(routes.last().unwrap());
            let changed = [route.key.clone()].into();
            let mut table = lab.table.clone();
            table.insert(route.into());
            lab.table = table;
            let begun = Instant::now();
            lab.engine.apply(&lab.table, &changed).await.unwrap();
            applied.push(begun.elapsed());
            assert_eq!(get(port, &format!("n{n}.com"), "/p/x").await, "a /x");
            served.push(begun.elapsed());
        }
        applied.sort();
        served.sort();
        println!(
            "{routed} routes: start {start:?}; apply p50 {:?} p99 {:?}; first 200 p50 {:?} p99 {:?}; {:?}",
            applied[150],
            applied[297],
            served[150],
            served[297],
            lab.engine.stats()
        );
        let other = free_port();
        let begun = Instant::now();
        routes.push(to(format!("http:{other} */"), &[&a]));
        lab.set(&routes).await;
        assert_eq!(get(other, "x", "/").await, "a /");
        println!("{routed} routes: a port added {:?}", begun.elapsed());
    }
}
