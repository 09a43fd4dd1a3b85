//! Connections that stop using HTTP.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bench::{Bench, SOON, read_reply};
use crate::upstreams::{Echo, raw, read_head};

const UPGRADE: &str =
    "GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n";

async fn says_back(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut heard = vec![0; text.len()];
    timeout(SOON, stream.read_exact(&mut heard)).await.expect("nothing comes back").unwrap();
    assert_eq!(heard, text.as_bytes());
}

#[tokio::test]
async fn an_upgraded_connection_outlives_its_route() {
    let (old, new) = (Echo::start().await, Echo::start().await);
    let mut bench = Bench::http(&[old.address]).await;
    let mut stream = bench.connect().await;
    stream.write_all(UPGRADE.as_bytes()).await.unwrap();
    let reply = read_reply(&mut stream).await;
    assert_eq!((reply.status, reply.header("upgrade")), (101, Some("echo")));
    assert_eq!(reply.header("connection"), Some("upgrade"));
    says_back(&mut stream, "before").await;
    bench.balance(&[new.address]).await;
    says_back(&mut stream, "after").await;
    bench.remove(bench.key("*", "")).await;
    says_back(&mut stream, "with the frontend gone").await;
    stream.shutdown().await.unwrap();
    assert_eq!(timeout(SOON, stream.read(&mut [0])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn bytes_sent_with_the_upgrade_are_not_lost() {
    // Each side sends data together with its part of the handshake.
    let address = raw(|mut stream| async move {
        read_head(&mut stream).await;
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nfrom upstream";
        stream.write_all(answer).await.unwrap();
        let mut heard = [0; 11];
        stream.read_exact(&mut heard).await.unwrap();
        stream.write_all(&heard).await.unwrap();
    })
    .await;
    let bench = Bench::http(&[address]).await;
    let text = bench.ask_raw(format!("{UPGRADE}from client").as_bytes()).await;
    assert!(text.ends_with("\r\n\r\nfrom upstreamfrom client"), "{text:?}");
}

#[tokio::test]
async fn an_upgrade_that_is_turned_down_leaves_the_connection_as_it_was() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    let mut stream = bench.connect().await;
    for _ in 0..2 {
        stream.write_all(UPGRADE.replace("/upgrade", "/").as_bytes()).await.unwrap();
        let reply = read_reply(&mut stream).await;
        assert_eq!((reply.status, reply.seen("upgrade")), (200, Some("echo")));
    }
}

#[tokio::test]
async fn an_upgrade_to_http_2_is_not_passed_on() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    let reply = bench
        .ask(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n\
             HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
        )
        .await;
    assert_eq!(reply.status, 200);
    for gone in ["upgrade", "connection", "http2-settings"] {
        assert_eq!(reply.seen(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn an_upstream_that_changes_the_protocol_unasked_is_a_bad_gateway() {
    let address = raw(|mut stream| async move {
        read_head(&mut stream).await;
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    })
    .await;
    let bench = Bench::http(&[address]).await;
    assert_eq!(bench.get("h", "/").await.status, 502);
}
