use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_model::{ContainerFacts, ContainerId, EventId, EventSubject, HandlerEvent};
use serde::{Deserialize, Serialize};

/// An event that a handler has not received yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    id: String,
    event: String,
    at: i64,
    /// Whether it is synthetic.
    #[serde(default)]
    made_up: bool,
    subject: SubjectRow,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SubjectRow {
    Nothing,
    Container(FactsRow),
    Network { id: String, name: String },
}

/// The facts of a container in an event or a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FactsRow {
    id: String,
    name: String,
    image: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl From<&ContainerFacts> for FactsRow {
    fn from(facts: &ContainerFacts) -> Self {
        Self {
            id: facts.id.as_str().to_owned(),
            name: facts.name.clone(),
            image: facts.image.clone(),
            labels: facts.labels.clone(),
        }
    }
}

impl From<FactsRow> for ContainerFacts {
    fn from(row: FactsRow) -> Self {
        Self { id: ContainerId::new(row.id), name: row.name, image: row.image, labels: row.labels }
    }
}

impl From<&HandlerEvent> for EventRow {
    fn from(event: &HandlerEvent) -> Self {
        Self {
            id: event.id.0.clone(),
            event: event.event.clone(),
            at: event.at,
            made_up: event.synthetic,
            subject: match &event.subject {
                EventSubject::Nothing => SubjectRow::Nothing,
                EventSubject::Container(facts) => SubjectRow::Container((&**facts).into()),
                EventSubject::Network { id, name } => {
                    SubjectRow::Network { id: id.clone(), name: name.clone() }
                }
            },
            attributes: event.attributes.clone(),
        }
    }
}

impl From<EventRow> for HandlerEvent {
    fn from(row: EventRow) -> Self {
        Self {
            id: EventId(row.id),
            event: row.event,
            at: row.at,
            synthetic: row.made_up,
            subject: match row.subject {
                SubjectRow::Nothing => EventSubject::Nothing,
                SubjectRow::Container(facts) => EventSubject::Container(Arc::new(facts.into())),
                SubjectRow::Network { id, name } => EventSubject::Network { id, name },
            },
            attributes: row.attributes,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Row;
    use super::*;

    /// A row as the first release wrote it.
    const FIRST: &str = r#"{"id":"7-c0ffee-die","event":"die","at":7,"made_up":true,"subject":{"container":{"id":"c0ffee","name":"web","image":"nginx","labels":{"tier":"front"}}},"attributes":{"exitCode":"3"}}"#;

    fn read(text: &str) -> HandlerEvent {
        EventRow::read(text.as_bytes()).unwrap().into()
    }

    #[test]
    fn a_row_of_the_first_release_is_read_and_written_as_it_was() {
        let event = read(FIRST);
        assert!(event.synthetic);
        assert_eq!(event.attributes["exitCode"], "3");
        assert_eq!(event.container().unwrap().labels["tier"], "front");
        assert_eq!(String::from_utf8(EventRow::from(&event).bytes()).unwrap(), FIRST);
    }

    #[test]
    fn what_a_later_release_adds_is_ignored_and_what_it_leaves_out_has_a_default() {
        let event = read(r#"{"id":"a","event":"start","at":1,"subject":"nothing","colour":"red"}"#);
        assert!(!event.synthetic && event.attributes.is_empty());
        assert!(EventRow::read(br#"{"id":"a","event":"x","at":1,"subject":{"host":{}}}"#).is_err());
    }

    fn subject() -> impl Strategy<Value = EventSubject> {
        let labels = prop::collection::btree_map(any::<String>(), any::<String>(), 0..4);
        let facts = (any::<String>(), any::<String>(), any::<String>(), labels);
        let facts = facts.prop_map(|(id, name, image, labels)| ContainerFacts {
            id: ContainerId::new(id),
            name,
            image,
            labels,
        });
        prop_oneof![
            Just(EventSubject::Nothing),
            facts.prop_map(|facts| EventSubject::Container(Arc::new(facts))),
            (any::<String>(), any::<String>()).prop_map(|(id, name)| EventSubject::Network { id, name }),
        ]
    }

    proptest! {
        #[test]
        fn every_event_survives_the_disk(
            (id, event, at, synthetic) in (any::<String>(), any::<String>(), any::<i64>(), any::<bool>()),
            subject in subject(),
            attributes in prop::collection::btree_map(any::<String>(), any::<String>(), 0..4),
        ) {
            let event = HandlerEvent { id: EventId(id), event, at, synthetic, subject, attributes };
            let bytes = EventRow::from(&event).bytes();
            prop_assert_eq!(HandlerEvent::from(EventRow::read(&bytes).unwrap()), event);
        }

        #[test]
        fn no_bytes_are_more_than_a_row_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = EventRow::read(&bytes);
        }
    }
}
