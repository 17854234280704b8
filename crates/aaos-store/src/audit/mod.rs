//! `audit verify`: is the journal in this directory whole, and are the bodies it speaks of?
//!
//! Reads only, needs no daemon, works beside a running one and on a copy. Memory is bounded by one event and one
//! body. What it cannot know by itself: events that a power cut took from the end before they were confirmed, an end cut
//! off together with what lies beside it, and a journal whose every hash and signature was made anew with the key; a
//! signed head kept elsewhere tells of these.

mod bodies;
mod events;
mod export;
mod heads;

pub use export::{ExportError, ExportFilter, export};

use crate::journal::{database, fault, log};
use aaos_core::id::RunId;
use aaos_ports::JournalError;
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use std::path::{Path, PathBuf};

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
    /// Events whose content was erased, as a later event says.
    pub events_erased: u64,
    /// Bodies in the database that were erased; those in files leave nothing to count.
    pub blobs_erased: u64,
    /// Signed heads among the events.
    pub heads_signed: u64,
    /// Those that do not hold.
    pub heads_bad: u64,
    /// The first of them.
    pub first_bad_head: Option<BadHead>,
    /// The public keys that signed, in order of appearance, at most [`REPORT_NAMES_MAX`](crate::limits::REPORT_NAMES_MAX).
    pub keys: Vec<String>,
    /// Keys among them that are not the one named to compare with.
    pub keys_other: u64,
    /// The public key that is trusted: the one named to compare with, else the one beside the journal.
    pub key: Option<String>,
    /// The signed head beside the journal.
    pub head_beside: HeadCheck,
    /// The signed head kept elsewhere.
    pub head_kept: HeadCheck,
    /// The place beside the journal up to which the disk had confirmed it.
    pub confirmed: HeadCheck,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn whole(&self) -> bool {
        self.first_broken.is_none()
            && self.structure.is_empty()
            && self.blobs_missing == 0
            && self.blobs_damaged == 0
            && self.heads_bad == 0
            && self.keys_other == 0
            && self.head_beside.fits()
            && self.head_kept.fits()
            && self.confirmed.fits()
    }
}

/// What the operator kept elsewhere to compare with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Against {
    /// A file with a signed head: a copy of `head.signed`, or lines of JSON among which the last `head_signed` event
    /// counts, as a sink or an export writes them.
    pub head: Option<PathBuf>,
    /// The public key, 64 hexadecimal digits. Every head must be signed by it.
    pub key: Option<String>,
}

/// A signed head among the events that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadHead {
    /// The event that has it.
    pub seq: u64,
    /// What is wrong.
    pub message: String,
}

/// What is kept outside the events of where they end, compared with where they do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum HeadCheck {
    /// There is none to compare with.
    #[default]
    None,
    /// The journal has the event that it covers, with its hash.
    Holds {
        /// The event.
        seq: u64,
    },
    /// The journal ends before the event that it covers: events are missing at the end.
    Cut {
        /// The event.
        seq: u64,
    },
    /// The event that it covers has another hash: this is another history.
    Differs {
        /// The event.
        seq: u64,
    },
    /// Its signature does not hold.
    Forged {
        /// The event.
        seq: u64,
    },
    /// It is signed by another key than the trusted one.
    OtherKey {
        /// The event.
        seq: u64,
        /// The key.
        key: String,
    },
    /// It cannot be read.
    Unreadable {
        /// Why.
        message: String,
    },
}

impl HeadCheck {
    const fn fits(&self) -> bool {
        matches!(self, Self::None | Self::Holds { .. })
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
    /// Its content is gone, and no later event says that it was erased.
    Erased,
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
        /// The run whose event it is.
        run: Option<RunId>,
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
    verify_against(dir, &Against::default())
}

/// The same, and compares with what the operator kept elsewhere.
///
/// # Errors
/// As [`verify`], and the file with the kept head cannot be read.
pub fn verify_against(dir: &Path, against: &Against) -> Result<Report, JournalError> {
    let path = database::file(dir);
    let mut report = Report::default();
    let Some(connection) = open(&path, &mut report)? else {
        return Ok(report);
    };
    events::check(&connection, dir, &mut report);
    heads::check(&connection, dir, against, &mut report)?;
    check_structure(&connection, &mut report);
    bodies::check(&connection, dir, &mut report)?;
    Ok(report)
}

/// `None` if the file is so damaged that nothing of it can be read; the report says so.
fn open(path: &Path, report: &mut Report) -> Result<Option<Connection>, JournalError> {
    std::fs::metadata(path).map_err(|error| {
        fault::storage(
            path,
            error,
            "Name the state directory whose journal is to be checked",
        )
    })?;
    let opened = open_reader(path)
        .map_err(|error| fault::sqlite(path, &error))
        .and_then(|connection| {
            let version = database::recognise(&connection, path)?;
            database::complete(&connection, version)
                .map_err(|error| fault::sqlite(path, &error))?;
            Ok((connection, version))
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
fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = database::open_reader(path)?;
    let probe = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    let logged = std::fs::metadata(log::path(path)).is_ok_and(|log| log.len() > 0);
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
