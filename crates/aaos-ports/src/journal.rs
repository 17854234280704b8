//! The journal: one durable sequence of events, and the bodies too large to be in it.

use aaos_core::{
    event::{Draft, Event, Seq},
    id::{AgentId, RunId},
    time::Timestamp,
};
use async_trait::async_trait;
use futures::stream::BoxStream;
use std::fmt;

/// How sure an append must be before it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// In order and soon on disk; survives the daemon's death, perhaps not a power cut.
    Ordered,
    /// On disk: survives a power cut. Needed before an act that reaches outside and before `submit` answers.
    Durable,
}

/// Digest of a body in the blob store: BLAKE3, 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Digest(pub String);

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Which events are wanted. Empty means all; fields narrow it together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this run's.
    pub run: Option<RunId>,
    /// Only this agent's.
    pub agent: Option<AgentId>,
    /// Only these kinds, by their tag in snake case; all if empty.
    pub kinds: Vec<String>,
    /// Only what happened then or later.
    pub since: Option<Timestamp>,
    /// Only what happened before then.
    pub until: Option<Timestamp>,
}

impl Filter {
    /// Whether it wants an event whose kind has this tag.
    #[must_use]
    pub fn admits(&self, event: &Event, tag: &str) -> bool {
        let Event { time, subject, .. } = event;
        self.run.is_none_or(|run| subject.run == Some(run))
            && self.agent.is_none_or(|agent| subject.agent == Some(agent))
            && self.since.is_none_or(|since| *time >= since)
            && self.until.is_none_or(|until| *time < until)
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == tag))
    }
}

/// What a watcher receives.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "events are the rule and gaps the exception; a box would cost every event"
)]
pub enum WatchItem {
    /// The next event that matches.
    Event(Event),
    /// The watcher was too slow and the live feed moved on. Nothing is lost: the events from `from` to `to` are
    /// sent next, read back from the journal.
    Gap {
        /// First sequence number that the live feed skipped.
        from: Seq,
        /// Last sequence number that the live feed skipped.
        to: Seq,
    },
}

/// Events from a sequence number on, past ones first, then live, without end.
pub type Watch = BoxStream<'static, Result<WatchItem, JournalError>>;

/// Why the journal could not do its work.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// The disk or database refused. Nothing was recorded; the caller must not act.
    #[error("the journal at {place} cannot be written: {message}. {next_step}")]
    Storage {
        /// The file.
        place: String,
        /// What it said.
        message: String,
        /// What the operator can do.
        next_step: String,
    },
    /// What is on disk is not what was written.
    #[error(
        "the journal at {place} is damaged at event {seq}: {message}. Keep a copy and run `agentd audit verify`"
    )]
    Damaged {
        /// The file.
        place: String,
        /// The first event that does not hold.
        seq: u64,
        /// What is wrong.
        message: String,
    },
    /// Another daemon has it open.
    #[error(
        "the journal at {place} is in use by another daemon (process {holder}). Stop it, or choose another state directory"
    )]
    InUse {
        /// The file.
        place: String,
        /// The other daemon's process number, 0 if unknown.
        holder: u32,
    },
    /// No blob has this digest, or the one that has does not match it.
    #[error("no body with digest {0} is stored")]
    NoBlob(Digest),
    /// The journal was closed.
    #[error("the journal is closed: the daemon is going away")]
    Closed,
}

/// One append-only sequence. Called by the runtime for every event, from many places at once.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Appends in order and answers with the last one's place. Concurrent appends may share one sync. Cancelling
    /// the future does not undo an append that has begun.
    ///
    /// # Errors
    /// Nothing was recorded; the caller must not perform the act it meant to record.
    async fn append(&self, drafts: Vec<Draft>, durability: Durability)
    -> Result<Seq, JournalError>;

    /// At most `limit` matching events after `after`, in order.
    ///
    /// # Errors
    /// Storage or damage.
    async fn read(
        &self,
        filter: &Filter,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Event>, JournalError>;

    /// Matching events after `after`: past ones, then live ones. Dropping the stream ends it. A slow reader is told
    /// of a gap and then given what it missed; it never slows the journal.
    fn watch(&self, filter: Filter, after: Seq) -> Watch;

    /// Stores a body and answers with its digest; the same body twice is stored once.
    ///
    /// # Errors
    /// Storage.
    async fn put(&self, body: Vec<u8>) -> Result<Digest, JournalError>;

    /// A stored body, checked against its digest.
    ///
    /// # Errors
    /// Storage, or `NoBlob`.
    async fn get(&self, digest: &Digest) -> Result<Vec<u8>, JournalError>;
}

/// Somewhere events are copied to, after they are in the journal.
#[async_trait]
pub trait Sink: Send + Sync {
    /// The name in configuration and in errors.
    fn name(&self) -> &'static str;

    /// Takes events, in order, each once. May be slow: it never holds up the journal; on failure it is given the
    /// same events again.
    ///
    /// # Errors
    /// What the sink's own destination said.
    async fn deliver(&self, events: &[Event]) -> std::io::Result<()>;
}
