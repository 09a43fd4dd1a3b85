//! Merges the sidecars of file and labels, in order of their dependencies.

use std::collections::{BTreeMap, BTreeSet};

use longshore_model::{Container, Problem};

use super::definition::{Condition, Definition, Restart};
use super::env_file::{BadLine, EnvText, variables};
use crate::claim::quoted;

/// The sidecars that one main should have.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) definitions: BTreeMap<String, Definition>,
    /// Their names, each after its dependencies.
    pub(super) order: Vec<String>,
    /// Those that come from labels.
    pub(super) by_label: BTreeSet<String>,
    /// Sidecars that are unknown because an environment file is: they stay as they are.
    pub(super) unknown: BTreeSet<String>,
    pub(super) problems: Vec<Problem>,
}

impl Wanted {
    /// Merges the sidecars of file and labels; if both define the same name, the label wins. Sidecars that
    /// wait for each other are left out.
    pub(super) fn join(
        main: &Container,
        by_file: &BTreeMap<String, Definition>,
        by_label: &BTreeMap<String, Definition>,
        texts: &BTreeMap<String, EnvText>,
        own: &BTreeMap<String, String>,
    ) -> Self {
        let labelled = by_label.keys().cloned().collect();
        let mut wanted = Self { definitions: by_file.clone(), by_label: labelled, ..Self::default() };
        wanted
            .definitions
            .extend(by_label.iter().map(|(name, definition)| (name.clone(), definition.clone())));
        wanted.take_variables(main, texts, own);
        wanted.let_end();
        wanted.put_in_order(main);
        wanted
    }

    /// Returns whether a name belongs to a sidecar of this main, including unknown ones.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.definitions.contains_key(name) || self.unknown.contains(name)
    }

    /// Adds the variables of its environment files to each sidecar; its own variables win.
    fn take_variables(
        &mut self,
        main: &Container,
        texts: &BTreeMap<String, EnvText>,
        own: &BTreeMap<String, String>,
    ) {
        for (name, definition) in &mut self.definitions {
            let mut found = BTreeMap::new();
            for file in std::mem::take(&mut definition.env_files) {
                let why = match texts.get(&file.path) {
                    None => None,
                    Some(EnvText::Missing) if !file.required => continue,
                    Some(EnvText::Missing) => Some("no such file".to_owned()),
                    Some(EnvText::Unread(why)) => Some(why.clone()),
                    Some(EnvText::Text(text)) => match variables(text, file.raw, own) {
                        Ok(variables) => {
                            found.extend(variables);
                            continue;
                        }
                        Err(BadLine { line, message }) => Some(format!("line {line}: {message}")),
                    },
                };
                self.unknown.insert(name.clone());
                self.problems.extend(why.map(|why| Problem {
                    subject: main.into(),
                    key: Some(format!("sidecar {name}")),
                    message: format!("its env_file {}: {why}", quoted(&file.path)),
                    hint: Some("the sidecar stays as it is until the file can be read".to_owned()),
                }));
            }
            found.append(&mut definition.environment);
            definition.environment = found;
        }
        self.definitions.retain(|name, _| !self.unknown.contains(name));
    }

    /// Disables restarts of sidecars whose completion others wait for, unless configured otherwise.
    fn let_end(&mut self) {
        let needs = self.definitions.values().flat_map(Definition::needs);
        let awaited = needs.filter(|(_, condition)| *condition == Condition::Completed);
        let awaited: BTreeSet<String> = awaited.map(|(name, _)| name.to_owned()).collect();
        for (name, definition) in &mut self.definitions {
            let usual = if awaited.contains(name) { Restart::No } else { Restart::Always };
            definition.restart.get_or_insert(usual);
        }
    }

    fn put_in_order(&mut self, main: &Container) {
        let mut placed: BTreeSet<&str> = BTreeSet::new();
        loop {
            let ready = |definition: &Definition| {
                definition
                    .needs()
                    .all(|(needed, _)| placed.contains(needed) || !self.definitions.contains_key(needed))
            };
            let more =
                self.definitions.iter().filter(|(name, d)| !placed.contains(name.as_str()) && ready(d));
            let more: Vec<&str> = more.map(|(name, _)| name.as_str()).collect();
            if more.is_empty() {
                break;
            }
            self.order.extend(more.iter().copied().map(str::to_owned));
            placed.extend(more);
        }
        let stuck = self.definitions.keys().map(String::as_str).filter(|name| !placed.contains(name));
        let stuck: Vec<&str> = stuck.collect();
        if !stuck.is_empty() {
            self.problems.push(Problem {
                subject: main.into(),
                key: Some("depends_on".to_owned()),
                message: format!(
                    "the sidecars {} wait for each other: none of them is created",
                    stuck.join(", ")
                ),
                hint: None,
            });
        }
        let order: BTreeSet<String> = self.order.iter().cloned().collect();
        self.definitions.retain(|name, _| order.contains(name));
    }
}
