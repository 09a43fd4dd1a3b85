//! `longshore balancer`, also called `docker-balancer`: HAProxy alone, with the old tool's flags.

use std::path::PathBuf;
use std::process::ExitCode;

use longshore_daemon::act::haproxy::{Mode, Settings as HaproxySettings, template_dirs};
use longshore_daemon::config::{BalancerSettings, DockerSettings, EngineSettings, Settings};
use longshore_model::BalanceJob;

use crate::cli::{Balancer, LogFormat};
use crate::settings::reload;
use crate::{alone, log, run};

/// Where docker-balancer looked for templates.
const TEMPLATE_DIRS: [&str; 2] = ["/etc/docker-glue/templates", "./templates"];

pub(crate) async fn run(arguments: Balancer) -> anyhow::Result<ExitCode> {
    log::start("info", LogFormat::Text)?;
    let settings = settings(&arguments);
    if arguments.once {
        return run::pass(settings, false).await;
    }
    run::watch(settings.clone(), || Ok(settings.clone()), std::future::pending()).await
}

/// What a handler asks for: docker-balancer with its defaults, but for what the handler says.
pub(crate) fn of_handler(job: &BalanceJob) -> HaproxySettings {
    let path = |said: &Option<PathBuf>, usual: &str| said.clone().unwrap_or_else(|| usual.into());
    let mode = Mode::Attach {
        config: path(&job.config_file, "/etc/haproxy/haproxy.cfg"),
        socket: path(&job.socket, "/run/haproxy/admin.sock"),
        reload: reload(job.reload.as_deref().unwrap_or("systemctl reload haproxy")),
    };
    HaproxySettings {
        template_dirs: template_dirs(&job.template_dir, &TEMPLATE_DIRS.map(PathBuf::from)),
        template_file: Some(job.template_file.clone().unwrap_or_else(|| "haproxy.cfg.j2".to_owned())),
        rc_file: Some(path(&job.rc, "/etc/sysconfig/haproxy")),
        ..HaproxySettings::new(mode)
    }
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
    let alone = alone::settings(arguments.docker_url.clone(), arguments.data_dir.clone());
    let engine = EngineSettings::Haproxy(Box::new(haproxy));
    Settings {
        docker: DockerSettings { include_env: arguments.include_env, ..alone.docker },
        balancer: BalancerSettings { engine, ..alone.balancer },
        ..alone
    }
}
