use std::path::Path;

use hyper_util::client::proxy::matcher::Matcher;
use longshore_model::{Handler, Job};
use longshore_runtime::Problems;

use crate::attempt::{Attempt, Failure};
use crate::{plugin, script, webhook};

/// Carries a handler's events to it. Several deliveries may be under way at once.
#[derive(Debug)]
pub(crate) enum Deliverer {
    Script(script::Script),
    Plugin(plugin::Plugin),
    Webhook(webhook::Webhook),
}

impl Deliverer {
    /// Creates the deliverer of a handler; `None` for a job that follows World.
    pub(crate) fn new(
        handler: &Handler,
        node: &str,
        docker_host: &str,
        data_dir: &Path,
        problems: &Problems,
    ) -> Option<Self> {
        match &handler.job {
            Job::Script { program, ini, ignore_status } => Some(Self::Script(script::Script {
                program: program.clone(),
                ini: ini.clone().unwrap_or_default(),
                ignore_status: *ignore_status,
                docker_host: docker_host.to_owned(),
            })),
            Job::Plugin { command } => Some(Self::Plugin(plugin::Plugin::new(
                handler,
                command.clone(),
                node,
                docker_host,
                data_dir,
                problems,
            ))),
            Job::Webhook { url, secret_file } => {
                let proxies = Matcher::from_env();
                Some(Self::Webhook(webhook::Webhook::new(url.clone(), secret_file.clone(), &proxies)))
            }
            Job::Balance(_) | Job::Follow(_) => None,
        }
    }

    /// Makes one attempt, for as long as the handler's rules allow. Dropping the future aborts the attempt.
    pub(crate) async fn deliver(&self, attempt: &Attempt<'_>) -> Result<(), Failure> {
        match self {
            Self::Script(script) => script.deliver(attempt).await,
            Self::Plugin(plugin) => plugin.deliver(attempt).await,
            Self::Webhook(webhook) => webhook.deliver(attempt).await,
        }
    }

    /// Returns what [`Deliverer::deliver`] would send to the handler.
    pub(crate) fn describe(&self, attempt: &Attempt<'_>) -> longshore_api::HandlerCall {
        match self {
            Self::Script(script) => script.describe(attempt),
            Self::Plugin(_) => plugin::Plugin::describe(attempt.handler, attempt),
            Self::Webhook(webhook) => webhook.describe(attempt),
        }
    }

    /// Stops what keeps running, within a few seconds.
    pub(crate) async fn stop(&self) {
        if let Self::Plugin(plugin) = self {
            plugin.stop().await;
        }
    }
}
