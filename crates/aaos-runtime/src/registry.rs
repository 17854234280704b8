//! The runs of this daemon: those that are being put together again, those that go on, and the newest of those that are
//! over.

use crate::{limits, run::Run, shared::Shared};
use aaos_core::{
    event::{Outcome, RunState, RunView},
    failure::Failure,
    id::RunId,
    text,
    value::Value,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// Every run that is known by more than its record.
pub(crate) struct Registry {
    runs: Mutex<Runs>,
    /// Tells whoever waits for a run to be put together again.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Runs {
    open: BTreeMap<RunId, Arc<Run>>,
    /// As far as their beginning tells.
    recovering: BTreeMap<RunId, RunView>,
    /// The beginning and end of finished runs; the rest is in the journal.
    ended: BTreeMap<RunId, RunView>,
    /// Finished runs, the longest finished first.
    order: VecDeque<RunId>,
}

impl Registry {
    /// With these runs over, the longest finished first, and these being put together again.
    pub(crate) fn new(ended: &[RunView], recovering: impl Iterator<Item = RunView>) -> Self {
        let mut runs = Runs::default();
        ended.iter().for_each(|view| runs.end(view));
        runs.recovering = recovering.map(|view| (view.run, view)).collect();
        Self {
            runs: Mutex::new(runs),
            changed: watch::Sender::new(()),
        }
    }

    /// Runs that are not over.
    pub(crate) fn count(&self) -> usize {
        let runs = self.runs();
        runs.open.len() + runs.recovering.len()
    }

    /// Runs of an operator that are not over.
    pub(crate) fn count_of(&self, operator: u32) -> usize {
        let runs = self.runs();
        let open = runs.open.values().map(|run| run.submit.operator);
        let recovering = runs.recovering.values().map(|view| view.operator);
        open.chain(recovering)
            .filter(|own| *own == operator)
            .count()
    }

    /// Runs that go on.
    pub(crate) fn open(&self) -> Vec<Arc<Run>> {
        self.runs().open.values().cloned().collect()
    }

    /// Enters a run that goes on. One that comes when the daemon has begun to go away is suspended at once.
    pub(crate) fn enter(&self, shared: &Shared, run: &Arc<Run>) {
        let mut runs = self.runs();
        runs.recovering.remove(&run.id);
        runs.open.insert(run.id, Arc::clone(run));
        drop(runs);
        self.changed.send_replace(());
        if shared.draining.is_cancelled() {
            run.suspend();
        }
    }

    /// A run that went on is to be put together again.
    pub(crate) fn recover(&self, mut view: RunView) {
        view.state = RunState::Recovering;
        let mut runs = self.runs();
        runs.open.remove(&view.run);
        runs.recovering.insert(view.run, view);
    }

    /// A run is over.
    pub(crate) fn end(&self, view: &RunView) {
        self.runs().end(view);
        self.changed.send_replace(());
    }

    /// What was said in a run that is over was erased: it is shown no more.
    pub(crate) fn forget(&self, id: RunId) {
        let mut runs = self.runs();
        runs.ended.remove(&id);
        runs.order.retain(|known| *known != id);
    }

    /// A run that goes on; one that is being put together again is waited for.
    pub(crate) async fn find(&self, id: RunId) -> Option<Arc<Run>> {
        let mut changed = self.changed.subscribe();
        loop {
            {
                let runs = self.runs();
                if let Some(run) = runs.open.get(&id) {
                    return Some(Arc::clone(run));
                }
                if !runs.recovering.contains_key(&id) {
                    return None;
                }
            }
            changed.changed().await.ok()?;
        }
    }

    /// A run that goes on, if it does now.
    pub(crate) fn find_now(&self, id: RunId) -> Option<Arc<Run>> {
        self.runs().open.get(&id).cloned()
    }

    /// Whether a run is being put together again, or waits for that.
    pub(crate) fn is_recovering(&self, id: RunId) -> bool {
        self.runs().recovering.contains_key(&id)
    }

    /// What was seen of the end of a run.
    pub(crate) fn ended(&self, id: RunId) -> Option<RunView> {
        self.runs().ended.get(&id).cloned()
    }

    /// A line for each run: those that are not over, then the newest of the others; at most `limit`.
    pub(crate) fn list(&self, limit: usize) -> Vec<RunView> {
        let runs = self.runs();
        let mut views: Vec<RunView> = runs.open.values().map(|run| run.summary()).collect();
        views.extend(runs.recovering.values().cloned());
        views.sort_by_key(|view| std::cmp::Reverse(view.submitted));
        let room = limit.saturating_sub(views.len());
        let over = runs.order.iter().rev().take(room);
        views.extend(over.filter_map(|id| runs.ended.get(id)).cloned());
        views.truncate(limit);
        views
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runs {
    fn end(&mut self, view: &RunView) {
        self.open.remove(&view.run);
        self.recovering.remove(&view.run);
        let mut view = view.summary();
        if let Some(Outcome::Succeeded {
            output: Value::Text { text },
        }) = &mut view.outcome
        {
            // The whole of it is in the journal.
            *text = text::preview(text, limits::PREVIEW_BYTES_MAX);
        }
        self.order.push_back(view.run);
        self.ended.insert(view.run, view);
        while self.order.len() > limits::RUNS_REMEMBERED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.ended.remove(&oldest);
            }
        }
    }
}

/// A run as it is shown when nobody can tell more: it failed for this reason.
pub(crate) fn failed(mut view: RunView, shared: &Shared, failure: Failure) -> RunView {
    view.state = aaos_core::event::RunState::Failed;
    view.finished = Some(shared.now());
    view.outcome = Some(Outcome::Failed { failure });
    view
}
