use serde::{Deserialize, Serialize};

/// A delivery that has not succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRow {
    /// Attempts that failed.
    pub attempts: u32,
    /// Set once no more attempts are made.
    #[serde(default)]
    pub failed: Option<FailureRow>,
}

/// Why and when a delivery failed permanently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRow {
    /// The reason of the last attempt.
    pub why: String,
    /// Nanoseconds since 1970.
    pub at: i64,
}
