//! Routing of requests.

use std::sync::Arc;

use longshore_model::{Protocol, Route};

use crate::bench::{Bench, settings};
use crate::upstreams::Echo;

#[tokio::test]
async fn the_most_specific_route_takes_the_request() {
    let (any, wild, exact, deep) =
        (Echo::start().await, Echo::start().await, Echo::start().await, Echo::start().await);
    let mut bench = Bench::new(Protocol::Http, settings()).await;
    bench.route("*", "", false, any.address).await;
    bench.route("*.example.com", "", false, wild.address).await;
    bench.route("www.example.com", "app", false, exact.address).await;
    bench.route("www.example.com", "app/deep", false, deep.address).await;
    for (host, path, upstream) in [
        ("www.example.com", "/app", &exact),
        ("WWW.Example.COM.:8080", "/app/x", &exact),
        ("www.example.com", "/app/deep/x?y", &deep),
        ("www.example.com", "/application", &wild),
        ("a.b.example.com", "/app", &wild),
        ("example.com", "/app", &any),
        ("other", "/app", &any),
    ] {
        let reply = bench.get(host, path).await;
        assert_eq!(reply.by(), upstream.port(), "{host}{path}");
        assert_eq!(reply.request(), format!("GET {path}"));
        assert_eq!(reply.seen("host"), Some(host));
    }
}

#[tokio::test]
async fn a_prefix_is_stripped_where_the_route_says_so() {
    let echo = Echo::start().await;
    let mut bench = Bench::new(Protocol::Http, settings()).await;
    bench.route("*", "p", true, echo.address).await;
    bench.route("*", "kept", false, echo.address).await;
    for (path, sent) in [
        ("/p", "/"),
        ("/p/", "/"),
        ("/p/x", "/x"),
        ("/p?q=1", "/?q=1"),
        ("/p//evil.example/x", "/evil.example/x"),
        ("/%70/x", "/x"),
        ("/q/../p/x", "/x"),
        ("//p/x//y", "/x//y"),
        ("/kept/x", "/kept/x"),
    ] {
        assert_eq!(bench.get("h", path).await.request(), format!("GET {sent}"), "{path}");
    }
}

#[tokio::test]
async fn however_a_path_is_written_it_reaches_the_route_that_claims_it() {
    let (admin, rest) = (Echo::start().await, Echo::start().await);
    let mut bench = Bench::new(Protocol::Http, settings()).await;
    bench.route("*", "admin", false, admin.address).await;
    bench.route("*", "", false, rest.address).await;
    let cases = include_str!("../../../model/cases/paths.txt");
    for line in cases.lines().filter(|line| line.starts_with('/')) {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [sent, "400"] => assert_eq!(bench.get("h", sent).await.status, 400, "{sent}"),
            [sent, matched, passed] => {
                let reply = bench.get("h", &format!("{sent}?q=/../%61")).await;
                let claimed = matched == "/admin" || matched.starts_with("/admin/");
                assert_eq!(reply.by(), if claimed { admin.port() } else { rest.port() }, "{sent}");
                assert_eq!(reply.request(), format!("GET {passed}?q=/../%61"), "{sent}");
            }
            _ => panic!("two or three columns: {line:?}"),
        }
    }
}

#[tokio::test]
async fn what_has_no_route_or_upstream_is_told_so() {
    let echo = Echo::start().await;
    let mut bench = Bench::new(Protocol::Http, settings()).await;
    bench.route("a", "p", false, echo.address).await;
    assert_eq!(bench.get("b", "/p").await.status, 404);
    assert_eq!(bench.get("a", "/pq").await.status, 404);
    let key = bench.key("a", "p");
    bench.put(Route { key, strip_prefix: false, upstreams: Vec::new(), waiting: Vec::new() }).await;
    let reply = bench.get("a", "/p").await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    assert_eq!(bench.stats().responses, [0, 0, 0, 2, 1]);
}

#[tokio::test]
async fn a_request_that_names_no_host_or_two_is_refused() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    for bad in [
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a, b\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\nConnection: close\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nConnection: close\r\n\r\n",
    ] {
        assert_eq!(bench.ask(bad).await.status, 400, "{bad}");
    }
    assert_eq!(bench.ask("GET / HTTP/1.0\r\n\r\n").await.status, 200);
    assert_eq!(echo.count(), 1);
}

#[tokio::test]
async fn the_host_of_an_absolute_target_comes_first() {
    let (a, b) = (Echo::start().await, Echo::start().await);
    let mut bench = Bench::new(Protocol::Http, settings()).await;
    bench.route("a", "", false, a.address).await;
    bench.route("b", "", false, b.address).await;
    let reply = bench.ask("GET http://a:80/x?y HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n").await;
    assert_eq!(reply.by(), a.port());
    assert_eq!((reply.request(), reply.seen("host")), ("GET /x?y", Some("a:80")));
}

#[tokio::test]
async fn a_request_to_connect_elsewhere_is_refused() {
    let echo = Echo::start().await;
    let bench = Bench::http(&[echo.address]).await;
    let reply = bench.ask("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nConnection: close\r\n\r\n").await;
    assert_eq!(reply.status, 405);
    assert_eq!(echo.count(), 0);
}

#[tokio::test]
async fn ten_thousand_routes_change_one_at_a_time_without_slowing_down() {
    let echo = Echo::start().await;
    let mut bench = Bench::new(Protocol::Http, settings()).await;
    let upstream = crate::bench::upstream(echo.address, 100);
    let mut changed = std::collections::BTreeSet::new();
    for i in 0..10_000 {
        let key = bench.key(&format!("h{i}.example.com"), "");
        changed.insert(key.clone());
        let upstreams = vec![upstream.clone()];
        bench.table.insert(Arc::new(Route { key, strip_prefix: false, upstreams, waiting: Vec::new() }));
    }
    assert!(bench.balancer.apply(&bench.table, &changed).await.is_empty());
    let start = std::time::Instant::now();
    for i in 0..200 {
        bench.remove(bench.key(&format!("h{i}.example.com"), "")).await;
    }
    let each = start.elapsed() / 200;
    assert!(each < std::time::Duration::from_millis(5), "{each:?}");
    assert_eq!(bench.get("h199.example.com", "/").await.status, 404);
    assert_eq!(bench.get("h200.example.com", "/").await.status, 200);
}
