//! The rows of the delivery journal, as JSON.
//!
//! The names are those of the first release, whatever the model calls things now.

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

/// Why a row cannot be read: it is damaged, or a newer version wrote something unknown.
#[derive(Debug, thiserror::Error)]
#[error("the row cannot be read")]
pub struct RowError(#[from] serde_json::Error);

/// One kind of row.
pub trait Row: Serialize + DeserializeOwned {
    /// Reads a row written by this version or an earlier one.
    ///
    /// # Errors
    /// The row is damaged, or from a newer version.
    fn read(bytes: &[u8]) -> Result<Self, RowError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// Returns the bytes to write.
    fn bytes(&self) -> Vec<u8> {
        // Text, numbers and maps with text keys can always be encoded as JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Row for DeliveryRow {}
impl Row for EventRow {}
impl Row for ReportedRow {}
