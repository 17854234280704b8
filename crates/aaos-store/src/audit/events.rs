//! The chain, event by event, and the bodies that events speak of.

use super::{
    BlobProblem, BrokenLink, Report,
    heads::{self, Claim},
};
use crate::{
    blobs,
    journal::{
        chain::{Head, ORIGIN, hex},
        database,
        row::{COLUMNS, Stored},
    },
    notary,
};
use aaos_core::{event::Kind, id::RunId};
use aaos_ports::Digest;
use rusqlite::{Connection, OptionalExtension};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Events read in one go: a reader that stays too long would keep a running daemon from tidying its log.
const CHUNK: u64 = 4_096;

/// Walks the chain from the first event to the last.
pub(super) fn check(connection: &Connection, dir: &Path, report: &mut Report) {
    let mut walk = Walk {
        connection,
        bodies: blobs::dir(dir),
        unexplained: BTreeMap::new(),
        end: Head {
            seq: 0,
            hash: ORIGIN,
        },
    };
    while report.first_broken.is_none() {
        match walk.chunk(report) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                let at = walk.end.seq.saturating_add(1);
                report.break_at(at, BrokenLink::Unreadable, error.to_string());
            }
        }
    }
    // Walked to the end or not: what an erasure has explained so far is explained.
    if report.first_broken.is_none()
        && let Some(first) = walk.unexplained.values().min()
    {
        let message = "its content is gone, and no later event says that it was erased";
        report.break_at(*first, BrokenLink::Erased, message.to_owned());
    }
    report.events = walk.end.seq;
    report.head = (walk.end.seq > 0).then(|| hex(&walk.end.hash));
}

struct Walk<'a> {
    connection: &'a Connection,
    bodies: PathBuf,
    /// Runs with erased events that no later event has explained yet, and the first of each. At most one entry for
    /// each run.
    unexplained: BTreeMap<Option<u64>, u64>,
    end: Head,
}

impl Walk<'_> {
    /// Checks the next chunk; answers whether there may be more.
    fn chunk(&mut self, report: &mut Report) -> rusqlite::Result<bool> {
        // One view of events and head: a daemon may be writing.
        let view = self.connection.unchecked_transaction()?;
        let text = format!(
            "SELECT {COLUMNS} FROM events NOT INDEXED WHERE seq > ?1 ORDER BY seq LIMIT ?2"
        );
        let start = self.end.seq;
        let mut statement = view.prepare_cached(&text)?;
        let mut rows = statement.query([start.cast_signed(), CHUNK.cast_signed()])?;
        while let Some(row) = rows.next()? {
            if !self.event(row, report) {
                return Ok(false);
            }
        }
        if self.end.seq.saturating_sub(start) == CHUNK {
            return Ok(true);
        }
        self.check_end(&database::head(&view)?, report);
        Ok(false)
    }

    fn event(&mut self, row: &rusqlite::Row<'_>, report: &mut Report) -> bool {
        let place = self.end.seq.saturating_add(1);
        let problem = match Stored::read(row) {
            Err(problem) => Some((BrokenLink::Unreadable, problem)),
            Ok(stored) => match self.link(&stored, place) {
                Some(problem) => Some(problem),
                None => {
                    self.end = stored.head();
                    self.content(&stored, report);
                    None
                }
            },
        };
        if let Some((link, message)) = problem {
            report.break_at(place, link, message);
            return false;
        }
        true
    }

    fn link(&self, stored: &Stored<'_>, place: u64) -> Option<(BrokenLink, String)> {
        if stored.link.seq != place {
            return Some((
                BrokenLink::Missing,
                format!("the next event is {}", stored.link.seq),
            ));
        }
        if !stored.holds() {
            return Some((
                BrokenLink::Content,
                "its content does not match its hash".to_owned(),
            ));
        }
        (stored.previous != self.end.hash).then(|| {
            let message = format!(
                "it follows {}, and the event before it is {}",
                hex(&stored.previous),
                hex(&self.end.hash)
            );
            (BrokenLink::Previous, message)
        })
    }

    fn check_end(&self, claimed: &Head, report: &mut Report) {
        if *claimed == self.end {
            return;
        }
        let at = self.end.seq.min(claimed.seq).saturating_add(1);
        let message = format!(
            "the journal says it ends at event {}, and ends at {}",
            claimed.seq, self.end.seq
        );
        report.break_at(at, BrokenLink::End, message);
    }

    /// What the event says that can be checked: bodies it speaks of, heads it signs, erasures it explains.
    fn content(&mut self, stored: &Stored<'_>, report: &mut Report) {
        let [run, ..] = stored.link.subject;
        if stored.is_erased() {
            report.events_erased = report.events_erased.saturating_add(1);
            self.unexplained.entry(run).or_insert(stored.link.seq);
            return;
        }
        // What is not an event this version knows has a hash all the same; only its references stay unchecked.
        let Ok(kind) = serde_json::from_slice::<Kind>(stored.body) else {
            return;
        };
        match &kind {
            Kind::ContentErased { erased, .. } => {
                self.unexplained.remove(&Some(erased.number()));
            }
            Kind::HeadSigned {
                head,
                hash,
                key,
                signature,
            } => {
                let claim = Claim {
                    seq: *head,
                    hash,
                    key,
                    signature,
                };
                // Every event before this one is whole, so what the row says is its hash.
                let actual = notary::hash_at(self.connection, *head).ok().flatten();
                let actual = actual.map(|hash| hex(&hash));
                heads::event(stored.link.seq, &claim, actual.as_deref(), report);
            }
            _ => {}
        }
        let Some(digest) = body_of(kind).map(Digest) else {
            return;
        };
        let Some(hash) = blobs::parse(&digest) else {
            return;
        };
        if !self.is_stored(&hash) {
            report.name(BlobProblem::Missing {
                digest: digest.0,
                seq: stored.link.seq,
                run: stored.link.subject[0].map(RunId::from_drawn),
            });
        }
    }

    fn is_stored(&self, hash: &blake3::Hash) -> bool {
        // A row that was emptied in place of being erased is not the body, unless the body is empty.
        let text = "SELECT 1 FROM blobs WHERE digest = ?1 AND (length(body) > 0 OR ?1 = ?2)";
        let inline = self
            .connection
            .prepare_cached(text)
            .and_then(|mut statement| {
                statement
                    .query_row([hash.as_bytes(), blake3::hash(b"").as_bytes()], |_| Ok(()))
                    .optional()
            });
        matches!(inline, Ok(Some(()))) || blobs::path(&self.bodies, hash).is_file()
    }
}

/// The digest of the body that an event speaks of.
fn body_of(kind: Kind) -> Option<String> {
    match kind {
        Kind::ModelRequested { request, .. } => Some(request),
        Kind::ModelReplied { reply, .. } => Some(reply),
        Kind::ToolResult { output, .. } => Some(output),
        Kind::RunSubmitted { terms, .. } => Some(terms),
        Kind::ApprovalRequested { body, .. } => Some(body),
        _ => None,
    }
}
