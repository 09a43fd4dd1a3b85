//! A dry run: makes every plan, and executes none.
//!
//! Each follower plans what it would do in its first pass. Docker and Open vSwitch are read; etcd is not, so
//! every key is shown, whether or not it already exists.

mod openvswitch;
mod publish;
mod sidecars;

use std::fmt;

use longshore_docker::DockerClient;
use longshore_model::{HandlerSet, Job, OpenVswitchJob, Problem, PublishJob, RouteTable, World};
use longshore_plan::BalancerLocation;

use crate::config::Settings;

/// What an agent would do.
#[derive(Clone, Debug, Default)]
pub struct DryRun {
    /// The routes that the balancer would carry.
    pub routes: RouteTable,
    /// Everything else that would be done, by follower.
    pub actions: Vec<PlannedAction>,
    /// The handlers that would be defined.
    pub handlers: Vec<longshore_api::Handler>,
    /// What was requested and would not be done.
    pub problems: Vec<Problem>,
    /// The balancer's configuration, where one would be written.
    pub configuration: Option<String>,
}

/// One thing that would be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedAction {
    /// The follower: `sidecars`, `dns`, `publish` or `openvswitch`, or the name of the handler that requests
    /// it.
    pub follower: String,
    /// The action.
    pub verb: Verb,
    /// Its object: a container, a name, a key, a port.
    pub object: String,
    /// Further details: an image, addresses, a container's name.
    pub details: String,
}

/// An action that would be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It is created.
    Create,
    /// It is started.
    Start,
    /// It is removed.
    Remove,
    /// It is answered, or published.
    Publish,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Remove => "remove",
            Self::Publish => "publish",
        })
    }
}

/// The input of the plans.
pub(crate) struct Plans<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) world: &'a World,
    pub(crate) handlers: &'a HandlerSet,
    pub(crate) location: &'a BalancerLocation,
    pub(crate) docker: &'a DockerClient,
}

/// What one follower would do, and the problems that prevent more.
#[derive(Debug, Default)]
struct Planned {
    actions: Vec<PlannedAction>,
    problems: Vec<Problem>,
}

impl Planned {
    fn act(&mut self, follower: &str, verb: Verb, object: impl Into<String>, details: impl Into<String>) {
        let (object, details) = (object.into(), details.into());
        self.actions.push(PlannedAction { follower: follower.to_owned(), verb, object, details });
    }
}

impl Plans<'_> {
    /// Makes all plans except that of the routes.
    pub(crate) async fn make(&self) -> DryRun {
        let mut planned = Planned::default();
        if let Some(settings) = &self.settings.sidecars {
            sidecars::plan(settings, self.world.own(), self.docker, &mut planned).await;
        }
        self.names(&mut planned);
        if let Some(job) = &self.settings.publish {
            publish::plan("publish", job, self, &mut planned);
        }
        for handler in self.handlers.handlers.values().filter(|handler| handler.enabled) {
            let Job::Follow(job) = &handler.job else { continue };
            if let Some(job) = job.settings::<PublishJob>() {
                publish::plan(&format!("publish ({})", handler.name), job, self, &mut planned);
            } else if let Some(job) = job.settings::<OpenVswitchJob>() {
                openvswitch::plan(&handler.name, job, self, &mut planned).await;
            }
        }
        let handlers = self.handlers.handlers.values().map(|handler| longshore_delivery::outline_of(handler));
        DryRun {
            actions: planned.actions,
            problems: planned.problems,
            handlers: handlers.collect(),
            ..DryRun::default()
        }
    }

    fn names(&self, planned: &mut Planned) {
        let Some(dns) = &self.settings.dns else { return };
        let (names, problems) = longshore_dns::preview(dns, &self.settings.node, self.location, self.world);
        planned.problems.extend(problems);
        for (key, entry) in names.iter() {
            let name = longshore_api::Name::of(key, entry, &dns.domain);
            planned.act("dns", Verb::Publish, name.name, name.addresses.join(", "));
        }
    }
}
