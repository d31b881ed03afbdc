//! What does an error of SQLite mean to a caller, and whom does it hit?

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use rusqlite::{Error, ErrorCode, ffi, types::Type};

use crate::store::StoreError;

/// What to do about a store that cannot be read.
pub(super) const CURE: &str =
    "`lovage store check` says what is broken; to go on, stop lovage and put a backup in place";

/// The same, where that command itself says it.
const CURE_AFTER_CHECK: &str = "to go on, stop lovage and put a backup in place";

/// As much as is written to know whether there is room: more than a page.
const PROBE_BYTES: usize = 64 * 1024;

/// What is whole for SQLite, and cannot be for us.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Inconsistent(&'static str);

/// Explains errors about one database.
#[derive(Debug, Clone)]
pub(super) struct Faults {
    db: PathBuf,
    cure: &'static str,
}

impl Faults {
    pub(super) fn of(db: &Path) -> Self {
        Self { db: db.to_owned(), cure: CURE }
    }

    /// Of a database that is being checked.
    pub(super) fn of_check(db: &Path) -> Self {
        Self { cure: CURE_AFTER_CHECK, ..Self::of(db) }
    }

    pub(super) fn explain(&self, error: &Error) -> StoreError {
        let (db, cure) = (self.db.display(), self.cure);
        if let Some(Inconsistent(what)) = inconsistency(error) {
            return StoreError::Corrupt(format!("{db}: {what}; {cure}"));
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => {
                StoreError::Full(format!("no space left for {db}: free some, nothing needs a restart"))
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Corrupt(format!("{db}: {error}; {cure}"))
            }
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreError::Failed(
                format!("{db}: {error}: check that the directory is there, and that lovage may write to it"),
            ),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Away(format!(
                "{db} is locked by another program ({error}): end what has it open, such as a VACUUM; nothing needs a restart"
            )),
            Some(ErrorCode::SystemIoFailure) if lost_data(error) => {
                StoreError::Failed(format!("{db}: {error}: check the disk"))
            }
            Some(ErrorCode::SystemIoFailure) if self.is_out_of_space(error) => {
                StoreError::Full(format!("no space left beside {db}: free some, nothing needs a restart"))
            }
            Some(ErrorCode::SystemIoFailure) => {
                StoreError::Away(format!("{db}: {error}: check the disk; nothing needs a restart"))
            }
            _ => StoreError::Failed(format!("{db}: {error}")),
        }
    }

    /// An error of the file system about a path.
    pub(super) fn io(path: &Path, error: &std::io::Error) -> StoreError {
        if is_full(error) {
            StoreError::Full(format!("no space left for {}", path.display()))
        } else {
            StoreError::Failed(format!("{}: {error}", path.display()))
        }
    }

    /// SQLite tells of a quota that is used up as of anything else that keeps it from writing: whether it is that, a file beside
    /// the database shows.
    fn is_out_of_space(&self, error: &Error) -> bool {
        match extended(error) {
            ffi::SQLITE_IOERR_SHMSIZE => true,
            ffi::SQLITE_IOERR_WRITE => self.probe().is_err_and(|error| is_full(&error)),
            _ => false,
        }
    }

    fn probe(&self) -> std::io::Result<()> {
        let dir = self.db.parent().unwrap_or(&self.db);
        tempfile::tempfile_in(dir)?.write_all(&vec![0; PROBE_BYTES])
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// That what one call has come upon cannot be so. Other calls of its batch need not come upon it.
pub(super) fn inconsistent(what: &'static str) -> Error {
    Error::FromSqlConversionFailure(0, Type::Integer, Box::new(Inconsistent(what)))
}

fn inconsistency(error: &Error) -> Option<&Inconsistent> {
    if let Error::FromSqlConversionFailure(_, _, why) = error { why.downcast_ref() } else { None }
}

/// Whether the error is about the disk or the whole database, so that no call of a batch can fare better alone.
pub(super) fn hits_all(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
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

fn extended(error: &Error) -> i32 {
    error.sqlite_error().map_or(0, |inner| inner.extended_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: i32) -> Error {
        Error::SqliteFailure(ffi::Error::new(code), None)
    }

    fn explained(code: i32) -> StoreError {
        let dir = tempfile::tempdir().unwrap();
        Faults::of(&dir.path().join("lovage.db")).explain(&error(code))
    }

    #[test]
    fn what_may_be_over_soon_is_asked_again_and_hits_all_of_a_batch() {
        for code in [ffi::SQLITE_BUSY, ffi::SQLITE_LOCKED, ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_WRITE] {
            assert!(matches!(explained(code), StoreError::Away(_)), "{code}");
            assert!(hits_all(&error(code)), "{code}");
        }
        assert!(matches!(explained(ffi::SQLITE_IOERR_SHMSIZE), StoreError::Full(_)));
        for code in [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC, ffi::SQLITE_CONSTRAINT] {
            assert!(matches!(explained(code), StoreError::Failed(_)), "{code}");
        }
    }

    #[test]
    fn what_cannot_be_so_is_told_as_a_broken_store_and_hits_one_call() {
        let explained = Faults::of(Path::new("lovage.db")).explain(&inconsistent("a queue is not there"));
        assert!(
            matches!(explained, StoreError::Corrupt(why) if why.contains("a queue is not there; `lovage store check`"))
        );
        assert!(!hits_all(&inconsistent("a queue is not there")));
        assert!(hits_all(&error(ffi::SQLITE_CORRUPT)));
    }

    #[test]
    fn a_quota_that_is_used_up_is_a_full_disk() {
        let path = Path::new("lovage.db");
        for kind in [ErrorKind::QuotaExceeded, ErrorKind::StorageFull] {
            assert!(matches!(Faults::io(path, &kind.into()), StoreError::Full(_)));
        }
    }
}
