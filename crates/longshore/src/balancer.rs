//! `longshore balancer`, also called `docker-balancer`: HAProxy alone, with the old tool's flags.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use longshore_daemon::act::haproxy::{Mode, Settings as HaproxySettings, template_dirs};
use longshore_daemon::config::{BalancerSettings, DockerSettings, EngineSettings, Settings};

use crate::cli::{Balancer, LogFormat};
use crate::settings::reload;
use crate::{log, run};

/// Where docker-balancer looked for templates.
const TEMPLATE_DIRS: [&str; 2] = ["/etc/docker-glue/templates", "./templates"];

pub(crate) async fn run(arguments: Balancer) -> anyhow::Result<ExitCode> {
    log::start("info", LogFormat::Text)?;
    let settings = settings(&arguments);
    if arguments.once {
        return run::pass(settings, false).await;
    }
    run::watch(settings.clone(), || Ok(settings.clone())).await
}

fn settings(arguments: &Balancer) -> Settings {
    let mode = Mode::Attach {
        config: arguments.config_file.clone(),
        socket: arguments.socket.clone(),
        reload: reload(&arguments.reload),
    };
    let haproxy = HaproxySettings {
        template_dirs: template_dirs(&arguments.template_dir, &TEMPLATE_DIRS.map(PathBuf::from)),
        template_file: Some(arguments.template_file.clone()),
        rc_file: Some(arguments.rc.clone()),
        ..HaproxySettings::new(mode)
    };
    Settings {
        node: "localhost".to_owned(),
        data_dir: arguments.data_dir.clone(),
        listen: None,
        token: None,
        docker: DockerSettings {
            address: arguments.docker_url.clone(),
            cert_path: std::env::var_os("DOCKER_CERT_PATH").map(PathBuf::from),
            include_env: arguments.include_env,
        },
        balancer: BalancerSettings {
            bind: Vec::new(),
            workers: 1,
            engine: EngineSettings::Haproxy(Box::new(haproxy)),
        },
        resync: Duration::from_secs(30),
        check_interval: Duration::from_secs(5),
        grace: Duration::from_secs(30),
    }
}
