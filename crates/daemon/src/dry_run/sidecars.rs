use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use longshore_docker::DockerClient;
use longshore_model::{Container, ContainerId, Endpoint, Health, Host, Problem, RunState, Subject};
use longshore_plan::sidecars::{EnvText, Order, SidecarFile, SidecarPlan, Step};
use longshore_runtime::Inspect;
use longshore_runtime::files::{Guard, read_soon};

use super::{Planned, Verb};
use crate::config::SidecarSettings;
use crate::reconcile::{MAX_ENV_FILE, MAX_FILE};

/// The follower's name.
const SIDECARS: &str = "sidecars";

/// Plans the sidecars, each step as if those before it had been executed: a sidecar that waits for another is
/// shown as well.
pub(super) async fn plan(
    settings: &SidecarSettings,
    host: &Host,
    docker: &DockerClient,
    planned: &mut Planned,
) {
    let mut host = host.clone();
    let mut plan = SidecarPlan::new();
    if let Some(path) = &settings.file {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        planned.problems.extend(read(&mut plan, &path).await);
    }
    plan.update(&host, None::<[&ContainerId; 0]>);
    // New sidecars start after all running containers.
    let mut clock =
        host.containers.values().map(|known| known.started.max(known.created)).max().unwrap_or_default();
    let mut shown = BTreeSet::new();
    loop {
        let orders = plan.orders(&host);
        let (uninspected, variables) = (plan.uninspected(), plan.env_unread());
        if orders.is_empty() && uninspected.is_empty() && variables.is_empty() {
            break;
        }
        for id in uninspected {
            let shown = docker.inspections().inspect(&id).await;
            let inspection = shown.and_then(|shown| serde_json::from_str(shown.get()).ok());
            plan.inspected(&id, &inspection.unwrap_or_default());
        }
        for path in variables {
            let text = match read_soon(Path::new(&path), MAX_ENV_FILE, Guard::Writers).await {
                Ok(text) => EnvText::Text(text),
                Err(error) if error.is_absence() => EnvText::Missing,
                Err(error) => EnvText::Unread(error.to_string()),
            };
            plan.env_read(path, text);
        }
        let before = shown.len();
        for order in &orders {
            if !shown.insert((order.key.clone(), verb(&order.step).to_string())) {
                continue;
            }
            show(order, planned);
            clock += 1;
            let id = carry_out(&mut host, order, clock);
            plan.update(&host, Some([&id]));
        }
        if !orders.is_empty() && shown.len() == before {
            // A repeated order: nothing more follows from it.
            break;
        }
    }
    planned.problems.extend(plan.problems().cloned());
}

/// Reads the file into the plan; returns its problems.
async fn read(plan: &mut SidecarPlan, path: &Path) -> Vec<Problem> {
    let text = match read_soon(path, MAX_FILE, Guard::Writers).await {
        Ok(text) => text,
        Err(error) => {
            plan.file_unread();
            return vec![Problem {
                subject: Subject::File { path: path.display().to_string(), line: None },
                key: None,
                message: format!("cannot be read: {error}"),
                hint: Some("no sidecar is created for it".to_owned()),
            }];
        }
    };
    let own = std::env::vars_os();
    let own = own.filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    match SidecarFile::read(path, &text, own.collect()) {
        Ok((file, problems)) => {
            plan.file_read(file);
            problems
        }
        Err(problem) => {
            plan.file_unread();
            vec![problem]
        }
    }
}

fn show(order: &Order, planned: &mut Planned) {
    let of_main = format!("beside {}", order.main_name);
    match &order.step {
        Step::Create(sidecar) => {
            let details = format!("{of_main}, image {}", sidecar.definition.image);
            planned.act(SIDECARS, verb(&order.step), &sidecar.name, details);
        }
        Step::Start { name, .. } | Step::Remove { name, .. } => {
            planned.act(SIDECARS, verb(&order.step), name, of_main);
        }
    }
}

fn verb(step: &Step) -> Verb {
    match step {
        Step::Create(_) => Verb::Create,
        Step::Start { .. } => Verb::Start,
        Step::Remove { .. } => Verb::Remove,
    }
}

/// Changes the host as if the order had succeeded; returns the container that it was about.
fn carry_out(host: &mut Host, order: &Order, clock: i64) -> ContainerId {
    match &order.step {
        Step::Create(sidecar) => {
            let id = ContainerId::new(format!("{clock:0>64}"));
            let made = Container {
                state: RunState::Running,
                health: Health::Healthy,
                created: clock,
                started: clock,
                labels: sidecar.labels.clone(),
                network_mode: sidecar.network_mode.clone(),
                networks: sidecar
                    .networks
                    .iter()
                    .map(|joined| (joined.network.clone(), endpoint()))
                    .collect(),
                ..Container::new(id.clone(), &sidecar.name, &sidecar.definition.image)
            };
            host.containers.insert_mut(id.clone(), Arc::new(made));
            id
        }
        Step::Start { id, .. } => {
            if let Some(known) = host.containers.get(id).map(|known| Container::clone(known)) {
                let started = known.started.max(clock) + 1;
                let runs = Container { state: RunState::Running, health: Health::Healthy, started, ..known };
                host.containers.insert_mut(id.clone(), Arc::new(runs));
            }
            id.clone()
        }
        Step::Remove { id, .. } => {
            host.containers.remove_mut(id);
            id.clone()
        }
    }
}

/// Returns a network endpoint without an address yet.
fn endpoint() -> Endpoint {
    Endpoint { network_id: String::new(), ipv4: None, ipv6: None }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use longshore_docker::{DockerAddress, DockerSettings};

    use super::*;

    /// Returns a Docker client that is never used: the file is not a template.
    fn nobody() -> DockerClient {
        let address: DockerAddress = "unix:///nonexistent/docker.sock".parse().unwrap();
        DockerClient::new(DockerSettings { address, cert_path: None, include_env: false })
    }

    fn host() -> Host {
        let id = ContainerId::new("a".repeat(64));
        let main = Container {
            state: RunState::Running,
            started: 1_700_000_000_000_000_000,
            labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
            ..Container::new(id.clone(), "web1", "web:1")
        };
        let mut host = Host::default();
        host.containers.insert_mut(id, Arc::new(main));
        host
    }

    async fn planned(file: Option<&Path>) -> (Vec<String>, Vec<String>) {
        let settings = SidecarSettings::of_file(file.map(Path::to_owned));
        let mut planned = Planned::default();
        plan(&settings, &host(), &nobody(), &mut planned).await;
        let line = |action: &super::super::PlannedAction| {
            format!("{} {}: {}", action.verb, action.object, action.details)
        };
        let problems = planned.problems.iter().map(ToString::to_string);
        (planned.actions.iter().map(line).collect(), problems.collect())
    }

    #[tokio::test]
    async fn a_sidecar_that_waits_for_another_is_planned_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sidecars.yml");
        let text = "services: {web: {sidecars: [proxy, log]}}\nsidecars:\n  proxy: {image: proxy, command: [], depends_on: [log]}\n  \
                    log: {image: log, command: []}\n";
        std::fs::write(&path, text).unwrap();
        let (actions, problems) = planned(Some(&path)).await;
        assert_eq!(problems, Vec::<String>::new());
        let short = "aaaaaaaaaaaa";
        let create = |name: &str| format!("create podder_{name}_{short}: beside web1, image {name}");
        assert_eq!(actions, [create("log"), create("proxy")]);
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        let (actions, problems) = planned(Some(&folder.path().join("sidecars.yml"))).await;
        assert!(actions.is_empty(), "{actions:?}");
        assert!(problems[0].contains("sidecars.yml: cannot be read: No such file"), "{problems:?}");
        assert_eq!(planned(None).await, (vec![], vec![]));
    }
}
