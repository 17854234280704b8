//! What SQLite and the file system say, as the journal's errors: where, what, and what to do next.

use aaos_ports::JournalError;
use rusqlite::{ErrorCode, ffi};
use std::{fmt::Display, io, path::Path};

/// A storage error with its next step.
pub(crate) fn storage(place: &Path, message: impl Display, next_step: &str) -> JournalError {
    JournalError::Storage {
        place: place.display().to_string(),
        message: message.to_string(),
        next_step: next_step.to_owned(),
    }
}

/// Damage found at an event; 0 if it cannot be told where.
pub(crate) fn damaged(place: &Path, seq: u64, message: impl Display) -> JournalError {
    JournalError::Damaged {
        place: place.display().to_string(),
        seq,
        message: message.to_string(),
    }
}

/// What the file system said.
pub(crate) fn io(place: &Path, error: &io::Error) -> JournalError {
    storage(place, error, io_step(error.kind()))
}

/// What SQLite said.
pub(crate) fn sqlite(place: &Path, error: &rusqlite::Error) -> JournalError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(place, 0, error),
        code => storage(place, error, sqlite_step(code)),
    }
}

/// Whether SQLite says that the disk did not confirm what was written.
pub(crate) fn is_unsynced(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(
        code,
        Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC)
    )
}

/// The disk did not confirm what was written: the kernel may have dropped it and call the next sync a success.
pub(crate) fn unsynced(place: &Path, error: impl Display) -> JournalError {
    let message = format!("the disk did not confirm what was written: {error}");
    let step =
        "Check the disk and make room on it, then start the daemon again: it keeps what is whole";
    storage(place, message, step)
}

const FULL: &str = "Make room on that disk; recording goes on by itself once there is some";
const READ_ONLY: &str = "Make the state directory writable for this account, or choose another";
const CHECK: &str = "Check the disk and the state directory, then start the daemon again";

const fn io_step(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            FULL
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => READ_ONLY,
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "A file stands where a directory is needed: move it away, or choose another state directory"
        }
        _ => CHECK,
    }
}

const fn sqlite_step(code: Option<ErrorCode>) -> &'static str {
    match code {
        Some(ErrorCode::DiskFull) => FULL,
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            READ_ONLY
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "Another program holds the journal locked: close it"
        }
        _ => CHECK,
    }
}
