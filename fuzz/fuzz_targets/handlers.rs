//! Arbitrary handler files: none may panic or hang, and the output must not contain anything that could break a log
//! line or a terminal. The same text is also tried as `clientParams`, where it reaches the Python literals.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use longshore_model::{EventId, EventSubject, Handler, HandlerEvent, Job, PublishJob};
use longshore_plan::handlers::{FoundScript, attention, define, read_ini, wants};

fuzz_target!(|text: &str| {
    look(text);
    let literal = text.replace(['\r', '\n'], " ");
    look(&format!("[handler]\nclass=publisher\n[params]\nclientParams={literal}\n"));
});

fn look(text: &str) {
    let file = Path::new("/etc/docker-glue.d/a.ini");
    let (handler, problems) = match read_ini("a", file, text) {
        Ok(definition) => define(&definition, &[&longshore_plan::publisher::CLASS, &longshore_plan::openvswitch::CLASS], found),
        Err(problems) => (None, problems),
    };
    for problem in problems {
        let line = problem.to_string();
        assert!(!line.contains(['\n', '\r', '\u{1b}']), "{line:?}");
        assert!(line.len() < 4096, "{}", line.len());
    }
    if let Some(handler) = handler {
        check(&handler);
    }
}

fn check(handler: &Handler) {
    match &handler.job {
        Job::Script { program, .. } => assert!(program.is_absolute()),
        Job::Plugin { command } => assert!(!command.is_empty()),
        Job::Webhook { url, .. } => assert!(!url.contains(char::is_whitespace)),
        Job::Follow(job) => {
            if let Some(job) = job.settings::<PublishJob>() {
                assert!(!job.endpoints.is_empty());
                assert!(job.endpoints.iter().all(|endpoint| endpoint.starts_with("http")));
            }
        }
        Job::Balance(_) => {}
    }
    let (all, named) = attention([handler]);
    assert!(!all || handler.filter.events.all);
    assert!(!named.contains("none"));
    let none = HandlerEvent {
        id: EventId("1".to_owned()),
        event: "none".to_owned(),
        at: 0,
        synthetic: false,
        subject: EventSubject::Nothing,
        attributes: handler.params.clone(),
    };
    assert_eq!(wants(&handler.filter, &none), handler.filter.events.none);
}

fn found(script: &str) -> FoundScript {
    match script.len() % 3 {
        0 => FoundScript::Nowhere,
        1 => FoundScript::NotExecutable("/scripts/x".into()),
        _ => FoundScript::At("/scripts/x".into()),
    }
}
