//! Signed heads: those among the events, the one beside the journal, and one that the operator kept elsewhere. And the
//! place beside the journal that the disk had confirmed.

use super::{Against, BadHead, HeadCheck, Report};
use crate::{
    journal::{chain::hex, confirmed, database, fault},
    limits::{EVENT_BYTES_MAX, REPORT_NAMES_MAX},
    notary::{self, SignedHead},
};
use aaos_ports::JournalError;
use rusqlite::Connection;
use serde::Deserialize;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

/// Longest line of a file with a kept head, in bytes.
const LINE_BYTES_MAX: u64 = EVENT_BYTES_MAX as u64;

/// A head as an event has it, and as `head.signed` has it.
#[derive(Deserialize)]
struct Line {
    #[serde(alias = "head")]
    covers: Option<u64>,
    seq: u64,
    hash: String,
    key: String,
    signature: String,
}

/// Judges a signed head found among the events; `actual` is the hash of the event that it covers.
pub(super) fn event(at: u64, head: &Claim<'_>, actual: Option<&str>, report: &mut Report) {
    report.heads_signed = report.heads_signed.saturating_add(1);
    let known = report.keys.iter().any(|key| key == head.key);
    if !known && report.keys.len() < REPORT_NAMES_MAX {
        report.keys.push(head.key.to_owned());
    }
    let message = if head.seq >= at {
        "it covers what comes after it"
    } else if actual != Some(head.hash) {
        "it covers an event with another hash than the one that is there"
    } else if !notary::verify(head.key, head.seq, head.hash, head.signature) {
        "its signature does not hold"
    } else {
        return;
    };
    report.heads_bad = report.heads_bad.saturating_add(1);
    if report.first_bad_head.is_none() {
        let message = message.to_owned();
        report.first_bad_head = Some(BadHead { seq: at, message });
    }
}

/// What a signed head says.
pub(super) struct Claim<'a> {
    /// The event it covers.
    pub(super) seq: u64,
    /// That event's hash.
    pub(super) hash: &'a str,
    /// The public key.
    pub(super) key: &'a str,
    /// The signature.
    pub(super) signature: &'a str,
}

/// Compares the journal with the head beside it and with the one kept elsewhere.
pub(super) fn check(
    connection: &Connection,
    dir: &Path,
    against: &Against,
    report: &mut Report,
) -> Result<(), JournalError> {
    report.key = match &against.key {
        Some(key) => Some(key.clone()),
        None => notary::load_public(dir).map_err(|error| fault::io(dir, &error))?,
    };
    report.head_beside = match notary::load_head(dir) {
        Ok(None) => HeadCheck::None,
        Ok(Some(head)) => compare(connection, report, &head),
        Err(error) => HeadCheck::Unreadable {
            message: error.to_string(),
        },
    };
    report.confirmed = confirmed_place(connection, dir);
    if let Some(kept) = &against.head {
        report.head_kept = match last_head(kept).map_err(|error| fault::io(kept, &error))? {
            Some(head) => compare(connection, report, &head),
            None => HeadCheck::Unreadable {
                message: "it holds no signed head".to_owned(),
            },
        };
    }
    if let Some(key) = &against.key {
        report.keys_other = report.keys.iter().filter(|used| *used != key).count() as u64;
    }
    Ok(())
}

/// Compares the journal's end with the place that the disk had confirmed. The place is read first: a daemon may be
/// writing.
fn confirmed_place(connection: &Connection, dir: &Path) -> HeadCheck {
    let seq = match confirmed::load(dir) {
        Ok(Some(place)) => place,
        Ok(None) => return HeadCheck::None,
        Err(error) => {
            let message = error.to_string();
            return HeadCheck::Unreadable { message };
        }
    };
    match database::head(connection) {
        Ok(head) if head.seq < seq => HeadCheck::Cut { seq },
        Ok(_) => HeadCheck::Holds { seq },
        Err(error) => HeadCheck::Unreadable {
            message: error.to_string(),
        },
    }
}

fn compare(connection: &Connection, report: &Report, head: &SignedHead) -> HeadCheck {
    let seq = head.seq;
    if !head.holds() {
        return HeadCheck::Forged { seq };
    }
    if report.key.as_ref().is_some_and(|key| *key != head.key) {
        return HeadCheck::OtherKey {
            seq,
            key: head.key.clone(),
        };
    }
    match notary::hash_at(connection, seq) {
        Ok(Some(hash)) if hex(&hash) == head.hash => HeadCheck::Holds { seq },
        Ok(Some(_)) => HeadCheck::Differs { seq },
        Ok(None) => HeadCheck::Cut { seq },
        Err(error) => HeadCheck::Unreadable {
            message: error.to_string(),
        },
    }
}

/// The last signed head in a file: `head.signed` itself, or lines of JSON with `head_signed` events among them.
fn last_head(path: &Path) -> io::Result<Option<SignedHead>> {
    let mut lines = BufReader::new(File::open(path)?);
    let mut found = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = Read::by_ref(&mut lines)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(found);
        }
        // Other events, and lines that are none, say nothing of the head.
        if let Ok(head) = serde_json::from_slice::<Line>(&line) {
            found = Some(SignedHead {
                seq: head.covers.unwrap_or(head.seq),
                hash: head.hash,
                key: head.key,
                signature: head.signature,
                time: aaos_core::time::Timestamp::default(),
            });
        }
    }
}
