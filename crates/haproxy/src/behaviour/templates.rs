//! Templates with a custom layout.

use std::os::unix::fs::MetadataExt as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::lab::{Lab, Upstream, free_port, get, to};
use crate::{Haproxy, HaproxyError};

/// A template like Docker Glue's, for a current HAProxy.
const GLUE: &str = "\
global
    daemon
defaults
    mode http
    timeout connect 5s
    timeout client 1m
    timeout server 25s
{% for port, hosts in sorted_config_by_port.items() %}
frontend http_{{port}}
    bind 127.0.0.1:{{port}}
    {% for host, prefixes in hosts %}
        {% set acl_key = \"{0}_{1}_host\".format(host, loop.index) %}
        acl {{acl_key}} hdr(Host) -i {{host}}
        {% for prefix in prefixes %}
    {% if prefix %}
        acl {{host}}_{{loop.index}}_prefix path_beg /{{prefix}}
        use_backend be_{{port}}_{{host}}_{{loop.index}} if {{acl_key}} {{host}}_{{loop.index}}_prefix
    {% else %}
        use_backend be_{{port}}_{{host}}_{{loop.index}} if {{acl_key}}
    {% endif %}
        {% endfor %}
    {% endfor %}
{% endfor %}
{% for port, hosts in sorted_config_by_port.items() %}
    {% for host, prefixes in hosts %}{% for prefix in prefixes %}
{% set be_key = \"be_{0}_{1}_{2}\".format(port, host, loop.index) %}
backend {{be_key}}
    {% if http_mapping[port][host][prefix][0][2]=='1' %}
    http-request replace-path ^/{{prefix | re_escape}}/*(.*) /\\1
    {% endif %}
    {% for ip, weight, strip_prefix in http_mapping[port][host][prefix] %}
    server {{be_key}}_{{loop.index}} {{ip}}:{{port}} weight {{weight}} check
    {% endfor %}
    {% endfor %}{% endfor %}
{% endfor %}";

async fn lab(template: &str) -> (Lab, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("haproxy.cfg.j2"), template).unwrap();
    (Lab::with(|settings| settings.template_dirs = vec![dir.path().to_owned()]).await, dir)
}

#[tokio::test]
async fn a_docker_glue_template_is_carried_by_reloads_and_not_written_when_nothing_changed() {
    let (mut lab, _dir) = lab(GLUE).await;
    // An upstream on the frontend's port, the only kind that the old tool supported: 127.0.0.2 has that port too.
    let port = free_port();
    let serve = |ip: &str, name: &'static str| {
        let listener = std::net::TcpListener::bind(format!("{ip}:{port}")).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer_once(stream, name);
            }
        });
        format!("{ip}:{port}").parse::<std::net::SocketAddr>().unwrap()
    };
    let (a, b) = (serve("127.0.0.2", "a"), serve("127.0.0.3", "b"));
    let routes = |one, two| {
        vec![(format!("http:{port} x/"), vec![(one, 1)]), (format!("http:{port} x/p strip"), vec![(two, 1)])]
    };
    lab.set(&routes(a, b)).await;
    assert_eq!(get(port, "x", "/p/q").await, "b /q");
    assert_eq!(get(port, "x", "/q").await, "a /q");
    let inode = || std::fs::metadata(lab.path("haproxy.cfg")).unwrap().ino();
    let before = inode();
    let path = lab.path("haproxy.cfg");
    lab.set(&routes(a, b)).await;
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), before);
    assert_eq!(lab.engine.stats().reloads, 0);
    lab.set(&routes(b, a)).await;
    assert_eq!(lab.engine.stats().reloads, 1);
    assert_eq!(get(port, "x", "/q").await, "b /q");
    assert_ne!(std::fs::metadata(&path).unwrap().ino(), before);
}

fn answer_once(mut stream: std::net::TcpStream, name: &str) {
    use std::io::{Read as _, Write as _};
    let mut head = [0; 4096];
    let Ok(read) = stream.read(&mut head) else { return };
    let text = String::from_utf8_lossy(&head[..read]);
    let Some(path) = text.split(' ').nth(1) else { return };
    let body = format!("{name} {path}");
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
}

#[tokio::test]
async fn a_template_of_ones_own_that_haproxy_refuses_costs_nothing_that_runs() {
    let template = "\
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
{% for f in frontends %}
frontend {{ f.name }}
    bind {{ f.binds[0] }}
    http-request return status 200 content-type text/plain string own
{% endfor %}
{% for r in routes %}{% if r.host == 'bad' %}
nonsense{% endif %}{% endfor %}";
    let (mut lab, _dir) = lab(template).await;
    let port = free_port();
    lab.set(&[to(format!("http:{port} x/"), &[])]).await;
    assert_eq!(get(port, "x", "/").await, "own");
    tokio::time::sleep(std::time::Duration::from_millis(120)).await;
    let error = lab.try_set(&[to(format!("http:{port} bad/"), &[])]).await.unwrap_err();
    assert!(
        matches!(&error, HaproxyError::Rejected { complaint } if complaint.contains("nonsense")),
        "{error}"
    );
    assert_eq!(get(port, "x", "/").await, "own");
    lab.engine.retry();
    lab.set(&[to(format!("http:{port} x/"), &[])]).await;
    assert_eq!(lab.engine.stats().reloads, 0);
    assert_eq!(get(port, "x", "/").await, "own");
}

#[tokio::test]
async fn a_template_that_is_read_again_is_in_force_with_the_next_table() {
    let dir = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(dir.path().join("own.j2"), text).unwrap();
    let with = |extra: &str| {
        format!("{{% extends 'haproxy.cfg.j2' %}}{{% block frontend_extra %}}\n    {extra}{{% endblock %}}")
    };
    write(&with("http-request set-header X-Said one"));
    let mut lab = Lab::with(|settings| {
        settings.template_dirs = vec![dir.path().to_owned()];
        settings.template_file = Some("own.j2".to_owned());
    })
    .await;
    let (a, port) = (Upstream::new("a").await, free_port());
    let routes = [to(format!("http:{port} x/"), &[&a])];
    lab.set(&routes).await;
    let said = async || {
        let (_, body) = super::lab::Client::connect(port).await.unwrap().get("x", "/").await.unwrap();
        body.lines().find_map(|line| line.strip_prefix("x-said: ")).unwrap_or_default().to_owned()
    };
    assert_eq!(said().await, "one");
    write(&with("http-request set-header X-Said two"));
    lab.engine.reread().unwrap();
    lab.set(&routes).await;
    assert_eq!(said().await, "two");
    // A template that does not render leaves the previous one in place.
    write("{{ 1 +");
    assert!(lab.engine.reread().is_err());
    lab.set(&routes).await;
    assert_eq!(said().await, "two");
    assert_eq!(lab.engine.stats().reloads, 1);
}

#[tokio::test]
async fn a_dry_run_renders_what_would_be_written_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = super::lab::settings(&dir);
    settings.stats = Some("127.0.0.1:5000".parse().unwrap());
    let a = Upstream::new("a").await;
    let mut lab = Lab::new().await;
    let port = free_port();
    lab.set(&[to(format!("http:{port} x/"), &[&a]), to(format!("tcp:{}", free_port()), &[&a])]).await;
    let text = Haproxy::render(&settings, &lab.table).unwrap();
    assert_eq!(text, Haproxy::render(&settings, &lab.table).unwrap());
    assert!(text.contains("bind 127.0.0.1:5000"));
    assert!(!dir.path().join("haproxy").exists(), "a dry run writes nothing");
}

#[tokio::test]
async fn a_configuration_of_every_kind_of_frontend_draws_no_warning() {
    let mut lab = Lab::with(|settings| settings.log = Some("127.0.0.1:514 local0".to_owned())).await;
    let a = Upstream::new("a").await;
    lab.set(&[to(format!("http:{} x/", free_port()), &[&a]), to(format!("tcp:{}", free_port()), &[&a])])
        .await;
    let checked =
        std::process::Command::new("haproxy").arg("-c").arg("-f").arg(lab.path("haproxy.cfg")).output();
    let checked = checked.unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success() && !said.contains("WARNING"), "{said}");
}

#[tokio::test]
async fn requests_and_connections_are_logged_where_the_settings_say() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = tokio::net::UnixDatagram::bind(&path).unwrap();
    // HAProxy's workers do not run as root.
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let mut lab = Lab::with(|settings| settings.log = Some(format!("{} local0", path.display()))).await;
    let (a, port) = (Upstream::new("a").await, free_port());
    lab.set(&[to(format!("http:{port} x/"), &[&a])]).await;
    assert_eq!(get(port, "x", "/logged?q").await, "a /logged?q");
    let found = async {
        loop {
            let mut line = [0; 2048];
            let length = log.recv(&mut line).await.unwrap();
            let line = String::from_utf8_lossy(&line[..length]).into_owned();
            if line.contains("\"GET /logged?q HTTP/1.1\"") {
                return line;
            }
        }
    };
    let line = tokio::time::timeout(std::time::Duration::from_secs(10), found).await.unwrap();
    assert!(line.contains(&format!(" http_{port} slot_0001/")) && line.contains(" 200 "), "{line}");
}

#[tokio::test]
async fn the_stats_page_is_there_and_its_port_being_taken_costs_nothing_else() {
    let stats = free_port();
    let with_stats = |settings: &mut crate::Settings| {
        settings.stats = Some(std::net::SocketAddr::from(([127, 0, 0, 1], stats)));
    };
    let (a, port) = (Upstream::new("a").await, free_port());
    let mut first = Lab::with(with_stats).await;
    first.set(&[to(format!("http:{port} x/"), &[&a])]).await;
    let mut page = tokio::net::TcpStream::connect(("127.0.0.1", stats)).await.unwrap();
    page.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut text = String::new();
    page.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("Statistics Report for HAProxy"), "{text}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free_port();
    let mut second = Lab::with(|settings| settings.stats = Some(taken.local_addr().unwrap())).await;
    second.set(&[to(format!("http:{port} x/"), &[&a])]).await;
    assert_eq!(get(port, "x", "/").await, "a /");
}
