use serde::{Deserialize, Serialize};

/// A delivery that has not succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRow {
    /// The number of failed attempts.
    pub attempts: u32,
    /// Set once no further attempts are made.
    #[serde(default)]
    pub failed: Option<FailureRow>,
}

/// Why and when a delivery failed permanently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRow {
    /// The error of the last attempt.
    pub why: String,
    /// When it failed, in nanoseconds since 1970.
    pub at: i64,
}
