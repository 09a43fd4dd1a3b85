//! Requests that try to get past the routes, or to impersonate a proxy.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::lab::{Client, Lab, Upstream, free_port, read_head, to};

/// How every balancer of Longshore reads paths.
const PATHS: &str = include_str!("../../../model/cases/paths.txt");

async fn lab(upstream: &Upstream) -> (Lab, u16) {
    let (mut lab, port) = (Lab::new().await, free_port());
    lab.set(&[to(format!("http:{port} */"), &[upstream])]).await;
    (lab, port)
}

/// Returns the answer to a request with these lines between its target and its end.
async fn ask(port: u16, target: &str, lines: &str) -> (u16, String) {
    let mut client = Client::connect(port).await.unwrap();
    client.ask(&format!("{target} HTTP/1.1\r\nHost: h.com\r\n{lines}\r\n")).await.unwrap()
}

/// Returns the names of the headers that an upstream got, in the order that it got them.
fn names(body: &str) -> Vec<&str> {
    body.lines().skip(2).filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect()
}

#[tokio::test]
async fn a_path_is_matched_and_passed_on_in_its_normal_form() {
    let (mut lab, port) = (Lab::new().await, free_port());
    let (admin, rest) = (Upstream::new("admin").await, Upstream::new("rest").await);
    lab.set(&[to(format!("http:{port} */"), &[&rest]), to(format!("http:{port} */admin"), &[&admin])]).await;
    for line in PATHS.lines().filter(|line| line.starts_with('/')) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        for query in ["", "?q=/../%61dmin&100%"] {
            let (status, body) = ask(port, &format!("GET {}{query}", columns[0]), "").await;
            if columns[1] == "400" {
                assert_eq!(status, 400, "{line}");
                continue;
            }
            let [_, matched, passed] = columns[..] else { panic!("two or three columns: {line:?}") };
            let claimed = matched == "/admin" || matched.starts_with("/admin/");
            let expected = format!("{} {passed}{query}", if claimed { "admin" } else { "rest" });
            assert_eq!(body.lines().next(), Some(expected.as_str()), "{line}");
        }
    }
}

#[tokio::test]
async fn slashes_in_a_row_do_not_hide_a_prefix_that_is_stripped() {
    let (mut lab, port) = (Lab::new().await, free_port());
    let a = Upstream::new("a").await;
    lab.set(&[to(format!("http:{port} */a/b strip"), &[&a])]).await;
    for (path, passed) in [
        ("/a/b", "/"),
        ("//a///b/c", "/c"),
        ("/a/b//c", "/c"),
        ("/a/b/c//d", "/c//d"),
        ("/a/x/../%62/c?q=//a", "/c?q=//a"),
    ] {
        let (_, body) = ask(port, &format!("GET {path}"), "").await;
        assert_eq!(body.lines().next(), Some(format!("a {passed}").as_str()), "{path}");
    }
}

#[tokio::test]
async fn a_target_with_a_host_is_passed_on_as_a_path_and_no_two_hosts_are_taken() {
    let a = Upstream::new("a").await;
    let (_lab, port) = lab(&a).await;
    let ask = async |request: &str| Client::connect(port).await.unwrap().ask(request).await.unwrap();
    let (_, body) = ask("GET http://H.com:8/a/../b?c HTTP/1.1\r\nHost: H.com:8\r\n\r\n").await;
    assert!(body.starts_with("a /b?c\nGET /b?c HTTP/1.1\r\nhost: H.com:8"), "{body}");
    let (_, body) = ask("GET http://h.com/b HTTP/1.0\r\n\r\n").await;
    assert!(body.starts_with("a /b\nGET /b ") && body.contains("host: h.com\r"), "{body}");
    for refused in [
        "GET http://evil.com/ HTTP/1.1\r\nHost: h.com\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h.com\r\nHost: evil.com\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a@h.com\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h.com:8x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h.com,evil.com\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h.com/p\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: >h.com\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x.?\r\n\r\n",
    ] {
        assert_eq!(ask(refused).await.0, 400, "{refused}");
    }
}

/// Returns an upstream that agrees to any upgrade, and then echoes what it reads.
async fn agreeable() -> Upstream {
    Upstream::speaking(|stream| async move {
        let mut stream = BufReader::new(stream);
        let Some(head) = read_head(&mut stream).await? else { return Ok(()) };
        if head.contains("upgrade: ") {
            stream
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
                .await?;
            let mut byte = [0];
            stream.read_exact(&mut byte).await?;
            return stream.write_all(b"tunnel").await;
        }
        let body = format!("\n\n{head}");
        stream
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
            .await
    })
    .await
}

/// HAProxy refuses a websocket upgrade without a key.
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn no_request_makes_a_tunnel_past_the_routes() {
    let upstream = agreeable().await;
    let (_lab, port) = lab(&upstream).await;
    let (status, body) = ask(port, "CONNECT h.com:80", "").await;
    assert_eq!(status, 405, "{body}");
    for lines in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        &format!("Connection: Upgrade\r\nUpgrade: websocket, H2C\r\n{KEY}"),
        "Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n",
        &format!("Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n{KEY}"),
        "Upgrade: h2c\r\n",
        "Upgrade: websocket\r\n",
    ] {
        let (status, body) = ask(port, "GET /", lines).await;
        assert_eq!(status, 200, "{lines}");
        assert!(
            !names(&body).iter().any(|name| name.contains("pgrade") || name.starts_with("http2")),
            "{body}"
        );
    }
    // Any other protocol is the container's business.
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    let request = format!(
        "GET / HTTP/1.1\r\nHost: h.com\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n{KEY}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = timeout(Duration::from_secs(10), read_head(&mut stream)).await.unwrap().unwrap().unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream.write_all(b"!").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "tunnel");
}

#[tokio::test]
async fn an_upstream_that_changes_the_protocol_unasked_is_an_error() {
    let rude = Upstream::speaking(|stream| async move {
        let mut stream = BufReader::new(stream);
        read_head(&mut stream).await?;
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
            .await?;
        stream.read_u8().await.map(drop)
    })
    .await;
    let (_lab, port) = lab(&rude).await;
    assert_eq!(ask(port, "GET /", "").await.0, 502);
}

#[tokio::test]
async fn what_is_for_the_next_hop_ends_at_the_balancer() {
    let a = Upstream::new("a").await;
    let (_lab, port) = lab(&a).await;
    let lines = "Connection: X-Secret, close,x-real-ip\r\nConnection: Cookie\r\nX-Secret: 1\r\nX-Real-IP: 6.6.6.6\r\n\
        Cookie: c\r\nX-Kept: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nProxy-Authorization: Basic x\r\n\
        TE: gzip, trailers\r\n";
    let (status, body) = ask(port, "GET /", lines).await;
    assert_eq!(status, 200);
    let mut got = names(&body);
    got.sort_unstable();
    let expected = [
        "host",
        "te",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-kept",
        "x-real-ip",
    ];
    assert_eq!(got, expected);
    assert!(body.contains("te: trailers\r") && body.contains("x-real-ip: 127.0.0.1\r"), "{body}");
    // Headers that define the message are not removed because a client lists them in Connection.
    let lines = "Connection: host, content-length\r\nContent-Length: 2\r\n\r\nhi";
    let (status, body) = ask(port, "POST /", lines).await;
    assert_eq!(status, 200);
    assert!(body.contains("host: h.com") && body.contains("content-length: 2"), "{body}");
}

#[tokio::test]
async fn what_an_upstream_says_to_its_next_hop_ends_at_the_balancer() {
    let chatty = Upstream::speaking(|stream| async move {
        let mut stream = BufReader::new(stream);
        read_head(&mut stream).await?;
        let answer = b"HTTP/1.1 200 OK\r\nConnection: X-Secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\nX-Kept: 1\r\n\
            Proxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await
    })
    .await;
    let (_lab, port) = lab(&chatty).await;
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h.com\r\n\r\n").await.unwrap();
    let head = read_head(&mut stream).await.unwrap().unwrap();
    let mut got: Vec<&str> =
        head.lines().skip(1).filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
    got.sort_unstable();
    assert_eq!(got, ["content-length", "x-kept"]);
}

/// Headers that only a trusted proxy may set about the client, in some of their spellings.
const CLAIMS: &str = "Proxy: http://evil\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Prefix: /evil\r\n\
    X-Forwarded-Ssl: on\r\nX-Forwarded-Server: evil\r\nX-Forwarded-By: evil\r\nX-Original-URL: /admin\r\n\
    X-Rewrite-URL: /admin\r\nTrue-Client-IP: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX_Real-IP: 6.6.6.6\r\n\
    X-Forwarded_Proto: https\r\nX-Forwarded-Client_Cert: evil\r\nCF-Connecting-IP: 6.6.6.6\r\nX-Request-Id: 7\r\nX_Custom: 8\r\n";

#[tokio::test]
async fn what_a_client_claims_of_where_it_came_from_does_not_reach_the_container() {
    let a = Upstream::new("a").await;
    let (_lab, port) = lab(&a).await;
    let (_, body) = ask(port, "GET /", CLAIMS).await;
    let mut got = names(&body);
    got.sort_unstable();
    let expected = [
        "host",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-real-ip",
        "x-request-id",
        "x_custom",
    ];
    assert_eq!(got, expected);
    assert!(!body.contains("6.6.6.6") && !body.contains("evil"), "{body}");
}

#[tokio::test]
async fn a_trusted_proxys_claims_pass_but_for_spellings_that_no_proxy_writes() {
    let a = Upstream::new("a").await;
    let mut lab = Lab::with(|settings| settings.trusted = vec!["127.0.0.0/8".parse().unwrap()]).await;
    let port = free_port();
    lab.set(&[to(format!("http:{port} */"), &[&a])]).await;
    let (_, body) = ask(port, "GET /", CLAIMS).await;
    let mut got = names(&body);
    got.sort_unstable();
    let expected = [
        "cf-connecting-ip",
        "forwarded",
        "host",
        "true-client-ip",
        "x-forwarded-by",
        "x-forwarded-for",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-proto",
        "x-forwarded-server",
        "x-forwarded-ssl",
        "x-original-url",
        "x-real-ip",
        "x-request-id",
        "x-rewrite-url",
        "x_custom",
    ];
    assert_eq!(got, expected);
}
