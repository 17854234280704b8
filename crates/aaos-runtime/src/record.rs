//! Recording: an event goes into the journal first and into the run's view second.
//!
//! Refuses: what is recorded already, and, when the daemon goes away, whatever would make a suspended run look ended.

use crate::run::Run;
use aaos_core::{
    event::{Draft, Event, Kind, RunView, Seq, Subject},
    failure::Failure,
    id::{AgentId, CallId},
};
use aaos_ports::{Digest, Durability, JournalError};
use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use tokio::{runtime::Handle, sync::watch};
use tokio_util::task::TaskTracker;

/// Whose events these are.
#[derive(Clone, Copy, Default)]
pub(crate) struct Who {
    pub(crate) agent: Option<AgentId>,
    pub(crate) call: Option<CallId>,
}

impl Who {
    pub(crate) const RUN: Self = Self {
        agent: None,
        call: None,
    };

    pub(crate) const fn agent(agent: AgentId) -> Self {
        Self {
            agent: Some(agent),
            call: None,
        }
    }

    pub(crate) const fn call(agent: AgentId, call: CallId) -> Self {
        Self {
            agent: Some(agent),
            call: Some(call),
        }
    }
}

/// A journal that cannot be written ends whatever wanted to be recorded.
pub(crate) fn journal_failure(error: &JournalError) -> Failure {
    Failure::Journal {
        message: error.to_string(),
    }
}

/// Whether what was to be read is gone, rather than out of reach.
pub(crate) const fn is_gone(error: &JournalError) -> bool {
    matches!(
        error,
        JournalError::NoBlob(_) | JournalError::Damaged { .. }
    )
}

/// Acts whose intent is recorded and whose end is not: model requests and calls. One that goes on by parts, or that
/// waits for the operator, is none.
#[derive(Default)]
pub(crate) struct Flight(watch::Sender<BTreeSet<(Option<AgentId>, Option<CallId>)>>);

impl Flight {
    fn begin(&self, draft: &Draft) {
        let begins = matches!(
            draft.kind,
            Kind::ModelRequested { .. } | Kind::ToolInvoked { .. } | Kind::ToolRepeated { .. }
        );
        if begins {
            let line = (draft.subject.agent, draft.subject.call);
            self.0.send_modify(|open| {
                open.insert(line);
            });
        }
    }

    fn end(&self, draft: &Draft, failed: bool) {
        let Subject { agent, call, .. } = draft.subject;
        match draft.kind {
            Kind::AgentStopped { .. } => self
                .0
                .send_modify(|open| open.retain(|(whose, _)| *whose != agent)),
            Kind::ModelReplied { .. }
            | Kind::ModelFailed { .. }
            | Kind::ModelAbandoned { .. }
            | Kind::ToolResult { .. }
            | Kind::EffectInDoubt { .. } => self.remove((agent, call)),
            _ if failed => self.remove((agent, call)),
            _ => {}
        }
    }

    fn remove(&self, line: (Option<AgentId>, Option<CallId>)) {
        self.0.send_modify(|open| {
            open.remove(&line);
        });
    }
}

/// Folds events into a view; the last of them has this place.
fn fold(view: &Mutex<RunView>, drafts: Vec<Draft>, last: Seq) {
    let first = (last.0 + 1).saturating_sub(drafts.len() as u64);
    let mut view = view.lock().unwrap_or_else(PoisonError::into_inner);
    for (seq, draft) in (first..).map(Seq).zip(drafts) {
        view.apply_new(&Event {
            seq,
            time: draft.time,
            subject: draft.subject,
            kind: draft.kind,
        });
    }
}

/// Work that goes on in a task of its own if whoever waits for it goes away. While somebody waits it needs no task, and
/// no thread is woken for one.
struct Outlasting<'a, F: Future<Output: Send> + Send + 'static> {
    work: Option<Pin<Box<F>>>,
    tasks: &'a TaskTracker,
}

impl<'a, F: Future<Output: Send> + Send + 'static> Outlasting<'a, F> {
    fn new(work: F, tasks: &'a TaskTracker) -> Self {
        let work = Some(Box::pin(work));
        Self { work, tasks }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Outlasting<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(work) = &mut self.work else {
            return Poll::Pending;
        };
        let polled = work.as_mut().poll(context);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Outlasting<'_, F> {
    fn drop(&mut self) {
        // Without an executor the process is at its end, and the next start goes on from what the journal has.
        if let (Some(work), Ok(here)) = (self.work.take(), Handle::try_current()) {
            self.tasks.spawn_on(work, &here);
        }
    }
}

impl Run {
    /// Waits until an agent, or the run itself, has nothing in flight.
    pub(crate) async fn quiet(&self, agent: Option<AgentId>) {
        let mut open = self.flight.0.subscribe();
        // The sender lives as long as the run, so the wait cannot fail.
        let _ = open
            .wait_for(|open| open.iter().all(|(whose, _)| *whose != agent))
            .await;
    }

    /// Records one event.
    pub(crate) async fn record(&self, who: Who, kind: Kind) -> Result<Seq, Failure> {
        self.record_all(who, vec![kind], Durability::Ordered).await
    }

    /// Records a step of a line, unless the record has it already.
    pub(crate) async fn record_step(&self, who: Who, kind: Kind) -> Result<(), Failure> {
        if self.past.has(who.agent, &kind) {
            return Ok(());
        }
        self.record(who, kind).await.map(drop)
    }

    /// Records events together, in order, then folds them into the run's view.
    pub(crate) async fn record_all(
        &self,
        who: Who,
        kinds: Vec<Kind>,
        sure: Durability,
    ) -> Result<Seq, Failure> {
        if kinds.is_empty() {
            return Ok(self.cause(who).unwrap_or_default());
        }
        let last = self.append(who, kinds, sure).await?;
        self.remember_cause(who, last);
        Ok(last)
    }

    /// Records events that happen beside a line of events: they have its last one as their cause, and what follows in
    /// the line is not caused by them.
    pub(crate) async fn record_aside(
        &self,
        who: Who,
        kinds: Vec<Kind>,
        sure: Durability,
    ) -> Result<(), Failure> {
        if kinds.is_empty() {
            return Ok(());
        }
        self.append(who, kinds, sure).await.map(drop)
    }

    async fn append(&self, who: Who, kinds: Vec<Kind>, sure: Durability) -> Result<Seq, Failure> {
        if self.is_suspended() && !kinds.iter().all(|kind| self.outlasts_suspension(kind)) {
            return Err(Failure::Interrupted);
        }
        let time = self.shared.now();
        let draft = |(who, kind): (Who, Kind)| Draft {
            time,
            subject: self.subject(who),
            kind,
        };
        let owed = self.owed.take();
        let all = owed.iter().cloned();
        let all = all.chain(kinds.into_iter().map(|kind| (who, kind)));
        let drafts: Vec<Draft> = all.map(draft).collect();
        // Before they are recorded: whoever waits for quiet must not miss an intent that is on its way.
        drafts.iter().for_each(|draft| self.flight.begin(draft));
        let (shared, view) = (Arc::clone(&self.shared), Arc::clone(&self.view));
        let (debtor, flight) = (Arc::clone(&self.owed), Arc::clone(&self.flight));
        let held = self.children.token();
        let recording = async move {
            let _held = held;
            let appended = shared.deps.journal.append(drafts.clone(), sure).await;
            let failed = appended.is_err();
            drafts.iter().for_each(|draft| flight.end(draft, failed));
            match &appended {
                Ok(last) => fold(&view, drafts, *last),
                Err(_) => debtor.put_back(owed),
            }
            appended
        };
        // What has begun to be recorded is recorded and seen, even if whoever records it is stopped meanwhile.
        let appended = Outlasting::new(recording, &self.shared.tasks).await;
        appended.map_err(|error| {
            // With a gap in its record nothing of the run may follow. It goes on from what is recorded.
            self.suspend();
            journal_failure(&error)
        })
    }

    fn subject(&self, who: Who) -> Subject {
        Subject {
            run: Some(self.id),
            agent: who.agent,
            call: who.call,
            cause: self.cause(who),
        }
    }

    /// Records what ended where nobody could wait for the journal. What cannot be recorded is owed still.
    pub(crate) async fn record_owed(&self) -> Result<(), Failure> {
        if self.owed.is_empty() {
            return Ok(());
        }
        // Every append begins with what is owed.
        let nothing_more = Vec::new();
        let recorded = self.append(Who::RUN, nothing_more, Durability::Durable);
        recorded.await.map(drop)
    }

    /// Records of acts that were cut off with an earlier daemon, an agent's or all, that they are in doubt, if nobody has
    /// seen to them by the end of their agent.
    pub(crate) async fn record_unseen(&self, agent: Option<AgentId>) -> Result<(), Failure> {
        for (who, doubt) in self.shared.in_doubt(self.past.unseen(agent)) {
            self.record_all(who, vec![doubt], Durability::Durable)
                .await?;
            who.call.iter().for_each(|call| self.past.seen_to(*call));
        }
        Ok(())
    }

    /// Whether an event is still recorded when the daemon goes away: the receipts of what was in flight, and the
    /// operator's word. A call that is gone on with has none, for what it started is not at its end.
    fn outlasts_suspension(&self, kind: &Kind) -> bool {
        match kind {
            Kind::ToolResult { tool, .. } => !self.shared.goes_on(tool),
            Kind::ModelReplied { .. }
            | Kind::ModelFailed { .. }
            | Kind::ModelAbandoned { .. }
            | Kind::ModelRetried { .. }
            | Kind::UsageReported { .. }
            | Kind::ConnectionAllowed { .. }
            | Kind::ConnectionRefused { .. }
            | Kind::ConnectionsOmitted { .. }
            | Kind::CapabilityDenied { .. }
            | Kind::CapabilityCharged { .. }
            | Kind::RunStopRequested { .. }
            | Kind::ApprovalAnswered { .. }
            | Kind::BudgetRaised { .. } => true,
            Kind::CapabilityRevoked { operator, .. } | Kind::EffectSettled { operator, .. } => {
                operator.is_some()
            }
            _ => false,
        }
    }

    /// A stored body.
    ///
    /// # Errors
    /// What `gone` makes of it if it is; `Journal` if it cannot be read now. The run is suspended with that, and goes on
    /// when it can.
    pub(crate) async fn body(
        &self,
        digest: String,
        gone: impl FnOnce(String) -> Failure,
    ) -> Result<Vec<u8>, Failure> {
        let body = self.shared.deps.journal.get(&Digest(digest)).await;
        body.map_err(|error| {
            if is_gone(&error) {
                return gone(error.to_string());
            }
            self.suspend();
            journal_failure(&error)
        })
    }

    /// Stores a body and answers with its digest.
    pub(crate) async fn store(&self, body: Vec<u8>) -> Result<String, Failure> {
        let digest = self.shared.deps.journal.put(body).await.map_err(|error| {
            // What is to be recorded with it cannot be, either.
            self.suspend();
            journal_failure(&error)
        })?;
        Ok(digest.to_string())
    }
}
