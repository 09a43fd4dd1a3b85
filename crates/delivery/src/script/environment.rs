//! The environment of a script.

use std::collections::BTreeMap;

use longshore_model::EventSubject;

use crate::attempt::Attempt;

/// Most bytes of one variable, and of all that describe the event. Linux allows at least 128 KiB for arguments and
/// environment together; the rest is for inherited variables and for what the script adds.
const MOST_OF_ONE: usize = 32 * 1024;
const MOST_OF_ALL: usize = 80 * 1024;

/// Returns the event as variables. One that is impossible, due to a NUL or its length, is left out: the inspection
/// has it. If two labels map to the same name, the first in key order wins.
pub(super) fn variables(attempt: &Attempt<'_>) -> BTreeMap<String, String> {
    let event = attempt.event;
    let mut variables = Variables::default();
    variables.put("LONGSHORE_EVENT".to_owned(), &event.event);
    variables.put("LONGSHORE_EVENT_ID".to_owned(), &event.id.0);
    variables.put("LONGSHORE_EVENT_AT".to_owned(), &attempt.at());
    variables.put("LONGSHORE_HANDLER".to_owned(), &attempt.handler.name);
    variables.put("LONGSHORE_NODE".to_owned(), attempt.node);
    variables.put("LONGSHORE_ATTEMPT".to_owned(), &attempt.number.to_string());
    variables.put("LONGSHORE_REDELIVERED".to_owned(), yes_or_no(attempt.redelivered));
    variables.put("LONGSHORE_SYNTHETIC".to_owned(), yes_or_no(event.synthetic));
    // The former name.
    variables.put("LONGSHORE_MADE_UP".to_owned(), yes_or_no(event.synthetic));
    match &event.subject {
        EventSubject::Nothing => {}
        EventSubject::Container(facts) => {
            variables.put("LONGSHORE_CONTAINER_ID".to_owned(), facts.id.as_str());
            variables.put("LONGSHORE_CONTAINER_NAME".to_owned(), &facts.name);
            variables.put("LONGSHORE_CONTAINER_IMAGE".to_owned(), &facts.image);
        }
        EventSubject::Network { id, name } => {
            variables.put("LONGSHORE_NETWORK_ID".to_owned(), id);
            variables.put("LONGSHORE_NETWORK_NAME".to_owned(), name);
        }
    }
    for (key, value) in &event.attributes {
        variables.put_key("LONGSHORE_ATTRIBUTE_", key, value);
    }
    for (key, value) in event.container().into_iter().flat_map(|facts| &facts.labels) {
        variables.put_key("LONGSHORE_CONTAINER_LABEL_", key, value);
    }
    variables.map
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "1" } else { "0" }
}

#[derive(Default)]
struct Variables {
    map: BTreeMap<String, String>,
    bytes: usize,
}

impl Variables {
    fn put_key(&mut self, prefix: &str, key: &str, value: &str) {
        // A key may also be a megabyte.
        if key.len() < MOST_OF_ONE {
            let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
            self.put(prefix.chars().chain(key.chars().map(upper)).collect(), value);
        }
    }

    fn put(&mut self, name: String, value: &str) {
        // As the kernel counts them: the text, its end and a pointer to it.
        let bytes = name.len() + value.len() + 2 + size_of::<usize>();
        let fits = bytes <= MOST_OF_ONE && self.bytes + bytes <= MOST_OF_ALL;
        if fits && !value.contains('\0') && !self.map.contains_key(&name) {
            self.bytes += bytes;
            self.map.insert(name, value.to_owned());
        }
    }
}
