//! Balancing: a pure weighted pick.
//!
//! Stride scheduling. Each member has a next turn on a common line, and advances by the inverse of its weight
//! whenever it is picked; the member with the earliest turn is next. A pick costs the logarithm of the number of
//! members, and after any number of picks no member is more than one turn from its exact share. Members of weight 0
//! wait until no other is fit.
//!
//! The caller decides which members are fit, pick by pick.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::Hash;

use longshore_model::Weight;

/// Whether a member can be picked right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Take it.
    Good,
    /// Take it only if no other member is good.
    Failing,
    /// Leave it out.
    Out,
}

const ONE: u64 = 1 << 32;

/// Members and their turns.
#[derive(Debug)]
pub(crate) struct Balance<T> {
    turns: BinaryHeap<Reverse<Turn>>,
    /// Indexed by [`Turn::member`]; those of weight 0 have no turn.
    members: Vec<Member<T>>,
    /// Where the search among members of weight 0 begins.
    spare: usize,
}

#[derive(Debug)]
struct Member<T> {
    value: T,
    stride: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    at: u64,
    /// The order among equal turns.
    order: usize,
    member: usize,
}

impl<T> Default for Balance<T> {
    fn default() -> Self {
        Self { turns: BinaryHeap::new(), members: Vec::new(), spare: 0 }
    }
}

impl<T: Clone + Eq + Hash> Balance<T> {
    /// Replaces the members. Those that stay keep their turns; `first` selects which of the others begins, so that
    /// many workers do not all begin with the same one.
    pub(crate) fn set(&mut self, members: impl IntoIterator<Item = (T, Weight)>, first: usize) {
        let begin = self.turns.peek().map_or(0, |Reverse(turn)| turn.at);
        let mut before: HashMap<T, (u64, u64)> = HashMap::with_capacity(self.turns.len());
        for Reverse(turn) in self.turns.drain() {
            if let Some(member) = self.members.get(turn.member) {
                before.insert(member.value.clone(), (member.stride, turn.at - begin));
            }
        }
        self.members.clear();
        for (value, weight) in members {
            let stride = if weight.get() == 0 { 0 } else { ONE / u64::from(weight.get()) };
            self.members.push(Member { value, stride });
        }
        let count = self.members.len().max(1);
        let turns = self.members.iter().enumerate().filter(|(_, m)| m.stride > 0).map(|(i, m)| {
            let at = match before.get(&m.value) {
                Some(&(stride, at)) if stride == m.stride => at,
                // Half a step in, a heavy member's turns lie between the light ones' turns.
                _ => m.stride / 2,
            };
            Reverse(Turn { at, order: (i + count - first % count) % count, member: i })
        });
        self.turns = turns.collect();
    }

    /// Picks the next member, or `None` if all are out.
    pub(crate) fn pick(&mut self, fit: impl Fn(&T) -> Fit) -> Option<T> {
        let mut failing = None;
        for _ in 0..self.turns.len() {
            let Some(mut top) = self.turns.peek_mut() else { break };
            let Some(member) = self.members.get(top.0.member) else { break };
            top.0.at = top.0.at.saturating_add(member.stride);
            drop(top);
            match fit(&member.value) {
                Fit::Good => {
                    let value = member.value.clone();
                    self.rewind();
                    return Some(value);
                }
                Fit::Failing => failing = failing.or_else(|| Some(member.value.clone())),
                Fit::Out => {}
            }
        }
        // A heavy member that is not fit may have skipped several turns.
        let weighted = |m: &&Member<T>| m.stride > 0;
        let good = |m: &&Member<T>| fit(&m.value) == Fit::Good;
        if let Some(member) = self.members.iter().filter(weighted).find(good) {
            return Some(member.value.clone());
        }
        self.spare = self.spare.wrapping_add(1);
        let from = self.spare.checked_rem(self.members.len()).unwrap_or(0);
        let spares =
            || self.members.iter().cycle().skip(from).take(self.members.len()).filter(|m| m.stride == 0);
        if let Some(member) = spares().find(good) {
            return Some(member.value.clone());
        }
        let fallback = |m: &&Member<T>| fit(&m.value) == Fit::Failing;
        failing.or_else(|| {
            let weighted = self.members.iter().filter(weighted).find(fallback);
            weighted.or_else(|| spares().find(fallback)).map(|m| m.value.clone())
        })
    }

    /// Returns the members.
    pub(crate) fn members(&self) -> impl Iterator<Item = &T> {
        self.members.iter().map(|m| &m.value)
    }

    /// Prevents overflow of the line, which four billion turns of weight 1 would cause.
    fn rewind(&mut self) {
        let Some(begin) = self.turns.peek().map(|Reverse(turn)| turn.at).filter(|&at| at > 1 << 62) else {
            return;
        };
        let turns = std::mem::take(&mut self.turns).into_iter();
        self.turns = turns.map(|Reverse(turn)| Reverse(Turn { at: turn.at - begin, ..turn })).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn weight(n: u16) -> Weight {
        n.to_string().parse().unwrap()
    }

    fn balance(weights: &[u16]) -> Balance<usize> {
        let mut balance = Balance::default();
        balance.set(weights.iter().map(|&w| weight(w)).enumerate(), 0);
        balance
    }

    fn counts(balance: &mut Balance<usize>, picks: usize) -> BTreeMap<usize, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..picks {
            *counts.entry(balance.pick(|_| Fit::Good).unwrap()).or_default() += 1;
        }
        counts
    }

    #[test]
    fn shares_are_exact_to_one_turn() {
        for weights in [vec![100, 50, 50], vec![1, 1, 1], vec![256, 1], vec![7, 3, 11, 2], vec![5; 40]] {
            let mut b = balance(&weights);
            let total: usize = weights.iter().map(|&w| usize::from(w)).sum();
            for (i, n) in counts(&mut b, 1000) {
                let share = 1000.0 * f64::from(weights[i]) / total as f64;
                assert!((n as f64 - share).abs() <= 1.0, "{weights:?}: {i} had {n} of {share}");
            }
        }
    }

    #[test]
    fn a_heavy_member_does_not_take_its_turns_in_a_row() {
        let mut b = balance(&[2, 1, 1]);
        let picks: Vec<usize> = (0..8).map(|_| b.pick(|_| Fit::Good).unwrap()).collect();
        assert!(picks.windows(3).all(|w| w != [0, 0, 0]), "{picks:?}");
    }

    #[test]
    fn weight_zero_waits_until_the_others_fail() {
        let mut b = balance(&[1, 0, 0]);
        assert_eq!(counts(&mut b, 10), BTreeMap::from([(0, 10)]));
        let fit = |&m: &usize| if m == 0 { Fit::Failing } else { Fit::Good };
        let picks: Vec<_> = (0..4).map(|_| b.pick(fit).unwrap()).collect();
        assert!(picks.contains(&1) && picks.contains(&2), "{picks:?}");
        let mut b = balance(&[0]);
        assert_eq!(b.pick(|_| Fit::Good), Some(0));
    }

    #[test]
    fn a_failing_member_is_taken_only_if_all_fail() {
        let mut b = balance(&[200, 1]);
        for _ in 0..1000 {
            assert_eq!(b.pick(|&m| if m == 0 { Fit::Failing } else { Fit::Good }), Some(1));
        }
        assert!(b.pick(|_| Fit::Failing).is_some());
        assert_eq!(b.pick(|&m| if m == 0 { Fit::Out } else { Fit::Failing }), Some(1));
        assert_eq!(b.pick(|_| Fit::Out), None);
        assert_eq!(Balance::<usize>::default().pick(|_| Fit::Good), None);
    }

    #[test]
    fn members_that_stay_keep_their_turns() {
        let mut b = balance(&[1, 1]);
        let first = b.pick(|_| Fit::Good).unwrap();
        b.set([(0, weight(1)), (1, weight(1))], 0);
        assert_ne!(b.pick(|_| Fit::Good).unwrap(), first);
    }

    #[test]
    fn workers_begin_with_different_members() {
        let firsts: Vec<usize> = (0..3)
            .map(|worker| {
                let mut b = Balance::default();
                b.set((0..3).map(|i| (i, weight(1))), worker);
                b.pick(|_| Fit::Good).unwrap()
            })
            .collect();
        assert_eq!(firsts, [0, 1, 2]);
    }

    #[test]
    fn the_end_of_the_line_is_never_reached() {
        let mut b = balance(&[1, 2]);
        let turns = b.turns.drain().map(|Reverse(t)| Reverse(Turn { at: t.at + (1 << 62), ..t }));
        b.turns = turns.collect();
        assert_eq!(counts(&mut b, 300), BTreeMap::from([(0, 100), (1, 200)]));
        assert!(b.turns.iter().all(|Reverse(t)| t.at < 1 << 62));
    }
}
