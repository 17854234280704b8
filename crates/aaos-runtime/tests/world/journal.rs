//! The journal of a test's world: the fake one, which also tells how sure each event was, and fails when it is told to.

use aaos_core::{
    event::{Draft, Event, Seq},
    id::RunId,
};
use aaos_ports::{Digest, Durability, Filter, Journal, JournalError, Watch};
use aaos_testkit::journal::{MemoryJournal, tag};
use async_trait::async_trait;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::Notify;

#[derive(Clone, Default)]
pub(crate) struct WorldJournal {
    inner: MemoryJournal,
    /// How sure each event was to be, in order.
    sure: Arc<Mutex<Vec<Durability>>>,
    broken: Arc<Mutex<Broken>>,
    held: Arc<Held>,
    ice: Arc<Ice>,
    /// Bodies that are gone.
    lost: Arc<Mutex<BTreeSet<String>>>,
    /// What it makes of each event that is read.
    otherwise: Arc<Mutex<Option<Change>>>,
    trouble: Arc<Mutex<Trouble>>,
}

/// What goes wrong beside what is broken.
#[derive(Default)]
struct Trouble {
    /// Reads of a whole run that go well before some fail.
    reads_first: usize,
    /// Reads of a whole run that fail.
    reads: usize,
    /// Reads of bodies that go well before some fail.
    bodies_first: usize,
    /// Reads of bodies that fail.
    bodies: usize,
    /// How long each read of a body takes.
    slow: Duration,
    /// Tag of the kind that is never taken, while everything else is.
    refused: Option<String>,
    /// An event that is not what was written.
    damaged: Option<Seq>,
}

type Change = Box<dyn Fn(&mut Event) + Send + Sync>;

/// A journal that takes no more, as when its daemon was killed: whoever appends waits for ever.
#[derive(Default)]
struct Ice {
    /// Events after which it takes no more.
    after: Mutex<Option<usize>>,
    /// Whether somebody wanted to record what it does not take.
    met: Mutex<bool>,
    frozen: Notify,
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

    /// Takes everything again.
    pub(crate) fn heal(&self) {
        *self.broken.lock().unwrap() = Broken::default();
    }

    /// Fails so many reads of a whole run, after so many that go well.
    pub(crate) fn fail_reads(&self, first: usize, times: usize) {
        let mut trouble = self.trouble.lock().unwrap();
        (trouble.reads_first, trouble.reads) = (first, times);
    }

    /// Fails so many reads of bodies, after so many that go well.
    pub(crate) fn fail_bodies(&self, first: usize, times: usize) {
        let mut trouble = self.trouble.lock().unwrap();
        (trouble.bodies_first, trouble.bodies) = (first, times);
    }

    /// Lets every read of a body take its time.
    pub(crate) fn slow_bodies(&self, each: Duration) {
        self.trouble.lock().unwrap().slow = each;
    }

    /// Takes no event of this kind, and everything else; all again without one.
    pub(crate) fn refuse(&self, tag: Option<&str>) {
        self.trouble.lock().unwrap().refused = tag.map(str::to_owned);
    }

    /// Damages an event: no read that would give it does.
    pub(crate) fn damage(&self, event: Seq) {
        self.trouble.lock().unwrap().damaged = Some(event);
    }

    /// Changes every event when it is read, as somebody might who changes a record.
    pub(crate) fn tell_otherwise(&self, change: impl Fn(&mut Event) + Send + Sync + 'static) {
        *self.otherwise.lock().unwrap() = Some(Box::new(change));
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

    /// Takes no more once it has this many events.
    pub(crate) fn freeze_after(&self, events: usize) {
        *self.ice.after.lock().unwrap() = Some(events);
    }

    fn is_full(&self) -> bool {
        let after = *self.ice.after.lock().unwrap();
        after.is_some_and(|after| self.inner.head().0 >= after as u64)
    }

    fn is_frozen(&self) -> bool {
        *self.ice.met.lock().unwrap()
    }

    /// Waits until somebody wants to record what it does not take.
    pub(crate) async fn frozen(&self) {
        // Of an earlier frost, one who waits in vain may have told too.
        while !self.is_frozen() {
            self.ice.frozen.notified().await;
        }
    }

    /// The same record for the next daemon; this one's takes no more.
    pub(crate) fn killed(&self) -> Self {
        self.freeze_after(0);
        Self {
            inner: self.inner.clone(),
            sure: Arc::clone(&self.sure),
            ..Self::default()
        }
    }

    /// Loses the body that the first event of this kind in a run names.
    pub(crate) fn lose_body_of(&self, run: RunId, kind: &str) {
        let events = self.inner.events();
        let of_kind = |event: &&Event| event.subject.run == Some(run) && tag(&event.kind) == kind;
        let named = events
            .iter()
            .find(of_kind)
            .and_then(|event| match &event.kind {
                aaos_core::event::Kind::RunSubmitted { terms, .. } => Some(terms.clone()),
                aaos_core::event::Kind::ModelReplied { reply, .. } => Some(reply.clone()),
                _ => None,
            });
        self.lost.lock().unwrap().insert(named.unwrap());
    }

    /// Takes events again.
    pub(crate) fn thaw(&self) {
        *self.ice.after.lock().unwrap() = None;
        *self.ice.met.lock().unwrap() = false;
    }

    async fn wait_if_frozen(&self) {
        if self.is_full() {
            *self.ice.met.lock().unwrap() = true;
            self.ice.frozen.notify_one();
            std::future::pending::<()>().await;
        }
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

    pub(crate) fn events(&self) -> Vec<Event> {
        self.inner.events()
    }

    pub(crate) fn sure(&self, seq: Seq) -> Durability {
        self.sure.lock().unwrap()[seq.0 as usize - 1]
    }

    fn check(&self, drafts: &[Draft]) -> Result<(), JournalError> {
        let refused = self.trouble.lock().unwrap().refused.clone();
        if refused.is_some_and(|refused| drafts.iter().any(|draft| tag(&draft.kind) == refused)) {
            return Err(full());
        }
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
            return Err(full());
        }
        Ok(())
    }

    fn check_read(&self, filter: &Filter) -> Result<(), JournalError> {
        let mut trouble = self.trouble.lock().unwrap();
        if filter.run.is_none() || !filter.kinds.is_empty() {
            return Ok(());
        }
        if trouble.reads_first > 0 || trouble.reads == 0 {
            trouble.reads_first = trouble.reads_first.saturating_sub(1);
            return Ok(());
        }
        trouble.reads -= 1;
        Err(unreadable())
    }

    fn check_body(&self) -> Result<(), JournalError> {
        let mut trouble = self.trouble.lock().unwrap();
        if trouble.bodies_first > 0 || trouble.bodies == 0 {
            trouble.bodies_first = trouble.bodies_first.saturating_sub(1);
            return Ok(());
        }
        trouble.bodies -= 1;
        Err(unreadable())
    }
}

fn full() -> JournalError {
    storage("no space left on device")
}

fn unreadable() -> JournalError {
    storage("too many open files")
}

fn storage(message: &str) -> JournalError {
    JournalError::Storage {
        place: "/journal".to_owned(),
        message: message.to_owned(),
        next_step: "Make room".to_owned(),
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
        self.wait_if_frozen().await;
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
        self.check_read(filter)?;
        let mut events = self.inner.read(filter, after, limit).await?;
        let damaged = self.trouble.lock().unwrap().damaged;
        if let Some(event) = events.iter().find(|event| Some(event.seq) == damaged) {
            return Err(JournalError::Damaged {
                place: "/journal".to_owned(),
                seq: event.seq.0,
                message: "its content does not match its hash".to_owned(),
            });
        }
        if let Some(change) = &*self.otherwise.lock().unwrap() {
            events.iter_mut().for_each(change);
        }
        Ok(events)
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
        let slow = self.trouble.lock().unwrap().slow;
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        self.check_body()?;
        if self.lost.lock().unwrap().contains(&digest.0) {
            return Err(JournalError::NoBlob(digest.clone()));
        }
        self.inner.get(digest).await
    }
}
