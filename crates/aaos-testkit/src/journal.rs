//! The journal in memory: the fake of the port, and drafts to fill any journal with.
//!
//! Keeps everything, so it suits tests and nothing else. It can be told to fail, and to close.

use aaos_core::{
    event::{Draft, Event, Kind, Seq, Subject},
    id::{AgentId, RunId},
    time::Timestamp,
};
use aaos_ports::{Digest, Durability, Filter, Journal, JournalError, Watch, WatchItem};
use async_trait::async_trait;
use futures::StreamExt;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// A journal that is gone when it is dropped. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryJournal {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Event>,
    /// The tag of each event's kind.
    tags: Vec<String>,
    bodies: BTreeMap<String, Vec<u8>>,
    failure: Option<JournalError>,
    closed: bool,
}

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Arc::default(),
            changed: watch::Sender::new(()),
        }
    }

    /// Makes every append and put fail with this, until it is told `None`.
    pub fn fail(&self, failure: Option<JournalError>) {
        self.state().failure = failure;
    }

    /// Takes no more; watchers are given what is left and then told.
    pub fn close(&self) {
        self.state().closed = true;
        self.changed.send_replace(());
    }

    /// Everything so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.state().events.clone()
    }

    /// The last event's place; zero if there is none.
    #[must_use]
    pub fn head(&self) -> Seq {
        Seq(self.state().events.len() as u64)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next matching event after `after`; `None` if there is none yet.
    fn next(&self, filter: &Filter, after: Seq) -> Result<Option<Event>, JournalError> {
        let state = self.state();
        let found = state.wanted(filter, after).next().cloned();
        if found.is_none() && state.closed {
            Err(JournalError::Closed)
        } else {
            Ok(found)
        }
    }
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn ready(&self) -> Result<(), JournalError> {
        if self.closed {
            return Err(JournalError::Closed);
        }
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn wanted<'a>(&'a self, filter: &'a Filter, after: Seq) -> impl Iterator<Item = &'a Event> {
        let from = usize::try_from(after.0)
            .unwrap_or(usize::MAX)
            .min(self.events.len());
        let all = self.events.iter().zip(&self.tags).skip(from);
        all.filter(|(event, tag)| filter.admits(event, tag))
            .map(|(event, _)| event)
    }
}

/// A kind's tag, as journals store it and filters name it.
#[must_use]
pub fn tag(kind: &Kind) -> String {
    let whole = serde_json::to_value(kind).unwrap_or_default();
    whole
        .get("kind")
        .and_then(|tag| tag.as_str())
        .unwrap_or_default()
        .to_owned()
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn append(&self, drafts: Vec<Draft>, _: Durability) -> Result<Seq, JournalError> {
        let last = {
            let mut state = self.state();
            state.ready()?;
            for Draft {
                time,
                subject,
                kind,
            } in drafts
            {
                let seq = Seq((state.events.len() as u64).saturating_add(1));
                state.tags.push(tag(&kind));
                state.events.push(Event {
                    seq,
                    time,
                    subject,
                    kind,
                });
            }
            Seq(state.events.len() as u64)
        };
        self.changed.send_replace(());
        Ok(last)
    }

    async fn read(
        &self,
        filter: &Filter,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Event>, JournalError> {
        let state = self.state();
        let wanted = state.wanted(filter, after);
        Ok(wanted.take(limit).cloned().collect())
    }

    fn watch(&self, filter: Filter, after: Seq) -> Watch {
        let watcher = (
            self.clone(),
            self.changed.subscribe(),
            Some((filter, after)),
        );
        let step = |(journal, mut changed, place): (
            Self,
            watch::Receiver<()>,
            Option<(Filter, Seq)>,
        )| async move {
            let (filter, after) = place?;
            loop {
                changed.borrow_and_update();
                match journal.next(&filter, after) {
                    Ok(Some(event)) => {
                        let place = Some((filter, event.seq));
                        return Some((Ok(WatchItem::Event(event)), (journal, changed, place)));
                    }
                    Err(error) => return Some((Err(error), (journal, changed, None))),
                    // The journal itself keeps the sender, so there is always another change to wait for.
                    Ok(None) => changed.changed().await.ok()?,
                }
            }
        };
        futures::stream::unfold(watcher, step).boxed()
    }

    async fn put(&self, body: Vec<u8>) -> Result<Digest, JournalError> {
        let digest = blake3::hash(&body).to_hex().to_string();
        let mut state = self.state();
        state.ready()?;
        state.bodies.insert(digest.clone(), body);
        Ok(Digest(digest))
    }

    async fn get(&self, digest: &Digest) -> Result<Vec<u8>, JournalError> {
        let found = self.state().bodies.get(&digest.0).cloned();
        found.ok_or_else(|| JournalError::NoBlob(digest.clone()))
    }
}

/// A draft of a run, and of an agent if one is given, that says `text`; its tag is `tool_rejected`.
#[must_use]
pub fn draft(run: u64, agent: Option<u64>, text: &str) -> Draft {
    Draft {
        time: Timestamp::from_micros(1_000),
        subject: Subject {
            run: Some(RunId::from_drawn(run)),
            agent: agent.map(AgentId::from_drawn),
            ..Subject::default()
        },
        kind: Kind::ToolRejected {
            tool: "echo".to_owned(),
            problem: text.to_owned(),
        },
    }
}

/// A draft of no run that says `text`; its tag is `daemon_stopped`.
#[must_use]
pub fn daemon_draft(text: &str) -> Draft {
    Draft {
        time: Timestamp::from_micros(2_000),
        subject: Subject::default(),
        kind: Kind::DaemonStopped {
            reason: text.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_fake_keeps_the_contract_of_journals() {
        crate::contract::journal::journal(|| {
            (Arc::new(MemoryJournal::new()) as Arc<dyn Journal>, ())
        })
        .await;
    }
}
