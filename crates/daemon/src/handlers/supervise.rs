//! What follows from the handlers that there are: what Docker is asked for, and what runs that follows World.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use longshore_docker::{Attention, DockerClient};
use longshore_model::{Handler, HandlerSet, Job};
use longshore_runtime::{FollowerContext, Source};
use tokio::sync::watch as signal;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::DnsSettings;
use crate::reconcile::{OpenVswitch, Publisher};

/// A handler that follows World.
struct Kept {
    handler: Arc<Handler>,
    stop: CancellationToken,
    task: Task,
}

enum Task {
    OpenVswitch(AbortOnDropHandle<OpenVswitch>),
    Publish(AbortOnDropHandle<Publisher>),
}

/// What handlers that follow World are made from.
pub(crate) struct Supervisor {
    pub(crate) context: FollowerContext,
    pub(crate) docker: DockerClient,
    pub(crate) data_dir: PathBuf,
    pub(crate) dns: Option<DnsSettings>,
}

/// Asks Docker for the events that somebody wants and runs the handlers that follow World, for as long as it is polled.
pub(crate) async fn supervise(
    supervisor: Supervisor,
    mut sets: signal::Receiver<Arc<HandlerSet>>,
    attention: signal::Sender<Attention>,
) {
    let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
    let connecting = signal::Sender::<BTreeSet<String>>::default();
    loop {
        let set = sets.borrow_and_update().clone();
        let (all, named) =
            longshore_plan::handlers::attention(set.handlers.values().map(|handler| &**handler));
        let wanted = if all { Attention::Everything } else { Attention::Also(named) };
        attention.send_if_modified(|before| std::mem::replace(before, wanted.clone()) != wanted);

        let is_wanted = |name: &String| set.handlers.get(name).is_some_and(|handler| handler.enabled);
        let connect = |handler: &&Arc<Handler>| handler.enabled && matches!(handler.job, Job::OpenVswitch(_));
        let all = set.handlers.values().filter(connect).map(|handler| handler.name.clone()).collect();
        connecting.send_replace(all);
        let gone: Vec<String> = kept.keys().filter(|name| !is_wanted(name)).cloned().collect();
        for name in gone {
            if let Some(kept) = kept.remove(&name) {
                tracing::info!(handler = name, "handler gone");
                kept.withdraw().await;
            }
        }
        for (name, handler) in set.handlers.iter().filter(|(_, handler)| handler.enabled) {
            if kept.get(name).is_some_and(|kept| kept.handler == *handler) {
                continue;
            }
            // What the one before made stays: the one with the new definition changes only what differs.
            if let Some(before) = kept.remove(name) {
                before.end().await;
            }
            kept.extend(supervisor.begin(handler, &connecting).map(|begun| (name.clone(), begun)));
        }
        if sets.changed().await.is_err() {
            return;
        }
    }
}

impl Supervisor {
    /// Nothing for a handler that is told of events, and for the balancer, which is chosen when the agent starts.
    fn begin(&self, handler: &Arc<Handler>, connecting: &signal::Sender<BTreeSet<String>>) -> Option<Kept> {
        let (stop, source) = (CancellationToken::new(), Source::Handler(handler.name.clone()));
        let (context, name) = (&self.context, &handler.name);
        let task = match &handler.job {
            Job::OpenVswitch(job) => {
                let follower = OpenVswitch::new(
                    context,
                    self.docker.settings(),
                    name.clone(),
                    job.clone(),
                    connecting.subscribe(),
                );
                Task::OpenVswitch(context.follow(follower, source, stop.clone()))
            }
            Job::Publish(job) => {
                let dns = self.dns.as_ref();
                let follower = Publisher::new(
                    context,
                    self.docker.inspections().clone(),
                    &self.data_dir,
                    dns,
                    Some(name),
                    job.clone(),
                );
                Task::Publish(context.follow(follower, source, stop.clone()))
            }
            Job::Balance(_) | Job::Script { .. } | Job::Plugin { .. } | Job::Webhook { .. } => return None,
        };
        tracing::info!(handler = name, job = handler.job.word(), "handler found");
        Some(Kept { handler: handler.clone(), stop, task })
    }
}

impl Kept {
    /// Ends it, and leaves what it made.
    async fn end(self) {
        self.stop.cancel();
        match self.task {
            Task::OpenVswitch(task) => drop(task.await),
            Task::Publish(task) => drop(task.await),
        }
    }

    /// Ends it, and takes away what it made.
    async fn withdraw(self) {
        self.stop.cancel();
        match self.task {
            Task::OpenVswitch(task) => {
                if let Ok(follower) = task.await {
                    follower.withdraw().await;
                }
            }
            Task::Publish(task) => {
                if let Ok(follower) = task.await {
                    follower.withdraw().await;
                }
            }
        }
    }
}
