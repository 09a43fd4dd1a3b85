use longshore_model::{DomainName, PublishJob};
use longshore_plan::{container_key, records};

use super::{Planned, Plans, Verb};
use crate::reconcile::publish::{container_prefix, own_addresses, record_settings};

/// Plans the keys that a publisher would put into etcd.
pub(super) fn plan(follower: &str, job: &PublishJob, plans: &Plans<'_>, planned: &mut Planned) {
    let Plans { settings, world, .. } = plans;
    let prefix = container_prefix(job, &settings.node);
    let node = settings.node.parse::<DomainName>().ok();
    let records_of = record_settings(job, settings.dns.as_ref(), node, own_addresses());
    let host = world.own();
    for (id, container) in host.containers.iter().filter(|(_, container)| container.state.is_alive()) {
        planned.act(
            follower,
            Verb::Publish,
            container_key(&prefix, id),
            format!("inspection of {}", container.name),
        );
        let Some(settings) = &records_of else { continue };
        let (records, problems) = records(host, container, settings);
        planned.problems.extend(problems);
        records.into_iter().for_each(|(key, value)| planned.act(follower, Verb::Publish, key, value));
    }
}
