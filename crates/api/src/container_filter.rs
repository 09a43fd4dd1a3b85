//! Which containers and events a client asks for.

use std::fmt::Display;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Which containers to list; all by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerFilter {
    /// Names or ids of hosts.
    pub hosts: Vec<String>,
    /// Labels, `key` or `key=value`, all of which must be there.
    pub labels: Vec<String>,
    /// States: `running`, `exited`, …
    pub states: Vec<String>,
    /// Parts of names.
    pub names: Vec<String>,
}

impl ContainerFilter {
    pub(crate) fn query(&self) -> Query {
        let lists =
            [("host", &self.hosts), ("label", &self.labels), ("state", &self.states), ("name", &self.names)];
        Query::of(&lists)
    }
}

/// Which events to follow; all by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Kinds: `container` or `route`.
    pub types: Vec<String>,
    /// Names or ids of hosts.
    pub hosts: Vec<String>,
    /// Names or ids of containers, or beginnings of ids.
    pub containers: Vec<String>,
    /// Names of events: `start`, `die`, …
    pub events: Vec<String>,
}

impl EventFilter {
    pub(crate) fn query(&self) -> Query {
        let lists = [
            ("type", &self.types),
            ("host", &self.hosts),
            ("container", &self.containers),
            ("event", &self.events),
        ];
        Query::of(&lists)
    }
}

/// The parameters of a request.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<String>);

impl Query {
    /// Returns all values of these lists.
    fn of(lists: &[(&str, &Vec<String>)]) -> Self {
        let pairs = lists.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
        pairs.fold(Self::default(), |query, (key, value)| query.with(key, value))
    }

    pub(crate) fn with(mut self, key: &str, value: impl Display) -> Self {
        self.0.push(format!("{key}={}", encoded(&value.to_string())));
        self
    }

    pub(crate) fn option(self, key: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Adds a flag, unless it is false.
    pub(crate) fn flag(self, key: &str, value: bool) -> Self {
        if value { self.with(key, true) } else { self }
    }

    /// Returns a path with these parameters.
    pub(crate) fn after(&self, path: &str) -> String {
        if self.0.is_empty() { path.to_owned() } else { format!("{path}?{}", self.0.join("&")) }
    }
}

/// Returns a text as one part of a path or a query.
pub(crate) fn encoded(text: &str) -> impl Display {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_query() {
        assert_eq!(ContainerFilter::default().query().after("/c"), "/c");
        let filter = ContainerFilter {
            labels: vec!["a=b".to_owned(), "c".to_owned()],
            names: vec!["x&y".to_owned()],
            ..ContainerFilter::default()
        };
        assert_eq!(filter.query().after("/c"), "/c?label=a%3Db&label=c&name=x%26y");
    }
}
