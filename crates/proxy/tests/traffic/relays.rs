//! TCP and UDP frontends.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use longshore_model::Protocol;
use longshore_proxy::{Settings, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::bench::{Bench, SOON, settings};
use crate::upstreams::{raw, refusing};

/// Starts a server that reads to the end, then answers with its port and what it read.
async fn collector() -> SocketAddr {
    raw(|mut stream| async move {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let answer = format!("{} {}", stream.local_addr().unwrap().port(), String::from_utf8_lossy(&bytes));
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await
}

#[tokio::test]
async fn a_half_closed_tcp_connection_still_answers() {
    let upstream = collector().await;
    let mut bench = Bench::new(Protocol::Tcp, settings()).await;
    bench.balance(&[upstream]).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, format!("{} hello", upstream.port()));
    let stats = bench.stats();
    assert_eq!((stats.bytes_in, stats.bytes_out), (5, answer.len() as u64));
}

#[tokio::test]
async fn tcp_connections_go_round_and_past_an_upstream_that_refuses() {
    let (a, b, dead) = (collector().await, collector().await, refusing().await);
    let mut bench = Bench::new(Protocol::Tcp, settings()).await;
    bench.balance(&[a, b, dead]).await;
    let mut ports = Vec::new();
    for _ in 0..8 {
        let mut stream = bench.connect().await;
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        ports.push(answer.trim().parse::<u16>().unwrap());
    }
    assert_eq!(ports.iter().collect::<BTreeSet<_>>(), BTreeSet::from([&a.port(), &b.port()]));
    assert!(bench.stats().retries >= 1);
}

#[tokio::test]
async fn a_tcp_connection_outlives_its_upstreams_place_in_the_table() {
    let (old, new) = (collector().await, collector().await);
    let mut bench = Bench::new(Protocol::Tcp, settings()).await;
    bench.balance(&[old]).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"be").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    bench.balance(&[new]).await;
    bench.remove(bench.key("*", "")).await;
    stream.write_all(b"fore").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, format!("{} before", old.port()));
}

#[tokio::test]
async fn a_tcp_frontend_without_upstreams_closes() {
    let mut bench = Bench::new(Protocol::Tcp, settings()).await;
    bench.balance(&[]).await;
    assert_eq!(bench.ask_raw(b"").await, "");
}

#[tokio::test]
async fn a_silent_tcp_connection_is_closed_in_the_end() {
    let upstream = collector().await;
    let timeouts = Timeouts { tunnel: Duration::from_millis(200), ..Timeouts::default() };
    let mut bench = Bench::new(Protocol::Tcp, Settings { timeouts, ..settings() }).await;
    bench.balance(&[upstream]).await;
    assert_eq!(bench.ask_raw(b"").await, "");
}

/// Starts a server that answers each datagram with its port and the datagram.
pub(crate) async fn udp_echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            let mut answer = format!("{} ", address.port()).into_bytes();
            answer.extend_from_slice(&buffer[..length]);
            socket.send_to(&answer, peer).await.unwrap();
        }
    });
    address
}

pub(crate) async fn asks(client: &UdpSocket, text: &str) -> (u16, String) {
    client.send(text.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 65_536];
    let length = timeout(SOON, client.recv(&mut buffer)).await.expect("no datagram comes back").unwrap();
    let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let (port, text) = answer.split_once(' ').unwrap();
    (port.parse().unwrap(), text.to_owned())
}

pub(crate) async fn udp_client(to: SocketAddr) -> UdpSocket {
    let any = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let client = UdpSocket::bind(any).await.unwrap();
    client.connect(to).await.unwrap();
    client
}

#[tokio::test]
async fn a_udp_client_keeps_its_upstream_while_others_come_and_go() {
    let (a, b, c) = (udp_echo().await, udp_echo().await, udp_echo().await);
    let mut bench = Bench::new(Protocol::Udp, settings()).await;
    bench.balance(&[a, b]).await;
    let mut clients = Vec::new();
    for i in 0..6 {
        let client = udp_client(bench.address()).await;
        let (port, text) = asks(&client, &format!("q{i}")).await;
        assert_eq!(text, format!("q{i}"));
        clients.push((client, port));
    }
    let used: BTreeSet<u16> = clients.iter().map(|(_, port)| *port).collect();
    assert_eq!(used, BTreeSet::from([a.port(), b.port()]));
    bench.balance(&[a, c]).await;
    for (client, before) in &clients {
        let (port, _) = asks(client, "again").await;
        assert_ne!(port, b.port());
        assert!(*before != a.port() || port == a.port(), "a session moved");
    }
    assert_eq!(asks(&clients[0].0, &"x".repeat(9000)).await.1.len(), 9000);
}

#[tokio::test]
async fn a_udp_session_moves_on_when_its_upstream_refuses() {
    let echo = udp_echo().await;
    let dead = refusing().await;
    let mut bench = Bench::new(Protocol::Udp, settings()).await;
    bench.balance(&[dead, echo]).await;
    for _ in 0..2 {
        let client = udp_client(bench.address()).await;
        // The first datagram may be lost until this is detected; UDP clients repeat it.
        let answered = async {
            loop {
                client.send(b"q").await.unwrap();
                if timeout(Duration::from_millis(50), client.recv(&mut [0; 64])).await.is_ok() {
                    break;
                }
            }
        };
        timeout(SOON, answered).await.expect("the session stays with the dead upstream");
    }
    assert!(bench.stats().upstream_failures >= 1);
}

#[tokio::test]
async fn udp_sessions_are_forgotten_and_bounded() {
    let echo = udp_echo().await;
    let timeouts = Timeouts { session: Duration::from_millis(200), ..Timeouts::default() };
    let mut bench = Bench::new(Protocol::Udp, Settings { timeouts, sessions: 2, ..settings() }).await;
    bench.balance(&[echo]).await;
    let (first, second, third) = (
        udp_client(bench.address()).await,
        udp_client(bench.address()).await,
        udp_client(bench.address()).await,
    );
    asks(&first, "1").await;
    asks(&second, "2").await;
    third.send(b"3").await.unwrap();
    assert!(timeout(Duration::from_millis(80), third.recv(&mut [0; 64])).await.is_err());
    assert_eq!(bench.stats().open, 2);
    let forgotten = async {
        while bench.stats().open > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, forgotten).await.expect("sessions stay");
    asks(&third, "3").await;
}

#[tokio::test]
async fn a_udp_reply_comes_from_the_address_that_was_asked() {
    let echo = udp_echo().await;
    let bind = Settings::default().bind;
    let mut bench = Bench::new(Protocol::Udp, Settings { bind, workers: 2, ..Settings::default() }).await;
    bench.balance(&[echo]).await;
    // The client's socket is connected, so it takes replies from this address only.
    for address in ["127.0.0.1", "127.0.0.2", "127.1.2.3"] {
        let client = udp_client(SocketAddr::new(address.parse().unwrap(), bench.frontend.port)).await;
        assert_eq!(asks(&client, "q").await.0, echo.port(), "{address}");
    }
    if UdpSocket::bind("[::1]:0").await.is_ok() {
        let client = udp_client(SocketAddr::new("::1".parse().unwrap(), bench.frontend.port)).await;
        assert_eq!(asks(&client, "q").await.0, echo.port());
    }
}
