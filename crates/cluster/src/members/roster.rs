use longshore_model::HostId;

use super::member::{Member, MemberState};

/// All hosts of the cluster that this one knows of, itself among them, in order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    /// This host.
    pub me: HostId,
    /// The hosts, by id.
    pub members: Vec<Member>,
    /// Another agent runs with this host's id: a copy of its data directory.
    pub id_in_use_elsewhere: bool,
}

impl Roster {
    /// Returns a host by its id.
    pub fn get(&self, host: HostId) -> Option<&Member> {
        let index = self.members.binary_search_by_key(&host, |member| member.host).ok()?;
        self.members.get(index)
    }

    /// Returns the other hosts that are alive.
    pub fn alive_peers(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.state == MemberState::Alive && member.host != self.me)
    }

    /// Returns what is wrong in the cluster as seen from here: the host that it is about, and a sentence.
    pub fn problems(&self) -> Vec<(HostId, String)> {
        let mut problems = Vec::new();
        for member in &self.members {
            if let Some(holder) = member.name_taken_by.and_then(|holder| self.get(holder)) {
                problems.push((member.host, taken_name(self.me, member, holder)));
            }
            if member.clock_ahead != 0 && member.state == MemberState::Alive {
                problems.push((member.host, other_clock(member)));
            }
        }
        if self.id_in_use_elsewhere {
            let text = "another agent runs with this host's id: its data directory was copied; stop one of the two, \
                        delete the file host-id in its data directory and start it again";
            problems.push((self.me, text.to_owned()));
        }
        problems
    }
}

fn taken_name(me: HostId, refused: &Member, holder: &Member) -> String {
    let name = &refused.name;
    if refused.host == me {
        format!(
            "the name {name} belongs to another host, {} at {}: this host is refused; give it another name with --node",
            holder.host, holder.address
        )
    } else {
        format!(
            "host {} at {} is refused: the name {name} belongs to {} at {}; give it another name with --node",
            refused.host, refused.address, holder.host, holder.address
        )
    }
}

fn other_clock(member: &Member) -> String {
    let (seconds, side) =
        (member.clock_ahead.unsigned_abs(), if member.clock_ahead > 0 { "ahead" } else { "behind" });
    format!(
        "the clock of host {} is {seconds} s {side} of this host's: check time synchronization",
        member.name
    )
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::identity::Epoch;
    use super::super::member::mark_taken_names;
    use super::*;

    fn roster(me: u128) -> Roster {
        let member = |host: u128, name: &str| Member {
            host: HostId::from_u128(host),
            name: name.parse().unwrap(),
            address: format!("192.0.2.{host}:7052").parse().unwrap(),
            epoch: Epoch::default(),
            state: MemberState::Alive,
            since: Instant::now(),
            unreachable_from_here: false,
            name_taken_by: None,
            clock_ahead: 0,
        };
        let mut members = vec![member(1, "a"), member(2, "b"), member(3, "a")];
        mark_taken_names(&mut members);
        Roster { me: HostId::from_u128(me), members, id_in_use_elsewhere: false }
    }

    #[test]
    fn a_name_that_two_hosts_have_is_told_on_both() {
        let told = |me| {
            let problems = roster(me).problems();
            assert_eq!(problems.len(), 1);
            assert_eq!(problems[0].0, HostId::from_u128(3));
            problems[0].1.clone()
        };
        assert!(told(3).starts_with("the name a belongs to another host, "), "{}", told(3));
        assert!(told(1).contains("at 192.0.2.3:7052 is refused: the name a belongs to"), "{}", told(1));
        assert_eq!(told(1), told(2));
    }

    #[test]
    fn a_clock_that_differs_and_a_copied_id_are_told() {
        let mut roster = roster(1);
        roster.members.pop();
        roster.members[1].clock_ahead = -3600;
        roster.id_in_use_elsewhere = true;
        let texts: Vec<String> = roster.problems().into_iter().map(|(_, text)| text).collect();
        assert!(texts[0].starts_with("the clock of host b is 3600 s behind"), "{texts:?}");
        assert!(texts[1].contains("delete the file host-id"), "{texts:?}");
    }

    #[test]
    fn a_host_is_found_by_its_id() {
        let roster = roster(1);
        assert_eq!(roster.get(HostId::from_u128(2)).unwrap().name.as_str(), "b");
        assert!(roster.get(HostId::from_u128(9)).is_none());
        assert_eq!(roster.alive_peers().count(), 2);
    }
}
