//! Timeouts.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use longshore_model::Protocol;
use longshore_proxy::{Settings, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::bench::{Bench, SOON, read_reply, settings};
use crate::upstreams::{Echo, raw, read_head};

const SHORT: Duration = Duration::from_millis(300);

async fn bench(timeouts: Timeouts, upstream: std::net::SocketAddr) -> Bench {
    let mut bench = Bench::new(Protocol::Http, Settings { timeouts, ..settings() }).await;
    bench.balance(&[upstream]).await;
    bench
}

#[tokio::test]
async fn a_client_that_drips_its_headers_is_cut_off() {
    let echo = Echo::start().await;
    let bench = bench(Timeouts { headers: SHORT, ..Timeouts::default() }, echo.address).await;
    let start = Instant::now();
    let mut slow = bench.connect().await;
    let dripping = async {
        for byte in b"GET / HTTP/1.1\r\nHost: h\r\nX: ".iter().chain([b'x'; 1000].iter()) {
            if slow.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, dripping).await.expect("the client may drip for ever");
    assert!(start.elapsed() >= SHORT);
    assert_eq!(bench.ask_raw(b"").await, "", "a connection without a request stays");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let echo = Echo::start().await;
    let bench = bench(Timeouts { idle: SHORT, ..Timeouts::default() }, echo.address).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    assert_eq!(read_reply(&mut stream).await.status, 200);
    let start = Instant::now();
    assert_eq!(timeout(SOON, stream.read(&mut [0])).await.unwrap().unwrap(), 0);
    assert!(start.elapsed() >= SHORT / 2);
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_a_body_is_cut_off() {
    let echo = Echo::start().await;
    let bench = bench(Timeouts { idle: SHORT, ..Timeouts::default() }, echo.address).await;
    let start = Instant::now();
    let mut stream = bench.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
    let mut reply = String::new();
    // Closed or reset.
    let _ = timeout(SOON, stream.read_to_string(&mut reply)).await.expect("the client may wait for ever");
    assert!(start.elapsed() >= SHORT / 2, "it was answered at once: {reply:?}");
    assert_eq!(reply, "", "half a request was answered");
    let gone = async {
        while echo.closed.load(SeqCst) < echo.opened.load(SeqCst) || bench.stats().open > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, gone).await.expect("the upstream still waits for the body");
}

#[tokio::test]
async fn a_client_that_takes_no_response_is_cut_off() {
    let echo = Echo::start().await;
    let bench = bench(Timeouts { idle: SHORT, ..Timeouts::default() }, echo.address).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"GET /big/200000000 HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let gone = async {
        while bench.stats().open > 0 || bench.stats().connections == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, gone).await.expect("the client may hold the upstream for ever");
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_a_gateway_time_out() {
    let echo = Echo::start().await;
    let bench = bench(Timeouts { response: SHORT, ..Timeouts::default() }, echo.address).await;
    let start = Instant::now();
    assert_eq!(bench.get("h", "/wait/60000").await.status, 504);
    assert!(start.elapsed() >= SHORT / 2 && start.elapsed() < SHORT * 4, "{:?}", start.elapsed());
    assert_eq!(bench.get("h", "/wait/1").await.status, 200);
}

#[tokio::test]
async fn a_slow_upload_is_not_the_upstreams_fault() {
    let echo = Echo::start().await;
    let bench = bench(Timeouts { response: SHORT, ..Timeouts::default() }, echo.address).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n").await.unwrap();
    for byte in b"drip-fed" {
        tokio::time::sleep(SHORT / 4).await;
        stream.write_all(&[*byte]).await.unwrap();
    }
    assert_eq!(read_reply(&mut stream).await.status, 200);
}

#[tokio::test]
async fn an_upstream_that_falls_silent_in_a_body_is_given_up() {
    let address = raw(|mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nstart").await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .await;
    let bench = bench(Timeouts { tunnel: SHORT, ..Timeouts::default() }, address).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let mut reply = [0; 512];
    let length = timeout(SOON, stream.read(&mut reply)).await.expect("no response begins").unwrap();
    assert!(
        reply[..length].starts_with(b"HTTP/1.1 200 OK\r\n"),
        "{:?}",
        String::from_utf8_lossy(&reply[..length])
    );
    let start = Instant::now();
    let mut rest = Vec::new();
    // Closed or reset: it is incomplete either way.
    let _ = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("the client waits for ever");
    assert!(start.elapsed() >= SHORT / 2, "it was given up at once");
    assert!(length + rest.len() < 200, "{} bytes came", length + rest.len());
}

#[tokio::test]
async fn unused_upstream_connections_are_closed() {
    let echo = Echo::start().await;
    let bench = bench(Timeouts { upstream_idle: SHORT, ..Timeouts::default() }, echo.address).await;
    bench.get("h", "/").await;
    let closed = async {
        while echo.closed.load(SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, closed).await.expect("the connection stays");
}

#[tokio::test]
async fn a_client_that_sends_nothing_more_and_takes_nothing_is_taken_for_gone() {
    let echo = Echo::start().await;
    let bench = bench(Timeouts { half_closed: SHORT, ..Timeouts::default() }, echo.address).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"GET /wait/60000 HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let start = Instant::now();
    // Closed or reset.
    let _ = timeout(SOON, stream.read(&mut [0])).await.expect("it may wait for ever");
    assert!(start.elapsed() >= SHORT / 2, "it had no time");
}
