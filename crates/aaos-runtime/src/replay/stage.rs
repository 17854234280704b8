//! What the ports of a replay share: the record, what has been played so far, and whether it is over.

use super::{
    record::Record,
    steps::{Lines, Whose},
};
use crate::run::Run;
use aaos_core::{
    event::{Draft, Seq},
    id::{AgentId, CallId, RunId},
    time::Timestamp,
};
use aaos_ports::{Digest, Journal};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};
use tokio::{sync::watch, task};
use tokio_util::sync::CancellationToken;

/// A replay while it goes on.
pub(super) struct Stage {
    pub(super) record: Record,
    /// The journal with the bodies of the record; nothing is written to it.
    pub(super) real: Arc<dyn Journal>,
    /// Cancelled when nothing is to be answered any more.
    pub(super) over: CancellationToken,
    /// Told of every event.
    pub(super) activity: watch::Sender<u64>,
    /// The run that is carried out again.
    run: OnceLock<Weak<Run>>,
    played: Mutex<Played>,
}

/// What has been played.
#[derive(Default)]
struct Played {
    lines: Lines,
    /// Lines that are not as long as the record's.
    short: usize,
    seq: u64,
    /// Who has last recorded in each task: an agent asks its model, and looks at the clock, in its own.
    speakers: HashMap<task::Id, Option<AgentId>>,
    /// Replies each agent has had.
    replies: BTreeMap<AgentId, u32>,
    /// When each of them is in the record; the run itself under none.
    times: BTreeMap<Option<AgentId>, Timestamp>,
    counts: Counts,
    missing: Option<Digest>,
}

/// What came from the record.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) replies: u64,
    pub(super) results: u64,
}

impl Stage {
    pub(super) fn new(record: Record, real: Arc<dyn Journal>, began: Timestamp) -> Self {
        let mut played = Played {
            short: record.lines.lines.len(),
            ..Played::default()
        };
        played.lines.left_out = record.lines.left_out.clone();
        played.times.insert(None, began);
        Self {
            record,
            real,
            over: CancellationToken::new(),
            activity: watch::Sender::new(0),
            run: OnceLock::new(),
            played: Mutex::new(played),
        }
    }

    pub(super) const fn run(&self) -> RunId {
        self.record.run
    }

    /// Takes the run that is carried out again, once.
    pub(super) fn enter(&self, run: &Arc<Run>) {
        self.run.get_or_init(|| Arc::downgrade(run));
    }

    /// Charges the uses that a call took on its way: its tool, which took them, is not called.
    pub(super) fn charge(&self, call: CallId) {
        let (Some(called), Some(run)) = (
            self.record.calls.get(&call),
            self.run.get().and_then(Weak::upgrade),
        ) else {
            return;
        };
        let now = self.now();
        let mut table = run.table();
        for grant in &called.charged {
            table.restore_use(*grant, 1, 0, now);
        }
    }

    /// Takes what the executor records.
    pub(super) fn take(&self, drafts: Vec<Draft>) -> Seq {
        let mut played = self.played();
        for draft in drafts {
            played.seq = played.seq.saturating_add(1);
            played.take(&self.record, draft);
        }
        let seq = played.seq;
        drop(played);
        self.activity.send_replace(seq);
        Seq(seq)
    }

    /// Takes events that the replay begins with.
    pub(super) fn begin_with(&self, events: &[aaos_core::event::Event]) {
        for event in events {
            self.take(vec![Draft {
                time: event.time,
                subject: event.subject,
                kind: event.kind.clone(),
            }]);
        }
    }

    /// Whether every line has come as far as the record, or a body of the record is missing.
    pub(super) fn is_done(&self) -> bool {
        let played = self.played();
        played.missing.is_some() || (played.short == 0 && !self.record.is_whole())
    }

    /// Who asks in this task.
    pub(super) fn speaker(&self) -> Option<AgentId> {
        let task = task::try_id()?;
        self.played().speakers.get(&task).copied().flatten()
    }

    /// What time it is in the record for whoever asks.
    pub(super) fn now(&self) -> Timestamp {
        let speaker = self.speaker();
        let played = self.played();
        let own = played.times.get(&speaker);
        own.or_else(|| played.times.get(&None))
            .copied()
            .unwrap_or_default()
    }

    /// Replies an agent has had.
    pub(super) fn replies_of(&self, agent: AgentId) -> u32 {
        self.played().replies.get(&agent).copied().unwrap_or(0)
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut self.played().counts);
    }

    /// Notes that a body of the record is gone; the first is told.
    pub(super) fn misses(&self, digest: &Digest) {
        self.played().missing.get_or_insert_with(|| digest.clone());
        self.activity.send_modify(|_| {});
    }

    pub(super) fn missing(&self) -> Option<Digest> {
        self.played().missing.clone()
    }

    /// Takes out what has been played.
    pub(super) fn finish(&self) -> (Lines, Counts) {
        let mut played = self.played();
        (std::mem::take(&mut played.lines), played.counts)
    }

    fn played(&self) -> MutexGuard<'_, Played> {
        self.played.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Played {
    fn take(&mut self, record: &Record, draft: Draft) {
        let agent = draft.subject.agent;
        if let Some(task) = task::try_id() {
            self.speakers.insert(task, agent);
        }
        if let (Some(agent), aaos_core::event::Kind::ModelReplied { .. }) = (agent, &draft.kind) {
            *self.replies.entry(agent).or_default() += 1;
        }
        let seq = Seq(self.seq);
        let Some(whose) = self.lines.take(seq, draft.time, draft.subject, &draft.kind) else {
            return;
        };
        let length = self.lines.lines.get(&whose).map_or(0, Vec::len);
        let Some(recorded) = record.lines.lines.get(&whose) else {
            return;
        };
        if length == recorded.len() {
            self.short = self.short.saturating_sub(1);
        }
        if let Some(step) = recorded.get(length.saturating_sub(1)) {
            let whose = match whose {
                Whose::Agent(agent) | Whose::Call(agent, _) => Some(agent),
                Whose::Run | Whose::Subtask(_) => None,
            };
            let time = self.times.entry(whose).or_default();
            *time = step.time.max(*time);
        }
    }
}
