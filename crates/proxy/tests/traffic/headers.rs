//! Headers that are removed and added.

use longshore_model::{FORBIDDEN_HEADERS, Protocol, TRUSTED_HEADERS};

use crate::bench::{Bench, settings};
use crate::upstreams::{Echo, raw, read_head};

#[tokio::test]
async fn the_upstream_is_told_who_asked() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    let reply = bench
        .ask(
            "GET / HTTP/1.1\r\nHost: H.example:81\r\nConnection: close\r\nX-Forwarded-For: 6.6.6.6\r\n\
             X-Real-IP: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n\
             Forwarded: for=6.6.6.6\r\n\r\n",
        )
        .await;
    let port = bench.frontend.port.to_string();
    for (name, value) in [
        ("host", Some("H.example:81")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-real-ip", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("H.example:81")),
        ("x-forwarded-port", Some(port.as_str())),
        ("forwarded", None),
    ] {
        assert_eq!(reply.seen(name), value, "{name}");
    }
    assert!(!reply.body.contains("6.6.6.6"), "{}", reply.body);
}

#[tokio::test]
async fn a_trusted_peer_is_believed_and_added() {
    let echo = Echo::start().await;
    let trusted = vec!["127.0.0.0/8".parse().unwrap()];
    let mut bench = Bench::new(Protocol::Http, longshore_proxy::Settings { trusted, ..settings() }).await;
    bench.balance(&[echo.address]).await;
    let reply = bench
        .ask(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Forwarded-For: 1.1.1.1\r\n\
             X-Forwarded-For: 2.2.2.2\r\nX-Forwarded-Proto: https\r\n\r\n",
        )
        .await;
    assert_eq!(reply.seen("x-forwarded-for"), Some("1.1.1.1, 2.2.2.2, 127.0.0.1"));
    assert_eq!(reply.seen("x-forwarded-proto"), Some("https"));
    assert_eq!(reply.seen("x-real-ip"), Some("127.0.0.1"));
}

/// Returns a request with a value for each header that a client may not set, in every spelling.
fn forging() -> String {
    let prefixed = ["x-forwarded-for", "x-forwarded-prefix", "x-forwarded-ssl", "x-forwarded-by"];
    let mut headers = String::new();
    for name in TRUSTED_HEADERS.iter().chain(&prefixed) {
        headers.push_str(&format!("{name}: forged\r\n"));
        if name.contains('-') {
            headers.push_str(&format!("{}: underscored\r\n", name.replace('-', "_").to_uppercase()));
        }
    }
    for name in FORBIDDEN_HEADERS {
        headers.push_str(&format!("{name}: forbidden\r\n"));
    }
    format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Request-Id: kept\r\n{headers}\r\n")
}

#[tokio::test]
async fn nothing_that_a_client_forges_reaches_the_upstream() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    let reply = bench.ask(&forging()).await;
    for forged in ["forged", "underscored", "forbidden"] {
        assert!(!reply.body.contains(forged), "{}", reply.body);
    }
    assert_eq!(reply.seen("x-request-id"), Some("kept"));
}

#[tokio::test]
async fn what_a_trusted_peer_says_passes_in_the_spelling_that_proxies_use() {
    let echo = Echo::start().await;
    let trusted = vec!["127.0.0.0/8".parse().unwrap()];
    let mut bench = Bench::new(Protocol::Http, longshore_proxy::Settings { trusted, ..settings() }).await;
    bench.balance(&[echo.address]).await;
    let reply = bench.ask(&forging()).await;
    for name in TRUSTED_HEADERS.iter().chain(&["x-forwarded-prefix", "x-forwarded-ssl"]) {
        assert_eq!(reply.seen(name), Some("forged"), "{name}");
    }
    assert!(!reply.body.contains("underscored") && !reply.body.contains("forbidden"), "{}", reply.body);
}

#[tokio::test]
async fn headers_for_the_next_hop_only_stay_there() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    let reply = bench
        .ask(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: close, X-Secret, Host\r\nX-Secret: 1\r\nKeep-Alive: 5\r\n\
             Proxy-Connection: x\r\nProxy-Authorization: Basic x\r\nTE: gzip, trailers\r\nX-Kept: 1\r\n\r\n",
        )
        .await;
    for gone in ["connection", "x-secret", "keep-alive", "proxy-connection", "proxy-authorization"] {
        assert_eq!(reply.seen(gone), None, "{gone}");
    }
    assert_eq!(reply.seen("x-kept"), Some("1"));
    assert_eq!(reply.seen("te"), Some("trailers"));
    assert_eq!(reply.seen("host"), Some("h"));
    assert_eq!(reply.header("keep-alive"), None);
    assert_eq!(reply.header("connection"), Some("close"));
}

#[tokio::test]
async fn an_http_1_0_client_gets_a_body_that_it_can_read() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    let reply = bench.ask("GET /big/50000 HTTP/1.0\r\nHost: h\r\n\r\n").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("transfer-encoding"), None);
    assert_eq!(reply.body, "x".repeat(50_000));
}

#[tokio::test]
async fn a_response_without_length_from_an_http_1_0_upstream_is_whole() {
    let address = raw(|mut stream| async move {
        read_head(&mut stream).await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.0 200 OK\r\n\r\nall of it").await.unwrap();
    })
    .await;
    let bench = Bench::http(&[address]).await;
    let reply = bench.ask("GET / HTTP/1.0\r\nHost: h\r\n\r\n").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "all of it"));
}

#[tokio::test]
async fn a_head_request_keeps_the_length_and_has_no_body() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    let reply = bench.ask("HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, ""));
    assert!(reply.header("content-length").is_some_and(|length| length != "0"));
}

#[tokio::test]
async fn trailers_pass() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    let reply = bench
        .ask_raw(b"GET /trailers HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n")
        .await;
    assert!(reply.to_ascii_lowercase().ends_with("0\r\nx-sum: 7\r\n\r\n"), "{reply}");
}
