//! Which request goes where: the labels, row by row.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use longshore_testkit::{Agent, ContainerSpec, Host, TestResult, eventually};

use crate::engines::{answered_by, ask, problems_of, served_by, status, upstreams, who, with_both_engines};

with_both_engines!(
    the_documents_own_example_works_as_printed,
    a_host_is_matched_exactly_in_any_case_and_with_any_port,
    a_wildcard_takes_what_no_exact_host_does,
    the_longest_prefix_in_whole_segments_wins,
    a_host_without_the_prefix_falls_back_to_a_less_exact_one,
    a_stripped_prefix_leaves_its_slash,
    weights_share_a_thousand_requests,
    two_ports_of_one_container_are_two_frontends,
    a_frontend_listens_where_the_label_says,
    tcp_and_udp_ports_are_relayed,
    a_bad_label_costs_its_own_route_only,
    nothing_in_a_label_reaches_the_configuration,
    the_request_says_where_it_came_from,
);

async fn the_documents_own_example_works_as_printed(host: &Host, _agent: &mut Agent) -> TestResult {
    let wp1 = host.run(ContainerSpec::server().label("glue_http_80_host", "wp1.example.com")).await?;
    let wp2 = host.run(ContainerSpec::server().label("glue_http_80_host", "wp2.example.com")).await?;
    let openstack = |prefix| {
        ContainerSpec::server()
            .label("glue_http_80_host", "openstack.example.com")
            .label("glue_http_80_prefix", prefix)
    };
    let ui = host.run(openstack("dashboard/horizon")).await?;
    let id = host.run(openstack("identity/keystone")).await?;
    answered_by(host, "wp1.example.com", "/", &wp1.name).await;
    answered_by(host, "wp2.example.com", "/", &wp2.name).await;
    answered_by(host, "openstack.example.com", "/dashboard/horizon/login", &ui.name).await;
    answered_by(host, "openstack.example.com", "/identity/keystone", &id.name).await;
    assert_eq!(status(host, "openstack.example.com", "/").await, 404);
    assert_eq!(status(host, "wp3.example.com", "/").await, 404);
    let echo = ask(host, "openstack.example.com", "/identity/keystone/v3").await?.echo()?;
    assert_eq!(echo.path, "/identity/keystone/v3", "the prefix stays unless it is to be stripped");
    Ok(())
}

async fn a_host_is_matched_exactly_in_any_case_and_with_any_port(
    host: &Host,
    _agent: &mut Agent,
) -> TestResult {
    let web = host.run(ContainerSpec::server().label("glue_http_80_host", "Web.Example.com")).await?;
    answered_by(host, "web.example.com", "/", &web.name).await;
    for name in ["WEB.example.COM", "web.example.com:8080", "web.example.com."] {
        assert_eq!(who(host, name, "/").await.as_deref(), Some(web.name.as_str()), "{name}");
    }
    for name in ["example.com", "a.web.example.com", "web.example.com.evil.test", "xweb.example.com"] {
        assert_eq!(status(host, name, "/").await, 404, "{name}");
    }
    Ok(())
}

async fn a_wildcard_takes_what_no_exact_host_does(host: &Host, _agent: &mut Agent) -> TestResult {
    let server = |name: &str| ContainerSpec::server().label("longshore.http.80.host", name);
    let any = host.run(server("*")).await?;
    let wide = host.run(server("*.example.com")).await?;
    let narrow = host.run(server("*.eu.example.com")).await?;
    let exact = host.run(server("www.eu.example.com")).await?;
    answered_by(host, "www.eu.example.com", "/", &exact.name).await;
    answered_by(host, "a.eu.example.com", "/", &narrow.name).await;
    answered_by(host, "a.b.eu.example.com", "/", &narrow.name).await;
    answered_by(host, "a.example.com", "/", &wide.name).await;
    answered_by(host, "example.com", "/", &any.name).await;
    answered_by(host, "elsewhere.test", "/", &any.name).await;
    Ok(())
}

async fn the_longest_prefix_in_whole_segments_wins(host: &Host, _agent: &mut Agent) -> TestResult {
    let server = |prefix: &str| {
        ContainerSpec::server().label("glue_http_80_host", "p.test").label("glue_http_80_prefix", prefix)
    };
    let root = host.run(ContainerSpec::server().label("glue_http_80_host", "p.test")).await?;
    let short = host.run(server("dash")).await?;
    let long = host.run(server("/dash/board/")).await?;
    answered_by(host, "p.test", "/dash/board", &long.name).await;
    for (path, by) in [
        ("/", &root),
        ("/dashboard", &root),
        ("/Dash", &root),
        ("/dash", &short),
        ("/dash/", &short),
        ("/dash?x=/board", &short),
        ("/dash/boards", &short),
        ("/dash/board/x", &long),
        ("/dash/board?q", &long),
    ] {
        answered_by(host, "p.test", path, &by.name).await;
    }
    Ok(())
}

async fn a_host_without_the_prefix_falls_back_to_a_less_exact_one(
    host: &Host,
    _agent: &mut Agent,
) -> TestResult {
    let api = ContainerSpec::server()
        .label("longshore.http.80.host", "a.test")
        .label("longshore.http.80.prefix", "api");
    let exact = host.run(api).await?;
    let any = host.run(ContainerSpec::server().label("longshore.http.80", "")).await?;
    answered_by(host, "a.test", "/api/x", &exact.name).await;
    answered_by(host, "a.test", "/other", &any.name).await;
    Ok(())
}

async fn a_stripped_prefix_leaves_its_slash(host: &Host, _agent: &mut Agent) -> TestResult {
    let strip = ContainerSpec::server()
        .label("glue_http_80_host", "s.test")
        .label("glue_http_80_prefix", "p/q")
        .label("glue_http_80_strip_prefix", "1");
    let web = host.run(strip).await?;
    answered_by(host, "s.test", "/p/q", &web.name).await;
    for (sent, seen, query) in [
        ("/p/q", "/", ""),
        ("/p/q/", "/", ""),
        ("/p/q/x/y", "/x/y", ""),
        ("/p/q?a=b", "/", "a=b"),
        ("/p/q/x?a=/p/q", "/x", "a=/p/q"),
        ("/p/q//evil.test/x", "/evil.test/x", ""),
    ] {
        let echo = ask(host, "s.test", sent).await?.echo()?;
        assert_eq!((echo.path.as_str(), echo.query.as_str()), (seen, query), "{sent}");
    }
    Ok(())
}

async fn weights_share_a_thousand_requests(host: &Host, agent: &mut Agent) -> TestResult {
    let server = |weight: &str| {
        ContainerSpec::server().label("glue_http_80_host", "w.test").label("glue_http_80_weight", weight)
    };
    let (heavy, light, light_too) =
        (host.run(server("100")).await?, host.run(server("50")).await?, host.run(server("50")).await?);
    served_by(agent, "w.test", &[&heavy.name, &light.name, &light_too.name]).await;
    let report = host.load("http://127.0.0.1:80/").host("w.test").requests(1000).clients(4).run().await?;
    assert_eq!(report.failed(), 0, "{report}");
    for (container, share) in [(&heavy, 500), (&light, 250), (&light_too, 250)] {
        let count = report.by_container.get(&container.name).copied().unwrap_or(0);
        assert!(
            count.abs_diff(share) <= 5,
            "{} of weight {share}: {:?}",
            container.name,
            report.by_container
        );
    }
    Ok(())
}

async fn two_ports_of_one_container_are_two_frontends(host: &Host, _agent: &mut Agent) -> TestResult {
    let two = ContainerSpec::server()
        .http_on(&[8001, 8002])
        .label("glue_http_ports", "8001,8002")
        .label("glue_http_8002_host", "second.test");
    let web = host.run(two).await?;
    let port = async |port: u16, name: &str| {
        let answer = host.get(format!("http://127.0.0.1:{port}/")).host(name).send().await.ok()?;
        answer.echo().ok().map(|echo| (echo.name, echo.port))
    };
    eventually("both ports answer", async || {
        port(8001, "any.test").await == Some((web.name.clone(), 8001))
            && port(8002, "second.test").await == Some((web.name.clone(), 8002))
    })
    .await;
    assert_eq!(port(8002, "other.test").await, None);
    Ok(())
}

async fn a_frontend_listens_where_the_label_says(host: &Host, _agent: &mut Agent) -> TestResult {
    let moved = ContainerSpec::server()
        .http_on(&[3000])
        .label("longshore.http.3000.host", "m.test")
        .label("longshore.http.3000.listen", "80");
    let web = host.run(moved).await?;
    answered_by(host, "m.test", "/", &web.name).await;
    Ok(())
}

async fn tcp_and_udp_ports_are_relayed(host: &Host, agent: &mut Agent) -> TestResult {
    let both = ContainerSpec::server()
        .http_on(&[])
        .tcp_on(&[5432])
        .udp_on(&[5353])
        .label("glue_tcp_ports", "5432")
        .label("glue_udp_ports", "5353")
        .label("longshore.tcp.5432.listen", "15432");
    let echo = host.run(both).await?;
    let name = echo.name.clone();
    eventually("both frontends are served", async || {
        upstreams(agent, "tcp:15432", "*", "/").await == [name.as_str()]
            && upstreams(agent, "udp:5353", "*", "/").await == [name.as_str()]
    })
    .await;
    let tcp = host
        .inside(async {
            let mut stream = tokio::net::TcpStream::connect("127.0.0.1:15432").await?;
            stream.write_all(b"ping").await?;
            stream.shutdown().await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        })
        .await??;
    assert_eq!(tcp, format!("{name}\nping"), "all of it, and the end when the client has ended");
    let udp = host
        .inside(async {
            let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
            socket.connect("127.0.0.1:5353").await?;
            socket.send(b"ping").await?;
            let mut answer = vec![0; 100];
            let wait = std::time::Duration::from_secs(5);
            let length = tokio::time::timeout(wait, socket.recv(&mut answer)).await??;
            answer.truncate(length);
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
        })
        .await??;
    assert_eq!(udp, format!("{name}: ping"));
    Ok(())
}

async fn a_bad_label_costs_its_own_route_only(host: &Host, agent: &mut Agent) -> TestResult {
    let mixed = ContainerSpec::server()
        .http_on(&[80, 8080])
        .label("glue_http_80_host", "good.test")
        .label("glue_http_8080_host", "bad.test")
        .label("glue_http_8080_weight", "heavy");
    let web = host.run(mixed).await?;
    let empty = host.run(ContainerSpec::server().label("glue_http_80_host", "")).await?;
    answered_by(host, "good.test", "/", &web.name).await;
    let other = host.run(ContainerSpec::server().label("glue_http_80_host", "other.test")).await?;
    answered_by(host, "other.test", "/", &other.name).await;
    assert_eq!(upstreams(agent, "http:8080", "bad.test", "/").await, Vec::<String>::new());
    let told = problems_of(agent, &web.id).await;
    assert!(told[0].starts_with("glue_http_8080_weight: invalid weight \"heavy\""), "{told:?}");
    let told = problems_of(agent, &empty.id).await;
    assert!(told[0].starts_with("glue_http_80_host: invalid host name \"\""), "{told:?}");
    let printed = agent.cli(&["problems"]).await?;
    assert!(printed.contains(&web.name) && printed.contains("glue_http_8080_weight"), "{printed}");
    assert!(agent.log().contains("glue_http_8080_weight"), "the log names the label");
    Ok(())
}

async fn nothing_in_a_label_reaches_the_configuration(host: &Host, agent: &mut Agent) -> TestResult {
    let hostile = [
        ("longshore.http.80.host", "a.test\n    http-request deny"),
        ("longshore.http.80.host", "a.test\"; shutdown"),
        ("longshore.http.80.host", "{{ 7 * 7 }}"),
        ("longshore.http.80.host", "}}{% raw %}"),
        ("longshore.http.80.host", "a.test;add map x"),
        ("longshore.http.80.prefix", "x\ny"),
        ("longshore.http.80.prefix", "x' y"),
        ("longshore.http.80.prefix", "../../etc"),
        ("longshore.http.80.weight", "1\n2"),
        ("longshore.http.80.listen", "81 ssl crt /etc/shadow"),
        ("glue_http_ports", "80\n81"),
        ("glue_http_80\n_host", "a.test"),
    ];
    let mut running = Vec::new();
    for (key, value) in hostile {
        running.push(host.run(ContainerSpec::server().label(key, value)).await?);
    }
    let good = host.run(ContainerSpec::server().label("longshore.http.80.host", "good.test")).await?;
    answered_by(host, "good.test", "/", &good.name).await;
    assert_eq!(agent.api("/v1/routes").await?.as_array().map(Vec::len), Some(1));
    for container in &running {
        let told = problems_of(agent, &container.id).await;
        assert_eq!(told.len(), 1, "{}: {told:?}", container.name);
    }
    let printed = agent.cli(&["problems"]).await?;
    assert_eq!(printed.lines().count(), 1 + running.len(), "a line a problem:\n{printed}");
    Ok(())
}

async fn the_request_says_where_it_came_from(host: &Host, _agent: &mut Agent) -> TestResult {
    let web = host.run(ContainerSpec::server().label("longshore.http.80.host", "x.test")).await?;
    answered_by(host, "x.test", "/", &web.name).await;
    let request = host.get("http://127.0.0.1:80/").host("x.test");
    let forged = request.header("x-forwarded-for", "6.6.6.6").header("x-forwarded-proto", "https");
    let echo = forged.send().await?.echo()?;
    assert_eq!(echo.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(echo.header("x-forwarded-proto"), Some("http"));
    assert_eq!(echo.header("x-forwarded-host"), Some("x.test"));
    assert_eq!(echo.header("host"), Some("x.test"));
    Ok(())
}
