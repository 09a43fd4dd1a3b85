//! Which route a request takes: a pure matcher over host patterns and path prefixes.
//!
//! An exact host beats a wildcard, a longer wildcard a shorter one, and any wildcard the pattern for every host;
//! within one pattern the longest prefix in whole segments wins. If the more specific pattern has no prefix for the
//! path, the less specific one is searched.
//!
//! Every change costs one hash lookup, whatever the number of routes. Each worker has its own table and changes it in
//! place, so a lookup takes no lock. The table does not know what a route leads to.

use std::collections::HashMap;

use longshore_model::{HostPattern, PathPrefix};

/// Routes of one frontend, each leading to a `T`.
#[derive(Debug)]
pub(crate) struct Routes<T> {
    exact: HashMap<Box<str>, Prefixes<T>>,
    below: HashMap<Box<str>, Prefixes<T>>,
    any: Prefixes<T>,
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), below: HashMap::new(), any: Prefixes::default() }
    }
}

impl<T> Routes<T> {
    /// Returns the target of the route with exactly this pattern and prefix.
    pub(crate) fn get(&self, host: &HostPattern, prefix: &PathPrefix) -> Option<&T> {
        let prefixes = match host {
            HostPattern::Exact(name) => self.exact.get(name.as_str())?,
            HostPattern::Wildcard(name) => self.below.get(name.as_str())?,
            HostPattern::Any => &self.any,
        };
        prefixes.get(prefix)
    }

    /// Inserts a route, replacing the one with the same pattern and prefix.
    pub(crate) fn insert(&mut self, host: &HostPattern, prefix: &PathPrefix, target: T) {
        let prefixes = match host {
            HostPattern::Exact(name) => self.exact.entry(name.as_str().into()).or_default(),
            HostPattern::Wildcard(name) => self.below.entry(name.as_str().into()).or_default(),
            HostPattern::Any => &mut self.any,
        };
        prefixes.insert(prefix, target);
    }

    /// Removes a route, and returns its target.
    pub(crate) fn remove(&mut self, host: &HostPattern, prefix: &PathPrefix) -> Option<T> {
        let (map, name) = match host {
            HostPattern::Exact(name) => (&mut self.exact, name),
            HostPattern::Wildcard(name) => (&mut self.below, name),
            HostPattern::Any => return self.any.remove(prefix),
        };
        let prefixes = map.get_mut(name.as_str())?;
        let removed = prefixes.remove(prefix);
        if prefixes.is_empty() {
            map.remove(name.as_str());
        }
        removed
    }

    /// Returns the target of a request for `host` (lower case, no port, no final dot) and `path` (normalized, with
    /// single slashes, without the query).
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<&T> {
        if !self.exact.is_empty()
            && let Some(target) = self.exact.get(host).and_then(|p| p.find(path))
        {
            return Some(target);
        }
        if !self.below.is_empty() {
            let mut rest = host;
            while let Some((_, suffix)) = rest.split_once('.') {
                if let Some(target) = self.below.get(suffix).and_then(|p| p.find(path)) {
                    return Some(target);
                }
                rest = suffix;
            }
        }
        self.any.find(path)
    }
}

/// The prefixes of one host pattern.
#[derive(Debug)]
struct Prefixes<T> {
    /// The route for all paths.
    whole: Option<T>,
    by_prefix: HashMap<Box<str>, T>,
    /// How many prefixes have one segment, two, and so on: unused lengths are not looked up.
    lengths: [usize; PathPrefix::MAX_SEGMENTS],
}

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Self { whole: None, by_prefix: HashMap::new(), lengths: [0; PathPrefix::MAX_SEGMENTS] }
    }
}

impl<T> Prefixes<T> {
    fn is_empty(&self) -> bool {
        self.whole.is_none() && self.by_prefix.is_empty()
    }

    fn get(&self, prefix: &PathPrefix) -> Option<&T> {
        if prefix.is_empty() { self.whole.as_ref() } else { self.by_prefix.get(prefix.as_str()) }
    }

    fn insert(&mut self, prefix: &PathPrefix, target: T) {
        if prefix.is_empty() {
            self.whole = Some(target);
        } else if self.by_prefix.insert(prefix.as_str().into(), target).is_none()
            && let Some(count) = self.lengths.get_mut(prefix.segments() - 1)
        {
            *count += 1;
        }
    }

    fn remove(&mut self, prefix: &PathPrefix) -> Option<T> {
        if prefix.is_empty() {
            return self.whole.take();
        }
        let removed = self.by_prefix.remove(prefix.as_str())?;
        if let Some(count) = self.lengths.get_mut(prefix.segments() - 1) {
            *count -= 1;
        }
        Some(removed)
    }

    fn find(&self, path: &str) -> Option<&T> {
        if self.by_prefix.is_empty() {
            return self.whole.as_ref();
        }
        let path = path.strip_prefix('/').unwrap_or(path);
        let mut ends = [0; PathPrefix::MAX_SEGMENTS];
        let slashes = path.bytes().enumerate().filter(|&(_, b)| b == b'/').map(|(i, _)| i);
        let mut used = 0;
        for (slot, end) in ends.iter_mut().zip(slashes.chain([path.len()])) {
            *slot = end;
            used += 1;
        }
        ends.iter()
            .zip(&self.lengths)
            .take(used)
            .rev()
            .filter(|&(_, &count)| count > 0)
            .find_map(|(&end, _)| self.by_prefix.get(path.get(..end)?))
            .or(self.whole.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(routes: &[(&str, &str)]) -> Routes<usize> {
        let mut table = Routes::default();
        for (i, (host, prefix)) in routes.iter().enumerate() {
            table.insert(&host.parse().unwrap(), &prefix.parse().unwrap(), i);
        }
        table
    }

    #[test]
    fn a_more_specific_host_wins() {
        let t = table(&[("*", ""), ("*.b.c", ""), ("*.c", ""), ("a.b.c", "")]);
        assert_eq!(t.find("a.b.c", "/"), Some(&3));
        assert_eq!(t.find("x.b.c", "/"), Some(&1));
        assert_eq!(t.find("x.y.b.c", "/"), Some(&1));
        assert_eq!(t.find("b.c", "/"), Some(&2));
        assert_eq!(t.find("c", "/"), Some(&0));
        assert_eq!(t.find("", "/"), Some(&0));
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let t = table(&[("*", "dash"), ("*", "dash/board/x")]);
        assert_eq!(t.find("h", "/dash"), Some(&0));
        assert_eq!(t.find("h", "/dash/"), Some(&0));
        assert_eq!(t.find("h", "/dash/board"), Some(&0));
        assert_eq!(t.find("h", "/dash/board/x/y"), Some(&1));
        for none in ["/dashboard", "/", "//dash", "/x/dash", "*", ""] {
            assert_eq!(t.find("h", none), None, "{none}");
        }
    }

    #[test]
    fn a_host_without_the_path_leaves_it_to_a_less_specific_one() {
        let t = table(&[("*", ""), ("*.c", "deep"), ("a.c", "api")]);
        assert_eq!(t.find("a.c", "/api/1"), Some(&2));
        assert_eq!(t.find("a.c", "/deep"), Some(&1));
        assert_eq!(t.find("a.c", "/else"), Some(&0));
    }

    #[test]
    fn what_is_taken_out_is_gone() {
        let mut t = table(&[("a", "p"), ("a", "")]);
        assert_eq!(t.remove(&"a".parse().unwrap(), &"p".parse().unwrap()), Some(0));
        assert_eq!(t.remove(&"a".parse().unwrap(), &"p".parse().unwrap()), None);
        assert_eq!(t.find("a", "/p"), Some(&1));
        assert_eq!(t.remove(&"a".parse().unwrap(), &PathPrefix::default()), Some(1));
        assert_eq!(t.find("a", "/p"), None);
        assert!(t.exact.is_empty());
    }

    /// Applies the rule in the module's documentation, one route after another.
    fn naive<'a>(
        routes: &'a [(HostPattern, PathPrefix)],
        host: &str,
        path: &str,
    ) -> Option<&'a (HostPattern, PathPrefix)> {
        let host_fits = |pattern: &HostPattern| match pattern {
            HostPattern::Any => true,
            HostPattern::Exact(name) => name.as_str() == host,
            HostPattern::Wildcard(name) => host.ends_with(&format!(".{}", name.as_str())),
        };
        let path_fits = |prefix: &PathPrefix| {
            let prefix = prefix.to_string();
            prefix == "/" || path == prefix || path.starts_with(&format!("{prefix}/"))
        };
        routes.iter().filter(|(h, p)| host_fits(h) && path_fits(p)).max_by_key(|(h, p)| {
            let host = match h {
                HostPattern::Any => (0, 0),
                HostPattern::Wildcard(name) => (1, name.as_str().len()),
                HostPattern::Exact(_) => (2, 0),
            };
            (host, p.as_str().len())
        })
    }

    fn host() -> impl Strategy<Value = String> {
        proptest::collection::vec("[ab]", 1..4).prop_map(|labels| labels.join("."))
    }

    fn prefix() -> impl Strategy<Value = String> {
        proptest::collection::vec("[xy]{1,2}", 0..4).prop_map(|segments| segments.join("/"))
    }

    fn route() -> impl Strategy<Value = (HostPattern, PathPrefix)> {
        let pattern = prop_oneof![Just("*".to_owned()), host(), host().prop_map(|h| format!("*.{h}"))];
        (pattern, prefix()).prop_map(|(h, p)| (h.parse().unwrap(), p.parse().unwrap()))
    }

    proptest! {
        #[test]
        fn the_table_finds_what_the_rule_says(
            routes in proptest::collection::btree_set(route(), 0..24),
            gone in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
            asked in proptest::collection::vec((host(), prefix(), any::<bool>()), 1..16),
        ) {
            let mut routes: Vec<_> = routes.into_iter().collect();
            let mut table = Routes::default();
            for (h, p) in &routes {
                table.insert(h, p, (h.clone(), p.clone()));
            }
            for index in gone {
                if !routes.is_empty() {
                    let (h, p) = routes.swap_remove(index.index(routes.len()));
                    prop_assert_eq!(table.remove(&h, &p), Some((h, p)));
                }
            }
            for (host, path, slash) in asked {
                let path = format!("/{path}{}", if slash { "/" } else { "" });
                prop_assert_eq!(table.find(&host, &path), naive(&routes, &host, &path));
            }
        }
    }
}
