//! Message boundaries, also when a peer lies about them.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::bench::{Bench, SOON, read_reply};
use crate::upstreams::{Echo, raw, read_head};

#[tokio::test]
async fn what_two_programs_could_read_in_two_ways_is_refused() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    for bad in [
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "Content-Length: 5, 6\r\n\r\nhello",
        "Content-Length: +5\r\n\r\nhello",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: 99999999999999999999\r\n\r\n",
        "Content-Length : 5\r\n\r\nhello",
        "Transfer-Encoding: gzip\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "X: a\r\n folded: b\r\n\r\n",
        "X: a\0b\r\n\r\n",
        "X\r\n\r\n",
    ] {
        let text = bench.ask_raw(format!("POST / HTTP/1.1\r\nHost: h\r\n{bad}").as_bytes()).await;
        assert!(text.starts_with("HTTP/1.1 400 "), "{bad:?} was answered {text:?}");
    }
    let old = bench.ask_raw(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 400 ") || old.starts_with("HTTP/1.1 400 "), "{old}");
    assert_eq!(echo.count(), 0);
}

#[tokio::test]
async fn a_length_beside_chunks_smuggles_nothing() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    for lying in
        ["Content-Length: 4\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 4"]
    {
        let before = echo.count();
        // To a reader that trusts the length, the rest is a second request.
        let text = bench
            .ask_raw(
                format!(
                    "POST / HTTP/1.1\r\nHost: h\r\n{lying}\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
                     GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
                )
                .as_bytes(),
            )
            .await;
        assert!(
            text.contains("transfer-encoding: chunked\nx-forwarded") || text.contains("body of None: hello")
        );
        assert!(!text.contains("content-length: 4\n"), "{text}");
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 1, "the connection goes on: {text}");
        assert_eq!(echo.count(), before + 1);
    }
}

#[tokio::test]
async fn a_bad_chunk_does_not_become_a_request() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    for bad in [
        "5x\r\nhello\r\n0\r\n\r\n",
        "-1\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello",
        "5\nhello\n0\n\n",
    ] {
        let text = bench
            .ask_raw(
                format!(
                    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{bad}GET /smuggled HTTP/1.1\r\n\
                     Host: h\r\nConnection: close\r\n\r\n"
                )
                .as_bytes(),
            )
            .await;
        assert!(!text.contains("/smuggled"), "{bad:?}: {text}");
        assert!(text.starts_with("HTTP/1.1 400 "), "{bad:?} was answered {text:?}");
    }
}

#[tokio::test]
async fn a_get_keeps_its_body() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    let chunked = "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for method in ["GET", "OPTIONS", "DELETE", "POST"] {
        let reply = bench.ask(&format!("{method} / HTTP/1.1\r\nHost: h\r\n{chunked}")).await;
        assert!(reply.body.ends_with("body of None: hello"), "{method}: {}", reply.body);
    }
    let mut sender = http2(&bench).await;
    let body =
        StreamBody::new(futures_util::stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from("hello")))]));
    let response = sender.send_request(Request::get("http://h/").body(body).unwrap()).await.unwrap();
    let text = response.into_body().collect().await.unwrap().to_bytes();
    assert!(text.ends_with(b"body of None: hello"), "{text:?}");
}

#[tokio::test]
async fn trailers_that_a_request_announces_pass() {
    let address = raw(|mut stream| async move {
        let mut text = read_head(&mut stream).await;
        while !text.ends_with("\r\n0\r\nx-sum: 7\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            text.push(char::from(byte[0]));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    })
    .await;
    let bench = Bench::http(&[address]).await;
    let mut sender = http2(&bench).await;
    let trailers = hyper::HeaderMap::from_iter([("x-sum".parse().unwrap(), "7".parse().unwrap())]);
    let frames = [Frame::data(Bytes::from("hello")), Frame::trailers(trailers)].map(Ok::<_, Infallible>);
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let request = Request::put("http://h/").header("trailer", "x-sum").body(body).unwrap();
    let response = timeout(SOON, sender.send_request(request)).await.expect("no trailer comes").unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_has_sent_everything_and_says_so_gets_its_response() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    for request in [
        "GET /wait/300 HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /wait/300 HTTP/1.0\r\n\r\n",
        "POST /wait/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        "POST /wait/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "GET /big/3000000 HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        let mut stream = bench.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut reply = String::new();
        timeout(SOON, stream.read_to_string(&mut reply)).await.expect("it stays open").unwrap();
        assert!(reply.contains(" 200 OK\r\n"), "{request:?} was answered {reply:?}");
        let is_whole = reply.ends_with("\r\n0\r\n\r\n") || reply.contains("body of ");
        assert!(is_whole, "{request:?}: {} bytes", reply.len());
    }
    let text = bench
        .ask_raw(b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(text.await.matches("HTTP/1.1 200 OK").count(), 2);
}

#[tokio::test]
async fn a_client_that_ends_in_the_middle_of_its_body_takes_its_request_with_it() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    for body in ["Content-Length: 9\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n9\r\nhalf"] {
        let mut stream = bench.connect().await;
        stream.write_all(format!("POST / HTTP/1.1\r\nHost: h\r\n{body}").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut reply = String::new();
        let _ = timeout(SOON / 2, stream.read_to_string(&mut reply)).await.expect("it waits for more");
        assert!(!reply.contains("200 OK"), "{reply}");
    }
}

#[tokio::test]
async fn what_came_before_an_upstream_breaks_off_reaches_the_client() {
    // Each in one write, so that the error is found in the same read as the head.
    for (answer, good) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this", "only this"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n", "only this\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nzz\r\n", "only this\r\n"),
    ] {
        let address = raw(move |mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let bench = Bench::http(&[address]).await;
        let mut stream = bench.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        let mut reply = String::new();
        // Closed or reset: either shows the client that it is incomplete.
        let _ = timeout(SOON, stream.read_to_string(&mut reply)).await.expect("it stays open");
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?} became {reply:?}");
        assert!(reply.ends_with(good), "{answer:?} became {reply:?}");
    }
}

#[tokio::test]
async fn a_length_beside_the_chunks_of_a_response_is_taken_off() {
    for lying in
        ["Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 3"]
    {
        let address = raw(move |mut stream| async move {
            read_head(&mut stream).await;
            let answer = format!("HTTP/1.1 200 OK\r\n{lying}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let bench = Bench::http(&[address]).await;
        let reply = bench.get("h", "/").await;
        assert_eq!((reply.status, reply.header("content-length")), (200, None));
        assert_eq!(reply.body, "5\r\nhello\r\n0\r\n\r\n");
    }
}

#[tokio::test]
async fn a_response_with_too_many_headers_is_a_bad_gateway_and_is_logged() {
    let log = crate::bench::log();
    let address = raw(|mut stream| async move {
        read_head(&mut stream).await;
        let many: String = (0..150).map(|i| format!("X-{i}: 1\r\n")).collect();
        let answer = format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let bench = Bench::http(&[address]).await;
    assert_eq!(bench.get("h", "/").await.status, 502);
    let lines: Vec<_> = log.lines().into_iter().filter(|line| line.contains(&address.to_string())).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("too large"), "{lines:?}");
}

async fn http2<B>(bench: &Bench) -> hyper::client::conn::http2::SendRequest<B>
where
    B: hyper::body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let io = TokioIo::new(bench.connect().await);
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    let text = bench
        .ask_raw(
            b"GET /wait/50 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi\
              GET /3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        )
        .await;
    let places: Vec<_> = ["GET /wait/50", "POST /2", "GET /3"].iter().map(|r| text.find(r)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
}

#[tokio::test]
async fn headers_beyond_the_limits_are_refused() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    let close = "Host: h\r\nConnection: close\r\n\r\n";
    let many: String = (0..100).map(|i| format!("X-{i}: 1\r\n")).collect();
    assert_eq!(bench.ask(&format!("GET / HTTP/1.1\r\n{many}{close}")).await.status, 431);
    let long = "a".repeat(70 * 1024);
    assert_eq!(bench.ask(&format!("GET / HTTP/1.1\r\nX: {long}\r\n{close}")).await.status, 431);
    let long = "a".repeat(40 * 1024);
    assert_eq!(bench.ask(&format!("GET / HTTP/1.1\r\nX: {long}\r\n{close}")).await.status, 200);
    let endless = "a".repeat(300 * 1024);
    let mut stream = bench.connect().await;
    // It stops reading at some point.
    let _ = stream.write_all(format!("GET / HTTP/1.1\r\nX: {endless}").as_bytes()).await;
    let mut reply = [0; 12];
    timeout(SOON, stream.read_exact(&mut reply)).await.unwrap().unwrap();
    assert_eq!(&reply, b"HTTP/1.1 431");
}

#[tokio::test]
async fn a_body_is_asked_for_when_the_client_waits_to_be_asked() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    let mut stream = bench.connect().await;
    let head = b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head).await.unwrap();
    assert_eq!(read_reply(&mut stream).await.status, 100);
    stream.write_all(b"hello").await.unwrap();
    let reply = read_reply(&mut stream).await;
    assert!(reply.body.ends_with("body of Some(5): hello"), "{}", reply.body);
    assert_eq!(reply.seen("expect"), None);
}

#[tokio::test]
async fn large_bodies_stream_both_ways() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    let body = "y".repeat(3_000_000);
    let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\nConnection: close\r\n\r\n";
    let reply = bench.ask(&format!("{head}{body}")).await;
    assert!(reply.body.ends_with(&format!("body of Some(3000000): {body}")));
    let reply = bench.get("h", "/big/3000000").await;
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    assert!(reply.body.len() > 3_000_000);
    assert_eq!(echo.opened.load(std::sync::atomic::Ordering::SeqCst), 1, "the connection was not kept");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_upstream_back() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    let mut stream = bench.connect().await;
    stream.write_all(b"GET /big/200000000 HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    let sent = bench.stats().bytes_out;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(sent > 0 && bench.stats().bytes_out == sent, "{sent} and still going");
    assert!(sent < 50_000_000, "{sent}");
}

#[tokio::test]
async fn http_2_streams_share_a_connection_and_reach_http_1_upstreams() {
    let (a, b) = (Echo::start().await, Echo::start().await);
    let bench = Bench::http(&[a.address, b.address]).await;
    let sender = http2(&bench).await;
    let streams: Vec<_> = (0..20)
        .map(|i| {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                let request = Request::post(format!("http://h.example/wait/100?{i}"))
                    .header("cookie", "a=1")
                    .header("cookie", "b=2")
                    .body(Full::new(Bytes::from(vec![b'z'; 100_000])))
                    .unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
            })
        })
        .collect();
    let start = std::time::Instant::now();
    for (i, stream) in streams.into_iter().enumerate() {
        let text = stream.await.unwrap();
        assert!(text.starts_with(&format!("POST /wait/100?{i}\n")), "{}", &text[..100]);
        assert!(
            text.contains("host: h.example\n") && text.contains("cookie: a=1; b=2\n"),
            "{}",
            &text[..400]
        );
        assert!(text.ends_with(&"z".repeat(100_000)));
    }
    assert!(start.elapsed() < Duration::from_millis(1500), "one after the other: {:?}", start.elapsed());
    assert_eq!((a.count(), b.count()), (10, 10));
    assert_eq!(bench.stats().connections, 1);
}
