//! The settings that the old tools' commands share: one job, no API, and no other follower.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore_daemon::config::{
    BalancerSettings, DockerAddress, DockerModSettings, DockerSettings, EngineSettings, HandlerSettings,
    Settings,
};
use longshore_haproxy::{Mode, Reload, template_dirs};
use longshore_model::BalanceJob;

/// Returns the folder of the program as called: a link's own folder if called through a link; the program's if
/// called by its bare name.
pub(crate) fn program_folder(program: Option<&OsString>) -> PathBuf {
    let called = program.map(Path::new).filter(|path| path.components().count() > 1);
    let called =
        called.and_then(|path| std::path::absolute(path).ok()).or_else(|| std::env::current_exe().ok());
    called.as_deref().and_then(Path::parent).unwrap_or(Path::new("/")).to_owned()
}

/// Returns where docker-balancer looked for templates: its `./templates` was beside the program.
fn template_folders() -> Vec<PathBuf> {
    let beside = program_folder(std::env::args_os().next().as_ref()).join("templates");
    vec!["/etc/docker-glue/templates".into(), beside, "./templates".into()]
}

/// Returns docker-balancer's HAProxy settings; options that the job omits have its defaults.
pub(crate) fn haproxy(job: &BalanceJob) -> longshore_haproxy::Settings {
    let reload = job.reload.as_deref().unwrap_or("systemctl reload haproxy");
    let path = |said: &Option<PathBuf>, usual: &str| said.clone().unwrap_or_else(|| usual.into());
    let mode = Mode::Attach {
        config: path(&job.config_file, "/etc/haproxy/haproxy.cfg"),
        socket: job.socket.clone(),
        // A handler with an invalid command loses only its own reloads, and each one reports it.
        reload: Reload::parse(reload).unwrap_or_else(|_| Reload::Command(vec![reload.to_owned()])),
    };
    longshore_haproxy::Settings {
        template_dirs: template_dirs(&job.template_dir, &template_folders()),
        template_file: Some(job.template_file.clone().unwrap_or_else(|| "haproxy.cfg.j2".to_owned())),
        rc_file: Some(path(&job.rc, "/etc/sysconfig/haproxy")),
        ..longshore_haproxy::Settings::new(mode)
    }
}

/// Returns an agent that only watches Docker.
pub(crate) fn settings(docker: DockerAddress, data_dir: PathBuf) -> Settings {
    Settings {
        node: "localhost".to_owned(),
        data_dir,
        listen: None,
        socket: None,
        token: None,
        insecure: false,
        names: Vec::new(),
        dockermod: DockerModSettings::default(),
        cluster: None,
        docker: DockerSettings {
            address: docker,
            cert_path: std::env::var_os("DOCKER_CERT_PATH").map(PathBuf::from),
            include_env: false,
        },
        balancer: BalancerSettings {
            bind: Vec::new(),
            trusted: Vec::new(),
            workers: 1,
            engine: EngineSettings::None,
        },
        handlers: HandlerSettings::default(),
        sidecars: None,
        publish: None,
        dns: None,
        resync: Duration::from_secs(30),
        check_interval: Duration::from_secs(5),
        ignored: Vec::new(),
        grace: Duration::from_secs(30),
    }
}
