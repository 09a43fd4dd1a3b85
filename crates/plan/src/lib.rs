//! Decisions, as pure functions of World.
//!
//! `World → RoutePlan → RouteTable`: labels become claims, claims become routes, and every claim that cannot
//! be met becomes a problem that names its container and label. Each module covers one concern and keeps its
//! results by container: a change to one container costs only that container's work, whatever else runs.
//! `World → NamePlan → NameTable` does the same for the names of containers, and [`dns`] answers requests
//! from it.
//!
//! Deliberately absent: clocks, randomness, tasks and IO. Time comes as a value of World, order comes from
//! ids, and decisions are carried out elsewhere.

mod address;
mod claim;
pub mod dns;
mod explain;
pub mod handlers;
mod label;
mod ledger;
mod missed;
mod names;
pub mod openvswitch;
pub mod publisher;
mod reach;
mod records;
mod relay;
mod routes;
pub mod sidecars;
mod spread;

pub use address::{AddressError, address};
pub use claim::{Claim, claims};
pub use explain::{Candidate, Explanation, Verdict, explain};
pub use ledger::{KeyChange, Ledger, in_batches};
pub use missed::{
    MissedEvent, all_reported, before, facts, first_report, is_detail, missed, report, report_missed,
};
pub use names::{Asker, NamePlan, NameSettings};
pub use reach::BalancerLocation;
pub use records::{RecordSettings, container_key, records};
pub use relay::relay;
pub use routes::{Decided, Readiness, RoutePlan, RouteSettings};
pub use spread::spread;
