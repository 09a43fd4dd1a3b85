//! Shares of traffic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::bench::{Bench, read_reply};
use crate::upstreams::{Echo, refusing};

const KEEP: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

#[tokio::test]
async fn shares_follow_the_weights_over_1000_requests() {
    let (a, b, c) = (Echo::start().await, Echo::start().await, Echo::start().await);
    let mut bench = Bench::http(&[]).await;
    bench.weigh(&[(a.address, 100), (b.address, 50), (c.address, 50)]).await;
    let mut stream = bench.connect().await;
    let mut counts = BTreeMap::<u16, i32>::new();
    for _ in 0..1000 {
        stream.write_all(KEEP).await.unwrap();
        *counts.entry(read_reply(&mut stream).await.by()).or_default() += 1;
    }
    for (echo, share) in [(a, 500), (b, 250), (c, 250)] {
        let count = counts[&echo.port()];
        assert!((count - share).abs() <= 1, "{count} of {share}");
    }
    assert_eq!(bench.stats().responses[1], 1000);
}

#[tokio::test]
async fn an_upstream_of_weight_zero_steps_in_when_the_others_are_gone() {
    let spare = Echo::start().await;
    let mut last = Echo::start().await;
    let mut bench = Bench::http(&[]).await;
    bench.weigh(&[(last.address, 1), (spare.address, 0)]).await;
    for _ in 0..5 {
        assert_eq!(bench.get("h", "/").await.by(), last.port());
    }
    last.stop_listening().await;
    // The connections that the balancer keeps are still served.
    bench.weigh(&[(refusing().await, 1), (spare.address, 0)]).await;
    assert_eq!(bench.get("h", "/").await.by(), spare.port());
    bench.weigh(&[(spare.address, 0)]).await;
    assert_eq!(bench.get("h", "/").await.by(), spare.port());
}

#[tokio::test]
async fn connections_to_upstreams_are_used_again() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    for _ in 0..20 {
        bench.get("h", "/").await;
    }
    assert_eq!((echo.count(), echo.opened.load(SeqCst)), (20, 1));
}

#[tokio::test]
async fn no_request_goes_to_an_upstream_that_was_removed() {
    let (old, new) = (Echo::start().await, Echo::start().await);
    let mut bench = Bench::http(&[old.address, new.address]).await;
    let mut stream = bench.connect().await;
    for _ in 0..4 {
        stream.write_all(KEEP).await.unwrap();
        read_reply(&mut stream).await;
    }
    assert_eq!(old.count(), 2);
    bench.balance(&[new.address]).await;
    for _ in 0..20 {
        stream.write_all(KEEP).await.unwrap();
        assert_eq!(read_reply(&mut stream).await.by(), new.port());
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(old.count(), 2);
    assert_eq!(old.closed.load(SeqCst), old.opened.load(SeqCst), "an idle connection was kept");
}

#[tokio::test]
async fn a_request_that_is_open_when_its_upstream_is_removed_finishes() {
    let (old, new) = (Echo::start().await, Echo::start().await);
    let mut bench = Bench::http(&[old.address]).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"GET /wait/200 HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    while old.count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.balance(&[new.address]).await;
    assert_eq!(read_reply(&mut stream).await.by(), old.port());
    stream.write_all(KEEP).await.unwrap();
    assert_eq!(read_reply(&mut stream).await.by(), new.port());
}

#[tokio::test]
async fn of_5000_requests_none_fails_while_upstreams_come_and_go() {
    let mut echoes = Vec::new();
    for _ in 0..6 {
        echoes.push(Echo::start().await);
    }
    let addresses: Vec<_> = echoes.iter().map(|echo| echo.address).collect();
    let mut bench = Bench::new(
        longshore_model::Protocol::Http,
        longshore_proxy::Settings { workers: 2, ..crate::bench::settings() },
    )
    .await;
    bench.balance(&addresses[..1]).await;
    let done = Arc::new(AtomicUsize::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..10)
        .map(|_| {
            let (address, done) = (bench.address(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
                for _ in 0..500 {
                    stream.write_all(KEEP).await.unwrap();
                    assert_eq!(read_reply(&mut stream).await.status, 200);
                    done.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    let changing = {
        let over = Arc::clone(&over);
        tokio::spawn(async move {
            let mut changes = 0;
            while !over.load(SeqCst) {
                for up_to in [2, 4, 6, 5, 3, 1] {
                    bench.balance(&addresses[..up_to]).await;
                    changes += 1;
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            }
            changes
        })
    };
    for client in clients {
        client.await.unwrap();
    }
    over.store(true, SeqCst);
    let changes = changing.await.unwrap();
    assert_eq!(done.load(SeqCst), 5000);
    assert_eq!(echoes.iter().map(Echo::count).sum::<usize>(), 5000);
    assert!(changes >= 6, "{changes} changes");
}
