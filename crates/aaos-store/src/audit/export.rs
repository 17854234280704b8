//! `audit export`: events as lines of JSON, each with its hashes. Reads only, needs no daemon, works beside one.

use super::Report;
use crate::journal::{
    chain::{self, Content, hex},
    database, fault, read,
    row::Stored,
};
use aaos_core::{
    event::{Event, Seq},
    id::RunId,
    time::Timestamp,
};
use aaos_ports::{Filter, JournalError};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::Path,
};

/// Events read in one go: a reader that stays too long would keep a running daemon from tidying its log.
const CHUNK: usize = 256;

/// Which events are exported; fields attenuate together, what is empty means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportFilter {
    /// Only this run's.
    pub run: Option<RunId>,
    /// Only these kinds, by their tag in snake case.
    pub kinds: Vec<String>,
    /// Only what happened then or later.
    pub since: Option<Timestamp>,
    /// Only what happened before then.
    pub until: Option<Timestamp>,
}

/// Why an export stopped.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The journal could not be read, or is damaged at the event that the error names.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What the lines were written to refused them.
    #[error("the export could not be written: {0}")]
    Out(#[from] io::Error),
}

/// An event with what is needed to check it.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    event: &'a Event,
    /// In an object of its own: events have fields called like these.
    chain: Chain,
}

#[derive(Serialize)]
struct Chain {
    /// 2, or 1 for events whose hash covers the body itself.
    version: u8,
    /// BLAKE3 of the body as it was recorded; of an erased one under version 1 nothing is known.
    body: Option<String>,
    prev_hash: String,
    hash: String,
}

/// Writes the events of a state directory that match, in order, one line of JSON each; answers with how many. Blocks
/// for as long as reading takes; memory is bounded by some hundred events. What was whole before damage is written.
///
/// # Errors
/// There is no journal, it cannot be read, an event is damaged, or `out` refuses.
pub fn export(dir: &Path, filter: &ExportFilter, mut out: impl Write) -> Result<u64, ExportError> {
    let path = database::file(dir);
    let mut report = Report::default();
    let Some(connection) = super::open(&path, &mut report)? else {
        let message = report
            .first_broken
            .map_or_else(String::new, |broken| broken.message);
        return Err(fault::damaged(&path, 1, message).into());
    };
    let filter = Filter {
        run: filter.run,
        agent: None,
        kinds: filter.kinds.clone(),
        since: filter.since,
        until: filter.until,
    };
    let (mut place, mut count) = (Seq(0), 0_u64);
    loop {
        let mut lines = Vec::with_capacity(CHUNK);
        let read = read::each(&connection, &path, &filter, place.0, CHUNK, |stored| {
            lines.push(line(stored)?);
            Ok(())
        });
        for line in &lines {
            out.write_all(line)?;
            count = count.saturating_add(1);
        }
        match read? {
            Some(last) if lines.len() == CHUNK => place = Seq(last),
            _ => break,
        }
    }
    out.flush()?;
    Ok(count)
}

fn line(stored: &Stored<'_>) -> Result<Vec<u8>, String> {
    let event = stored.event()?;
    let (version, body) = match stored.link.content {
        Content::Digest(digest) => (2, Some(digest)),
        Content::Whole([]) => (1, None),
        Content::Whole(body) => (1, Some(chain::digest(body))),
    };
    let chain = Chain {
        version,
        body: body.map(|digest| hex(&digest)),
        prev_hash: hex(&stored.previous),
        hash: hex(&stored.hash),
    };
    let line = Line {
        event: &event,
        chain,
    };
    let mut text = serde_json::to_vec(&line).map_err(|error| error.to_string())?;
    text.push(b'\n');
    Ok(text)
}
