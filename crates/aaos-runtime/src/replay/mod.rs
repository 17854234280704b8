//! Replay: a run carried out again by the same executor on recorded ports. No model is asked, no tool is called, nobody
//! is asked for approval, nothing is written; then what it decided is compared with what it had decided.
//!
//! Refuses: a record too large to be held, and one whose bodies are gone.

mod backend;
mod compare;
mod journal;
mod provider;
mod record;
mod stage;
mod steps;
mod words;

use crate::{
    deps::{Config, Deps},
    limits,
    purse::DayLimit,
    restore::{self, Restored},
    shared::Shared,
};
use aaos_core::{
    budget::Budget,
    event::{Ahead, BackendName, Event, Kind, Seq},
    failure::Failure,
    id::RunId,
    money::MicroDollars,
    time::Timestamp,
};
use aaos_ports::{Filter, GoalError, JournalError, Replayed};
use record::{End, Record};
use stage::Stage;
use std::{collections::BTreeSet, num::NonZeroUsize, sync::Arc};

/// Carries a run out again from its record and compares.
///
/// # Errors
/// `Unknown`; `Invalid` if its record is too large, or part of it is gone.
pub(crate) async fn replay(shared: &Shared, run: RunId) -> Result<Replayed, GoalError> {
    let events = load(shared, run).await?;
    let (first, name) = beginning_of(run, &events)?;
    let record = Record::of(run, &events);
    let real = Arc::clone(&shared.deps.journal);
    let stage = Arc::new(Stage::new(record, real, first));
    let begun = beginning(&events);
    drop(events);
    let journal = Arc::new(journal::Recorded::new(Arc::clone(&stage), begun));
    let deps = recorded(&shared.deps, &stage, Arc::clone(&journal), name);
    let replayed = Shared::new(deps).map_err(|error| GoalError::Unavailable {
        reason: error.to_string(),
    })?;
    perform(Arc::new(replayed), &stage, run).await?;
    if let Some(digest) = stage.missing() {
        return Err(gone(run, &format!("the body {digest}")));
    }
    let (played, counts) = stage.finish();
    let (events, divergence) = compare::compare(&stage, &played, &*journal).await;
    let ends_at = match &stage.record.end {
        End::Whole => None,
        End::Early { why, .. } => Some(why.clone()),
    };
    Ok(Replayed {
        run,
        events,
        replies: counts.replies,
        results: counts.results,
        ends_at,
        divergence,
    })
}

/// Every event of a run.
pub(crate) async fn load(shared: &Shared, run: RunId) -> Result<Vec<Event>, GoalError> {
    let filter = Filter {
        run: Some(run),
        ..Filter::default()
    };
    let mut events: Vec<Event> = Vec::new();
    loop {
        let after = events.last().map_or(Seq(0), |event| event.seq);
        let journal = &shared.deps.journal;
        let page = journal.read(&filter, after, limits::EVENTS_PAGE).await;
        let page = page.map_err(|error| unread(run, error))?;
        let last = page.len() < limits::EVENTS_PAGE;
        events.extend(page);
        if events.len() > limits::EVENTS_REPLAYED_MAX {
            return Err(GoalError::Invalid {
                problem: format!(
                    "{run} has more than {} events, which is more than is held in memory",
                    limits::EVENTS_REPLAYED_MAX
                ),
                next_step: format!("`agentd logs {run}` shows them one by one"),
            });
        }
        if last {
            break;
        }
    }
    if events.is_empty() {
        return Err(GoalError::Unknown(run));
    }
    let erased = |event: &&Event| matches!(event.kind, Kind::Erased { .. });
    match events.iter().find(erased) {
        Some(event) => Err(gone(run, &format!("the content of event {}", event.seq.0))),
        None => Ok(events),
    }
}

/// A record that cannot be read: now, or, if it is damaged, ever.
fn unread(run: RunId, error: JournalError) -> GoalError {
    match error {
        JournalError::Damaged { seq, message, .. } => GoalError::Invalid {
            problem: format!("the record of {run} is damaged at event {seq}: {message}"),
            next_step: "Submit the goal again; `agentd audit verify` shows what is damaged"
                .to_owned(),
        },
        error => error.into(),
    }
}

/// What is not there any more, so that nothing can be made of the record.
pub(crate) fn gone(run: RunId, what: &str) -> GoalError {
    GoalError::Invalid {
        problem: format!("the record of {run} is not whole: {what} is gone"),
        next_step: "It was erased, or its time had come; `agentd audit verify` tells which bodies are there"
            .to_owned(),
    }
}

fn beginning_of(run: RunId, events: &[Event]) -> Result<(Timestamp, BackendName), GoalError> {
    match events.first() {
        Some(Event {
            time,
            kind: Kind::RunSubmitted { backend, .. },
            ..
        }) => Ok((*time, backend.clone())),
        _ => Err(gone(run, "its first event")),
    }
}

/// What the run began with: its submission, and what a fork takes over.
fn beginning(events: &[Event]) -> Vec<Event> {
    let forked = matches!(
        events.first().map(|event| &event.kind),
        Some(Kind::RunSubmitted {
            forked: Some(_),
            ..
        })
    );
    if !forked {
        return events.iter().take(1).cloned().collect();
    }
    let planned = events
        .iter()
        .position(|event| matches!(event.kind, Kind::PlanProduced { .. }));
    let planned = planned.unwrap_or(0);
    let rest = events.iter().skip(planned.saturating_add(1));
    let kept = rest
        .take_while(|event| matches!(event.kind, Kind::SubtaskKept { .. }))
        .count();
    let length = planned.saturating_add(kept).saturating_add(1);
    events.iter().take(length).cloned().collect()
}

/// The ports of a replay.
fn recorded(
    real: &Deps,
    stage: &Arc<Stage>,
    journal: Arc<journal::Recorded>,
    name: BackendName,
) -> Deps {
    let backend = backend::Recorded {
        stage: Arc::clone(stage),
        name,
    };
    let provider = provider::Recorded::new(Arc::clone(stage), Arc::clone(&real.provider));
    Deps {
        journal,
        provider: Arc::new(provider),
        models: real.models.clone(),
        catalog: Arc::clone(&real.catalog),
        backend: Arc::new(backend),
        tools: real.tools.clone(),
        secrets: Arc::clone(&real.secrets),
        clock: Arc::new(journal::RecordedTime(Arc::clone(stage))),
        ids: Arc::clone(&real.ids),
        bell: None,
        config: Config {
            // A request whose answer is not recorded any more keeps its slot to the end.
            slots: NonZeroUsize::MAX,
            budget_operator_day: DayLimit::default(),
            budget_day: DayLimit::default(),
            ..real.config.clone()
        },
    }
}

/// Lets the run go on until it has ended, or its record has.
async fn perform(shared: Arc<Shared>, stage: &Arc<Stage>, run: RunId) -> Result<(), GoalError> {
    let over = stage.over.clone();
    let _over = over.drop_guard_ref();
    let Restored { run, begun, .. } = restore::restore(&shared, run).await.map_err(unreadable)?;
    let _ended = run.ending.on_drop();
    stage.enter(&run);
    prepare(&run, stage);
    let performing = Arc::clone(&run).perform(begun);
    tokio::pin!(performing);
    tokio::select! {
        biased;
        () = &mut performing => return Ok(()),
        () = record_ended(stage) => {}
    }
    over.cancel();
    run.ending.end(Failure::Interrupted);
    // Nothing answers any more and nothing is recorded, so all of it ends by itself.
    let unwound = tokio::time::timeout(limits::REPLAY_UNWIND_MAX.as_duration(), performing);
    if unwound.await.is_err() {
        tracing::warn!(run = %run.id, "a replay did not end in time; what is left of it does nothing");
    }
    Ok(())
}

/// What a replay changes in a run before it goes on: nobody is asked for approval, and the budget is the last one it had.
fn prepare(run: &crate::run::Run, stage: &Stage) {
    let mut view = run
        .view
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let of_roles = run.roles.values().flat_map(|role| &role.approve);
    let rules = run.submit.approve.iter().chain(of_roles);
    let rules: BTreeSet<String> = rules.map(ToString::to_string).collect();
    let ahead = rules.iter().flat_map(|rule| {
        run.shared.tools.keys().map(move |tool| Ahead {
            tool: tool.to_string(),
            rule: rule.clone(),
            until: Timestamp::from_micros(u64::MAX),
        })
    });
    view.approved_ahead = ahead.collect();
    let held = stage.record.budget.unwrap_or(view.budget);
    drop(view);
    run.ledger().raise(if stage.record.ends_at_limit() {
        Budget {
            tokens: u64::MAX,
            cost: MicroDollars(u64::MAX),
            calls: u64::MAX,
            agents: u64::MAX,
            ..held
        }
    } else {
        held
    });
    for event in &stage.record.denied {
        run.past.take_up(event);
    }
}

/// Waits until every line is as long as its record, or nothing has happened for a while.
async fn record_ended(stage: &Stage) {
    let mut activity = stage.activity.subscribe();
    loop {
        if stage.is_done() {
            return;
        }
        tokio::select! {
            biased;
            _ = activity.changed() => {}
            () = tokio::time::sleep(limits::REPLAY_QUIET_MAX.as_duration()) => return,
        }
    }
}

fn unreadable(failure: Failure) -> GoalError {
    match failure {
        Failure::Unrecoverable { problem, next_step } => GoalError::Invalid { problem, next_step },
        other => GoalError::Unavailable {
            reason: other.to_string(),
        },
    }
}
