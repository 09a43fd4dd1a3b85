//! An HAProxy that somebody else runs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::lab::{Lab, Upstream, free_port, get, settings, to};
use crate::{Haproxy, HaproxyError, Mode, Reload, Settings};

/// An HAProxy as a distribution's service starts it, with the distribution's configuration. Killed when dropped.
struct Foreign {
    process: Child,
}

impl Foreign {
    fn start(dir: &Path) -> Self {
        let process = Command::new("haproxy")
            .args(["-W", "-db", "-S"])
            .arg(dir.join("master.sock"))
            .arg("-f")
            .arg(dir.join("haproxy.cfg"))
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !dir.join("master.sock").exists() {
            std::thread::yield_now();
        }
        Self { process }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const DISTRIBUTIONS: &str = "global\n    stats socket SOCKET level admin\ndefaults\n    timeout connect 1s\n    \
    timeout client 1s\n    timeout server 1s\n";

async fn attached(reload: impl FnOnce(&Path) -> Reload) -> (Lab, Foreign, Settings) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let config = dir.path().join("haproxy.cfg");
    std::fs::write(&config, DISTRIBUTIONS.replace("SOCKET", &socket.to_string_lossy())).unwrap();
    let foreign = Foreign::start(dir.path());
    let mut settings = settings(&dir);
    settings.mode = Mode::Attach { config, socket: Some(socket), reload: reload(dir.path()) };
    let engine = Haproxy::start(settings.clone()).await.unwrap();
    (Lab { engine, table: Default::default(), dir }, foreign, settings)
}

fn by_master(dir: &Path) -> Reload {
    Reload::Master(dir.join("master.sock"))
}

#[tokio::test]
async fn one_that_runs_already_is_reloaded_once_and_then_driven_at_run_time() {
    let (mut lab, foreign, settings) = attached(by_master).await;
    let port = free_port();
    let (a, b) = (Upstream::new("a").await, Upstream::new("b").await);
    lab.set(&[to(format!("http:{port} x/"), &[&a])]).await;
    assert_eq!(get(port, "x", "/").await, "a /");
    lab.set(&[to(format!("http:{port} x/"), &[&b])]).await;
    assert_eq!(get(port, "x", "/").await, "b /");
    assert_eq!(lab.engine.stats().reloads, 1);
    // The next agent finds it running.
    std::mem::replace(&mut lab.engine, Haproxy::start(settings).await.unwrap())
        .shutdown(Duration::ZERO)
        .await;
    lab.table = Default::default();
    lab.set(&[to(format!("http:{port} x/"), &[&a])]).await;
    assert_eq!(get(port, "x", "/").await, "a /");
    assert_eq!(lab.engine.stats().reloads, 0);
    drop(foreign);
}

#[tokio::test]
async fn one_that_its_admin_restarts_has_its_routes_again() {
    let (mut lab, foreign, _) = attached(by_master).await;
    let port = free_port();
    let (a, b) = (Upstream::new("a").await, Upstream::new("b").await);
    lab.set(&[to(format!("http:{port} x/"), &[&a])]).await;
    // Not on disk yet when HAProxy is killed.
    lab.set(&[to(format!("http:{port} x/"), &[&b]), to(format!("http:{port} y/"), &[&b])]).await;
    drop(foreign);
    std::fs::remove_file(lab.dir.path().join("master.sock")).unwrap();
    let _foreign = Foreign::start(lab.dir.path());
    lab.run_for(Duration::from_millis(2500)).await;
    assert_eq!(get(port, "x", "/").await, "b /");
    assert_eq!(get(port, "y", "/").await, "b /");
}

#[tokio::test]
async fn a_command_reloads_it() {
    let (mut lab, _foreign, _) = attached(|dir| {
        let script = dir.join("reload");
        let text = format!("import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('{}')\ns.sendall(b'reload\\n')\ns.recv(1)\n", dir.join("master.sock").display());
        std::fs::write(&script, text).unwrap();
        Reload::Command(vec!["python3".to_owned(), script.to_string_lossy().into_owned()])
    })
    .await;
    let port = free_port();
    let a = Upstream::new("a").await;
    lab.set(&[to(format!("http:{port} x/"), &[&a])]).await;
    assert_eq!(get(port, "x", "/").await, "a /");
    assert_eq!(lab.engine.stats().reloads, 1);
}

/// Returns settings for an HAProxy that runs, or should run, with this configuration.
fn without_a_socket(dir: &tempfile::TempDir, config: &str) -> Settings {
    let path = dir.path().join("haproxy.cfg");
    std::fs::write(&path, config).unwrap();
    let mut settings = settings(dir);
    settings.mode = Mode::Attach { config: path, socket: None, reload: by_master(dir.path()) };
    settings
}

#[tokio::test]
async fn the_socket_that_its_configuration_declares_is_used_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("its-own.sock");
    let config = DISTRIBUTIONS.replace("SOCKET", &socket.to_string_lossy());
    let settings = without_a_socket(&dir, &config);
    let _foreign = Foreign::start(dir.path());
    let engine = Haproxy::start(settings).await.unwrap();
    let (mut lab, port, a) =
        (Lab { engine, table: Default::default(), dir }, free_port(), Upstream::new("a").await);
    lab.set(&[to(format!("http:{port} x/"), &[&a])]).await;
    lab.set(&[to(format!("http:{port} x/"), &[&a]), to(format!("http:{port} y/"), &[&a])]).await;
    assert_eq!(get(port, "y", "/").await, "a /");
    assert_eq!(lab.engine.stats().reloads, 1);
    let written = std::fs::read_to_string(lab.dir.path().join("haproxy.cfg")).unwrap();
    assert!(written.contains(&format!("stats socket {} ", socket.display())), "{written}");
}

#[tokio::test]
async fn the_folder_of_the_socket_is_made_before_the_file_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = without_a_socket(&dir, &DISTRIBUTIONS.replace("SOCKET", "/nonexistent/stats"));
    let socket = dir.path().join("run/haproxy/admin.sock");
    std::fs::write(
        dir.path().join("haproxy.cfg"),
        DISTRIBUTIONS.replace("    stats socket SOCKET level admin\n", ""),
    )
    .unwrap();
    settings.mode = Mode::Attach {
        config: dir.path().join("haproxy.cfg"),
        socket: Some(socket.clone()),
        reload: by_master(dir.path()),
    };
    let foreign = Foreign::start(dir.path());
    let engine = Haproxy::start(settings).await.unwrap();
    let (mut lab, port, a) =
        (Lab { engine, table: Default::default(), dir }, free_port(), Upstream::new("a").await);
    lab.set(&[to(format!("http:{port} x/"), &[&a])]).await;
    assert_eq!(get(port, "x", "/").await, "a /");
    assert!(socket.exists());
    drop(foreign);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_leaves_the_file_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let config = DISTRIBUTIONS.replace("    stats socket SOCKET level admin\n", "");
    let mut settings = without_a_socket(&dir, &config);
    settings.mode = Mode::Attach {
        config: dir.path().join("haproxy.cfg"),
        socket: Some(dir.path().join("file/admin.sock")),
        reload: by_master(dir.path()),
    };
    let _foreign = Foreign::start(dir.path());
    let engine = Haproxy::start(settings).await.unwrap();
    let mut lab = Lab { engine, table: Default::default(), dir };
    let error = lab.try_set(&[to(format!("http:{} x/", free_port()), &[])]).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot create "), "{error}");
    assert_eq!(std::fs::read_to_string(lab.dir.path().join("haproxy.cfg")).unwrap(), config);
}

#[tokio::test]
async fn one_that_is_down_finds_the_routes_in_its_file_when_it_is_started() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let settings = without_a_socket(&dir, &DISTRIBUTIONS.replace("SOCKET", &socket.to_string_lossy()));
    let engine = Haproxy::start(settings).await.unwrap();
    let (mut lab, port, a) =
        (Lab { engine, table: Default::default(), dir }, free_port(), Upstream::new("a").await);
    let error = lab.try_set(&[to(format!("http:{port} x/"), &[&a])]).await.unwrap_err();
    assert!(matches!(error, HaproxyError::NotLoaded { .. }), "{error}");
    let _foreign = Foreign::start(lab.dir.path());
    while get(port, "x", "/").await != "a /" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // And Longshore finds it up, by one of its retries: the socket may be busy for a moment longer than the traffic.
    while lab.retry().await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let b = Upstream::new("b").await;
    lab.set(&[to(format!("http:{port} x/"), &[&b])]).await;
    assert_eq!(get(port, "x", "/").await, "b /");
    assert_eq!(lab.engine.stats().reloads, 0);
}

#[tokio::test]
async fn where_nobody_tries_again_the_file_stays_although_the_reload_failed() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let mut settings = without_a_socket(&dir, &DISTRIBUTIONS.replace("SOCKET", &socket.to_string_lossy()));
    settings.retries = false;
    let config = dir.path().join("haproxy.cfg");
    let failing =
        Reload::Command(vec!["sh".to_owned(), "-c".to_owned(), "echo no such unit >&2; exit 5".to_owned()]);
    settings.mode = Mode::Attach { config: config.clone(), socket: None, reload: failing };
    let _foreign = Foreign::start(dir.path());
    let engine = Haproxy::start(settings).await.unwrap();
    let mut lab = Lab { engine, table: Default::default(), dir };
    let port = free_port();
    let error = lab.try_set(&[to(format!("http:{port} x/"), &[])]).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("no such unit"), "{error}: {source}");
    assert!(std::fs::read_to_string(&config).unwrap().contains(&format!("frontend http_{port}")));
}

#[tokio::test]
async fn a_reload_command_that_fails_leaves_the_file_as_it_was() {
    let (mut lab, _foreign, _) = attached(|_| Reload::Command(vec!["false".to_owned()])).await;
    let config: PathBuf = lab.dir.path().join("haproxy.cfg");
    let before = std::fs::read_to_string(&config).unwrap();
    let error = lab.try_set(&[to(format!("http:{} x/", free_port()), &[])]).await.unwrap_err();
    assert_eq!(error.to_string(), "reload failed: \"false\" failed: ");
    assert_eq!(std::fs::read_to_string(&config).unwrap(), before);
}
