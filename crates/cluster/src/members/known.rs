use std::time::Instant;

use foca::State;

use super::identity::{Identity, Phase};
use super::member::{Member, MemberState};
use super::reach::Reach;
use super::settings::Settings;

/// A clock that differs by less than this many seconds is not worth a word, nor is a change by less.
const CLOCK_TOLERANCE: u64 = 5;

/// What is known of another host. All times are the core's.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) identity: Identity,
    /// What foca holds of it, if it knows it.
    pub(super) foca: Option<State>,
    /// `None` for a host that was met, but is not yet a member.
    pub(super) state: Option<MemberState>,
    /// Since when, as the core counts.
    pub(super) changed: Instant,
    /// Since when, by the system's clock.
    pub(super) since: Instant,
    /// When a datagram last came from it.
    pub(super) heard: Option<Instant>,
    pub(super) reach: Reach,
    pub(super) clock_ahead: i64,
    suspected: Option<Instant>,
}

impl Known {
    pub(super) fn new(identity: Identity, now: Instant, since: Instant) -> Self {
        Self {
            identity,
            foca: None,
            state: None,
            changed: now,
            since,
            heard: None,
            reach: Reach::default(),
            clock_ahead: 0,
            suspected: None,
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.state == Some(MemberState::Alive)
    }

    pub(super) fn is_unreachable(&self) -> bool {
        self.is_alive() && self.reach.is_lost()
    }

    /// Takes an identity unless a later one is known. Returns whether it differs.
    pub(super) fn learn(&mut self, identity: &Identity) -> bool {
        if identity.epoch <= self.identity.epoch {
            return false;
        }
        self.identity = identity.clone();
        true
    }

    pub(super) fn hear(&mut self, now: Instant, clock_ahead: Option<i64>) -> bool {
        self.heard = Some(now);
        let Some(ahead) = clock_ahead else { return false };
        let ahead = if ahead.unsigned_abs() < CLOCK_TOLERANCE { 0 } else { ahead };
        if ahead == self.clock_ahead || ahead != 0 && ahead.abs_diff(self.clock_ahead) < CLOCK_TOLERANCE {
            return false;
        }
        self.clock_ahead = ahead;
        true
    }

    /// Decides its state. Returns whether it changed.
    pub(super) fn decide(
        &mut self,
        now: Instant,
        since: Instant,
        settings: &Settings,
        period: std::time::Duration,
    ) -> bool {
        let state = self.state_at(now, settings, period);
        if state == self.state {
            return false;
        }
        if state != Some(MemberState::Alive) {
            self.reach = Reach::default();
        }
        (self.state, self.changed, self.since) = (state, now, since);
        true
    }

    fn state_at(
        &mut self,
        now: Instant,
        settings: &Settings,
        period: std::time::Duration,
    ) -> Option<MemberState> {
        match self.identity.phase {
            Phase::Left => return Some(MemberState::Left),
            Phase::Restarting => {
                let is_over = match self.state {
                    Some(MemberState::Restarting) => now >= self.changed + settings.restart_grace,
                    state => state == Some(MemberState::Dead) && self.suspected.is_none(),
                };
                // Restarting is no suspicion: one that began before is answered.
                self.suspected = None;
                return Some(if is_over { MemberState::Dead } else { MemberState::Restarting });
            }
            Phase::Running => {}
        }
        match self.foca {
            Some(State::Alive) => {
                self.suspected = None;
                Some(MemberState::Alive)
            }
            None if self.state.is_none() => None,
            Some(State::Suspect | State::Down) | None => {
                let suspected = *self.suspected.get_or_insert(now);
                let is_dead =
                    self.state == Some(MemberState::Dead) || now >= self.dead_at(suspected, settings, period);
                Some(if is_dead { MemberState::Dead } else { MemberState::Suspect })
            }
        }
    }

    /// Where many hosts share the probing, most hear from this one only every few seconds. But whoever suspected it had
    /// waited for a whole period.
    fn dead_at(&self, suspected: Instant, settings: &Settings, period: std::time::Duration) -> Instant {
        let by_suspicion = suspected + settings.dead_after.saturating_sub(period);
        self.heard.map_or(by_suspicion, |heard| by_suspicion.max(heard + settings.dead_after))
    }

    pub(super) fn member(&self) -> Option<Member> {
        Some(Member {
            host: self.identity.host,
            name: self.identity.name.clone(),
            address: self.identity.address,
            epoch: self.identity.epoch,
            state: self.state?,
            since: self.since,
            unreachable_from_here: self.is_unreachable(),
            name_taken_by: None,
            clock_ahead: self.clock_ahead,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use longshore_model::HostId;

    use super::super::identity::Epoch;
    use super::*;
    use crate::seal::Cookie;

    struct Watched {
        known: Known,
        start: Instant,
    }

    impl Watched {
        fn new() -> Self {
            let start = Instant::now();
            let identity = Identity {
                host: HostId::from_u128(1),
                epoch: Epoch { run: 1, renewal: 0 },
                cookie: Cookie(3),
                phase: Phase::Running,
                address: "192.0.2.1:7052".parse().unwrap(),
                name: "a".parse().unwrap(),
            };
            Self { known: Known::new(identity, start, start), start }
        }

        fn at(&self, millis: u64) -> Instant {
            self.start + Duration::from_millis(millis)
        }

        fn state(&mut self, millis: u64, foca: Option<State>) -> Option<MemberState> {
            let now = self.at(millis);
            self.known.foca = foca;
            self.known.decide(now, now, &Settings::default(), Duration::from_millis(100));
            self.known.state
        }

        fn says(&mut self, phase: Phase) {
            let mut identity = self.known.identity.clone();
            identity.phase = phase;
            identity.epoch.renewal += 1;
            assert!(self.known.learn(&identity));
        }
    }

    #[test]
    fn focas_suspect_and_its_down_are_both_suspect_and_two_seconds_later_dead() {
        let mut host = Watched::new();
        assert_eq!(host.state(0, None), None, "it was only met");
        assert_eq!(host.state(0, Some(State::Alive)), Some(MemberState::Alive));
        host.known.hear(host.at(10), None);
        assert_eq!(host.state(150, Some(State::Suspect)), Some(MemberState::Suspect));
        assert_eq!(host.state(450, Some(State::Down)), Some(MemberState::Suspect));
        assert_eq!(host.state(2_049, Some(State::Down)), Some(MemberState::Suspect));
        assert_eq!(host.state(2_050, Some(State::Down)), Some(MemberState::Dead));
        host.known.hear(host.at(2_060), None);
        assert_eq!(host.state(2_070, Some(State::Down)), Some(MemberState::Dead), "only a new epoch revives");
        assert_eq!(host.state(2_100, Some(State::Alive)), Some(MemberState::Alive));
    }

    #[test]
    fn who_is_still_heard_is_not_dead() {
        let mut host = Watched::new();
        host.state(0, Some(State::Alive));
        host.state(100, Some(State::Suspect));
        host.known.hear(host.at(1_500), None);
        assert_eq!(host.state(3_499, Some(State::Down)), Some(MemberState::Suspect));
        assert_eq!(host.state(3_500, Some(State::Down)), Some(MemberState::Dead));
    }

    #[test]
    fn a_restart_may_take_half_a_minute() {
        let mut host = Watched::new();
        host.state(0, Some(State::Alive));
        host.says(Phase::Restarting);
        assert_eq!(host.state(100, Some(State::Alive)), Some(MemberState::Restarting));
        assert_eq!(host.state(30_099, Some(State::Down)), Some(MemberState::Restarting));
        assert_eq!(host.state(30_100, Some(State::Down)), Some(MemberState::Dead));
        assert_eq!(host.state(30_200, Some(State::Down)), Some(MemberState::Dead));
        host.says(Phase::Running);
        assert_eq!(host.state(30_300, Some(State::Alive)), Some(MemberState::Alive));
    }

    #[test]
    fn who_leaves_has_left_whatever_foca_holds() {
        let mut host = Watched::new();
        host.state(0, Some(State::Alive));
        host.says(Phase::Left);
        assert_eq!(host.state(10, Some(State::Alive)), Some(MemberState::Left));
        assert_eq!(host.state(9_000, None), Some(MemberState::Left));
    }

    #[test]
    fn a_clock_is_told_when_it_differs_and_does_not_flicker() {
        let mut host = Watched::new();
        let now = host.start;
        assert!(!host.known.hear(now, Some(4)));
        assert!(host.known.hear(now, Some(3_600)));
        assert!(!host.known.hear(now, Some(3_602)) && !host.known.hear(now, None));
        assert_eq!(host.known.clock_ahead, 3_600);
        assert!(host.known.hear(now, Some(-1)));
        assert_eq!(host.known.clock_ahead, 0);
    }
}
