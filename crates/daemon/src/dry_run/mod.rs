//! A dry run: every plan made, and nothing carried out.
//!
//! What is planned is what the follower of that name would do at its first pass. Docker and Open vSwitch are read; etcd is not
//! asked, so every key that would be there is shown, whether or not it is there already.

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
    /// Everything else that would be done, follower by follower.
    pub actions: Vec<PlannedAction>,
    /// The handlers that there would be.
    pub handlers: Vec<longshore_api::Handler>,
    /// What is asked for and would not be done.
    pub problems: Vec<Problem>,
    /// The balancer's configuration, where one would be written.
    pub configuration: Option<String>,
}

/// One thing that would be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedAction {
    /// What would do it: `sidecars`, `dns`, `publish` or `openvswitch`, and a handler's name where a handler asks for it.
    pub follower: String,
    /// What it would do.
    pub verb: Verb,
    /// To what: a container, a name, a key, a port.
    pub object: String,
    /// What else is to be said of it: an image, addresses, a container's name.
    pub details: String,
}

/// What would be done to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It is made.
    Create,
    /// It is started.
    Start,
    /// It is taken away.
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

/// What the plans are made from.
pub(crate) struct Plans<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) world: &'a World,
    pub(crate) handlers: &'a HandlerSet,
    pub(crate) location: &'a BalancerLocation,
    pub(crate) docker: &'a DockerClient,
}

/// What one follower would do, and what keeps it from more.
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
    /// Makes all plans but that of the routes.
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
