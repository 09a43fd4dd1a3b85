use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use crate::seal::MAX_PAYLOAD;

/// From how many hosts on a cluster is probed and announced to less often.
const LARGE: usize = 100;

/// How fast members notice each other's silence. The defaults were measured on a local network; on links with round
/// trips above some 40 ms, raise `probe_period`, `round_trip` and `silence`. All hosts should have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How often a host probes one of the others; half as often from 100 hosts on.
    pub probe_period: Duration,
    /// How long a probe waits for its answer before others are asked to probe.
    pub round_trip: Duration,
    /// How long a suspect has to object before the others give it up. It is suspect here all the while.
    pub objection: Duration,
    /// How long after its last datagram a suspect host is dead.
    pub dead_after: Duration,
    /// How long a host that said that it restarts may stay away.
    pub restart_grace: Duration,
    /// After how long without any datagram a host holds itself for cut off.
    pub silence: Duration,
    /// How often a host looks for others that it does not reach.
    pub contact_period: Duration,
    /// How late the host's own timers may be before it holds itself for starved.
    pub lateness: Duration,
    /// How long a host that is dead or has left stays in the list.
    pub forget_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            probe_period: Duration::from_millis(100),
            round_trip: Duration::from_millis(40),
            objection: Duration::from_millis(300),
            dead_after: Duration::from_secs(2),
            restart_grace: Duration::from_secs(30),
            silence: Duration::from_millis(600),
            contact_period: Duration::from_millis(500),
            lateness: Duration::from_millis(40),
            forget_after: Duration::from_hours(24),
        }
    }
}

impl Settings {
    /// Returns how often one of so many hosts probes. foca cannot change its period while it runs; its timers are
    /// ours, and are stretched.
    pub(super) fn probe_period(&self, hosts: usize) -> Duration {
        if hosts < LARGE { self.probe_period } else { self.probe_period * 2 }
    }

    /// Returns how often one of so many hosts pings one of the others by itself.
    pub(super) fn sweep_period(&self, hosts: usize) -> Duration {
        self.probe_period(hosts) / 2
    }

    pub(super) fn foca(&self, hosts: usize) -> foca::Config {
        let announce = if hosts < LARGE { self.contact_period } else { self.contact_period * 4 };
        foca::Config {
            probe_period: self.probe_period,
            probe_rtt: self.round_trip,
            num_indirect_probes: few(3),
            max_transmissions: NonZeroU8::new(14).unwrap_or(NonZeroU8::MAX),
            suspect_to_down_after: self.objection,
            remove_down_after: Some(self.forget_after),
            max_packet_size: few(MAX_PAYLOAD),
            notify_down_members: true,
            periodic_announce: periodic(announce, 1),
            periodic_announce_to_down_members: periodic(self.contact_period, 3),
            periodic_gossip: periodic(self.probe_period, 4),
        }
    }
}

fn few(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN)
}

fn periodic(frequency: Duration, members: usize) -> Option<foca::PeriodicParams> {
    Some(foca::PeriodicParams { frequency, num_members: few(members) })
}
