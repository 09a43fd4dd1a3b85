//! What only HAProxy can do to us, and we to it.

use std::time::Duration;

use longshore_testkit::{Agent, ContainerSpec, Host, Lab, TestResult, eventually};

use crate::engines::{answered_by, served_by, who};

fn server(name: &str) -> ContainerSpec {
    ContainerSpec::server().label("longshore.http.80.host", name)
}

/// Returns HAProxy's own processes in the host's namespace, without a `haproxy -c` that only checks a file.
async fn haproxies(host: &Host) -> Vec<i32> {
    let script = format!(
        "for p in $(ip netns pids {}); do [ \"$(cat /proc/$p/comm)\" = haproxy ] || continue; \
         tr '\\0' '\\n' < /proc/$p/cmdline | grep -qx -e -c || echo $p; done; true",
        host.namespace
    );
    let printed = host.exec_in_namespace(&["sh", "-c", &script]).await.unwrap_or_default();
    printed.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

fn kill9(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

#[tokio::test]
async fn a_haproxy_that_is_killed_is_started_again_with_the_same_routes() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let _agent = Agent::on(host).balancer("haproxy").start().await?;
    let web = host.run(server("k.test")).await?;
    answered_by(host, "k.test", "/", &web.name).await;
    let before = haproxies(host).await;
    assert!(!before.is_empty());
    before.iter().copied().for_each(kill9);
    eventually("others run in their place", async || {
        let now = haproxies(host).await;
        !now.is_empty() && now.iter().all(|pid| !before.contains(pid))
    })
    .await;
    answered_by(host, "k.test", "/", &web.name).await;
    Ok(())
}

#[tokio::test]
async fn routes_and_servers_change_without_a_reload() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let agent = Agent::on(host).balancer("haproxy").start().await?;
    let first = host.run(server("r.test")).await?;
    answered_by(host, "r.test", "/", &first.name).await;
    let before = haproxies(host).await;
    let second = host.run(server("r.test")).await?;
    let other = host.run(server("other.test").label("longshore.http.80.prefix", "x")).await?;
    served_by(&agent, "r.test", &[&first.name, &second.name]).await;
    answered_by(host, "other.test", "/x", &other.name).await;
    first.remove().await?;
    served_by(&agent, "r.test", &[&second.name]).await;
    answered_by(host, "r.test", "/", &second.name).await;
    assert_eq!(haproxies(host).await, before, "a reload would have made another worker");
    Ok(())
}

#[tokio::test]
async fn a_haproxy_outlives_a_killed_agent_and_is_taken_over_by_the_next() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let data = tempfile::tempdir()?;
    let mut agent = Agent::on(host).balancer("haproxy").data_dir(data.path()).start().await?;
    let web = host.run(server("t.test")).await?;
    answered_by(host, "t.test", "/", &web.name).await;
    let load = host
        .load("http://127.0.0.1:80/")
        .host("t.test")
        .requests(1_000_000)
        .clients(2)
        .pause(Duration::from_millis(5))
        .start()?;
    agent.kill9();
    agent.ended_within(Duration::from_secs(5)).await?;
    assert_eq!(who(host, "t.test", "/").await.as_deref(), Some(web.name.as_str()));
    let again = Agent::on(host).balancer("haproxy").data_dir(data.path()).start().await?;
    let second = host.run(server("t.test")).await?;
    served_by(&again, "t.test", &[&web.name, &second.name]).await;
    load.stop();
    let report = load.report().await?;
    assert_eq!(report.failed(), 0, "{report}");
    Ok(())
}

#[tokio::test]
async fn a_port_that_is_taken_costs_its_own_frontend_only() -> TestResult {
    for engine in ["built-in", "haproxy"] {
        let lab = Lab::up(1).await?;
        let host = lab.host(0);
        let taken = host.inside(async { tokio::net::TcpListener::bind("0.0.0.0:8088").await }).await??;
        let agent = Agent::on(host).balancer(engine).start().await?;
        let blocked = host.run(server("b.test").label("longshore.http.80.listen", "8088")).await?;
        let free = host.run(server("f.test")).await?;
        answered_by(host, "f.test", "/", &free.name).await;
        eventually("the taken port is a problem of its frontend", async || {
            agent
                .cli(&["problems"])
                .await
                .is_ok_and(|p| p.contains("http:8088") && p.contains("cannot listen"))
        })
        .await;
        drop(taken);
        let (url, name) = ("http://127.0.0.1:8088/", blocked.name.clone());
        eventually("once it is free it is opened", async || {
            let answer = host.get(url).host("b.test").send().await;
            answer.is_ok_and(|answer| answer.name() == Some(name.as_str()))
        })
        .await;
        eventually("the problem is gone", async || {
            agent.cli(&["problems"]).await.is_ok_and(|p| p.contains("no problems"))
        })
        .await;
    }
    Ok(())
}

#[tokio::test]
async fn a_users_template_that_haproxy_refuses_leaves_the_good_one_at_work() -> TestResult {
    let lab = Lab::up(1).await?;
    let host = lab.host(0);
    let templates = tempfile::tempdir()?;
    let template = templates.path().join("haproxy.cfg.j2");
    let good = "global\n    stats socket {{ socket }} level admin\ndefaults\n    mode http\n    timeout connect 5s\n    timeout client 1m\n    timeout server 25s\n{% for port, hosts in sorted_config_by_port.items() %}frontend f{{ port }}\n    bind *:{{ port }}\n{% for host, prefixes in hosts %}{% set outer = loop.index %}{% for prefix in prefixes %}    use_backend b{{ port }}_{{ outer }}_{{ loop.index }} if { hdr(host) -i {{ host }} }\n{% endfor %}{% endfor %}{% for host, prefixes in hosts %}{% set outer = loop.index %}{% for prefix in prefixes %}backend b{{ port }}_{{ outer }}_{{ loop.index }}\n    http-response set-header x-mine yes\n{% for ip, weight, strip in http_mapping[port][host][prefix] %}    server s{{ loop.index }} {{ ip }}:{{ port }} weight {{ weight }}\n{% endfor %}{% endfor %}{% endfor %}{% endfor %}";
    std::fs::write(&template, good)?;
    let dir = templates.path().to_string_lossy().into_owned();
    let agent = Agent::on(host).balancer("haproxy").flags(&["--template-dir", &dir]).start().await?;
    let web = host.run(server("u.test")).await?;
    let mine = async |by: &str| {
        let answer = host.get("http://127.0.0.1:80/").host("u.test").send().await;
        answer.is_ok_and(|a| a.header("x-mine") == Some("yes") && a.name() == Some(by))
    };
    eventually("the user's own template is at work", async || mine(&web.name).await).await;
    std::fs::write(&template, format!("{good}\nrubbish here\n"))?;
    agent.sighup();
    let second = host.run(server("u.test")).await?;
    eventually("HAProxy's complaint is in the log", async || agent.log().contains("rubbish")).await;
    assert!(agent.cli(&["problems"]).await?.contains("balancer haproxy"));
    assert!(mine(&web.name).await, "the good one goes on");
    std::fs::write(&template, good)?;
    agent.sighup();
    eventually("the fixed one is at work", async || mine(&second.name).await).await;
    Ok(())
}
