use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use longshore_model::HostId;

use super::identity::{Epoch, HostName};

/// Whether a host can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberState {
    /// It answers, at least to some of the others.
    Alive,
    /// It answers nobody: it takes no traffic, but what it carries stays its own.
    Suspect,
    /// It has not answered for so long that what it carried may run elsewhere.
    Dead,
    /// It gave up its place.
    Left,
    /// Its agent said that it restarts. Its containers run on.
    Restarting,
}

impl MemberState {
    /// Returns whether the host still has its place and its name.
    pub const fn has_place(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect | Self::Restarting)
    }
}

impl fmt::Display for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
            Self::Left => "left",
            Self::Restarting => "restarting",
        })
    }
}

/// A host of the cluster, as seen from this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub host: HostId,
    /// Its name.
    pub name: HostName,
    /// Where its agent listens, for datagrams and for connections.
    pub address: SocketAddr,
    /// What it last said of itself was said in this epoch.
    pub epoch: Epoch,
    /// Its state.
    pub state: MemberState,
    /// Since when it is in this state, as seen from here.
    pub since: Instant,
    /// It is alive, but does not answer this host.
    pub unreachable_from_here: bool,
    /// Another host had its name before: this one is refused.
    pub name_taken_by: Option<HostId>,
    /// How many seconds its clock is ahead of this host's; 0 if less than five.
    pub clock_ahead: i64,
}

impl Member {
    /// Returns whether the host has its place, and its name for itself.
    pub fn is_reliable(&self) -> bool {
        self.state.has_place() && self.name_taken_by.is_none()
    }

    /// Returns why the host does not answer this one, as far as is known: `it is suspect`.
    pub fn silence(&self) -> Option<&'static str> {
        match self.state {
            MemberState::Alive if self.unreachable_from_here => Some("it does not answer this host"),
            MemberState::Alive => None,
            MemberState::Suspect => Some("it is suspect"),
            MemberState::Dead => Some("it is dead"),
            MemberState::Left => Some("it left the cluster"),
            MemberState::Restarting => Some("its agent restarts"),
        }
    }
}

/// Marks every host whose name an earlier host has: the one that was created first, which its id tells, keeps it. A
/// host that has no place any more has no name either.
pub(super) fn mark_taken_names(members: &mut [Member]) {
    let mut holders: std::collections::BTreeMap<HostName, HostId> = std::collections::BTreeMap::new();
    for member in members.iter().filter(|member| member.state.has_place()) {
        let holder = holders.entry(member.name.clone()).or_insert(member.host);
        *holder = (*holder).min(member.host);
    }
    for member in members {
        let holder = holders.get(&member.name).copied();
        member.name_taken_by = holder.filter(|holder| member.state.has_place() && *holder != member.host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(host: u128, name: &str, state: MemberState) -> Member {
        Member {
            host: HostId::from_u128(host),
            name: name.parse().unwrap(),
            address: "192.0.2.1:7052".parse().unwrap(),
            epoch: Epoch::default(),
            state,
            since: Instant::now(),
            unreachable_from_here: false,
            name_taken_by: None,
            clock_ahead: 0,
        }
    }

    fn taken(mut members: Vec<Member>) -> Vec<Option<u128>> {
        mark_taken_names(&mut members);
        members.iter().map(|member| member.name_taken_by.map(HostId::as_u128)).collect()
    }

    #[test]
    fn the_later_of_two_with_a_name_is_refused() {
        use MemberState::{Alive, Restarting, Suspect};
        let members = vec![member(3, "a", Alive), member(1, "b", Alive), member(2, "a", Alive)];
        assert_eq!(taken(members), [Some(2), None, None]);
        let members = vec![member(2, "a", Restarting), member(3, "a", Suspect)];
        assert_eq!(taken(members), [None, Some(2)]);
    }

    #[test]
    fn the_name_of_a_host_that_is_gone_is_free() {
        use MemberState::{Alive, Dead, Left};
        assert_eq!(taken(vec![member(1, "a", Dead), member(2, "a", Alive)]), [None, None]);
        assert_eq!(taken(vec![member(1, "a", Left), member(2, "a", Alive)]), [None, None]);
    }
}
