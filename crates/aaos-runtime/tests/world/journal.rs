//! The journal of a test's world: the fake one, which also tells how sure each event was, and fails when it is told to.

use aaos_core::event::{Draft, Event, Seq};
use aaos_ports::{Digest, Durability, Filter, Journal, JournalError, Watch};
use aaos_testkit::journal::{MemoryJournal, tag};
use async_trait::async_trait;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

#[derive(Clone, Default)]
pub(crate) struct WorldJournal {
    inner: MemoryJournal,
    /// How sure each event was to be, in order.
    sure: Arc<Mutex<Vec<Durability>>>,
    broken: Arc<Mutex<Broken>>,
    held: Arc<Held>,
}

/// An append that waits until it is let go.
#[derive(Default)]
struct Held {
    /// Tag of the kind at which it waits.
    at: Mutex<Option<String>>,
    waiting: Notify,
    released: Notify,
}

#[derive(Default)]
struct Broken {
    /// Tag of the kind at which it breaks.
    at: Option<String>,
    /// Whether it stays broken.
    stays: bool,
    broke: bool,
}

impl WorldJournal {
    /// Fails when an event of this kind is appended, once or from then on.
    pub(crate) fn break_at(&self, tag: &str, stays: bool) {
        *self.broken.lock().unwrap() = Broken {
            at: Some(tag.to_owned()),
            stays,
            broke: false,
        };
    }

    /// Lets the next event of this kind wait, before it has a place.
    pub(crate) fn hold_at(&self, tag: &str) {
        *self.held.at.lock().unwrap() = Some(tag.to_owned());
    }

    /// Waits until that event waits.
    pub(crate) async fn holding(&self) {
        self.held.waiting.notified().await;
    }

    /// Lets it go.
    pub(crate) fn release(&self) {
        self.held.released.notify_one();
    }

    async fn wait_if_held(&self, drafts: &[Draft]) {
        let held = {
            let mut at = self.held.at.lock().unwrap();
            let here = at
                .as_ref()
                .is_some_and(|at| drafts.iter().any(|draft| tag(&draft.kind) == *at));
            if here { at.take() } else { None }
        };
        if held.is_some() {
            self.held.waiting.notify_one();
            self.held.released.notified().await;
        }
    }

    pub(crate) fn mend(&self) {
        *self.broken.lock().unwrap() = Broken::default();
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.inner.events()
    }

    pub(crate) fn sure(&self, seq: Seq) -> Durability {
        self.sure.lock().unwrap()[seq.0 as usize - 1]
    }

    fn check(&self, drafts: &[Draft]) -> Result<(), JournalError> {
        let mut broken = self.broken.lock().unwrap();
        let now = broken
            .at
            .as_ref()
            .is_some_and(|at| drafts.iter().any(|draft| tag(&draft.kind) == *at));
        if now && !broken.stays {
            broken.at = None;
        }
        if now || (broken.broke && broken.stays) {
            broken.broke = true;
            return Err(JournalError::Storage {
                place: "/journal".to_owned(),
                message: "no space left on device".to_owned(),
                next_step: "Make room".to_owned(),
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Journal for WorldJournal {
    async fn append(
        &self,
        drafts: Vec<Draft>,
        durability: Durability,
    ) -> Result<Seq, JournalError> {
        // A disk takes its time: others go on meanwhile.
        tokio::task::yield_now().await;
        self.wait_if_held(&drafts).await;
        self.check(&drafts)?;
        let count = drafts.len();
        let last = {
            let mut sure = self.sure.lock().unwrap();
            let last = futures::executor::block_on(self.inner.append(drafts, durability))?;
            sure.extend(std::iter::repeat_n(durability, count));
            last
        };
        tokio::task::yield_now().await;
        Ok(last)
    }

    async fn read(
        &self,
        filter: &Filter,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Event>, JournalError> {
        self.inner.read(filter, after, limit).await
    }

    fn watch(&self, filter: Filter, after: Seq) -> Watch {
        self.inner.watch(filter, after)
    }

    async fn put(&self, body: Vec<u8>) -> Result<Digest, JournalError> {
        tokio::task::yield_now().await;
        self.check(&[])?;
        self.inner.put(body).await
    }

    async fn get(&self, digest: &Digest) -> Result<Vec<u8>, JournalError> {
        self.inner.get(digest).await
    }
}
