//! Frontends that open and close, and a balancer that stops.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use longshore_model::{Protocol, Route};
use longshore_proxy::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::bench::{Bench, SOON, free_port, read_reply, settings, upstream};
use crate::upstreams::Echo;

#[tokio::test]
async fn a_frontend_listens_from_its_first_route_to_its_last() {
    let echo = Echo::start().await;
    let mut bench = Bench::new(Protocol::Http, Settings { workers: 2, ..settings() }).await;
    assert!(TcpStream::connect(bench.address()).await.is_err());
    bench.route("a", "", false, echo.address).await;
    bench.route("b", "", false, echo.address).await;
    let mut idle = bench.connect().await;
    let mut busy = bench.connect().await;
    busy.write_all(b"GET /wait/200 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    while echo.count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.remove(bench.key("a", "")).await;
    assert_eq!(bench.get("b", "/").await.status, 200);
    bench.remove(bench.key("b", "")).await;
    let closed = async {
        while TcpStream::connect(bench.address()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, closed).await.expect("it still listens");
    assert_eq!(read_reply(&mut busy).await.status, 200);
    for stream in [&mut idle, &mut busy] {
        assert_eq!(timeout(SOON, stream.read(&mut [0])).await.expect("it stays open").unwrap(), 0);
    }
    bench.route("a", "", false, echo.address).await;
    assert_eq!(bench.get("a", "/").await.status, 200);
}

#[tokio::test]
async fn a_frontend_that_closed_can_open_again_at_once() {
    let echo = Echo::start().await;
    for protocol in [Protocol::Http, Protocol::Tcp, Protocol::Udp] {
        for workers in [1, 2] {
            let mut bench = Bench::new(protocol, Settings { workers, ..settings() }).await;
            for _ in 0..20 {
                bench.balance(&[echo.address]).await;
                if protocol == Protocol::Udp {
                    // A session must not keep the socket.
                    let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
                    client.send_to(b"q", bench.address()).await.unwrap();
                }
                bench.remove(bench.key("*", "")).await;
            }
        }
    }
}

#[tokio::test]
async fn a_port_in_use_costs_only_its_frontend_and_is_tried_again() {
    for workers in [1, 2] {
        let echo = Echo::start().await;
        let mut bench = Bench::new(Protocol::Http, Settings { workers, ..settings() }).await;
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let free = bench.frontend;
        let used = longshore_model::Frontend { port: taken.local_addr().unwrap().port(), ..free };
        let mut changed = BTreeSet::new();
        for frontend in [used, free] {
            let mut key = bench.key("*", "");
            key.frontend = frontend;
            changed.insert(key.clone());
            let upstreams = vec![upstream(echo.address, 1)];
            bench.table.insert(Arc::new(Route { key, strip_prefix: false, upstreams, waiting: Vec::new() }));
        }
        let failed = bench.balancer.apply(&bench.table, &changed).await;
        assert_eq!(failed.len(), 1);
        assert_eq!((failed[0].0, failed[0].1.kind()), (used, ErrorKind::AddrInUse));
        assert_eq!(bench.get("h", "/").await.status, 200);
        drop(taken);
        assert!(bench.balancer.apply(&bench.table, &changed).await.is_empty());
        bench.frontend = used;
        assert_eq!(bench.get("h", "/").await.status, 200);
    }
}

#[tokio::test]
async fn two_balancers_share_a_port_only_if_told_to() {
    let echo = Echo::start().await;
    for (share_ports, shared) in [(false, false), (true, true)] {
        let settings = Settings { share_ports, workers: 2, ..settings() };
        let mut first = Bench::new(Protocol::Http, settings.clone()).await;
        first.balance(&[echo.address]).await;
        let mut second = Bench::new(Protocol::Http, settings).await;
        second.frontend = first.frontend;
        let (key, upstreams) = (second.key("*", ""), vec![upstream(echo.address, 1)]);
        let failed = second.put(Route { key, strip_prefix: false, upstreams, waiting: Vec::new() }).await;
        assert_eq!(failed.is_empty(), shared);
    }
}

#[tokio::test]
async fn tcp_and_udp_frontends_share_a_port_number() {
    let echo = Echo::start().await;
    let mut bench = Bench::new(Protocol::Http, settings()).await;
    bench.balance(&[echo.address]).await;
    bench.frontend.protocol = Protocol::Udp;
    bench.balance(&[echo.address]).await;
    bench.frontend.protocol = Protocol::Http;
    assert_eq!(bench.get("h", "/").await.status, 200);
}

#[tokio::test]
async fn the_default_address_takes_ipv4_and_ipv6() {
    let echo = Echo::start().await;
    let mut bench = Bench::new(Protocol::Http, Settings { workers: 1, ..Settings::default() }).await;
    bench.balance(&[echo.address]).await;
    let reply = bench.get("h", "/").await;
    assert_eq!(reply.seen("x-forwarded-for"), Some("127.0.0.1"));
    if TcpListener::bind("[::1]:0").await.is_ok() {
        let mut stream = TcpStream::connect(("::1", bench.frontend.port)).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n").await.unwrap();
        assert_eq!(read_reply(&mut stream).await.seen("x-forwarded-for"), Some("::1"));
    }
}

#[tokio::test]
async fn a_drain_lets_open_requests_finish_and_closes_the_rest() {
    let echo = Echo::start().await;
    let mut bench = Bench::new(Protocol::Http, Settings { workers: 2, ..settings() }).await;
    bench.balance(&[echo.address]).await;
    let mut idle = bench.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    read_reply(&mut idle).await;
    let mut again = bench.connect().await;
    again.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    read_reply(&mut again).await;
    let mut busy = bench.connect().await;
    busy.write_all(b"GET /wait/300 HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let io = TokioIo::new(bench.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://h/wait/300").body(Empty::<Bytes>::new()).unwrap();
    let stream = tokio::spawn(async move { sender.send_request(request).await });
    while echo.count() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let start = Instant::now();
    let balancer = bench.balancer.clone();
    let drained = tokio::spawn(async move { balancer.drain(SOON).await });
    while TcpStream::connect(bench.address()).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    again.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let reply = read_reply(&mut again).await;
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")), "one more is answered");
    assert_eq!(timeout(SOON, again.read(&mut [0])).await.unwrap().unwrap(), 0);
    let reply = read_reply(&mut busy).await;
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    let response = stream.await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap();
    timeout(SOON, connection).await.expect("no GOAWAY").unwrap().unwrap();
    assert_eq!(timeout(SOON, idle.read(&mut [0])).await.unwrap().unwrap(), 0, "a silent one is ended");
    timeout(SOON, drained).await.expect("the drain does not end").unwrap();
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_drain_ends_after_its_grace() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    let mut stuck = bench.connect().await;
    stuck.write_all(b"GET /wait/60000 HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    while echo.count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let start = Instant::now();
    bench.balancer.drain(Duration::from_millis(100)).await;
    assert!(start.elapsed() >= Duration::from_millis(100) && start.elapsed() < Duration::from_secs(2));
    // Cut off: closed or reset.
    let _ = timeout(SOON, stuck.read(&mut [0])).await.expect("it is still open");
}

#[tokio::test]
async fn connections_that_wait_in_the_queue_are_served_when_a_drain_begins() {
    let echo = Echo::start().await;
    for _ in 0..20 {
        let bench = Bench::http(&[echo.address]).await;
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut stream = bench.connect().await;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
            clients.push(stream);
        }
        bench.balancer.drain(SOON).await;
        for mut stream in clients {
            assert_eq!(read_reply(&mut stream).await.status, 200);
        }
    }
}

#[tokio::test]
async fn beyond_the_limit_connections_wait_for_their_turn() {
    let echo = Echo::start().await;
    let mut bench = Bench::new(Protocol::Http, Settings { connections: 2, ..settings() }).await;
    bench.balance(&[echo.address]).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = bench.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        read_reply(&mut stream).await;
        open.push(stream);
    }
    let mut third = bench.connect().await;
    third.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    assert!(timeout(Duration::from_millis(100), third.read(&mut [0; 1])).await.is_err());
    open.pop();
    assert_eq!(read_reply(&mut third).await.status, 200);
}

#[tokio::test]
async fn a_balancer_that_is_dropped_stops() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    let address = bench.address();
    drop(bench);
    let stopped = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, stopped).await.expect("it still listens");
    assert_ne!(free_port().await, 0);
}
