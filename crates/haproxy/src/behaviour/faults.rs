//! HAProxy killed, an agent killed, a configuration that HAProxy refuses.

use std::time::Duration;

use tokio::time::Instant;

use super::lab::{Lab, Upstream, free_port, get, kill, settings, to};
use crate::{Haproxy, HaproxyError};

#[tokio::test]
async fn a_killed_worker_is_back_with_the_same_routes() {
    let mut lab = Lab::new().await;
    let port = free_port();
    let (a, b) = (Upstream::new("a").await, Upstream::new("b").await);
    lab.set(&[to(format!("http:{port} x/"), &[&a])]).await;
    lab.set(&[to(format!("http:{port} x/"), &[&a]), to(format!("http:{port} y/"), &[&b])]).await;
    let (_, worker) = lab.pids().await;
    kill(worker);
    lab.next().await.unwrap();
    assert_eq!(get(port, "x", "/").await, "a /");
    assert_eq!(get(port, "y", "/").await, "b /");
    assert_eq!(lab.engine.stats().starts, 2);
}

#[tokio::test]
async fn a_killed_master_is_back_with_the_same_routes() {
    let mut lab = Lab::new().await;
    let port = free_port();
    let a = Upstream::new("a").await;
    lab.set(&[to(format!("http:{port} x/"), &[&a])]).await;
    let (master, _) = lab.pids().await;
    kill(master);
    lab.next().await.unwrap();
    assert_eq!(get(port, "x", "/").await, "a /");
    assert_ne!(lab.pids().await.0, master);
}

#[tokio::test]
async fn an_haproxy_that_cannot_start_is_started_again_when_the_agent_says_so() {
    let mut lab = Lab::with(|settings| settings.binary = "/nonexistent/haproxy".into()).await;
    let routes = [to(format!("http:{} x/", free_port()), &[])];
    let first = lab.try_set(&routes).await.unwrap_err();
    assert!(matches!(first, HaproxyError::Run { .. }), "{first}");
    // Not before that, however often routes change; and the cause is still reported.
    for _ in 0..3 {
        let held = lab.try_set(&routes).await.unwrap_err();
        assert!(
            matches!(&held, HaproxyError::RetryPending { reason } if reason.starts_with(&first.to_string())),
            "{held}"
        );
    }
    assert!(matches!(lab.retry().await, Err(HaproxyError::Run { .. })));
    lab.engine.settings.binary = "haproxy".into();
    lab.retry().await.unwrap();
    assert_eq!(lab.engine.stats().starts, 1);
}

#[tokio::test]
async fn an_agent_that_starts_again_takes_the_running_haproxy_over_without_a_reload() {
    let mut lab = Lab::new().await;
    let port = free_port();
    let (a, b) = (Upstream::new("a").await, Upstream::new("b").await);
    lab.set(&[to(format!("http:{port} x/"), &[&a]), to(format!("http:{port} *.old/"), &[&a])]).await;
    lab.set(&[to(format!("http:{port} x/"), &[&a, &b]), to(format!("http:{port} *.old/"), &[&a])]).await;
    let pids = lab.pids().await;
    let settings = settings(&lab.dir);
    std::mem::replace(&mut lab.engine, Haproxy::start(settings.clone()).await.unwrap()).leave().await;
    assert_eq!(get(port, "x", "/").await, "a /");
    // While it was down, one route was added, one removed, and one has another upstream.
    lab.table = Default::default();
    lab.set(&[to(format!("http:{port} x/"), &[&b]), to(format!("http:{port} *.new/"), &[&a])]).await;
    assert_eq!(get(port, "x", "/").await, "b /");
    assert_eq!(get(port, "1.new", "/").await, "a /");
    assert_eq!(get(port, "1.old", "/").await, "404");
    assert_eq!(lab.pids().await, pids);
    assert_eq!(lab.engine.stats().reloads, 0);
    // Its exit is noticed although it is not a child process.
    kill(pids.0);
    lab.next().await.unwrap();
    assert_eq!(get(port, "x", "/").await, "b /");
    assert_eq!(lab.engine.stats().starts, 1);
}

#[tokio::test]
async fn a_leftover_with_another_shape_is_reloaded_and_one_with_other_arguments_replaced() {
    let mut lab = Lab::new().await;
    let (port, other) = (free_port(), free_port());
    let a = Upstream::new("a").await;
    lab.set(&[to(format!("http:{port} x/"), &[&a])]).await;
    let (master, worker) = lab.pids().await;
    let mut settings = settings(&lab.dir);
    std::mem::replace(&mut lab.engine, Haproxy::start(settings.clone()).await.unwrap()).leave().await;
    lab.set(&[to(format!("http:{other} x/"), &[&a])]).await;
    assert_eq!(get(other, "x", "/").await, "a /");
    let (master_then, worker_then) = lab.pids().await;
    assert_eq!(master_then, master);
    assert_ne!(worker_then, worker);

    let rc = lab.dir.path().join("rc");
    std::fs::write(&rc, "OPTIONS=\"-n 777\"\n").unwrap();
    settings.rc_file = Some(rc);
    // The previous one leaves first: `start` stops what it finds.
    let idle = Haproxy::start(super::lab::settings(&tempfile::tempdir().unwrap())).await.unwrap();
    std::mem::replace(&mut lab.engine, idle).leave().await;
    lab.engine = Haproxy::start(settings).await.unwrap();
    lab.set(&[to(format!("http:{other} x/"), &[&a])]).await;
    assert_eq!(get(other, "x", "/").await, "a /");
    assert_ne!(lab.pids().await.0, master);
}

#[tokio::test]
async fn an_haproxy_that_stays_down_asks_for_nothing_by_itself() {
    let mut lab = Lab::new().await;
    let port = free_port();
    let a = Upstream::new("a").await;
    lab.set(&[to(format!("http:{port} x/"), &[&a])]).await;
    // Something is due soon, and then HAProxy is gone for good.
    lab.set(&[to(format!("http:{port} x/"), &[])]).await;
    lab.engine.settings.binary = "/nonexistent/haproxy".into();
    kill(lab.pids().await.0);
    assert!(lab.next().await.is_err());
    let disturbed = tokio::time::timeout(Duration::from_secs(3), lab.engine.disturbed());
    assert!(disturbed.await.is_err(), "nothing is due");
}

#[tokio::test]
async fn files_that_cannot_be_written_behind_a_change_are_an_error_until_they_can() {
    let mut lab = Lab::with(|settings| settings.write_delay = Duration::from_millis(10)).await;
    let port = free_port();
    let (a, b) = (Upstream::new("a").await, Upstream::new("b").await);
    lab.set(&[to(format!("http:{port} x/"), &[&a])]).await;
    // A directory in place of the map: root may write anywhere else.
    let map = lab.path(&format!("maps/http_{port}.map"));
    std::fs::remove_file(&map).unwrap();
    std::fs::create_dir(&map).unwrap();
    lab.try_set(&[to(format!("http:{port} x/"), &[&a]), to(format!("http:{port} y/"), &[&b])]).await.unwrap();
    let error = loop {
        if let Err(error) = lab.next().await {
            break error;
        }
    };
    assert!(error.to_string().contains("Is a directory"), "{error}");
    assert_eq!(get(port, "y", "/").await, "b /");
    assert!(lab.retry().await.is_err());
    std::fs::remove_dir(&map).unwrap();
    lab.retry().await.unwrap();
    assert!(std::fs::read_to_string(&map).unwrap().contains(">y/ "));
}

#[tokio::test]
async fn the_engine_can_be_driven_by_a_spawned_task() {
    let mut lab = Lab::new().await;
    let task = tokio::spawn(async move {
        let applied = lab.engine.apply(&lab.table, &Default::default()).await.unwrap();
        let _ = tokio::time::timeout(Duration::from_millis(10), lab.engine.disturbed()).await;
        applied
    });
    assert_eq!(task.await.unwrap(), crate::Applied::default());
}

#[tokio::test]
async fn shutdown_lets_a_request_end_and_takes_no_other() {
    let mut lab = Lab::new().await;
    let port = free_port();
    let slow = Upstream::answering("slow", Duration::from_millis(400)).await;
    lab.set(&[to(format!("http:{port} x/"), &[&slow])]).await;
    let (master, worker) = lab.pids().await;
    let under_way = tokio::spawn(async move { get(port, "x", "/").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let Lab { engine, dir: _dir, .. } = lab;
    let stopping = tokio::spawn(engine.shutdown(Duration::from_secs(5)));
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(get(port, "x", "/").await, "connection refused");
    assert_eq!(under_way.await.unwrap(), "slow /");
    stopping.await.unwrap();
    for pid in [master, worker] {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}

#[tokio::test]
async fn an_haproxy_that_has_only_just_started_is_stopped_at_once() {
    for _ in 0..3 {
        let mut lab = Lab::new().await;
        lab.set(&[to(format!("http:{} x/", free_port()), &[])]).await;
        let began = Instant::now();
        let Lab { engine, dir: _dir, .. } = lab;
        engine.shutdown(Duration::from_secs(30)).await;
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn an_haproxy_whose_start_is_cut_short_is_stopped_with_the_engine() {
    for cut in [0, 10, 20, 40, 80] {
        let mut lab = Lab::new().await;
        let master = lab.path("master.pid");
        let routes = [to(format!("http:{} x/", free_port()), &[])];
        let started = async {
            while !master.exists() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(Duration::from_millis(cut)).await;
        };
        tokio::select! {
            () = started => {}
            applied = lab.try_set(&routes) => drop(applied.unwrap()),
        }
        let pid = std::fs::read_to_string(master).unwrap();
        let Lab { engine, dir: _dir, .. } = lab;
        engine.shutdown(Duration::from_secs(30)).await;
        assert!(!std::path::Path::new("/proc").join(pid.trim()).exists(), "cut after {cut} ms");
    }
}

#[tokio::test]
async fn a_configuration_that_haproxy_refuses_never_replaces_a_good_one() {
    let templates = tempfile::tempdir().unwrap();
    let text = "{% extends 'haproxy.cfg.j2' %}{% block global_extra %}{% if frontends|length > 1 %}\n    \
        no such keyword{% endif %}{% endblock %}";
    std::fs::write(templates.path().join("own.j2"), text).unwrap();
    let mut lab = Lab::with(|settings| {
        settings.template_dirs = vec![templates.path().to_owned()];
        settings.template_file = Some("own.j2".to_owned());
        settings.reload_debounce = Duration::ZERO;
    })
    .await;
    let (port, other) = (free_port(), free_port());
    let (a, b) = (Upstream::new("a").await, Upstream::new("b").await);
    lab.set(&[to(format!("http:{port} x/"), &[&a])]).await;
    let good = std::fs::read_to_string(lab.path("haproxy.cfg")).unwrap();
    let pids = lab.pids().await;
    let routes = [to(format!("http:{port} x/"), &[&b]), to(format!("http:{other} x/"), &[&b])];
    let error = lab.try_set(&routes).await.unwrap_err();
    let HaproxyError::Rejected { complaint } = &error else { panic!("{error}") };
    assert!(complaint.contains("unknown keyword 'no'") || complaint.contains("'such'"), "{complaint}");
    // Changes that need no reload are in force anyway.
    assert_eq!(get(port, "x", "/").await, "b /");
    assert_eq!(lab.pids().await, pids);
    let left: Vec<_> =
        std::fs::read_dir(lab.dir.path().join("haproxy")).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".longshore-")), "{left:?}");
    assert_eq!(std::fs::read_to_string(lab.path("haproxy.cfg")).unwrap(), good);
    lab.set(&[to(format!("http:{port} x/"), &[&a])]).await;
    assert_eq!(get(port, "x", "/").await, "a /");
}
