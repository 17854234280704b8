//! Events as rows and rows as events.

use super::{
    chain::{self, Content, Hash, Head, Link},
    fault,
};
use crate::limits::EVENT_BYTES_MAX;
use aaos_core::{
    event::{Draft, Event, Kind, Seq, Subject},
    id::{AgentId, CallId, RunId},
    time::Timestamp,
};
use aaos_ports::JournalError;
use rusqlite::{Connection, Row, params, types::ValueRef};
use std::path::Path;

/// A text's or a body's bytes; none of any other value.
pub(crate) const fn bytes(value: ValueRef<'_>) -> &[u8] {
    match value {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes,
        _ => &[],
    }
}

/// The columns in the order [`Stored::read`] expects.
pub(crate) const COLUMNS: &str =
    "seq, time, run, agent, call, cause, kind, body, prev_hash, hash, digest";

const INSERT: &str = "INSERT INTO events (seq, time, run, agent, call, cause, kind, body, prev_hash, hash, \
                      digest) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

/// A draft with what will be stored of it, made on the caller's thread so that the writer has less to do.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// The event without its place.
    pub(crate) draft: Draft,
    /// The body's tag.
    pub(crate) kind: String,
    /// The body.
    pub(crate) body: String,
    digest: Hash,
}

/// The tag of an event's JSON, which stands first in it and has nothing to escape.
fn tag(body: &str) -> Option<&str> {
    let (tag, _) = body.strip_prefix(r#"{"kind":""#)?.split_once('"')?;
    (!tag.contains('\\')).then_some(tag)
}

impl Prepared {
    /// Serialises a draft.
    ///
    /// # Errors
    /// The event is over its bound, or has no JSON form.
    pub(crate) fn new(draft: Draft, place: &Path) -> Result<Self, JournalError> {
        let unfit = |message: String| {
            fault::storage(
                place,
                message,
                "Put the large part in a blob and its digest in the event",
            )
        };
        let body = serde_json::to_string(&draft.kind).map_err(|error| unfit(error.to_string()))?;
        if body.len() > EVENT_BYTES_MAX {
            return Err(unfit(format!(
                "an event of {} bytes is over the maximum of {EVENT_BYTES_MAX}",
                body.len()
            )));
        }
        let kind =
            tag(&body).ok_or_else(|| unfit("its JSON does not begin with its kind".to_owned()))?;
        let kind = kind.to_owned();
        let digest = chain::digest(body.as_bytes());
        Ok(Self {
            draft,
            kind,
            body,
            digest,
        })
    }

    fn link(&self, seq: u64) -> Link<'_> {
        let Subject {
            run,
            agent,
            call,
            cause,
        } = self.draft.subject;
        Link {
            seq,
            time: self.draft.time.micros(),
            subject: [
                run.map(RunId::number),
                agent.map(AgentId::number),
                call.map(CallId::number),
                cause.map(|cause| cause.0),
            ],
            kind: self.kind.as_bytes(),
            content: Content::Digest(self.digest),
        }
    }

    /// Writes it as the event after `head` and answers with the new head.
    pub(crate) fn insert(&self, to: &Connection, head: &Head) -> rusqlite::Result<Head> {
        let link = self.link(head.seq.saturating_add(1));
        let hash = link.hash(&head.hash);
        let [run, agent, call, cause] = link.subject.map(|part| part.map(u64::cast_signed));
        to.prepare_cached(INSERT)?.execute(params![
            link.seq.cast_signed(),
            link.time.cast_signed(),
            run,
            agent,
            call,
            cause,
            self.kind,
            self.body,
            head.hash,
            hash,
            self.digest,
        ])?;
        Ok(Head {
            seq: link.seq,
            hash,
        })
    }

    /// The event, now that its place is known.
    pub(crate) fn into_event(self, seq: u64) -> Event {
        let Draft {
            time,
            subject,
            kind,
        } = self.draft;
        Event {
            seq: Seq(seq),
            time,
            subject,
            kind,
        }
    }
}

/// A row, borrowed from SQLite's page.
pub(crate) struct Stored<'a> {
    /// Everything that is hashed, but the hash before it.
    pub(crate) link: Link<'a>,
    /// The body; empty if it was erased.
    pub(crate) body: &'a [u8],
    /// The hash before it, as the row claims.
    pub(crate) previous: Hash,
    /// Its hash, as the row claims.
    pub(crate) hash: Hash,
}

impl<'a> Stored<'a> {
    /// Reads the [`COLUMNS`]. Text is taken as bytes: damage need not be text.
    ///
    /// # Errors
    /// A value of the wrong type, in words.
    pub(crate) fn read(row: &'a Row<'_>) -> Result<Self, String> {
        let number = |column: usize| match row.get_ref(column) {
            Ok(ValueRef::Integer(number)) => Ok(Some(number.cast_unsigned())),
            Ok(ValueRef::Null) => Ok(None),
            _ => Err(format!("column {column} is not a number")),
        };
        let needed =
            |column: usize| number(column)?.ok_or_else(|| format!("column {column} is empty"));
        let bytes = |column: usize| match row.get_ref(column) {
            Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => Ok(bytes),
            _ => Err(format!("column {column} is not text")),
        };
        let hash = |column: usize| -> Result<Hash, String> {
            bytes(column)?
                .try_into()
                .map_err(|_| format!("column {column} is not a hash"))
        };
        let body = bytes(7)?;
        let content = match row.get_ref(10) {
            Ok(ValueRef::Null) => Content::Whole(body),
            _ => Content::Digest(hash(10)?),
        };
        Ok(Self {
            link: Link {
                seq: needed(0)?,
                time: needed(1)?,
                subject: [number(2)?, number(3)?, number(4)?, number(5)?],
                kind: bytes(6)?,
                content,
            },
            body,
            previous: hash(8)?,
            hash: hash(9)?,
        })
    }

    /// Whether the row's hash is the one its content has. Of an erased row under version 1 nothing is left that
    /// could tell; the next row's link still names its hash.
    pub(crate) fn holds(&self) -> bool {
        let linked = || self.link.hash(&self.previous) == self.hash;
        match self.link.content {
            Content::Whole(_) => self.is_erased() || linked(),
            Content::Digest(digest) => {
                (self.is_erased() || chain::digest(self.body) == digest) && linked()
            }
        }
    }

    /// Whether the body was erased. No body is empty when it is recorded.
    pub(crate) const fn is_erased(&self) -> bool {
        self.body.is_empty()
    }

    /// Its place and hash.
    pub(crate) const fn head(&self) -> Head {
        Head {
            seq: self.link.seq,
            hash: self.hash,
        }
    }

    /// The event.
    ///
    /// # Errors
    /// The row's hash does not match, or its body is no event this program knows; in words.
    pub(crate) fn event(&self) -> Result<Event, String> {
        if !self.holds() {
            return Err("its content does not match its hash".to_owned());
        }
        let kind = if self.is_erased() {
            let was = String::from_utf8_lossy(self.link.kind).into_owned();
            Kind::Erased { was }
        } else {
            serde_json::from_slice(self.body)
                .map_err(|error| format!("its body is not an event this version knows: {error}"))?
        };
        let [run, agent, call, cause] = self.link.subject;
        Ok(Event {
            seq: Seq(self.link.seq),
            time: Timestamp::from_micros(self.link.time),
            subject: Subject {
                run: run.map(RunId::from_drawn),
                agent: agent.map(AgentId::from_drawn),
                call: call.map(CallId::from_drawn),
                cause: cause.map(Seq),
            },
            kind,
        })
    }
}
