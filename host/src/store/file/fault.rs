//! What does an error of SQLite mean to a caller, and whom does it hit?

use std::path::{Path, PathBuf};

use rusqlite::{Error, ErrorCode, ffi};

use crate::store::StoreError;

/// What to do about a store that cannot be read.
pub(super) const CURE: &str =
    "`lovage store check` says what is broken; to go on, stop lovage and put a backup in place";

/// Explains errors about one database.
#[derive(Debug, Clone)]
pub(super) struct Faults {
    db: PathBuf,
}

impl Faults {
    pub(super) fn of(db: &Path) -> Self {
        Self { db: db.to_owned() }
    }

    pub(super) fn explain(&self, error: &Error) -> StoreError {
        let db = self.db.display();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => {
                StoreError::Full(format!("no space left for {db}: free some, nothing needs a restart"))
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Corrupt(format!("{db}: {error}; {CURE}"))
            }
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreError::Failed(
                format!("{db}: {error}: check that the directory is there, and that lovage may write to it"),
            ),
            Some(ErrorCode::SystemIoFailure) if is_out_of_space(error) => {
                StoreError::Full(format!("no space left beside {db}: free some, nothing needs a restart"))
            }
            Some(ErrorCode::SystemIoFailure) => StoreError::Failed(format!("{db}: {error}: check the disk")),
            _ => StoreError::Failed(format!("{db}: {error}")),
        }
    }

    /// An error of the file system about a path.
    pub(super) fn io(path: &Path, error: &std::io::Error) -> StoreError {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                StoreError::Full(format!("no space left for {}", path.display()))
            }
            _ => StoreError::Failed(format!("{}: {error}", path.display())),
        }
    }
}

/// Whether the error is about the disk or the whole database, so that no call of a batch can fare better alone.
pub(super) fn hits_all(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::OutOfMemory
        )
    )
}

/// Whether data that the kernel had taken may be lost. A second fsync would say that all is well (the kernel forgets
/// what it could not write), so nothing may be written after this one.
pub(super) fn lost_data(error: &Error) -> bool {
    matches!(extended(error), ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC)
}

fn is_out_of_space(error: &Error) -> bool {
    matches!(extended(error), ffi::SQLITE_IOERR_SHMSIZE)
}

fn extended(error: &Error) -> i32 {
    error.sqlite_error().map_or(0, |inner| inner.extended_code)
}
