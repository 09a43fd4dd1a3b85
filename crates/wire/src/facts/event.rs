use longshore_model::EventSummary;
use serde::{Deserialize, Serialize};

use super::{BadContainerId, container_id};

/// An event of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    container: String,
    #[serde(default)]
    name: String,
    action: String,
    at: i64,
}

impl From<&EventSummary> for EventRow {
    fn from(event: &EventSummary) -> Self {
        Self {
            container: event.container.as_str().to_owned(),
            name: event.name.clone(),
            action: event.action.clone(),
            at: event.at,
        }
    }
}

impl TryFrom<EventRow> for EventSummary {
    type Error = BadContainerId;

    fn try_from(row: EventRow) -> Result<Self, BadContainerId> {
        let EventRow { container, name, action, at } = row;
        Ok(Self { container: container_id(&container)?, name, action, at })
    }
}
