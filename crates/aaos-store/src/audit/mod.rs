//! `audit verify`: is the journal in this directory whole, and are the bodies it speaks of?
//!
//! Reads only, needs no daemon, works beside a running one and on a copy. Memory is bounded by one event and one
//! body. What it cannot know: events that a power cut took from the end before they were confirmed, and a journal
//! whose every hash was computed anew; keep the head it reports somewhere else to notice that.

mod bodies;
mod events;

use crate::journal::{database, fault};
use aaos_ports::JournalError;
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use std::path::Path;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Events whose chain holds, from the first on.
    pub events: u64,
    /// Hash of the last of them, 64 hexadecimal digits; none in an empty journal.
    pub head: Option<String>,
    /// The first event that does not hold.
    pub first_broken: Option<Broken>,
    /// What the database says is wrong with its own structure, at most ten sentences.
    pub structure: Vec<String>,
    /// Bodies that are stored.
    pub blobs: u64,
    /// Bytes of bodies that are stored.
    pub blob_bytes: u64,
    /// References to bodies that are not stored.
    pub blobs_missing: u64,
    /// Stored bodies that do not match their digest.
    pub blobs_damaged: u64,
    /// The first missing and damaged bodies.
    pub blob_problems: Vec<BlobProblem>,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn whole(&self) -> bool {
        self.first_broken.is_none()
            && self.structure.is_empty()
            && self.blobs_missing == 0
            && self.blobs_damaged == 0
    }
}

/// The first event that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Its place.
    pub seq: u64,
    /// What is wrong.
    pub link: BrokenLink,
    /// The same for people, with what was found.
    pub message: String,
}

/// What is wrong with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokenLink {
    /// It is not there; later ones are.
    Missing,
    /// It names another event before it than the one that is there.
    Previous,
    /// Its content does not match its hash.
    Content,
    /// It cannot be read.
    Unreadable,
    /// The journal ends before or after the place where it says it ends.
    End,
}

/// A body that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum BlobProblem {
    /// An event speaks of it and it is not stored.
    Missing {
        /// Its digest.
        digest: String,
        /// The event.
        seq: u64,
    },
    /// It is stored and does not match its digest.
    Damaged {
        /// Its digest, or its file's name if that is none.
        digest: String,
    },
}

/// Checks the journal and blobs in a state directory. Blocks for as long as reading all of it takes.
///
/// # Errors
/// There is no journal, it cannot be opened, or it is of a newer version. Damage is no error: it is in the report.
pub fn verify(dir: &Path) -> Result<Report, JournalError> {
    let path = database::file(dir);
    let mut report = Report::default();
    let Some(connection) = open(dir, &path, &mut report)? else {
        return Ok(report);
    };
    events::check(&connection, dir, &mut report);
    check_structure(&connection, &mut report);
    bodies::check(&connection, dir, &mut report)?;
    Ok(report)
}

/// `None` if the file is so damaged that nothing of it can be read; the report says so.
fn open(dir: &Path, path: &Path, report: &mut Report) -> Result<Option<Connection>, JournalError> {
    std::fs::metadata(path).map_err(|error| {
        fault::storage(
            path,
            error,
            "Name the state directory whose journal is to be checked",
        )
    })?;
    let opened = open_reader(dir, path)
        .map_err(|error| fault::sqlite(path, &error))
        .and_then(|connection| {
            database::recognise(&connection, path).map(|version| (connection, version))
        });
    match opened {
        Ok((_, 0)) => {
            report.break_at(
                1,
                BrokenLink::Unreadable,
                "the database has no tables".to_owned(),
            );
            Ok(None)
        }
        Ok((connection, _)) => Ok(Some(connection)),
        Err(JournalError::Damaged { message, .. }) => {
            report.break_at(1, BrokenLink::Unreadable, message);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A copy on a read-only file system has no room for SQLite's shared index. Without a write-ahead log none is needed.
fn open_reader(dir: &Path, path: &Path) -> rusqlite::Result<Connection> {
    let connection = database::open_reader(path)?;
    let probe = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    let logged = std::fs::metadata(database::wal(dir)).is_ok_and(|log| log.len() > 0);
    match probe {
        Err(error)
            if error.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen) && !logged =>
        {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            Connection::open_with_flags(immutable(path), flags)
        }
        Err(error) => Err(error),
        Ok(()) => Ok(connection),
    }
}

fn immutable(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.');
    let escape = |byte: &u8| {
        if plain(*byte) {
            char::from(*byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    let escaped: String = path.as_os_str().as_bytes().iter().map(escape).collect();
    format!("file:{escaped}?immutable=1")
}

fn check_structure(connection: &Connection, report: &mut Report) {
    let found = connection
        .prepare("PRAGMA integrity_check(10)")
        .and_then(|mut statement| {
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
    match found {
        Ok(lines) => report
            .structure
            .extend(lines.into_iter().filter(|line| line != "ok")),
        Err(error) => report.structure.push(error.to_string()),
    }
}

impl Report {
    fn break_at(&mut self, seq: u64, link: BrokenLink, message: String) {
        if self.first_broken.is_none() {
            self.first_broken = Some(Broken { seq, link, message });
        }
    }

    fn name(&mut self, problem: BlobProblem) {
        match problem {
            BlobProblem::Missing { .. } => {
                self.blobs_missing = self.blobs_missing.saturating_add(1)
            }
            BlobProblem::Damaged { .. } => {
                self.blobs_damaged = self.blobs_damaged.saturating_add(1)
            }
        }
        if self.blob_problems.len() < crate::limits::REPORT_NAMES_MAX {
            self.blob_problems.push(problem);
        }
    }
}
