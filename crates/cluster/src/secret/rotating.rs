//! One host's part in replacing the secret of a live cluster.
//!
//! Whoever replaces it takes every host through three steps, each on all hosts before the next one begins:
//!
//! | step | the new secret | what would go wrong without it |
//! |---|---|---|
//! | accept | opens | who seals with it first would not be understood |
//! | prefer | seals and issues | |
//! | keep | is the only one | who has learnt the old one could still join |
//!
//! At any moment, what one host seals with opens on every other, also where a step fails half way, and where two hosts
//! begin a replacement at once: a host takes part in one at a time, and refuses the steps of one that it has not
//! begun. A replacement that stopped is finished by another one, since the last step leaves one secret whatever was
//! there before.

use std::time::{Duration, Instant};

use super::{Keyring, KeyringError, Secret};

/// A replacement that has been silent for this long has stopped: another may begin.
const PATIENCE: Duration = Duration::from_secs(30);

/// A step of a replacement.
#[derive(Clone, Debug)]
pub enum Step {
    /// Open with this secret, too.
    Accept(Secret),
    /// Seal with the secret of this fingerprint.
    Prefer(String),
    /// Forget all others.
    Keep(String),
}

/// Why a host does not take a step.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Another replacement is under way.
    #[error("another rotation of the secret is under way: wait for its end, or half a minute if it failed")]
    Busy,
    /// The step is of a replacement that this host does not take part in.
    #[error(
        "this host does not take part in this rotation: its agent was restarted, or another rotation began"
    )]
    Unknown,
    /// The step before it is missing.
    #[error("this host does not use the secret yet that it is to keep")]
    Unused,
    /// There are too many secrets.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

/// The keyring of a host, and the replacement that it takes part in.
#[derive(Debug)]
pub struct Rotating {
    ring: Keyring,
    under_way: Option<(String, Instant)>,
}

impl Rotating {
    /// Begins with a ring.
    pub const fn new(ring: Keyring) -> Self {
        Self { ring, under_way: None }
    }

    /// Returns the ring.
    pub const fn ring(&self) -> &Keyring {
        &self.ring
    }

    /// Returns the ring that a step leads to. It is in force once [`Self::taken`] is called: after it has been saved.
    ///
    /// # Errors
    /// Every variant of [`StepError`].
    pub fn plan(&self, step: &Step, now: Instant) -> Result<Keyring, StepError> {
        let is_part = |fingerprint: &str| self.under_way.as_ref().is_some_and(|(own, _)| own == fingerprint);
        match step {
            Step::Accept(secret) => match &self.under_way {
                Some((own, since)) if now < *since + PATIENCE && *own != secret.fingerprint() => {
                    Err(StepError::Busy)
                }
                _ => Ok(self.ring.accepting(secret.clone())?),
            },
            // Whoever did not get the reply orders it again.
            Step::Keep(fingerprint) if self.ring.fingerprints() == [fingerprint.as_str()] => {
                Ok(self.ring.clone())
            }
            Step::Prefer(fingerprint) | Step::Keep(fingerprint) if !is_part(fingerprint) => {
                Err(StepError::Unknown)
            }
            Step::Prefer(fingerprint) => self.ring.preferring(fingerprint).ok_or(StepError::Unknown),
            Step::Keep(fingerprint) if self.ring.first().fingerprint() != *fingerprint => {
                Err(StepError::Unused)
            }
            Step::Keep(_) => Ok(Keyring::new(self.ring.first().clone())),
        }
    }

    /// Puts the ring of a step in force.
    pub fn taken(&mut self, step: &Step, ring: Keyring, now: Instant) {
        self.ring = ring;
        self.under_way = match step {
            Step::Accept(secret) => Some((secret.fingerprint(), now)),
            Step::Prefer(fingerprint) => Some((fingerprint.clone(), now)),
            Step::Keep(_) => None,
        };
    }

    /// Takes a ring from elsewhere, such as a file that its owner has changed. A replacement that is under way stops.
    pub fn replace(&mut self, ring: Keyring) {
        *self = Self::new(ring);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::new([byte; 32])
    }

    /// Someone who replaces the secret of some hosts: the step and the host that are next.
    struct Replacing {
        secret: Secret,
        step: usize,
        host: usize,
        /// The host that it begins with.
        first: usize,
    }

    impl Replacing {
        fn step(&self) -> Option<Step> {
            let fingerprint = self.secret.fingerprint();
            match self.step {
                0 => Some(Step::Accept(self.secret.clone())),
                1 => Some(Step::Prefer(fingerprint)),
                2 => Some(Step::Keep(fingerprint)),
                _ => None,
            }
        }

        /// Takes the next host through the current step. Stops for good if it refuses.
        fn act(&mut self, hosts: &mut [Rotating], now: Instant) {
            let Some(step) = self.step() else { return };
            let index = (self.host + self.first) % hosts.len();
            let host = &mut hosts[index];
            match host.plan(&step, now) {
                Ok(ring) => host.taken(&step, ring, now),
                Err(_) => self.step = 3,
            }
            self.host += 1;
            if self.host == hosts.len() {
                (self.host, self.step) = (0, self.step + 1);
            }
        }
    }

    fn all_understand_each_other(hosts: &[Rotating]) -> bool {
        hosts.iter().all(|one| {
            let sealed = one.ring.first().fingerprint();
            hosts.iter().all(|other| other.ring.fingerprints().contains(&sealed))
        })
    }

    #[test]
    fn three_steps_leave_the_new_secret_alone() {
        let (mut hosts, now) =
            ([1, 1, 1].map(|byte| Rotating::new(Keyring::new(secret(byte)))), Instant::now());
        let mut replacing = Replacing { secret: secret(2), step: 0, host: 0, first: 0 };
        for _ in 0..9 {
            replacing.act(&mut hosts, now);
            assert!(all_understand_each_other(&hosts));
        }
        for host in &hosts {
            assert_eq!(host.ring.fingerprints(), [secret(2).fingerprint()]);
        }
    }

    #[test]
    fn a_host_takes_part_in_one_replacement_at_a_time_and_in_another_once_that_has_stopped() {
        let (mut host, now) = (Rotating::new(Keyring::new(secret(1))), Instant::now());
        let accept = |byte| Step::Accept(secret(byte));
        let ring = host.plan(&accept(2), now).unwrap();
        host.taken(&accept(2), ring, now);
        assert!(matches!(host.plan(&accept(3), now), Err(StepError::Busy)));
        assert!(host.plan(&accept(2), now).is_ok(), "a step may be repeated");
        assert!(matches!(host.plan(&Step::Keep(secret(2).fingerprint()), now), Err(StepError::Unused)));
        assert!(matches!(host.plan(&Step::Prefer(secret(3).fingerprint()), now), Err(StepError::Unknown)));
        let later = now + PATIENCE;
        let ring = host.plan(&accept(3), later).unwrap();
        host.taken(&accept(3), ring, later);
        let late = host.plan(&Step::Prefer(secret(2).fingerprint()), later);
        assert!(matches!(late, Err(StepError::Unknown)), "the first comes too late");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn at_no_moment_does_a_host_seal_with_what_another_cannot_open(
            order in prop::collection::vec((0_usize..4, 0_u64..20, prop::bool::weighted(0.05)), 1..120),
        ) {
            let mut hosts = [1, 1, 1, 1].map(|byte| Rotating::new(Keyring::new(secret(byte))));
            let mut replacing: Vec<Replacing> =
                (0..4).map(|first| Replacing { secret: secret(10 + first as u8), step: 0, host: 0, first }).collect();
            let (mut now, mut next) = (Instant::now(), 20);
            for (who, seconds, restarts) in order {
                now += Duration::from_secs(seconds);
                if restarts {
                    // The agent of a host restarts; the file has its ring.
                    let ring = hosts[who].ring.clone();
                    hosts[who] = Rotating::new(ring);
                }
                replacing[who].act(&mut hosts, now);
                if replacing[who].step().is_none() {
                    replacing[who] = Replacing { secret: secret(next), step: 0, host: 0, first: who };
                    next += 1;
                }
                prop_assert!(all_understand_each_other(&hosts));
            }
        }
    }
}
