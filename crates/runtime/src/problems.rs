//! The current problems, by source.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use longshore_model::Problem;

/// Where a problem was found. Each source reports all its problems at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The settings.
    Settings,
    /// The connection to Docker.
    Docker,
    /// Containers that Docker refuses to inspect.
    Inspections,
    /// Docker's lists, when they cannot be read.
    Lists,
    /// The routes: labels, frontends and the balancer as a whole.
    Routes,
    /// The journal of deliveries.
    Journal,
    /// The files that define handlers.
    HandlerFiles,
    /// The sidecars.
    Sidecars,
    /// The cluster: its hosts, their names and clocks, and the links between them.
    Cluster,
    /// The file of the cluster's secret.
    ClusterSecret,
    /// The socket for root on this host.
    Socket,
    /// The DNS server.
    Dns,
    /// The publisher of the settings.
    Publish,
    /// A handler, by its name.
    Handler(String),
    /// The process of a plugin, by its handler's name.
    Plugin(String),
}

/// All problems. Cheap to clone; all clones share one board.
#[derive(Clone, Debug, Default)]
pub struct Problems(Arc<Mutex<BTreeMap<Source, BTreeSet<Problem>>>>);

impl Problems {
    /// Replaces all problems of a source. Only differences are logged.
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
            tracing::info!("resolved: {problem}");
        }
        board.insert(source, problems);
        let all: usize = board.values().map(BTreeSet::len).sum();
        metrics::gauge!("longshore_problems").set(all as f64);
    }

    /// Returns all problems, in order of source.
    pub fn all(&self) -> Vec<Problem> {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        board.values().flatten().cloned().collect()
    }
}

/// Returns an error with its causes, on one line and in plain words: without the layers of an HTTP client and the
/// numbers of system call errors, which add nothing to the cause.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        next = error.source();
        let link = error.to_string();
        let link = link.split(" (os error ").next().unwrap_or_default();
        let is_layer = ["Error in the hyper legacy client", "client error ("]
            .iter()
            .any(|layer| link.starts_with(layer));
        if text.contains(link) || is_layer && next.is_some() {
            continue;
        }
        text = if text.is_empty() { link.to_owned() } else { format!("{text}: {link}") };
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::chain;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<dyn std::error::Error>>);

    #[test]
    fn an_error_is_told_in_plain_words() {
        let cause = io::Error::from_raw_os_error(111);
        let client = Layer("client error (Connect)", Some(cause.into()));
        let http = Layer("Error in the hyper legacy client: client error (Connect)", Some(client.into()));
        let error = Layer("cannot connect", Some(http.into()));
        assert_eq!(chain(&error), "cannot connect: Connection refused");
        assert_eq!(chain(&Layer("client error (Connect)", None)), "client error (Connect)");
        let repeated = Layer("disk full", Some(Layer("disk full", None).into()));
        assert_eq!(chain(&repeated), "disk full");
    }
}
