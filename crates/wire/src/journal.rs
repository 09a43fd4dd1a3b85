//! The rows of the journal of deliveries, as JSON.
//!
//! The names are those of the first release, whatever the model calls things by now.

mod delivery;
mod event;
mod format;
mod reported;

pub use delivery::{DeliveryRow, FailureRow};
pub use event::EventRow;
pub use format::{FORMAT, NewerFormat, check_format};
pub use reported::ReportedRow;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a row cannot be read: damaged, or written by a version that says things this one has no word for.
#[derive(Debug, thiserror::Error)]
#[error("the row cannot be read")]
pub struct RowError(#[from] serde_json::Error);

/// One kind of row.
pub trait Row: Serialize + DeserializeOwned {
    /// Reads a row that this version or an earlier one wrote.
    ///
    /// # Errors
    /// It is damaged, or a newer version's.
    fn read(bytes: &[u8]) -> Result<Self, RowError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// Returns what is to be written.
    fn bytes(&self) -> Vec<u8> {
        // Text, numbers and maps with text as keys always have JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Row for DeliveryRow {}
impl Row for EventRow {}
impl Row for ReportedRow {}
