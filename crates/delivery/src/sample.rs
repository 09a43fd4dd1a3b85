//! A handler and an event for delivery tests.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_model::{
    ContainerFacts, ContainerId, DeliveryRules, EventId, EventSubject, Filter, Handler, HandlerEvent, Job,
    Origin,
};
use serde_json::value::RawValue;

use crate::attempt::Attempt;

/// The parts of an attempt.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) handler: Handler,
    pub(super) event: HandlerEvent,
    pub(super) inspection: Option<Box<RawValue>>,
}

impl Sample {
    /// Creates the start event of a container `web` with these labels, for a handler `told` that allows 10 seconds
    /// per attempt.
    pub(super) fn with_labels(labels: &[(&str, &str)]) -> Self {
        let handler = Handler {
            name: "told".to_owned(),
            origin: Origin { file: "/etc/told.ini".into(), line: None },
            enabled: true,
            triggers_none: false,
            filter: Filter::default(),
            delivery: DeliveryRules { timeout: Duration::from_secs(10), ..DeliveryRules::default() },
            job: Job::Script { program: "/told".into(), ini: None, ignore_status: false },
            params: BTreeMap::new(),
        };
        let facts = ContainerFacts {
            id: ContainerId::new("c0".repeat(32)),
            name: "web".to_owned(),
            image: "nginx:1".to_owned(),
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        let event = HandlerEvent {
            id: EventId("17-c0c0-start".to_owned()),
            event: "start".to_owned(),
            at: 1_700_000_000_000_000_000,
            synthetic: false,
            subject: EventSubject::Container(facts.into()),
            attributes: BTreeMap::new(),
        };
        let inspection = serde_json::value::to_raw_value(&serde_json::json!({"Id": "c0c0"})).ok();
        Self { handler, event, inspection }
    }

    /// Returns the first attempt to deliver it.
    pub(super) fn attempt(&self) -> Attempt<'_> {
        Attempt {
            node: "h1",
            handler: &self.handler,
            event: &self.event,
            inspection: self.inspection.as_deref(),
            number: 1,
            redelivered: false,
        }
    }
}
