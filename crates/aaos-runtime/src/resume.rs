//! Going on with runs that were open when the daemon ended: each is put together again, beside whatever else goes on,
//! and carried on from where it was.
//!
//! Refuses: to bring the daemon down over a run that cannot be put together. That run fails and says why; the others go
//! on.

use crate::{
    carry, limits,
    past::Past,
    progress::Begun,
    record::{Who, journal_failure},
    recover,
    registry::{self, Registry},
    restore::{self, Restored},
    run::Run,
    shared::Shared,
};
use aaos_core::{
    budget::Ledger,
    event::{Draft, Event, Kind, Outcome, RunView, Subject},
    failure::Failure,
    id::RunId,
    time::Span,
};
use aaos_ports::{Durability, Filter, JournalError};
use futures::StreamExt;
use std::sync::Arc;

/// Takes these runs up again, the first ones first.
pub(crate) async fn resume_all(
    shared: Arc<Shared>,
    registry: Arc<Registry>,
    open: Vec<(RunView, u32)>,
) {
    let each = futures::stream::iter(open);
    each.for_each_concurrent(limits::RECOVERIES_PARALLEL_MAX, |(view, attempt)| {
        let (shared, registry) = (&shared, &registry);
        async move {
            if !shared.draining.is_cancelled() {
                resume(shared, registry, view, attempt).await;
            }
        }
    })
    .await;
}

async fn resume(shared: &Arc<Shared>, registry: &Arc<Registry>, view: RunView, attempt: u32) {
    if attempt <= limits::RECOVERIES_MAX || waits(shared, view.run).await {
        return put_together(shared, registry, view, limits::RETAKE_WAIT_MIN).await;
    }
    let failure = Failure::Unrecoverable {
        problem: format!(
            "the daemon ended {} times in a row while it was taken up again, and it got no further",
            attempt.saturating_sub(1)
        ),
        next_step: format!(
            "The daemon's own messages say why it ended. `agentd fork {} --at SUBTASK` begins a run with what had \
             finished before a subtask",
            view.run
        ),
    };
    give_up(shared, registry, view, failure).await;
}

/// Whether a run waits for the operator: it gets no further by itself, whatever ends its daemons. One that cannot be read
/// may.
async fn waits(shared: &Shared, run: RunId) -> bool {
    let waits = |view: RunView| !view.waiting.is_empty() || view.parked.is_some();
    let known = recover::whole(shared, run).await;
    known.map_or(true, |view| view.is_some_and(waits))
}

/// Puts a run together again and carries it on. One that cannot be read now is tried again after `wait`.
async fn put_together(shared: &Arc<Shared>, registry: &Arc<Registry>, view: RunView, wait: Span) {
    match restore::restore(shared, view.run).await {
        Ok(restored) => go_on(shared, registry, restored, wait).await,
        Err(Failure::Journal { message }) => {
            tracing::warn!(run = %view.run, %message, "the run waits for the journal");
            retake(shared, registry, view.run, None, wait);
        }
        Err(failure) => give_up(shared, registry, view, failure).await,
    }
}

/// Enters a run that was put together again, and carries it on.
async fn go_on(shared: &Arc<Shared>, registry: &Arc<Registry>, restored: Restored, wait: Span) {
    let Restored {
        run,
        begun,
        stopping,
    } = restored;
    if stopping {
        run.ending.end(Failure::Stopped);
    }
    registry.enter(shared, &run);
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let resumed = Kind::RunResumed {
        subtasks_kept: begun.kept(),
        agents_resumed: count(run.past.agents()),
        calls_cut_off: count(run.past.cut_off()),
    };
    // If the journal takes nothing, nothing of the run will be recorded, and its own steps say so.
    if let Err(failure) = run.record(Who::RUN, resumed).await {
        tracing::warn!(run = %run.id, %failure, "that the run goes on could not be recorded");
    }
    carry(shared, registry, run, begun, wait);
}

/// Lets a run be carried out, from wherever it is, by a task of the runtime's.
pub(crate) fn carry_on(
    shared: &Arc<Shared>,
    registry: &Arc<Registry>,
    run: Arc<Run>,
    begun: Begun,
) {
    carry(shared, registry, run, begun, limits::RETAKE_WAIT_MIN);
}

/// The same; if the journal holds it up soon, it is taken up again after `wait`.
fn carry(shared: &Arc<Shared>, registry: &Arc<Registry>, run: Arc<Run>, begun: Begun, wait: Span) {
    let (shared, registry) = (Arc::clone(shared), Arc::clone(registry));
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        Arc::clone(&run).perform(begun).await;
        if !run.is_suspended() {
            return registry.end(&run.summary());
        }
        registry.recover(run.summary());
        let for_long = run.patience.worked() > limits::RETAKE_WAIT_MAX;
        let wait = if for_long {
            limits::RETAKE_WAIT_MIN
        } else {
            wait
        };
        let id = run.id;
        retake(&shared, &registry, id, Some(run), wait);
    });
}

/// Takes a run up again that the journal holds up, as soon as it can be read and recorded; ever later if that goes on.
/// One that is suspended because the daemon goes away is left to the next. `owing` is the run as it went on here: what it
/// could not record is recorded first.
fn retake(
    shared: &Arc<Shared>,
    registry: &Arc<Registry>,
    run: RunId,
    owing: Option<Arc<Run>>,
    mut wait: Span,
) {
    let (shared, registry) = (Arc::clone(shared), Arc::clone(registry));
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        loop {
            tokio::select! {
                biased;
                () = shared.draining.cancelled() => return,
                () = tokio::time::sleep(wait.as_duration()) => {}
            }
            wait = Span::from_micros(wait.micros().saturating_mul(2)).min(limits::RETAKE_WAIT_MAX);
            match take_again(&shared, run, owing.as_deref()).await {
                Ok(view) => return put_together(&shared, &registry, view, wait).await,
                Err(failure) => {
                    tracing::warn!(%run, %failure, "the run waits for the journal");
                }
            }
        }
    });
}

async fn take_again(shared: &Shared, id: RunId, owing: Option<&Run>) -> Result<RunView, Failure> {
    if let Some(run) = owing {
        run.record_owed().await?;
    }
    let again = recover::again(shared, id).await;
    again.map_err(|error| journal_failure(&error))
}

/// Takes up a run later that is recorded and could not be read.
pub(crate) fn later(shared: &Arc<Shared>, registry: &Arc<Registry>, known: RunView) {
    let run = known.run;
    registry.recover(known);
    retake(shared, registry, run, None, limits::RETAKE_WAIT_MIN);
}

/// Ends a run that cannot be put together again.
pub(crate) async fn give_up(
    shared: &Shared,
    registry: &Registry,
    known: RunView,
    failure: Failure,
) {
    if let Err(error) = record_end(shared, known.run, &failure).await {
        tracing::error!(run = %known.run, %error, "the end of the run could not be recorded");
    }
    registry.end(&registry::failed(known, shared, failure));
}

async fn record_end(shared: &Shared, id: RunId, failure: &Failure) -> Result<(), JournalError> {
    let filter = Filter {
        run: Some(id),
        ..Filter::default()
    };
    let mut left: Option<Left> = None;
    recover::each(shared, &filter, |event| match &mut left {
        Some(left) => left.take_up(event),
        None => left = Left::begin(event),
    })
    .await?;
    let Some(left) = left else { return Ok(()) };
    let cause = Some(left.view.last);
    let time = shared.now();
    let drafts = left
        .ends(shared, failure)
        .into_iter()
        .map(|(who, kind)| Draft {
            time,
            subject: Subject {
                run: Some(id),
                agent: who.agent,
                call: who.call,
                cause,
            },
            kind,
        });
    let journal = &shared.deps.journal;
    journal
        .append(drafts.collect(), Durability::Durable)
        .await
        .map(drop)
}

/// What a run that cannot be put together leaves open.
struct Left {
    view: RunView,
    books: Ledger,
    past: Past,
}

impl Left {
    fn begin(first: &Event) -> Option<Self> {
        let view = RunView::begin(first)?;
        let books = Ledger::new(view.budget);
        let past = Past::default();
        Some(Self { view, books, past })
    }

    fn take_up(&mut self, event: &Event) {
        self.view.apply(event);
        self.books.take_up(event);
        if event.subject.call.is_some() {
            self.past.take_up(event);
        }
    }

    /// Everything that is recorded of its end: what may have been paid for counts as spent, what may have happened is in
    /// doubt.
    fn ends(mut self, shared: &Shared, failure: &Failure) -> Vec<(Who, Kind)> {
        let mut ends = Vec::new();
        let mut usage = self.view.usage;
        while let Some((agent, model)) = self.books.any_lost() {
            let Some(reservation) = self.books.lost(agent) else {
                break;
            };
            let (tokens, cost, worst) = (
                reservation.tokens(),
                reservation.cost(),
                reservation.worst(),
            );
            self.books.settle(reservation, worst);
            usage = usage.plus(worst);
            let hold = shared.purse.lost(self.view.run, agent, self.view.operator);
            shared.purse.settle(shared.now(), hold, worst);
            let abandoned = Kind::ModelAbandoned {
                model,
                tokens,
                cost,
            };
            ends.push((Who { agent, call: None }, abandoned));
        }
        shared.purse.forget(self.view.run);
        ends.extend(shared.in_doubt(self.past.unseen(None)));
        ends.extend(carry::open_ends(&self.view, failure));
        let outcome = Outcome::Failed {
            failure: failure.clone(),
        };
        ends.push((Who::RUN, Kind::RunFinished { outcome, usage }));
        ends
    }
}
