//! The problems that stand at the moment, by where they were found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use longshore_model::Problem;

/// Who found a problem. Each source says all that it knows at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The settings.
    Settings,
    /// The connection to Docker.
    Docker,
    /// Containers that Docker refuses to show.
    Inspections,
    /// The plan of routes, from labels.
    Labels,
    /// The balancer's frontends.
    Frontends,
    /// The balancer as a whole.
    Balancer,
    /// The journal of deliveries.
    Journal,
    /// The files that define handlers.
    HandlerFiles,
    /// The sidecars.
    Sidecars,
    /// The DNS server.
    Dns,
    /// The publisher of the settings.
    Publish,
    /// A handler, by its name.
    Handler(String),
    /// The process of a plugin, by its handler's name.
    Plugin(String),
}

/// All problems. Cheap to clone; every clone is the same board.
#[derive(Clone, Debug, Default)]
pub struct Problems(Arc<Mutex<BTreeMap<Source, BTreeSet<Problem>>>>);

impl Problems {
    /// Says all that a source knows, in place of what it said before. Only what is different is logged.
    pub fn set(&self, source: Source, problems: impl IntoIterator<Item = Problem>) {
        let problems: BTreeSet<Problem> = problems.into_iter().collect();
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = board.remove(&source).unwrap_or_default();
        let new: Vec<&Problem> = problems.difference(&before).collect();
        for problem in &new {
            tracing::warn!("{problem}");
        }
        let of = |problem: &Problem| (problem.subject.clone(), problem.key.clone());
        let reworded: BTreeSet<_> = new.into_iter().map(of).collect();
        for problem in before.difference(&problems).filter(|problem| !reworded.contains(&of(problem))) {
            tracing::info!("no longer: {problem}");
        }
        board.insert(source, problems);
        let all: usize = board.values().map(BTreeSet::len).sum();
        metrics::gauge!("longshore_problems").set(all as f64);
    }

    /// All of them, in order of their sources.
    pub fn all(&self) -> Vec<Problem> {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        board.values().flatten().cloned().collect()
    }
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
