//! A replay's journal: what is recorded stays in memory and is compared; bodies come from the record.

use super::stage::Stage;
use aaos_core::event::{Draft, Event, Seq};
use aaos_ports::{Clock, Digest, Durability, Filter, Journal, JournalError, Watch};
use async_trait::async_trait;
use futures::StreamExt;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Bytes of bodies that the record does not know which are kept, to say what differs.
const STRANGE_BYTES_MAX: usize = 16 << 20;

/// The journal.
pub(super) struct Recorded {
    stage: Arc<Stage>,
    /// Events that the replay begins with.
    beginning: Vec<Event>,
    strange: Mutex<Strange>,
}

/// Bodies that the record does not know.
#[derive(Default)]
struct Strange {
    bodies: BTreeMap<String, Vec<u8>>,
    bytes: usize,
}

impl Recorded {
    pub(super) fn new(stage: Arc<Stage>, beginning: Vec<Event>) -> Self {
        stage.begin_with(&beginning);
        Self {
            stage,
            beginning,
            strange: Mutex::default(),
        }
    }

    fn keep(&self, digest: &str, body: Vec<u8>) {
        let mut strange = self.strange.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = strange.bytes.saturating_add(body.len());
        if bytes <= STRANGE_BYTES_MAX {
            strange.bytes = bytes;
            strange.bodies.insert(digest.to_owned(), body);
        }
    }
}

/// A body's digest, as every journal makes it.
pub(super) fn digest(body: &[u8]) -> String {
    blake3::hash(body).to_hex().to_string()
}

#[async_trait]
impl Journal for Recorded {
    async fn append(&self, drafts: Vec<Draft>, _: Durability) -> Result<Seq, JournalError> {
        if self.stage.over.is_cancelled() {
            return Err(JournalError::Closed);
        }
        Ok(self.stage.take(drafts))
    }

    async fn read(
        &self,
        filter: &Filter,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Event>, JournalError> {
        if filter.run != Some(self.stage.run()) {
            return self.stage.real.read(filter, after, limit).await;
        }
        let later = self.beginning.iter().filter(|event| event.seq > after);
        Ok(later.take(limit).cloned().collect())
    }

    fn watch(&self, _: Filter, _: Seq) -> Watch {
        futures::stream::empty().boxed()
    }

    async fn put(&self, body: Vec<u8>) -> Result<Digest, JournalError> {
        let digest = digest(&body);
        if !self.stage.record.known.contains(&digest) {
            self.keep(&digest, body);
        }
        Ok(Digest(digest))
    }

    async fn get(&self, digest: &Digest) -> Result<Vec<u8>, JournalError> {
        let strange = {
            let strange = self.strange.lock().unwrap_or_else(PoisonError::into_inner);
            strange.bodies.get(&digest.0).cloned()
        };
        match strange {
            Some(body) => Ok(body),
            None => self.stage.real.get(digest).await,
        }
    }
}

/// Time as the record has it.
pub(super) struct RecordedTime(pub(super) Arc<Stage>);

impl Clock for RecordedTime {
    fn now(&self) -> aaos_core::time::Timestamp {
        self.0.now()
    }
}
