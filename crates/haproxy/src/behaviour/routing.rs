//! Routing of requests.

use std::collections::{BTreeMap, BTreeSet};

use super::lab::{Client, Lab, Upstream, free_port, get, shares, to};

#[tokio::test]
async fn requests_go_by_host_then_prefix() {
    let mut lab = Lab::new().await;
    let (port, names) = (free_port(), ["any", "wild", "deep", "exact", "p", "pq", "anyp", "odd"]);
    let mut up = BTreeMap::new();
    for name in names {
        up.insert(name, Upstream::new(name).await);
    }
    let route = |text: &str, name: &str| to(format!("http:{port} {text}"), &[&up[name]]);
    lab.set(&[
        route("*/any", "any"),
        route("*/wp", "anyp"),
        route("*.a.com/", "wild"),
        route("*.x.y.a.com/", "deep"),
        route("*.b.com/wp", "wild"),
        route("w.a.com/w", "exact"),
        route("a.com/", "exact"),
        route("a.com/p strip", "p"),
        route("a.com/p/q strip", "pq"),
        route("a.com/keep", "p"),
        route("deep.com/1/2/3/4/5/6/7 strip", "p"),
        route("deep.com/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16 strip", "pq"),
        route("odd.com/;a'b$&~!*/x", "odd"),
        (format!("http:{port} empty.com/"), vec![]),
    ])
    .await;
    for (host, path, expected) in [
        ("a.com", "/", "exact /"),
        ("A.Com.:8080", "/", "exact /"),
        ("a.com", "/p", "p /"),
        ("a.com", "/p?q=1", "p /?q=1"),
        ("a.com", "/p/", "p /"),
        ("a.com", "/p/x", "p /x"),
        ("a.com", "/p//x", "p /x"),
        ("a.com", "/p/x//y?a=/b", "p /x//y?a=/b"),
        ("a.com", "/p/q/r", "pq /r"),
        ("a.com", "/p/qr", "p /qr"),
        ("a.com", "/px", "exact /px"),
        ("a.com", "/keep/x", "p /keep/x"),
        ("deep.com", "/1/2/3/4/5/6/7/8?q", "p /8?q"),
        ("deep.com", "/1/2/3/4/5/6/7//", "p /"),
        ("deep.com", "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16", "pq /"),
        ("deep.com", "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/", "pq /17/"),
        ("odd.com", "/;a'b$&~!*/x/1", "odd /;a'b$&~!*/x/1"),
        ("odd.com", "/", "404"),
        // A wildcard matches any depth but not the bare name; the longest suffix wins.
        ("b.a.com", "/", "wild /"),
        ("d.c.b.a.com", "/", "wild /"),
        ("1.2.3.4.5.6.7.8.9.a.com", "/", "wild /"),
        ("1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18.19.20.21.22.23.24.25.a.com", "/", "wild /"),
        ("z.x.y.a.com", "/", "deep /"),
        ("x.y.a.com", "/", "wild /"),
        ("xa.com", "/", "404"),
        ("b.com", "/wp", "anyp /wp"),
        ("c.b.com", "/wp", "wild /wp"),
        // No prefix of the more specific host matches, so the less specific one is tried.
        ("w.a.com", "/w", "exact /w"),
        ("w.a.com", "/other", "wild /other"),
        ("c.b.com", "/any", "any /any"),
        ("other.com", "/any/x", "any /any/x"),
        ("other.com", "/", "404"),
        ("[::1]:80", "/any", "any /any"),
        ("", "/any", "any /any"),
        ("empty.com", "/", "503"),
        (".a.com", "/", "wild /"),
        ("x.=a.com", "/", "404"),
        ("a..", "/any", "any /any"),
    ] {
        assert_eq!(get(port, host, path).await, expected, "{host}{path}");
    }
    assert_eq!(lab.engine.stats().reloads, 0);
}

#[tokio::test]
async fn a_wildcard_of_many_labels_is_found_after_one_reload_and_stays_when_the_agent_starts_again() {
    let mut lab = Lab::new().await;
    let port = free_port();
    let (a, b) = (Upstream::new("a").await, Upstream::new("b").await);
    let shallow = || to(format!("http:{port} *.com/"), &[&a]);
    lab.set(&[shallow()]).await;
    lab.set(&[shallow(), to(format!("http:{port} *.5.4.3.2.1.com/"), &[&b])]).await;
    assert_eq!(lab.engine.stats().reloads, 1);
    assert_eq!(get(port, "x.6.5.4.3.2.1.com", "/").await, "b /");
    assert_eq!(get(port, "5.4.3.2.1.com", "/").await, "a /");
    let settings = super::lab::settings(&lab.dir);
    std::mem::replace(&mut lab.engine, crate::Haproxy::start(settings).await.unwrap()).leave().await;
    lab.table = Default::default();
    lab.set(&[shallow()]).await;
    assert_eq!(get(port, "x.6.5.4.3.2.1.com", "/").await, "a /");
    assert_eq!(lab.engine.stats().reloads, 0);
}

#[tokio::test]
async fn shares_are_exact_over_1000_requests_and_change_at_run_time() {
    let mut lab = Lab::new().await;
    let port = free_port();
    let (a, b, c) = (Upstream::new("a").await, Upstream::new("b").await, Upstream::new("c").await);
    let weights =
        |x, y, z| vec![(format!("http:{port} */"), vec![(a.address, x), (b.address, y), (c.address, z)])];
    let expect = |pairs: &[(&str, usize)]| {
        pairs.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect::<BTreeMap<_, _>>()
    };
    lab.set(&weights(200, 50, 0)).await;
    assert_eq!(shares(port, "x", 1000).await, expect(&[("a", 800), ("b", 200)]));
    lab.set(&weights(1, 256, 0)).await;
    let a = shares(port, "x", 1028).await["a"];
    assert!((3..=5).contains(&a), "{a}");
    // The position of a change in HAProxy's round decides the one request.
    lab.set(&weights(90, 10, 0)).await;
    let a = shares(port, "x", 1000).await["a"];
    assert!((899..=901).contains(&a), "{a}");
    lab.set(&weights(0, 0, 0)).await;
    let even = shares(port, "x", 999).await;
    assert!(even.len() == 3 && even.values().all(|share| (332..=334).contains(share)), "{even:?}");
    assert_eq!(lab.engine.stats().reloads, 0);
}

#[tokio::test]
async fn what_a_client_says_of_where_it_came_from_is_replaced() {
    let mut lab = Lab::new().await;
    let port = free_port();
    let a = Upstream::new("a").await;
    lab.set(&[to(format!("http:{port} */"), &[&a])]).await;
    let mut client = Client::connect(port).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: h.com:99\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\n\
        X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX-Real-IP: 6.6.6.6\r\n\
        Forwarded: for=6.6.6.6\r\n\r\n";
    let (_, body) = client.ask(request).await.unwrap();
    let said: BTreeMap<&str, &str> = body
        .lines()
        .filter(|line| line.starts_with("x-"))
        .map(|line| line.split_once(": ").unwrap())
        .collect();
    let port = port.to_string();
    let expected = BTreeMap::from([
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "h.com:99"),
        ("x-forwarded-port", port.as_str()),
        ("x-real-ip", "127.0.0.1"),
    ]);
    assert_eq!(said, expected);
    assert_eq!(body.lines().filter(|line| line.starts_with("x-forwarded-for")).count(), 1);
    assert!(body.contains("host: h.com:99"));
    assert!(!body.contains("6.6.6.6"), "{body}");
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_added() {
    let mut lab = Lab::with(|settings| settings.trusted = vec!["127.0.0.0/8".parse().unwrap()]).await;
    let port = free_port();
    let a = Upstream::new("a").await;
    lab.set(&[to(format!("http:{port} */"), &[&a])]).await;
    let mut client = Client::connect(port).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: h.com\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: first.com\r\nForwarded: for=1.1.1.1\r\n\r\n";
    let (_, body) = client.ask(request).await.unwrap();
    let said: Vec<&str> =
        body.lines().filter(|line| line.contains("orwarded") || line.starts_with("x-")).collect();
    let port = format!("x-forwarded-port: {port}");
    let expected = BTreeSet::from([
        "x-forwarded-for: 1.1.1.1",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: https",
        "x-forwarded-host: first.com",
        "forwarded: for=1.1.1.1",
        "x-real-ip: 127.0.0.1",
        port.as_str(),
    ]);
    assert_eq!(said.iter().copied().collect::<BTreeSet<_>>(), expected);
    assert_eq!(said.len(), expected.len(), "each once: {said:?}");
}

#[tokio::test]
async fn http_2_is_spoken_by_prior_knowledge() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut lab = Lab::new().await;
    let port = free_port();
    let a = Upstream::new("a").await;
    lab.set(&[to(format!("http:{port} a.com/p strip"), &[&a])]).await;
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // The preface, empty SETTINGS, and one HEADERS frame: GET http a.com /p.
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    let headers = b"\x82\x86\x44\x02/p\x41\x05a.com";
    request.extend([0, 0, headers.len() as u8, 1, 5, 0, 0, 0, 1]);
    request.extend(headers);
    stream.write_all(&request).await.unwrap();
    let mut body = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == 0 {
            body.extend(payload);
            break;
        }
    }
    assert!(body.starts_with(b"a /\nGET / HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&body));
}

#[tokio::test]
async fn a_tcp_frontend_relays_bytes_to_its_upstreams() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut lab = Lab::new().await;
    let port = free_port();
    let greet = |name: &'static str| {
        Upstream::speaking(move |mut stream| async move {
            stream.write_all(name.as_bytes()).await?;
            let mut byte = [0];
            stream.read_exact(&mut byte).await?;
            stream.write_all(&byte).await
        })
    };
    let (a, b) = (greet("a").await, greet("b").await);
    lab.set(&[to(format!("tcp:{port}"), &[&a, &b])]).await;
    let mut seen = BTreeMap::new();
    for n in 0..10u8 {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(&[n]).await.unwrap();
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[1], n);
        *seen.entry(answer[0]).or_insert(0) += 1;
    }
    assert_eq!(seen, BTreeMap::from([(b'a', 5), (b'b', 5)]));
    // Without upstreams it closes the connection.
    lab.set(&[to(format!("tcp:{port}"), &[])]).await;
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    assert_eq!(lab.engine.stats().reloads, 0);
}
