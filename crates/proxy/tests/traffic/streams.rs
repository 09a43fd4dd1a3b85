//! HTTP/2 streams: each has its own timeouts, whatever happens on the others.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use longshore_model::Protocol;
use longshore_proxy::{Settings, Timeouts};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::bench::{Bench, SOON, settings};
use crate::upstreams::{Echo, raw, read_head};

const SHORT: Duration = Duration::from_millis(200);

async fn bench(idle: Duration) -> Bench {
    let timeouts = Timeouts { idle, ..Timeouts::default() };
    Bench::new(Protocol::Http, Settings { timeouts, ..settings() }).await
}

#[tokio::test]
async fn a_stream_that_ends_leaves_a_silent_one_its_time() {
    let more = Arc::new(Notify::new());
    let events = {
        let more = Arc::clone(&more);
        raw(move |mut stream| {
            let more = Arc::clone(&more);
            async move {
                read_head(&mut stream).await;
                let head =
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\none\n";
                stream.write_all(head).await.unwrap();
                more.notified().await;
                stream.write_all(b"two\n").await.unwrap();
            }
        })
        .await
    };
    let echo = Echo::start().await;
    let mut bench = bench(SHORT).await;
    bench.route("*", "events", false, events).await;
    bench.route("*", "", false, echo.address).await;
    let io = TokioIo::new(bench.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let get = |target: &str| Request::get(format!("http://h{target}")).body(Empty::<Bytes>::new()).unwrap();
    let mut silent = sender.send_request(get("/events")).await.unwrap().into_body();
    assert_eq!(silent.frame().await.unwrap().unwrap().into_data().unwrap(), "one\n");
    sender.send_request(get("/big/50000")).await.unwrap().into_body().collect().await.unwrap();
    tokio::time::sleep(SHORT * 4).await;
    more.notify_one();
    let frame = timeout(SOON, silent.frame()).await.expect("no second event comes");
    assert_eq!(frame.unwrap().expect("the stream was cut off").into_data().unwrap(), "two\n");
}

#[tokio::test]
async fn streams_whose_client_takes_nothing_are_ended_though_it_sends_pings() {
    let echo = Echo::start().await;
    let mut bench = bench(SHORT).await;
    bench.balance(&[echo.address]).await;
    let stream = bench.connect().await;
    let (mut sender, mut connection) =
        h2::client::Builder::new().initial_window_size(0).handshake::<_, Bytes>(stream).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    let pinging = tokio::spawn(async move {
        while pings.ping(h2::Ping::opaque()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    tokio::spawn(connection);
    let mut bodies = Vec::new();
    for _ in 0..20 {
        let request = http::Request::get("http://h/big/1000000").body(()).unwrap();
        sender = sender.ready().await.unwrap();
        let (response, _) = sender.send_request(request, true).unwrap();
        bodies.push(response.await.unwrap().into_body());
    }
    let ended = async {
        for mut body in bodies {
            assert!(
                body.data().await.is_none_or(|data| data.is_err()),
                "a window of nothing let something pass"
            );
        }
        while echo.closed.load(SeqCst) < echo.opened.load(SeqCst) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, ended).await.expect("the upstream's connections are held");
    assert!(!pinging.is_finished(), "the connection itself was ended");
}

#[tokio::test]
async fn a_stream_whose_client_stops_in_the_middle_of_its_body_is_ended_alone() {
    let echo = Echo::start().await;
    let mut bench = bench(SHORT).await;
    bench.balance(&[echo.address]).await;
    let (mut sender, connection) =
        h2::client::Builder::new().handshake::<_, Bytes>(bench.connect().await).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://h/").body(()).unwrap();
    let (response, mut body) = sender.send_request(request, false).unwrap();
    body.send_data("half".into(), false).unwrap();
    // Others that are answered in that time do not extend it, and stay open.
    let others = async {
        loop {
            let request = http::Request::get("http://h/wait/50").body(()).unwrap();
            sender = sender.clone().ready().await.unwrap();
            let (response, _) = sender.send_request(request, true).unwrap();
            assert_eq!(response.await.unwrap().status(), 200);
        }
    };
    let ended = async { assert!(response.await.is_err(), "half a body was answered") };
    tokio::select! {
        () = others => {}
        ended = timeout(SOON, ended) => ended.expect("the stream may wait for ever"),
    }
}
