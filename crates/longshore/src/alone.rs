//! The settings that the old tools' commands share: one job, no API, and nothing else that follows containers.

use std::path::PathBuf;
use std::time::Duration;

use longshore_daemon::config::{
    BalancerSettings, DockerAddress, DockerSettings, EngineSettings, HandlerSettings, Settings,
};

/// An agent that only watches Docker.
pub(crate) fn settings(docker: DockerAddress, data_dir: PathBuf) -> Settings {
    Settings {
        node: "localhost".to_owned(),
        data_dir,
        listen: None,
        token: None,
        docker: DockerSettings {
            address: docker,
            cert_path: std::env::var_os("DOCKER_CERT_PATH").map(PathBuf::from),
            include_env: false,
        },
        balancer: BalancerSettings { bind: Vec::new(), workers: 1, engine: EngineSettings::None },
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
