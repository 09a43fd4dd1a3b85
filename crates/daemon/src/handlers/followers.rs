//! The followers that handlers' files may request, one per line.

use futures_util::future::BoxFuture;
use longshore_model::{FollowerJob, Handler, Job};
use longshore_plan::handlers::FollowerClass;
use longshore_plan::{openvswitch, publisher};
use longshore_runtime::Source;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::reconcile::{FollowerParts, HandlerFollower, OpenVswitch, Publisher};

/// Every follower that a handler's file may request.
pub(super) const FOLLOWERS: [Row; 2] =
    [row::<Publisher>(&publisher::CLASS), row::<OpenVswitch>(&openvswitch::CLASS)];

/// Returns the classes of [`FOLLOWERS`].
pub(super) fn classes() -> [&'static FollowerClass; FOLLOWERS.len()] {
    FOLLOWERS.map(|row| row.class)
}

/// A follower that a handler's file may request: its class, and how to start it.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) class: &'static FollowerClass,
    begin: fn(&FollowerParts<'_>, &FollowerJob) -> Option<Box<dyn Running>>,
}

/// A running follower.
pub(super) trait Running: Send {
    /// Stops it, and leaves what it created.
    fn end(self: Box<Self>) -> BoxFuture<'static, ()>;

    /// Stops it, and removes what it created.
    fn withdraw(self: Box<Self>) -> BoxFuture<'static, ()>;
}

struct Task<F> {
    stop: CancellationToken,
    task: AbortOnDropHandle<F>,
}

impl<F: HandlerFollower> Running for Task<F> {
    fn end(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.stop.cancel();
        Box::pin(async move { drop(self.task.await) })
    }

    fn withdraw(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.stop.cancel();
        Box::pin(async move {
            if let Ok(follower) = self.task.await {
                follower.withdraw().await;
            }
        })
    }
}

const fn row<F: HandlerFollower>(class: &'static FollowerClass) -> Row {
    Row { class, begin: begin::<F> }
}

fn begin<F: HandlerFollower>(parts: &FollowerParts<'_>, job: &FollowerJob) -> Option<Box<dyn Running>> {
    let follower = F::of_handler(parts, job.settings()?);
    let (stop, source) = (CancellationToken::new(), Source::Handler(parts.handler.to_owned()));
    let task = parts.context.follow(follower, source, stop.clone());
    Some(Box::new(Task { stop, task }))
}

/// Starts the follower of a handler. Returns nothing for a handler that receives events, or for the balancer,
/// which is chosen when the agent starts.
pub(super) fn begin_for(handler: &Handler, parts: &FollowerParts<'_>) -> Option<Box<dyn Running>> {
    let Job::Follow(job) = &handler.job else { return None };
    let row = FOLLOWERS.iter().find(|row| row.class.name() == job.class())?;
    (row.begin)(parts, job)
}
