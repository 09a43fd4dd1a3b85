use longshore_model::{OpenVswitchJob, Problem, Subject};
use longshore_plan::openvswitch::{Action, OpenVswitchPlan, concerns};
use tokio::sync::watch;

use super::{Planned, Plans, Verb};
use crate::act::openvswitch::{OpenVswitch, Owner};

/// Plans the ports that a handler would add and remove.
pub(super) async fn plan(handler: &str, job: &OpenVswitchJob, plans: &Plans<'_>, planned: &mut Planned) {
    let follower = format!("openvswitch ({handler})");
    let (_all, of_handlers) = watch::channel([handler.to_owned()].into());
    let owner = Owner { node: plans.settings.node.clone(), handler: handler.to_owned(), all: of_handlers };
    let mut listing = match OpenVswitch::new(owner, &plans.settings.docker).list(None).await {
        Ok(listing) => listing,
        Err(error) => {
            let subject = Subject::Handler { name: handler.to_owned() };
            let message = format!("cannot list the ports of Open vSwitch: {error}");
            return planned.problems.push(Problem { subject, key: None, message, hint: None });
        }
    };
    let plan = OpenVswitchPlan { handler: handler.to_owned(), job: job.clone() };
    let containers = &plans.world.own().containers;
    let wanted = containers.values().filter(|container| concerns(container)).map(|container| &container.id);
    let ids: std::collections::BTreeSet<_> = wanted.chain(listing.ports.keys()).cloned().collect();
    for id in ids {
        let container = containers.get(&id).map(AsRef::as_ref);
        let name = container.map_or_else(|| id.to_string(), |container| container.name.clone());
        let ports = listing.ports.remove(&id).unwrap_or_default();
        let decision = plan.decide(container, &ports, &listing.bridges);
        planned.problems.extend(decision.problems);
        for action in decision.actions {
            match action {
                Action::Remove(port) => {
                    planned.act(&follower, Verb::Remove, format!("port {port}"), format!("of {name}"));
                }
                Action::Add(add) => {
                    let details = format!("bridge {}, interface {}", add.bridge, add.interface);
                    planned.act(&follower, Verb::Create, format!("port of {name}"), details);
                }
            }
        }
    }
}
