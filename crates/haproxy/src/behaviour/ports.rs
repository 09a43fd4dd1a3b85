//! Frontends that come and go, hundreds of routes, and the reloads that they need.

use std::time::Duration;

use super::lab::{Lab, Upstream, free_port, get, to};

#[tokio::test]
async fn a_port_takes_one_reload_and_ports_that_come_together_share_it() {
    let mut lab = Lab::with(|settings| {
        settings.reload_debounce = Duration::from_secs(1);
        settings.linger = Duration::from_secs(2);
    })
    .await;
    let ports: Vec<u16> = (0..4).map(|_| free_port()).collect();
    let a = Upstream::new("a").await;
    let routes =
        |count: usize| ports[..count].iter().map(|p| to(format!("http:{p} */"), &[&a])).collect::<Vec<_>>();
    lab.set(&routes(1)).await;
    assert_eq!(lab.engine.stats().reloads, 0);
    lab.set(&routes(2)).await;
    assert_eq!(lab.engine.stats().reloads, 1);
    // Within the debounce of that one.
    let applied = lab.try_set(&routes(3)).await.unwrap();
    assert_eq!(applied.pending.len(), 1, "{applied:?}");
    lab.set(&routes(4)).await;
    assert_eq!(lab.engine.stats().reloads, 2);
    for port in &ports {
        assert_eq!(get(*port, "x", "/").await, "a /");
    }
    // One that loses its last route lingers, in case it comes back.
    lab.set(&routes(3)).await;
    assert_eq!(get(ports[3], "x", "/").await, "404");
    lab.set(&routes(4)).await;
    assert_eq!(get(ports[3], "x", "/").await, "a /");
    assert_eq!(lab.engine.stats().reloads, 2);
    lab.set(&routes(3)).await;
    assert_eq!(lab.engine.stats().reloads, 2);
    while lab.engine.stats().reloads < 3 {
        lab.next().await.unwrap();
    }
    assert_eq!(get(ports[3], "x", "/").await, "connection refused");
    assert_eq!(lab.engine.stats().reloads, 3);
}

#[tokio::test]
async fn a_port_that_is_taken_costs_only_its_own_frontend_until_it_is_free() {
    let mut lab = Lab::new().await;
    let port = free_port();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = taken.local_addr().unwrap().port();
    let a = Upstream::new("a").await;
    let routes = [to(format!("http:{port} */"), &[&a]), to(format!("http:{busy} */"), &[&a])];
    let applied = lab.set(&routes).await;
    let [(frontend, reason)] = applied.failed.as_slice() else { panic!("{applied:?}") };
    assert_eq!(frontend.port, busy);
    assert!(reason.contains("Address already in use"), "{reason}");
    assert_eq!(get(port, "x", "/").await, "a /");
    assert_eq!(lab.retry().await.unwrap().failed.len(), 1);
    drop(taken);
    assert!(lab.retry().await.unwrap().failed.is_empty());
    assert!(lab.set(&routes).await.failed.is_empty());
    assert_eq!(get(busy, "x", "/").await, "a /");
    assert_eq!(lab.engine.stats().failures, 0);
}

#[tokio::test]
async fn a_port_is_http_or_tcp_and_udp_is_passed_over() {
    let mut lab = Lab::new().await;
    let port = free_port();
    let a = Upstream::new("a").await;
    let routes = [
        to(format!("http:{port} */"), &[&a]),
        to(format!("tcp:{port}"), &[&a]),
        to(format!("udp:{port}"), &[&a]),
    ];
    let applied = lab.set(&routes).await;
    let failed: Vec<String> = applied.failed.iter().map(|(f, reason)| format!("{f} {reason}")).collect();
    assert_eq!(failed, [format!("tcp:{port} the port is taken by http:{port}")]);
    assert_eq!(get(port, "x", "/").await, "a /");
}

#[tokio::test]
async fn hundreds_of_routes_are_in_force_at_once_and_the_pool_grows_with_them() {
    let mut lab = Lab::new().await;
    let port = free_port();
    let (a, b) = (Upstream::new("a").await, Upstream::new("b").await);
    let routes = |count: usize| {
        (0..count)
            .map(|n| to(format!("http:{port} h{n}.com/p strip"), &[if n % 2 == 0 { &a } else { &b }]))
            .collect()
    };
    let few: Vec<_> = routes(10);
    lab.set(&few).await;
    let many: Vec<_> = routes(400);
    lab.set(&many).await;
    assert_eq!(lab.engine.stats().reloads, 1, "the pool of 16 grows once");
    for n in [0, 1, 9, 10, 11, 12, 250, 399] {
        let expected = if n % 2 == 0 { "a /x" } else { "b /x" };
        assert_eq!(get(port, &format!("h{n}.com"), "/p/x").await, expected, "{n}");
    }
    // All are replaced at once, in what is left of the pool.
    let before = lab.engine.stats().commands;
    lab.set(&routes(5)).await;
    assert_eq!(get(port, "h4.com", "/p").await, "a /");
    assert_eq!(get(port, "h5.com", "/p").await, "404");
    assert!(lab.engine.stats().commands - before > 395);
    lab.set(&routes(100)).await;
    assert_eq!(get(port, "h99.com", "/p").await, "b /");
    assert_eq!(lab.engine.stats().reloads, 1);
}

#[tokio::test]
async fn withdrawn_servers_are_swept_and_their_slots_used_again() {
    let mut lab = Lab::with(|settings| settings.pool = 2).await;
    let port = free_port();
    let a = Upstream::new("a").await;
    let route = |name: &str| to(format!("http:{port} {name}/"), &[&a]);
    lab.set(&[route("one"), route("two")]).await;
    lab.set(&[route("one")]).await;
    lab.run_for(Duration::from_millis(2500)).await;
    lab.set(&[route("one"), route("three")]).await;
    assert_eq!(get(port, "three", "/").await, "a /");
    assert_eq!(get(port, "two", "/").await, "404");
    assert_eq!(lab.engine.stats().reloads, 0);
}

#[tokio::test]
async fn the_files_follow_what_was_changed_at_run_time() {
    let mut lab = Lab::with(|settings| settings.write_delay = Duration::from_millis(50)).await;
    let port = free_port();
    let (a, b) = (Upstream::new("a").await, Upstream::new("b").await);
    lab.set(&[to(format!("http:{port} */"), &[&a])]).await;
    lab.set(&[to(format!("http:{port} */"), &[&b]), to(format!("http:{port} *.x.com/"), &[&a])]).await;
    let folder = lab.path("");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let mut files = (String::new(), [0, 0]);
    let servers = |config: &str| {
        [&a, &b].map(|server| config.matches(&format!(" {} weight 100 check", server.address)).count())
    };
    let expected = ("? yes\n/ slot_0001:0\nx.com/ slot_0002:0\n".to_owned(), [1, 1]);
    for _ in 0..100 {
        lab.run_for(Duration::from_millis(100)).await;
        files = (read(&format!("maps/http_{port}.map")), servers(&read("haproxy.cfg")));
        if files == expected {
            break;
        }
    }
    assert_eq!(files, expected);
}
