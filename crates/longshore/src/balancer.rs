//! `longshore balancer`, also called `docker-balancer`: HAProxy alone, with the old tool's flags.

use std::process::ExitCode;

use longshore_daemon::config::{BalancerSettings, DockerSettings, EngineSettings, Settings};
use longshore_model::BalanceJob;

use crate::cli::Balancer;
use crate::flags::LogFormat;
use crate::{legacy, log, run};

pub(crate) async fn run(arguments: Balancer) -> anyhow::Result<ExitCode> {
    log::start("info", LogFormat::Text)?;
    let settings = settings(&arguments);
    if arguments.once {
        return run::pass(settings).await;
    }
    run::watch(settings.clone(), || Ok(settings.clone().into()), std::future::pending()).await
}

fn settings(arguments: &Balancer) -> Settings {
    let job = BalanceJob {
        template_dir: arguments.template_dir.clone(),
        template_file: Some(arguments.template_file.clone()),
        config_file: Some(arguments.config_file.clone()),
        rc: Some(arguments.rc.clone()),
        socket: arguments.socket.clone(),
        reload: Some(arguments.reload.clone()),
        include_env: arguments.include_env,
    };
    let base = legacy::settings(arguments.docker_url.clone(), arguments.data_dir.clone());
    let engine = EngineSettings::Haproxy(Box::new(legacy::haproxy(&job)));
    Settings {
        docker: DockerSettings { include_env: arguments.include_env, ..base.docker },
        balancer: BalancerSettings { engine, ..base.balancer },
        ..base
    }
}
