use std::time::Duration;

use longshore_model::{DeliveryRules, EventFilter, Filter, Handler, ImageReference, Job, Origin, Problem};

use super::classes::Classes;
use super::definition::{Definition, FoundScript};
use super::filter::{EVENTS, split_event};
use super::follower::FollowerClass;
use super::reader::{Reader, nearest, shown};

/// Keys under `[handler]`.
const KEYS: [&str; 11] = [
    "class",
    "kind",
    "events",
    "enabled",
    "triggers-none",
    "images",
    "labels",
    "names",
    "timeout",
    "retries",
    "parallel",
];

/// Checks a definition. `followers` are the available classes of followers; `script` locates a script by its
/// name.
///
/// If no handler is returned, the problems say why; otherwise, they name parts of the definition that have no
/// effect. A disabled definition is not checked further.
pub fn define(
    definition: &Definition,
    followers: &[&FollowerClass],
    script: impl Fn(&str) -> FoundScript,
) -> (Option<Handler>, Vec<Problem>) {
    let mut reader = Reader::new(definition);
    unknown_keys(&mut reader);
    let enabled = reader.flag("enabled", true);
    let triggers_none = reader.flag("triggers-none", false);
    let filter = filter(&mut reader);
    let delivery = delivery(&mut reader);
    let said_so_far = reader.problems.len();
    let classes = Classes { followers };
    let job = classes.job(&mut reader, &script);
    if !enabled {
        // The problems of a disabled handler are noise.
        reader.problems.truncate(said_so_far);
    } else if job.as_ref().is_some_and(Job::counts_events) && filter.events == EventFilter::default() {
        let hint = "expected all, none, or a comma-separated list of events: start,die";
        let line = reader.head("events").and_then(|setting| setting.line);
        let message = "no event: the handler would never run".to_owned();
        reader.wrong(line, "events", message, Some(hint.to_owned()));
    }
    let Reader { problems, broken, .. } = reader;
    let handler = job.filter(|_| !broken).map(|job| Handler {
        name: definition.name.clone(),
        origin: Origin { file: definition.file.clone(), line: definition.line },
        enabled,
        triggers_none,
        filter,
        delivery,
        params: classes.params(definition, &job),
        job,
    });
    (handler, problems)
}

fn unknown_keys(reader: &mut Reader<'_>) {
    for (key, setting) in &reader.definition.head {
        if !KEYS.contains(&key.replace('_', "-").as_str()) {
            let message = format!("unknown key {}: ignored", shown(key));
            reader.remark(setting.line, "[handler]", message, nearest(key, &KEYS));
        }
    }
}

fn filter(reader: &mut Reader<'_>) -> Filter {
    Filter {
        events: events(reader),
        images: images(reader),
        labels: list(reader, "labels").into_iter().map(|label| split_label(&label)).collect(),
        names: list(reader, "names"),
    }
}

fn list(reader: &Reader<'_>, key: &str) -> Vec<String> {
    reader.head(key).map(|setting| setting.value.list()).unwrap_or_default()
}

fn events(reader: &mut Reader<'_>) -> EventFilter {
    let mut filter = EventFilter::default();
    let Some(setting) = reader.head("events") else { return filter };
    for event in setting.value.list() {
        match event.as_str() {
            "all" => filter.all = true,
            "none" => filter.none = true,
            _ => {
                let (name, _) = split_event(&event);
                if !EVENTS.contains(&name) {
                    let message = format!("unknown event {}: subscribed anyway", shown(name));
                    let known = [EVENTS.as_slice(), &["all", "none"]].concat();
                    reader.remark(setting.line, "events", message, nearest(name, &known));
                }
                filter.named.push(event);
            }
        }
    }
    filter
}

fn images(reader: &mut Reader<'_>) -> Vec<String> {
    let images = list(reader, "images");
    let line = reader.head("images").and_then(|setting| setting.line);
    for image in &images {
        // A wildcard may stand for any character allowed in its place.
        if image.replace(['*', '?'], "x").parse::<ImageReference>().is_err() {
            let hint = Some("expected redis, redis:7 or registry.example/team/*".to_owned());
            reader.wrong(line, "images", format!("invalid image {}", shown(image)), hint);
        }
    }
    images
}

fn split_label(label: &str) -> (String, Option<String>) {
    match label.split_once('=') {
        Some((key, value)) => (key.trim().to_owned(), Some(value.trim().to_owned())),
        None => (label.to_owned(), None),
    }
}

fn delivery(reader: &mut Reader<'_>) -> DeliveryRules {
    let usual = DeliveryRules::default();
    let timeout = reader.head("timeout");
    let timeout = timeout.and_then(|setting| reader.time("timeout", setting, Duration::from_millis(100)));
    DeliveryRules {
        timeout: timeout.unwrap_or(usual.timeout),
        retries: reader.number("retries", usual.retries, 0, 1000),
        parallel: reader.number("parallel", usual.parallel, 1, 256),
    }
}
