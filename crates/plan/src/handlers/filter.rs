use std::collections::BTreeSet;

use longshore_model::{EventFilter, EventSubject, Filter, Handler, HandlerEvent, ImageReference};
use wildmatch::WildMatch;

/// Events that a handler can name in addition to `all`, by Docker's names; a newer engine may have more.
pub(super) const EVENTS: [&str; 30] = [
    "attach",
    "checkpoint",
    "commit",
    "connect",
    "copy",
    "create",
    "destroy",
    "detach",
    "die",
    "disconnect",
    "exec_create",
    "exec_detach",
    "exec_die",
    "exec_start",
    "export",
    "health_status",
    "kill",
    "network_create",
    "network_destroy",
    "oom",
    "pause",
    "prune",
    "rename",
    "resize",
    "restart",
    "start",
    "stop",
    "top",
    "unpause",
    "update",
];

/// Returns whether Docker has an event of this name.
pub fn is_event(name: &str) -> bool {
    EVENTS.contains(&name)
}

/// Returns the event that a misspelt name was probably meant to be.
pub fn nearest_event(name: &str) -> Option<&'static str> {
    // A comparison costs the product of the lengths.
    let near = EVENTS.iter().map(|event| (strsim::damerau_levenshtein(name, event), *event)).min();
    near.filter(|(distance, _)| name.len() <= 32 && *distance <= 2).map(|(_, event)| event)
}

/// Returns whether a handler with this filter receives an event.
///
/// `all` matches every event of a container, including those of its networks, health check and execs. The
/// dummy event and network events must be named. The dummy event has no subject, so only its name is matched.
/// A network has a name, but no image or labels.
pub fn wants(filter: &Filter, event: &HandlerEvent) -> bool {
    if !wants_event(&filter.events, event) {
        return false;
    }
    match &event.subject {
        EventSubject::Nothing => true,
        EventSubject::Network { name, .. } => {
            filter.images.is_empty() && filter.labels.is_empty() && any_matches(&filter.names, name)
        }
        EventSubject::Container(facts) => {
            let has = |(key, value): &(String, Option<String>)| {
                facts.labels.get(key).is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
            };
            filter.labels.iter().all(has)
                && any_matches(&filter.names, &facts.name)
                && any_image(&filter.images, &facts.image)
        }
    }
}

/// Returns which events Docker must report for these handlers: all container events, or events by name.
pub fn attention<'a>(handlers: impl IntoIterator<Item = &'a Handler>) -> (bool, BTreeSet<String>) {
    let mut all = false;
    let mut named = BTreeSet::new();
    for handler in handlers.into_iter().filter(|handler| handler.enabled && handler.job.counts_events()) {
        all |= handler.filter.events.all;
        named.extend(handler.filter.events.named.iter().map(|event| split_event(event).0.to_owned()));
    }
    (all, named)
}

/// Splits `health_status: healthy` into the event and the required value of its attribute.
pub(super) fn split_event(event: &str) -> (&str, Option<&str>) {
    match event.split_once(':') {
        Some((name, detail)) => (name.trim(), Some(detail.trim())),
        None => (event, None),
    }
}

fn wants_event(filter: &EventFilter, event: &HandlerEvent) -> bool {
    match &event.subject {
        EventSubject::Nothing => filter.none,
        EventSubject::Container(_) if filter.all => true,
        EventSubject::Container(_) | EventSubject::Network { .. } => filter.named.iter().any(|named| {
            let (name, detail) = split_event(named);
            let said = event.attributes.get(name);
            name == event.event && detail.is_none_or(|detail| said.is_some_and(|said| said == detail))
        }),
    }
}

fn any_matches(patterns: &[String], text: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, text))
}

fn any_image(patterns: &[String], image: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches_image(pattern, image))
}

/// Returns whether an image matches: as a reference, where a missing tag matches all tags; with wildcards, in
/// any spelling of the image.
fn matches_image(pattern: &str, image: &str) -> bool {
    let Ok(found) = image.parse::<ImageReference>() else { return matches(pattern, image) };
    let path = format!("{}/{}", found.registry, found.repository);
    let tag = found.tag.as_deref().unwrap_or("latest");
    if !pattern.contains(['*', '?']) {
        return pattern.parse::<ImageReference>().is_ok_and(|wanted| {
            path == format!("{}/{}", wanted.registry, wanted.repository)
                && wanted.tag.is_none_or(|wanted| wanted == tag)
                && (wanted.digest.is_none() || wanted.digest == found.digest)
        });
    }
    let short = path.strip_prefix("docker.io/").unwrap_or(&path);
    let short = short.strip_prefix("library/").unwrap_or(short);
    [path.as_str(), short]
        .into_iter()
        .any(|path| matches(pattern, path) || matches(pattern, &format!("{path}:{tag}")))
}

/// Returns whether a text matches a pattern in which `*` stands for any text, including none, and `?` for one
/// character.
fn matches(pattern: &str, text: &str) -> bool {
    WildMatch::new(pattern).matches(text)
}
