//! The commands that take HAProxy from one state to another. Pure, no IO.
//!
//! Routing is correct between any two commands: servers are added before the keys that point to them, and removed
//! after. A released slot is not reused until it is empty and has cooled down: a request that found it a moment ago
//! may still be choosing a server there.

use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};

use longshore_model::{Frontend, HostPattern, Protocol, RouteKey, RouteTable};

use crate::command::Command;
use crate::layout::{
    Backend, EXACT, Map, Server, Servers, State, Target, map_key, route_key, servers, strip,
};

/// The number of changed keys from which a map is replaced as a whole: HAProxy walks through the map for each key.
const MIN_BULK_EDITS: usize = 32;

/// The changes to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// The commands, in order.
    pub(crate) commands: Vec<Command>,
    /// How many routes found no slot: the pool has to grow.
    pub(crate) unplaced: usize,
    /// Slots that no key points to once the commands are done.
    pub(crate) released: Vec<u32>,
}

/// Returns the changes that take these keys from `state` to `table`, with slots from `free`. Keys of UDP, and of
/// frontends that the state's shape does not have, are skipped.
pub(crate) fn changes(
    state: &State,
    free: &mut VecDeque<u32>,
    table: &RouteTable,
    keys: &BTreeSet<RouteKey>,
) -> Changes {
    let mut changes = Changes::default();
    let mut edits: Vec<Edit> = Vec::new();
    let mut closing = Vec::new();
    for key in keys {
        if !state.shape.frontends.contains(&key.frontend) {
            continue;
        }
        let route = table.get(key);
        let wanted = route.map(|route| servers(route)).unwrap_or_default();
        let backend = match key.frontend.protocol {
            Protocol::Udp => continue,
            Protocol::Tcp => Backend::Tcp(key.frontend.port),
            Protocol::Http => {
                let text = map_key(key);
                let has = state.maps.get(&key.frontend.port).and_then(|map| map.get(&text)).copied();
                let slot = has.map(|target| target.slot).or_else(|| route.and_then(|_| free.pop_front()));
                let Some(slot) = slot else {
                    changes.unplaced += usize::from(route.is_some());
                    continue;
                };
                let target = route.map(|route| Target { slot, strip: strip(route) });
                if target.is_none() {
                    changes.released.push(slot);
                }
                if has != target {
                    edits.push(Edit { key: key.clone(), text, has, target });
                }
                Backend::Slot(slot)
            }
        };
        let none = Servers::new();
        let has = state.servers.get(&backend).unwrap_or(&none);
        open(backend, has, &wanted, &mut changes.commands);
        close(backend, has, &wanted, &mut closing);
    }
    edit_maps(state, &edits, &mut changes.commands);
    changes.commands.append(&mut closing);
    changes
}

/// Returns all keys of the table and the state.
pub(crate) fn all_keys(state: &State, table: &RouteTable) -> BTreeSet<RouteKey> {
    let mut keys: BTreeSet<RouteKey> = table.iter().map(|route| route.key.clone()).collect();
    for (port, map) in &state.maps {
        keys.extend(map.keys().filter_map(|text| route_key(*port, text)));
    }
    for backend in state.servers.keys() {
        if let Backend::Tcp(port) = backend {
            keys.insert(RouteKey {
                frontend: Frontend { port: *port, protocol: Protocol::Tcp },
                host: HostPattern::Any,
                prefix: Default::default(),
            });
        }
    }
    keys
}

/// Returns the commands that withdraw the servers of slots that no key points to.
pub(crate) fn withdraw_orphaned(state: &State) -> Vec<Command> {
    let mut commands = Vec::new();
    for slot in state.orphaned_slots() {
        let backend = Backend::Slot(slot);
        if let Some(has) = state.servers.get(&backend) {
            close(backend, has, &Servers::new(), &mut commands);
        }
    }
    commands
}

/// Returns the commands that delete the servers in maintenance.
pub(crate) fn sweep(state: &State) -> Vec<Command> {
    let withdrawn = |(backend, servers): (&Backend, &Servers)| {
        let names = servers.iter().filter(|(_, server)| !server.serving);
        names.map(|(name, _)| Command::Delete(*backend, name.clone())).collect::<Vec<_>>()
    };
    state.servers.iter().flat_map(withdrawn).collect()
}

/// A change to a key of a map.
struct Edit {
    key: RouteKey,
    text: String,
    has: Option<Target>,
    target: Option<Target>,
}

/// Adds servers and sets weights, higher ones first: HAProxy schedules a server's next turn when its weight is set,
/// and a server lowered before another is raised waits for thousands of requests.
fn open(backend: Backend, has: &Servers, wanted: &Servers, commands: &mut Vec<Command>) {
    let mut lowered = Vec::new();
    for (name, server) in wanted {
        let Server { address, weight, .. } = *server;
        let Some(old) = has.get(name) else {
            commands.push(Command::Add(backend, name.clone(), address, weight));
            continue;
        };
        let weigh = Command::Weigh(backend, name.clone(), weight);
        match weight.cmp(&old.weight) {
            Ordering::Greater => commands.push(weigh),
            Ordering::Less => lowered.push(weigh),
            Ordering::Equal => {}
        }
        if !old.serving {
            commands.push(Command::Serve(backend, name.clone()));
        }
    }
    commands.append(&mut lowered);
}

/// Withdraws servers.
fn close(backend: Backend, has: &Servers, wanted: &Servers, commands: &mut Vec<Command>) {
    let goes = |(name, server): &(&String, &Server)| server.serving && !wanted.contains_key(*name);
    commands.extend(has.iter().filter(goes).map(|(name, _)| Command::Withdraw(backend, name.clone())));
}

fn edit_maps(state: &State, edits: &[Edit], commands: &mut Vec<Command>) {
    let none = Map::new();
    let ports: BTreeSet<u16> = edits.iter().map(|edit| edit.key.frontend.port).collect();
    for port in ports {
        let of_port: Vec<&Edit> = edits.iter().filter(|edit| edit.key.frontend.port == port).collect();
        let map = state.maps.get(&port).unwrap_or(&none);
        let marked = state.marked.contains(&port);
        let mark = needs_mark(map, &of_port, marked);
        if of_port.len() >= MIN_BULK_EDITS {
            let mut map = map.clone();
            for edit in of_port {
                match edit.target {
                    Some(target) => map.insert(edit.text.clone(), target),
                    None => map.remove(&edit.text),
                };
            }
            commands.push(Command::Replace(port, map, mark));
            continue;
        }
        if mark && !marked {
            commands.push(Command::MarkWildcards(port, true));
        }
        for Edit { text, has, target, .. } in of_port {
            commands.push(match (has, target) {
                (None, Some(target)) => Command::AddKey(port, text.clone(), *target),
                (Some(_), Some(target)) => Command::SetKey(port, text.clone(), *target),
                (_, None) => Command::DeleteKey(port, text.clone()),
            });
        }
        if marked && !mark {
            commands.push(Command::MarkWildcards(port, false));
        }
    }
}

/// Returns whether the map has wildcards after the edits.
fn needs_mark(map: &Map, edits: &[&Edit], marked: bool) -> bool {
    let is_wildcard = |edit: &&&Edit| matches!(edit.key.host, HostPattern::Wildcard(_));
    let mut wildcards = edits.iter().filter(is_wildcard).peekable();
    if wildcards.peek().is_none() {
        return marked;
    }
    let gone: BTreeSet<&str> =
        wildcards.clone().filter(|edit| edit.target.is_none()).map(|edit| edit.text.as_str()).collect();
    let stays = |text: &str| !gone.contains(text);
    let is_wildcard = |text: &&String| !text.starts_with([EXACT, '/']);
    let old = map.keys().filter(is_wildcard).any(|text| stays(text));
    old || wildcards.any(|edit| edit.target.is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{route, table, upstream};
    use crate::layout::Shape;

    fn shape(pool: u32) -> Shape {
        let frontends = ["http:80", "http:81", "tcp:82"].iter().map(|f| f.parse().unwrap()).collect();
        Shape { frontends, pool, stats: true, wildcard_labels: 4 }
    }

    fn run(state: &mut State, table: &RouteTable) -> Changes {
        let mut free = state.empty_slots();
        let done = changes(state, &mut free, table, &all_keys(state, table));
        done.commands.iter().cloned().for_each(|command| command.apply_to(state));
        done
    }

    #[test]
    fn nothing_is_done_where_nothing_changed() {
        let routes = table(&[("http:80 a.com/p", &[1, 2]), ("tcp:82", &[3])]);
        let mut state = State::lay_out(&shape(4), &routes, None);
        assert_eq!(run(&mut state, &routes), Changes::default());
    }

    #[test]
    fn a_server_serves_before_a_key_leads_to_it_and_one_that_goes_goes_last() {
        let before = table(&[("http:80 a.com/", &[1])]);
        let mut state = State::lay_out(&shape(4), &before, None);
        let done = run(&mut state, &table(&[("http:80 a.com/", &[2]), ("http:80 b.com/", &[1])]));
        let kinds: Vec<&str> = done.commands.iter().map(kind).collect();
        assert_eq!(kinds, ["add", "add", "lead", "withdraw"]);
    }

    #[test]
    fn a_slot_that_was_given_up_is_not_given_away_in_the_same_breath() {
        let mut state = State::lay_out(&shape(1), &table(&[("http:80 a.com/", &[1])]), None);
        let done = run(&mut state, &table(&[("http:80 b.com/", &[1])]));
        assert_eq!(done.unplaced, 1);
        assert_eq!(done.released, [1]);
        let kinds: Vec<&str> = done.commands.iter().map(kind).collect();
        assert_eq!(kinds, ["unlead", "withdraw"]);
        assert_eq!(sweep(&state).len(), 1);
    }

    #[test]
    fn a_server_that_returns_before_it_was_swept_is_used_again() {
        let mut state = State::lay_out(&shape(1), &table(&[("tcp:82", &[1])]), None);
        run(&mut state, &table(&[("tcp:82", &[])]));
        let mut heavier = RouteTable::default();
        heavier.insert(route("tcp:82", vec![upstream(1, "7")]).into());
        let done = run(&mut state, &heavier);
        let kinds: Vec<&str> = done.commands.iter().map(kind).collect();
        assert_eq!(kinds, ["serve", "weigh"]);
    }

    #[test]
    fn a_route_that_strips_from_now_on_keeps_its_slot() {
        let mut state = State::lay_out(&shape(2), &table(&[("http:80 a.com/p/q", &[1])]), None);
        let done = run(&mut state, &table(&[("http:80 a.com/p/q strip", &[1])]));
        let target = Target { slot: 1, strip: 2 };
        assert_eq!(done.commands, [Command::SetKey(80, ">a.com/p/q/".to_owned(), target)]);
    }

    #[test]
    fn the_mark_is_set_before_the_first_wildcard_and_taken_after_the_last() {
        let mut state = State::lay_out(&shape(9), &table(&[]), None);
        let both = table(&[("http:80 *.a.com/", &[1]), ("http:80 *.b.com/", &[1])]);
        let kinds = |done: &Changes| done.commands.iter().map(kind).collect::<Vec<_>>();
        assert_eq!(kinds(&run(&mut state, &both)), ["add", "add", "mark", "lead", "lead"]);
        let one = table(&[("http:80 *.b.com/", &[1])]);
        assert_eq!(kinds(&run(&mut state, &one)), ["unlead", "withdraw"]);
        assert_eq!(kinds(&run(&mut state, &table(&[]))), ["unlead", "mark", "withdraw"]);
    }

    #[test]
    fn many_keys_are_one_replacement() {
        let mut state = State::lay_out(&shape(99), &table(&[]), None);
        let names: Vec<String> = (0..40).map(|n| format!("http:80 h{n}.com/")).collect();
        let routes = names.iter().map(|name| route(name, vec![])).collect();
        let done = run(&mut state, &routes);
        assert!(matches!(done.commands.as_slice(), [Command::Replace(80, map, false)] if map.len() == 40));
    }

    fn kind(command: &Command) -> &'static str {
        match command {
            Command::Add(..) => "add",
            Command::Serve(..) => "serve",
            Command::Weigh(..) => "weigh",
            Command::Withdraw(..) => "withdraw",
            Command::Delete(..) => "delete",
            Command::AddKey(..) => "lead",
            Command::SetKey(..) => "relead",
            Command::DeleteKey(..) => "unlead",
            Command::MarkWildcards(..) => "mark",
            Command::Replace(..) => "replace",
        }
    }

    fn some_table() -> impl Strategy<Value = RouteTable> {
        let name = "(http:8[01] (\\*|\\*\\.a|a|b)/(|p|p/q)( strip)?|tcp:82)";
        let upstreams = proptest::collection::btree_map(1u16..5, 0u16..3, 0..4);
        proptest::collection::vec((name, upstreams), 0..12).prop_map(|routes| {
            let build = |(name, upstreams): (String, std::collections::BTreeMap<u16, u16>)| {
                let upstreams = upstreams.into_iter().map(|(n, w)| upstream(n, &w.to_string())).collect();
                route(&name, upstreams)
            };
            routes.into_iter().map(build).collect()
        })
    }

    /// A state as traffic sees it, without servers in maintenance and slot numbers.
    type Seen = Vec<(String, usize, Vec<(String, u16)>)>;

    fn seen(state: &State) -> Seen {
        let serving = |backend: Backend| {
            let servers = state.servers.get(&backend).into_iter().flatten();
            servers.filter(|(_, s)| s.serving).map(|(name, s)| (name.clone(), s.weight)).collect()
        };
        let mut seen = Vec::new();
        for (port, map) in &state.maps {
            for (key, target) in map {
                seen.push((format!("{port} {key}"), target.strip, serving(Backend::Slot(target.slot))));
            }
        }
        seen.push(("tcp".to_owned(), 0, serving(Backend::Tcp(82))));
        seen
    }

    proptest! {
        #[test]
        fn whatever_came_before_the_table_is_what_traffic_sees(tables in proptest::collection::vec(some_table(), 1..5)) {
            let mut state = State::lay_out(&shape(200), &RouteTable::default(), None);
            for table in &tables {
                run(&mut state, table);
                let fresh = State::lay_out(&shape(200), table, None);
                prop_assert_eq!(seen(&state), seen(&fresh));
                prop_assert_eq!(&state.marked, &fresh.marked);
                let slots: Vec<u32> = state.maps.values().flat_map(Map::values).map(|t| t.slot).collect();
                let distinct: BTreeSet<&u32> = slots.iter().collect();
                prop_assert_eq!(distinct.len(), slots.len());
            }
        }
    }
}
