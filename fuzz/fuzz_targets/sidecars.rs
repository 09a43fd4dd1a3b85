//! Arbitrary sidecar files, and labels that request sidecars: nothing may panic or hang, no problem may forge a log
//! line, and what is created always names its owner.
#![no_main]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use longshore_model::{Container, ContainerId, Endpoint, Host, Problem, RunState};
use longshore_plan::sidecars::{EnvText, MAIN, OWNER, OWNER_VALUE, SidecarFile, SidecarPlan, Step};

fuzz_target!(|text: &str| {
    // After a line with `---`, the rest is labels: one per line, key and value separated by a tab.
    let (file, labels) = text.split_once("\n---\n").unwrap_or((text, ""));
    let pairs = labels.split('\n').filter_map(|line| line.split_once('\t'));
    let labels = pairs.map(|(key, value)| (format!("longshore.sidecar.{key}"), value.replace('\u{b}', "\n")));
    let main = main(labels.collect());
    let mut host = Host::default();
    host.containers.insert_mut(main.id.clone(), Arc::new(main.clone()));

    let mut plan = SidecarPlan::new();
    match SidecarFile::read(Path::new("/etc/sidecars.yml"), file, BTreeMap::new()) {
        Ok((file, problems)) => {
            problems.iter().for_each(check);
            plan.file_read(file);
        }
        Err(problem) => {
            check(&problem);
            plan.file_unread();
        }
    }
    plan.update(&host, None::<[&ContainerId; 0]>);
    plan.orders(&host);
    let inspection = serde_json::json!({"Name": "/c1", "Config": {"Labels": {"a": text}}});
    plan.inspected(&main.id, &inspection);
    // The same text as an environment file.
    for path in plan.env_unread() {
        plan.env_read(path, EnvText::Text(text.to_owned()));
    }
    for order in plan.orders(&host) {
        let Step::Create(sidecar) = order.step else { panic!("there is nothing else to do") };
        let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        assert!(sidecar.name.chars().all(good), "{:?}", sidecar.name);
        assert_eq!(sidecar.labels.get(OWNER).map(String::as_str), Some(OWNER_VALUE));
        assert_eq!(sidecar.labels.get(MAIN).map(String::as_str), Some(main.id.as_str()));
        assert!(!sidecar.definition.image.is_empty());
        assert!(sidecar.environment.iter().all(|pair| !pair.contains('\0')));
    }
    plan.problems().for_each(check);
});

fn check(problem: &Problem) {
    let line = problem.to_string();
    assert!(!line.contains(['\n', '\r', '\u{1b}']), "{line:?}");
    assert!(line.len() < 8192, "{}", line.len());
}

fn main(labels: BTreeMap<String, String>) -> Container {
    let endpoint = Endpoint { network_id: "bridge".to_owned(), ipv4: None, ipv6: None };
    Container {
        labels,
        state: RunState::Running,
        networks: BTreeMap::from([("bridge".to_owned(), endpoint)]),
        ..Container::new(ContainerId::new(format!("{:064x}", 1)), "c1", "img")
    }
}
