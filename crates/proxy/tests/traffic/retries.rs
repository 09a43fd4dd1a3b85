//! What is retried, and what is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use longshore_model::Protocol;
use longshore_proxy::{Observation, Settings, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::bench::{Bench, SOON, read_reply, settings};
use crate::upstreams::{Echo, raw, read_head, refusing};

const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";

#[tokio::test]
async fn an_upstream_that_refuses_is_passed_over_and_told_of() {
    let echo = Echo::start().await;
    let dead = refusing().await;
    let mut bench = Bench::http(&[dead, echo.address]).await;
    for _ in 0..20 {
        assert_eq!(bench.get("h", "/").await.by(), echo.port());
        assert_eq!(bench.ask(POST).await.by(), echo.port());
    }
    let Observation::UpstreamFailed { address, container, error } =
        timeout(SOON, bench.seen.recv()).await.unwrap().unwrap();
    assert_eq!((address, error), (dead, std::io::ErrorKind::ConnectionRefused));
    assert_eq!(container.id.as_str(), format!("container-{}", dead.port()));
    assert!(bench.stats().upstream_failures <= 2, "{:?}", bench.stats());
}

#[tokio::test]
async fn all_upstreams_refusing_is_a_bad_gateway() {
    let bench = Bench::http(&[refusing().await, refusing().await]).await;
    assert_eq!(bench.get("h", "/").await.status, 502);
    assert_eq!(bench.get("h", "/").await.status, 502);
}

#[tokio::test]
async fn an_upstream_that_comes_back_is_used_again() {
    let address = refusing().await;
    let bench = Bench::http(&[address]).await;
    assert_eq!(bench.get("h", "/").await.status, 502);
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    });
    assert_eq!(bench.get("h", "/").await.status, 200);
}

/// Returns an upstream that reads a request and hangs up, and its request count.
async fn hanging_up() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let address = raw(move |mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            if !read_head(&mut stream).await.is_empty() {
                counted.fetch_add(1, SeqCst);
            }
        }
    })
    .await;
    (address, requests)
}

#[tokio::test]
async fn a_get_that_got_no_answer_is_repeated_elsewhere() {
    let echo = Echo::start().await;
    let (address, requests) = hanging_up().await;
    let bench = Bench::http(&[address, echo.address]).await;
    for _ in 0..4 {
        assert_eq!(bench.get("h", "/").await.by(), echo.port());
    }
    assert!(requests.load(SeqCst) > 0);
    assert_eq!(bench.stats().retries, requests.load(SeqCst) as u64);
}

#[tokio::test]
async fn a_retry_never_repeats_a_post() {
    let echo = Echo::start().await;
    let (address, requests) = hanging_up().await;
    let bench = Bench::http(&[address, echo.address]).await;
    let mut failed = 0;
    for _ in 0..6 {
        failed += usize::from(bench.ask(POST).await.status == 502);
    }
    assert_eq!((failed, requests.load(SeqCst), echo.count()), (3, 3, 3));
}

#[tokio::test]
async fn only_what_is_safe_by_its_method_is_repeated() {
    for (method, is_repeated) in
        [("GET", true), ("HEAD", true), ("OPTIONS", true), ("DELETE", false), ("PUT", false)]
    {
        let echo = Echo::start().await;
        let (address, requests) = hanging_up().await;
        let bench = Bench::http(&[address, echo.address]).await;
        let reply = bench.ask(&format!("{method} / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(reply.status, if is_repeated { 200 } else { 502 }, "{method}");
        assert_eq!((requests.load(SeqCst), echo.count()), (1, usize::from(is_repeated)), "{method}");
    }
}

#[tokio::test]
async fn a_post_never_races_with_an_upstream_that_closes_after_its_response() {
    // Announces keep-alive, but closes within a few milliseconds.
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    let address = raw(move |mut stream| {
        let number = counted.fetch_add(1, SeqCst) as u64;
        async move {
            read_head(&mut stream).await;
            stream.read_exact(&mut [0; 5]).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            tokio::time::sleep(Duration::from_micros(number * 500 % 4000)).await;
        }
    })
    .await;
    let bench = Bench::http(&[address]).await;
    let mut stream = bench.connect().await;
    for round in 1..=150 {
        stream.write_all(POST.replace("Connection: close\r\n", "").as_bytes()).await.unwrap();
        assert_eq!(read_reply(&mut stream).await.status, 200, "request {round}");
    }
    assert_eq!(served.load(SeqCst), 150);
}

#[tokio::test]
async fn posts_share_connections_of_an_upstream_that_keeps_them() {
    let echo = Echo::start().await;
    // A short timeout of something else makes the balancer sweep often.
    let timeouts = Timeouts { session: Duration::from_millis(160), ..Timeouts::default() };
    let mut bench = Bench::new(Protocol::Http, Settings { timeouts, ..settings() }).await;
    bench.balance(&[echo.address]).await;
    let shared = async {
        loop {
            let opened = echo.opened.load(SeqCst);
            for _ in 0..3 {
                assert_eq!(bench.ask(POST).await.status, 200);
            }
            if opened > 0 && echo.opened.load(SeqCst) == opened {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, shared).await.expect("each POST opens a connection");
}

#[tokio::test]
async fn a_put_whose_body_was_sent_is_not_repeated() {
    let (address, requests) = hanging_up().await;
    let bench = Bench::http(&[address]).await;
    assert_eq!(bench.ask(&POST.replace("POST", "PUT")).await.status, 502);
    assert_eq!(requests.load(SeqCst), 1);
}

#[tokio::test]
async fn a_post_after_the_upstream_closed_its_idle_connections_is_served() {
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    // Announces keep-alive, but closes.
    let address = raw(move |mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            let head = read_head(&mut stream).await;
            if head.starts_with("POST") {
                let mut body = [0; 5];
                stream.read_exact(&mut body).await.unwrap();
            }
            counted.fetch_add(1, SeqCst);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let bench = Bench::http(&[address]).await;
    for round in 1..=5 {
        assert_eq!(bench.ask(POST).await.status, 200);
        assert_eq!(served.load(SeqCst), round);
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

#[tokio::test]
async fn what_is_not_http_is_a_bad_gateway_and_not_asked_again() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let address = raw(move |mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            read_head(&mut stream).await;
            counted.fetch_add(1, SeqCst);
            stream.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
        }
    })
    .await;
    let bench = Bench::http(&[address]).await;
    assert_eq!(bench.get("h", "/").await.status, 502);
    assert_eq!(requests.load(SeqCst), 1);
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_passed_as_whole() {
    let address = raw(|mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this").await.unwrap();
    })
    .await;
    let bench = Bench::http(&[address]).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    // Closed or reset: either shows the client that it is incomplete.
    let _ = timeout(SOON, stream.read_to_string(&mut reply)).await.unwrap();
    assert!(reply.contains("content-length: 100") && reply.ends_with("only this"), "{reply}");
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_with_it() {
    let closed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&closed);
    let address = raw(move |mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            let mut bytes = Vec::new();
            // Any end will do.
            let _ = stream.read_to_end(&mut bytes).await;
            counted.fetch_add(1, SeqCst);
        }
    })
    .await;
    let timeouts = Timeouts { half_closed: Duration::from_millis(200), ..Timeouts::default() };
    let mut bench = Bench::new(Protocol::Http, Settings { timeouts, ..settings() }).await;
    bench.balance(&[address]).await;
    for start in
        ["GET / HTTP/1.1\r\nHost: h\r\n\r\n", "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhal"]
    {
        let mut stream = bench.connect().await;
        stream.write_all(start.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(stream);
    }
    let both = async {
        while closed.load(SeqCst) < 2 || bench.stats().open > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, both).await.expect("the upstream's connection stays open");
}

#[tokio::test]
async fn an_answer_before_the_whole_body_reaches_the_client() {
    let address = raw(|mut stream| async move {
        read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n")
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    })
    .await;
    let bench = Bench::http(&[address]).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nstart").await.unwrap();
    assert_eq!(read_reply(&mut stream).await.status, 413);
}

#[tokio::test]
async fn an_answer_that_needs_no_body_is_not_lost_to_a_client_that_sends_one() {
    let bench = Bench::http(&[]).await;
    for _ in 0..10 {
        let mut stream = bench.connect().await;
        stream.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n").await.unwrap();
        // A client that reads the answer only after sending everything; a reset would come before that, and discard
        // the answer on some systems.
        stream.write_all(&[b'x'; 3_000_000]).await.unwrap();
        assert_eq!(read_reply(&mut stream).await.status, 503);
    }
}
