//! Traffic under way while routes change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};

use super::lab::{Client, Lab, Upstream, free_port, get, read_head, to};

#[tokio::test]
async fn no_request_of_5000_fails_while_upstreams_come_and_go() {
    let mut lab = Lab::new().await;
    let port = free_port();
    let mut upstreams = vec![Upstream::new("u").await];
    let routes =
        |upstreams: &[Upstream]| vec![to(format!("http:{port} */"), &upstreams.iter().collect::<Vec<_>>())];
    lab.set(&routes(&upstreams)).await;
    let done = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let done = done.clone();
        clients.spawn(async move {
            let mut client = Client::connect(port).await.unwrap();
            for _ in 0..500 {
                let (status, body) = client.get("x", "/").await.unwrap();
                assert_eq!(status, 200, "{body}");
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut changes = 0;
    while done.load(Ordering::Relaxed) < 5000 {
        if changes / 6 % 2 == 0 {
            upstreams.push(Upstream::new("u").await);
            lab.set(&routes(&upstreams)).await;
        } else {
            // Removed from the routes first, then stopped once its requests have ended, as a container is.
            let going = upstreams.remove(0);
            lab.set(&routes(&upstreams)).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            drop(going);
        }
        changes += 1;
        tokio::task::yield_now().await;
        if clients.try_join_next().is_some_and(|ended| ended.is_err()) {
            break;
        }
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    assert_eq!(done.load(Ordering::Relaxed), 5000);
    assert!(changes > 20, "only {changes} changes");
    assert_eq!(lab.engine.stats().reloads, 0);
}

#[tokio::test]
async fn an_upstream_that_vanishes_fails_no_get() {
    let mut lab = Lab::new().await;
    let port = free_port();
    let (a, b) = (Upstream::new("a").await, Upstream::answering("b", Duration::from_millis(2)).await);
    lab.set(&[to(format!("http:{port} */"), &[&a, &b])]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let stop = stop.clone();
        clients.spawn(async move {
            let mut client = Client::connect(port).await.unwrap();
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(client.get("x", "/").await.unwrap().0, 200);
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(b);
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn a_retry_never_repeats_a_post() {
    let mut lab = Lab::new().await;
    let port = free_port();
    let heard = Arc::new(AtomicUsize::new(0));
    let count = heard.clone();
    // It takes a request and closes the connection without an answer.
    let rude = Upstream::speaking(move |stream| {
        let count = count.clone();
        async move {
            if read_head(&mut BufReader::new(stream)).await?.is_some() {
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    })
    .await;
    lab.set(&[to(format!("http:{port} */"), &[&rude])]).await;
    let ask = async |method: &str| {
        heard.store(0, Ordering::Relaxed);
        let mut client = Client::connect(port).await.unwrap();
        let request = format!("{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let (status, _) = client.ask(&request).await.unwrap();
        (status, heard.load(Ordering::Relaxed))
    };
    assert_eq!(ask("POST").await, (502, 1));
    let (status, times) = ask("GET").await;
    assert_eq!(status, 502);
    assert!(times > 1, "{times}");
}

#[tokio::test]
async fn a_websocket_lives_through_changes_of_its_route_and_a_reload() {
    let mut lab = Lab::with(|settings| settings.linger = Duration::from_millis(50)).await;
    let (port, other) = (free_port(), free_port());
    let echo = Upstream::speaking(|stream| async move {
        let mut stream = BufReader::new(stream);
        read_head(&mut stream).await?;
        stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            )
            .await?;
        let mut byte = [0];
        loop {
            stream.read_exact(&mut byte).await?;
            stream.write_all(&byte).await?;
        }
    })
    .await;
    let a = Upstream::new("a").await;
    lab.set(&[to(format!("http:{port} x/"), &[&echo])]).await;
    let mut socket = BufReader::new(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(request).await.unwrap();
    let head = read_head(&mut socket).await.unwrap().unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let mut say = async |byte: u8| {
        socket.write_all(&[byte]).await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), byte);
    };
    say(1).await;
    lab.set(&[to(format!("http:{port} x/"), &[&a])]).await;
    assert_eq!(get(port, "x", "/").await, "a /");
    say(2).await;
    lab.run_for(Duration::from_millis(2500)).await;
    say(3).await;
    assert_eq!(lab.engine.stats().reloads, 0);
    lab.set(&[to(format!("http:{port} x/"), &[&a]), to(format!("http:{other} x/"), &[&a])]).await;
    assert_eq!(lab.engine.stats().reloads, 1);
    say(4).await;
    assert_eq!(get(other, "x", "/").await, "a /");
}

#[tokio::test]
async fn requests_bytes_and_failures_are_counted_by_frontend_across_a_reload() {
    let mut lab = Lab::new().await;
    let (http, tcp, other) = (free_port(), free_port(), free_port());
    let (a, gone) = (Upstream::new("a").await, Upstream::new("gone").await);
    let mut routes = vec![
        to(format!("http:{http} x/"), &[&a]),
        to(format!("http:{http} gone/"), &[&gone]),
        to(format!("tcp:{tcp}"), &[&a]),
    ];
    lab.set(&routes[..1]).await;
    lab.set(&routes).await;
    // Requested before HAProxy's checks detect it.
    drop(gone);
    assert_eq!(get(http, "gone", "/").await, "503");
    for _ in 0..3 {
        assert_eq!(get(http, "x", "/").await, "a /");
    }
    assert_eq!(get(http, "y", "/").await, "404");
    assert_eq!(get(tcp, "x", "/").await, "a /");
    let mut open = Client::connect(http).await.unwrap();
    open.get("x", "/").await.unwrap();
    let meter = lab.engine.meter();
    let of =
        async |protocol: &str, port: u16| meter.read().await[&format!("{protocol}:{port}").parse().unwrap()];
    // HAProxy counts a response and a closed connection shortly after its client has seen them.
    let settled = async |responses: [u64; 5], open: u64| {
        for _ in 0..200 {
            let traffic = of("http", http).await;
            if (traffic.responses, traffic.open) == (responses, open) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        of("http", http).await
    };
    let first = settled([0, 4, 0, 1, 1], 1).await;
    assert_eq!((first.responses, first.connections, first.open), ([0, 4, 0, 1, 1], 6, 1));
    assert!(first.bytes_in > 5 * 20 && first.bytes_out > 5 * 20, "{first:?}");
    assert!(first.upstream_failures > 0, "{first:?}");
    let relayed = of("tcp", tcp).await;
    assert_eq!((relayed.connections, relayed.responses), (1, [0; 5]));
    routes.push(to(format!("http:{other} x/"), &[&a]));
    let reloads = lab.engine.stats().reloads;
    lab.set(&routes).await;
    assert_eq!(lab.engine.stats().reloads, reloads + 1);
    assert_eq!(get(http, "x", "/").await, "a /");
    let after = settled([0, 5, 0, 1, 1], 0).await;
    assert_eq!((after.responses, after.connections), ([0, 5, 0, 1, 1], 7));
    assert!(after.upstream_failures >= first.upstream_failures);
}

#[tokio::test]
async fn an_idle_connection_is_not_cut_by_a_reload() {
    let mut lab = Lab::new().await;
    let (port, other) = (free_port(), free_port());
    let a = Upstream::new("a").await;
    lab.set(&[to(format!("http:{port} x/"), &[&a])]).await;
    let mut client = Client::connect(port).await.unwrap();
    assert_eq!(client.get("x", "/").await.unwrap().0, 200);
    lab.set(&[to(format!("http:{port} x/"), &[&a]), to(format!("http:{other} x/"), &[&a])]).await;
    assert_eq!(lab.engine.stats().reloads, 1);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(client.get("x", "/").await.unwrap().0, 200);
}
