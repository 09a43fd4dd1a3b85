//! Logs the routes and frontends that are added and removed.

use std::collections::{BTreeMap, BTreeSet};

use longshore_model::{Frontend, RouteKey, RouteTable};

/// How many routes of one change are named; above that, only their number is logged.
const MAX_NAMED: usize = 20;

/// Which frontends were open in the last log entry.
#[derive(Debug, Default)]
pub(super) struct RouteLog {
    /// How many routes each frontend has.
    routes: BTreeMap<Frontend, usize>,
    open: BTreeSet<Frontend>,
}

/// Routes and frontends that were added and removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Difference {
    added: Vec<RouteKey>,
    removed: Vec<RouteKey>,
    opened: Vec<Frontend>,
    closed: Vec<Frontend>,
}

impl RouteLog {
    /// Logs the differences between two tables. Only the routes in `keys` may differ; `refused` are the
    /// frontends of the second table that are not open.
    pub(super) fn log(
        &mut self,
        before: &RouteTable,
        after: &RouteTable,
        keys: &BTreeSet<RouteKey>,
        refused: &BTreeMap<Frontend, String>,
    ) {
        let Difference { added, removed, opened, closed } = self.difference(before, after, keys, refused);
        opened.iter().for_each(|frontend| tracing::info!(%frontend, "frontend opened"));
        if added.len() + removed.len() > MAX_NAMED {
            tracing::info!(
                added = added.len(),
                removed = removed.len(),
                routes = after.len(),
                "routes changed"
            );
        } else {
            added.iter().for_each(|route| tracing::info!(%route, "route added"));
            removed.iter().for_each(|route| tracing::info!(%route, "route removed"));
        }
        closed.iter().for_each(|frontend| tracing::info!(%frontend, "frontend closed"));
    }

    fn difference(
        &mut self,
        before: &RouteTable,
        after: &RouteTable,
        keys: &BTreeSet<RouteKey>,
        refused: &BTreeMap<Frontend, String>,
    ) -> Difference {
        let mut difference = Difference::default();
        for key in keys {
            match (before.get(key).is_some(), after.get(key).is_some()) {
                (false, true) => {
                    *self.routes.entry(key.frontend).or_default() += 1;
                    difference.added.push(key.clone());
                }
                (true, false) => {
                    let left = self.routes.entry(key.frontend).or_default();
                    *left = left.saturating_sub(1);
                    difference.removed.push(key.clone());
                }
                _ => {}
            }
        }
        self.routes.retain(|_, count| *count > 0);
        let is_open = |frontend: &&Frontend| !refused.contains_key(frontend);
        let open: BTreeSet<Frontend> = self.routes.keys().filter(is_open).copied().collect();
        difference.opened = open.difference(&self.open).copied().collect();
        difference.closed = self.open.difference(&open).copied().collect();
        self.open = open;
        difference
    }
}

#[cfg(test)]
mod tests {
    use longshore_model::{HostPattern, PathPrefix, Route};

    use super::*;

    fn key(frontend: &str, host: &str) -> RouteKey {
        let (frontend, host) = (frontend.parse().unwrap(), host.parse::<HostPattern>().unwrap());
        RouteKey { frontend, host, prefix: PathPrefix::default() }
    }

    fn table(keys: &[&RouteKey]) -> RouteTable {
        let route = |key: &&RouteKey| Route {
            key: (*key).clone(),
            strip_prefix: false,
            upstreams: Vec::new(),
            waiting: Vec::new(),
        };
        keys.iter().map(route).collect()
    }

    #[test]
    fn a_frontend_is_open_from_its_first_route_to_its_last_and_not_while_its_port_is_taken() {
        let (a, b) = (key("http:80", "a.test"), key("http:80", "b.test"));
        let (none, one, both) = (table(&[]), table(&[&a]), table(&[&a, &b]));
        let keys = BTreeSet::from([a.clone(), b.clone()]);
        let (free, taken) = (BTreeMap::new(), BTreeMap::from([(a.frontend, "taken".to_owned())]));
        let mut log = RouteLog::default();
        let first = log.difference(&none, &one, &keys, &taken);
        assert_eq!((first.added.as_slice(), first.opened.len()), ([a.clone()].as_slice(), 0));
        let second = log.difference(&one, &both, &keys, &free);
        assert_eq!(
            (second.added.as_slice(), second.opened.as_slice()),
            ([b.clone()].as_slice(), [a.frontend].as_slice())
        );
        assert_eq!(log.difference(&both, &both, &keys, &free), Difference::default());
        let third = log.difference(&both, &one, &keys, &free);
        assert_eq!((third.removed, third.closed), (vec![b], vec![]));
        let last = log.difference(&one, &none, &keys, &free);
        assert_eq!((last.removed, last.closed), (vec![a.clone()], vec![a.frontend]));
    }
}
