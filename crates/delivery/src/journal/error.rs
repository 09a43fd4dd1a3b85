use std::io::ErrorKind;
use std::path::PathBuf;

use longshore_wire::journal::NewerFormat;
use redb::{CommitError, DatabaseError, StorageError, TableError, TransactionError};

/// Why the journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    #[error("cannot open {}", .0.display())]
    Open(PathBuf, #[source] DatabaseError),
    #[error("cannot begin to write")]
    Begin(#[from] Box<TransactionError>),
    #[error("cannot use a table")]
    Table(#[from] TableError),
    #[error("cannot read or write a row")]
    Row(#[from] StorageError),
    #[error("cannot write to the disk")]
    Commit(#[from] CommitError),
    #[error("the file's contents are damaged: {0}")]
    Panicked(String),
    #[error("another program removed it, replaced it or wrote to it")]
    Replaced,
    #[error(transparent)]
    Newer(#[from] NewerFormat),
    #[error("cannot start its thread")]
    Thread(#[source] std::io::Error),
}

impl JournalError {
    /// Returns whether the file's content is to blame, rather than the disk, its free space or a permission.
    pub(super) fn is_of_content(&self) -> bool {
        let cause = match self {
            Self::Panicked(_) | Self::Replaced | Self::Newer(_) => return true,
            Self::Open(_, DatabaseError::Storage(cause)) | Self::Row(cause) => cause,
            Self::Open(_, DatabaseError::RepairAborted | DatabaseError::UpgradeRequired(_)) => return true,
            Self::Table(TableError::Storage(cause)) | Self::Commit(CommitError::Storage(cause)) => cause,
            Self::Table(_) => return true,
            Self::Begin(error) => match &**error {
                TransactionError::Storage(cause) => cause,
                _ => return false,
            },
            Self::Open(..) | Self::Commit(_) | Self::Thread(_) => return false,
        };
        match cause {
            StorageError::Corrupted(_) => true,
            StorageError::Io(error) => {
                matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
            }
            _ => false,
        }
    }
}
