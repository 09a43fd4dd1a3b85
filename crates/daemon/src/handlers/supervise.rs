//! Acts on the current handlers: which events Docker is asked for, and which followers of World run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use longshore_docker::{Attention, DockerClient};
use longshore_model::{Handler, HandlerSet};
use longshore_plan::handlers::attention;
use longshore_runtime::FollowerContext;
use tokio::sync::watch as signal;

use super::followers::{FOLLOWERS, Running, begin_for};
use crate::config::DnsSettings;
use crate::reconcile::FollowerParts;

/// Runs the handlers that follow World.
pub(crate) struct Supervisor {
    pub(crate) context: FollowerContext,
    pub(crate) docker: DockerClient,
    pub(crate) data_dir: PathBuf,
    pub(crate) dns: Option<DnsSettings>,
}

/// A handler that follows World.
struct Kept {
    handler: Arc<Handler>,
    running: Box<dyn Running>,
}

/// Asks Docker for the events that the handlers need and runs the handlers that follow World, for as long as it
/// is polled.
pub(crate) async fn supervise(
    supervisor: Supervisor,
    mut sets: signal::Receiver<Arc<HandlerSet>>,
    asked: signal::Sender<Attention>,
) {
    let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
    let siblings: BTreeMap<&str, signal::Sender<BTreeSet<String>>> =
        FOLLOWERS.iter().map(|row| (row.class.name(), signal::Sender::default())).collect();
    loop {
        let set = sets.borrow_and_update().clone();
        let enabled: BTreeMap<&String, &Arc<Handler>> =
            set.handlers.iter().filter(|(_, handler)| handler.enabled).collect();
        let (all, named) = attention(enabled.values().map(|handler| &***handler));
        let wanted = if all { Attention::Everything } else { Attention::Also(named) };
        asked.send_if_modified(|before| std::mem::replace(before, wanted.clone()) != wanted);
        for (class, names) in &siblings {
            let of_class = enabled.iter().filter(|(_, handler)| handler.job.word() == *class);
            names.send_replace(of_class.map(|(name, _)| (*name).clone()).collect());
        }
        let gone: Vec<String> = kept.keys().filter(|name| !enabled.contains_key(name)).cloned().collect();
        for name in gone {
            if let Some(kept) = kept.remove(&name) {
                tracing::info!(handler = name, "handler removed");
                kept.running.withdraw().await;
            }
        }
        for (name, handler) in enabled {
            if kept.get(name).is_some_and(|kept| kept.handler == *handler) {
                continue;
            }
            // What the previous one created stays: the new definition changes only what differs.
            if let Some(before) = kept.remove(name) {
                before.running.end().await;
            }
            let Some(siblings) = siblings.get(handler.job.word()) else { continue };
            let parts = FollowerParts {
                context: &supervisor.context,
                docker: &supervisor.docker,
                data_dir: &supervisor.data_dir,
                dns: supervisor.dns.as_ref(),
                handler: name,
                siblings: siblings.subscribe(),
            };
            if let Some(running) = begin_for(handler, &parts) {
                tracing::info!(handler = name, job = handler.job.word(), "handler added");
                kept.insert(name.clone(), Kept { handler: Arc::clone(handler), running });
            }
        }
        if sets.changed().await.is_err() {
            return;
        }
    }
}
