//! A world in which the plan's orders are carried out at once, for the tests of sidecars.

#![allow(dead_code, reason = "each binary of tests uses some of these")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use longshore_model::{Container, ContainerId, Endpoint, Host, Problem, RunState};
use longshore_plan::sidecars::{Order, SIDECAR, SidecarFile, SidecarPlan, Step};

use crate::worlds::container;

/// Returns a running container `c<n>` of this image on the default bridge.
pub(crate) fn main(n: u8, image: &str) -> Container {
    Container { image: image.to_owned(), ..container(n, &[]) }
}

/// Returns the container as an instance of a compose service.
pub(crate) fn compose(mut main: Container, project: &str, service: &str, number: u8) -> Container {
    let labels = [("project", project), ("service", service), ("container-number", &number.to_string())];
    main.labels.extend(labels.map(|(key, value)| (format!("com.docker.compose.{key}"), value.to_owned())));
    main
}

/// Returns a file with the sidecar `name` of the image `img`.
pub(crate) fn file(name: &str, more: &str) -> String {
    format!(
        "services: {{img: {{sidecars: [{name}]}}}}\nsidecars:\n  {name}:\n    image: {name}\n    command: []\n    {more}\n"
    )
}

pub(crate) fn read(text: &str) -> (SidecarFile, Vec<Problem>) {
    SidecarFile::read(Path::new("/etc/sidecars.yml"), text, BTreeMap::new()).unwrap()
}

/// A plan and the world that it plans for.
pub(crate) struct Bench {
    pub(crate) plan: SidecarPlan,
    host: Host,
    text: Option<String>,
    clock: i64,
}

impl Bench {
    pub(crate) fn without_file() -> Self {
        Self { plan: SidecarPlan::new(), host: Host::default(), text: None, clock: 1000 }
    }

    pub(crate) fn with(text: &str) -> Self {
        let mut bench = Self::without_file();
        bench.read(text);
        bench
    }

    pub(crate) fn read(&mut self, text: &str) {
        self.plan.file_read(read(text).0);
        self.text = Some(text.to_owned());
    }

    /// Replaces the agent.
    pub(crate) fn forget(&mut self) {
        self.forget_after(|_| {});
    }

    /// Replaces the agent, and runs `happens` while there is none.
    pub(crate) fn forget_after(&mut self, happens: impl FnOnce(&mut Self)) {
        happens(self);
        self.plan = SidecarPlan::new();
        if let Some(text) = &self.text {
            self.plan.file_read(read(text).0);
        }
        self.plan.update(&self.host, None::<[&ContainerId; 0]>);
    }

    /// Replaces the agent with one that has no file.
    pub(crate) fn forget_file(&mut self) {
        self.plan = SidecarPlan::new();
        self.plan.update(&self.host, None::<[&ContainerId; 0]>);
    }

    /// Replaces the agent with one that cannot read the file.
    pub(crate) fn forget_unread(&mut self) {
        self.plan = SidecarPlan::new();
        self.plan.file_unread();
        self.plan.update(&self.host, None::<[&ContainerId; 0]>);
    }

    pub(crate) fn put(&mut self, container: Container) {
        let id = container.id.clone();
        self.host.containers.insert_mut(id.clone(), Arc::new(container));
        self.plan.update(&self.host, Some([&id]));
    }

    pub(crate) fn start_main(&mut self, n: u8) {
        self.clock += 1;
        let started = self.clock;
        self.put(Container { started, ..main(n, "img") });
    }

    pub(crate) fn change(&mut self, n: u8, change: impl FnOnce(&mut Container)) {
        let known = self.host.containers.get(&main(n, "").id).map(|known| Container::clone(known));
        if let Some(mut container) = known {
            change(&mut container);
            self.clock = self.clock.max(container.started);
            self.put(container);
        }
    }

    pub(crate) fn gone(&mut self, n: u8) {
        self.lose(&main(n, "").id);
    }

    pub(crate) fn lose(&mut self, id: &ContainerId) {
        self.host.containers.remove_mut(id);
        self.plan.update(&self.host, Some([id]));
    }

    fn ours(&self) -> impl Iterator<Item = &Arc<Container>> {
        self.host.containers.values().filter(|c| c.labels.contains_key(SIDECAR))
    }

    pub(crate) fn sidecar(&self, name: &str) -> &Container {
        self.ours().find(|c| c.labels[SIDECAR] == name).unwrap()
    }

    pub(crate) fn change_sidecar(&mut self, name: &str, change: impl FnOnce(&mut Container)) {
        let known = self.ours().find(|c| c.labels[SIDECAR] == name).map(|known| Container::clone(known));
        if let Some(mut container) = known {
            change(&mut container);
            self.put(container);
        }
    }

    pub(crate) fn nth_sidecar(&mut self, n: usize, goes: bool) {
        let Some(known) = self.ours().nth(n).map(|known| Container::clone(known)) else { return };
        if goes {
            self.lose(&known.id);
        } else {
            self.put(Container { state: RunState::Exited, ..known });
        }
    }

    /// Returns the names of all sidecars, sorted.
    pub(crate) fn sidecars(&self) -> Vec<String> {
        let mut names: Vec<String> = self.ours().map(|c| c.name.clone()).collect();
        names.sort();
        names
    }

    pub(crate) fn running(&self) -> usize {
        self.ours().filter(|c| c.state == RunState::Running).count()
    }

    pub(crate) fn orders(&mut self) -> Vec<Order> {
        self.plan.orders(&self.host)
    }

    /// Returns the orders as text, then the problems.
    pub(crate) fn shown(&mut self) -> String {
        let mut lines: Vec<String> = self.orders().iter().map(shown).collect();
        lines.extend(self.plan.problems().map(|problem| format!("! {problem}")));
        lines.join("\n")
    }

    pub(crate) fn problems(&self) -> String {
        self.plan.problems().map(|problem| format!("! {problem}")).collect::<Vec<_>>().join("\n")
    }

    /// Carries out the current orders.
    pub(crate) fn carry_out(&mut self) {
        for order in self.orders() {
            self.clock += 1;
            match order.step {
                Step::Remove { id, .. } => self.lose(&id),
                Step::Start { id, .. } => {
                    let started = self.clock;
                    let known = Container::clone(self.host.containers.get(&id).unwrap());
                    self.put(Container { state: RunState::Running, exit_code: None, started, ..known });
                }
                Step::Create(sidecar) => {
                    assert!(
                        self.host.containers.values().all(|c| c.name != sidecar.name),
                        "{}",
                        sidecar.name
                    );
                    let networks = sidecar.networks.iter().map(|joined| {
                        let endpoint = Endpoint { network_id: String::new(), ipv4: None, ipv6: None };
                        (joined.network.clone(), endpoint)
                    });
                    self.put(Container {
                        id: ContainerId::new(format!("{:0>64}", self.clock)),
                        name: sidecar.name,
                        labels: sidecar.labels,
                        network_mode: sidecar.network_mode,
                        networks: networks.collect(),
                        created: self.clock,
                        started: self.clock,
                        ..main(0, &sidecar.definition.image)
                    });
                }
            }
        }
    }

    /// Carries out orders until there are none.
    pub(crate) fn settle(&mut self) {
        for _ in 0..20 {
            self.carry_out();
            if self.orders().is_empty() {
                return;
            }
        }
        panic!("it does not settle: {}", self.shown());
    }
}

fn shown(order: &Order) -> String {
    match &order.step {
        Step::Remove { name, .. } => format!("remove {name}"),
        Step::Start { name, last, .. } => format!("start {name}{}", if *last != 0 { " again" } else { "" }),
        Step::Create(sidecar) => {
            let definition = &sidecar.definition;
            let networks: Vec<String> = sidecar
                .networks
                .iter()
                .map(|joined| [vec![joined.network.clone()], joined.links.clone()].concat().join(" "))
                .collect();
            let mut line = format!(
                "create {} for {}: {} {:?}",
                sidecar.name,
                order.main_name,
                definition.image,
                definition.command.as_deref().unwrap_or_default()
            );
            line.push_str(&format!(
                " on {} [{}] env [{}]",
                sidecar.network_mode,
                networks.join(", "),
                sidecar.environment.join(" ")
            ));
            for port in &definition.ports {
                line.push_str(&format!(
                    " port {}->{}/{:?}",
                    port.published.map_or(0, |p| p.0),
                    port.target,
                    port.transport
                ));
            }
            for volume in &definition.volumes {
                line.push_str(&format!(" {volume:?}"));
            }
            line
        }
    }
}
