use std::collections::BTreeSet;
use std::sync::Arc;

use longshore_model::{Health, LastReported, Phase};
use serde::{Deserialize, Serialize};

use super::event::FactsRow;

/// What handlers last received about a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedRow {
    facts: FactsRow,
    phase: PhaseRow,
    #[serde(default)]
    started: i64,
    #[serde(default)]
    health: HealthRow,
    #[serde(default)]
    networks: BTreeSet<String>,
    /// Absent in the first release.
    #[serde(default, skip_serializing_if = "is_zero")]
    complete_until: i64,
    /// Absent in the first release.
    #[serde(default, skip_serializing_if = "is_false")]
    as_listed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PhaseRow {
    Created,
    Running,
    Paused,
    Ended,
    /// Unknown to the first release, which drops such a row and has no knowledge of destroyed containers.
    Destroyed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum HealthRow {
    #[default]
    None,
    Starting,
    Healthy,
    Unhealthy,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(truth: &bool) -> bool {
    !*truth
}

impl From<&LastReported> for ReportedRow {
    fn from(reported: &LastReported) -> Self {
        Self {
            facts: (&*reported.facts).into(),
            phase: match reported.phase {
                Phase::Created => PhaseRow::Created,
                Phase::Running => PhaseRow::Running,
                Phase::Paused => PhaseRow::Paused,
                Phase::Ended => PhaseRow::Ended,
                Phase::Destroyed => PhaseRow::Destroyed,
            },
            started: reported.started,
            health: match reported.health {
                Health::None => HealthRow::None,
                Health::Starting => HealthRow::Starting,
                Health::Healthy => HealthRow::Healthy,
                Health::Unhealthy => HealthRow::Unhealthy,
            },
            networks: reported.networks.clone(),
            complete_until: reported.complete_until,
            as_listed: reported.as_listed,
        }
    }
}

impl From<ReportedRow> for LastReported {
    fn from(row: ReportedRow) -> Self {
        Self {
            facts: Arc::new(row.facts.into()),
            phase: match row.phase {
                PhaseRow::Created => Phase::Created,
                PhaseRow::Running => Phase::Running,
                PhaseRow::Paused => Phase::Paused,
                PhaseRow::Ended => Phase::Ended,
                PhaseRow::Destroyed => Phase::Destroyed,
            },
            started: row.started,
            health: match row.health {
                HealthRow::None => Health::None,
                HealthRow::Starting => Health::Starting,
                HealthRow::Healthy => Health::Healthy,
                HealthRow::Unhealthy => Health::Unhealthy,
            },
            networks: row.networks,
            complete_until: row.complete_until,
            as_listed: row.as_listed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Row;
    use super::*;

    /// A row as the first release wrote it.
    const FIRST: &str = r#"{"facts":{"id":"c0ffee","name":"web","image":"nginx","labels":{}},"phase":"running","started":7,"health":"healthy","networks":["bridge","front"]}"#;

    #[test]
    fn a_row_of_the_first_release_is_read_and_written_as_it_was() {
        let reported = LastReported::from(ReportedRow::read(FIRST.as_bytes()).unwrap());
        assert_eq!((reported.phase, reported.health), (Phase::Running, Health::Healthy));
        assert_eq!((reported.started, reported.complete_until, reported.networks.len()), (7, 0, 2));
        assert_eq!(String::from_utf8(ReportedRow::from(&reported).bytes()).unwrap(), FIRST);
    }

    #[test]
    fn every_phase_and_health_survives_the_disk() {
        let first = LastReported::from(ReportedRow::read(FIRST.as_bytes()).unwrap());
        let phases = [Phase::Created, Phase::Running, Phase::Paused, Phase::Ended, Phase::Destroyed];
        for phase in phases {
            for health in [Health::None, Health::Starting, Health::Healthy, Health::Unhealthy] {
                let reported =
                    LastReported { phase, health, complete_until: 9, as_listed: true, ..first.clone() };
                let bytes = ReportedRow::from(&reported).bytes();
                assert_eq!(LastReported::from(ReportedRow::read(&bytes).unwrap()), reported);
            }
        }
    }
}
