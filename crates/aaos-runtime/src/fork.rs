//! Forks: a run that keeps what another did before a step, and goes its own way from there.
//!
//! The new run's record begins with everything that it takes over, so that from its first moment it is like a run
//! that was cut off there: it is put together from its record, and goes on. What an agent of the other run had asked and
//! been told before the step is the past of the new run's agent, under the new run's identities; nothing of it is
//! performed, charged or recorded again. Artifacts that are taken over stay where they are: those in the other run's
//! own folder are named by their path there.
//!
//! Refuses: a step that the other run does not have, a turn whose calls have not ended, and what has been erased.

mod piece;

pub(crate) use piece::inherited;

use crate::{
    goals::{self, Runtime},
    replay,
    restore::{self, Restored},
    resume,
    terms::Terms,
};
use aaos_core::{
    event::{Draft, Event, Fork, Kind, ModeSource, Outcome, RunView, Seq},
    failure::Failure,
    id::{RunId, SubtaskId},
    plan::Plan,
};
use aaos_ports::{Digest, Durability, ForkOrder, GoalError};
use std::collections::{BTreeMap, BTreeSet};

/// Starts a run that keeps what another did before a step.
///
/// # Errors
/// `Unknown`, `Invalid`, `Unavailable`.
pub(crate) async fn fork(runtime: &Runtime, order: ForkOrder) -> Result<RunId, GoalError> {
    let shared = &runtime.shared;
    runtime.may_begin(order.operator)?;
    let events = replay::load(shared, order.run).await?;
    let source = RunView::fold(&events).ok_or(GoalError::Unknown(order.run))?;
    drop(events);
    let plan = plan_of(&source, &order.at)?;
    let terms = changed(Terms::load(shared, &source.terms).await, &order)?;
    let id = shared.deps.ids.run();
    let fork = Fork {
        run: order.run,
        at: order.at.clone(),
        turns_kept: order.turns_kept,
    };
    let taken_over = inherited(shared, id, &fork).await.map_err(invalid)?;
    still_there(runtime, order.run, &taken_over).await?;
    let kept = kept(&source, &plan, &order.at);
    let stored = terms.store(shared).await?;
    let first = goals::submitted(shared, id, &terms, stored, Some(fork));
    let mode = source.mode.unwrap_or(aaos_core::event::Mode::Plan);
    let begun = vec![
        Kind::OrchestrationSelected {
            mode,
            source: ModeSource::Explicit,
        },
        Kind::PlanProduced {
            plan,
            replans_used: 0,
        },
    ];
    let grants = granted(runtime, id, terms, &first)?;
    let rest = grants.into_iter().chain(begun).chain(kept);
    begin(runtime, id, first, rest.collect()).await?;
    Ok(id)
}

/// The other run's last plan, which has this subtask.
fn plan_of(source: &RunView, at: &SubtaskId) -> Result<Plan, GoalError> {
    let run = source.run;
    let Some(plan) = &source.plan else {
        return Err(GoalError::Invalid {
            problem: format!("{run} has no plan yet, so there is no step to go on from"),
            next_step: "Submit its goal again instead".to_owned(),
        });
    };
    let ids: Vec<&str> = plan
        .subtasks
        .iter()
        .map(|known| known.id.as_str())
        .collect();
    if ids.contains(&at.as_str()) {
        return Ok(plan.clone());
    }
    Err(GoalError::Invalid {
        problem: format!("{run} has no subtask `{at}`"),
        next_step: format!("It has: {}", ids.join(", ")),
    })
}

/// The other run's terms, as they are to be from now on.
fn changed(terms: Result<Terms, Failure>, order: &ForkOrder) -> Result<Terms, GoalError> {
    let mut terms = terms.map_err(invalid)?;
    if let Some(text) = &order.model {
        terms.models = goals::models_named(text)?;
        terms.submit.model = Some(text.clone());
    }
    terms.submit.grants.clone_from(&order.grants);
    terms.submit.budget = order.budget;
    terms.submit.role_budgets.clone_from(&order.role_budgets);
    for rule in &order.approve {
        if !terms.submit.approve.contains(rule) {
            terms.submit.approve.push(rule.clone());
        }
    }
    terms.submit.operator = order.operator;
    Ok(terms)
}

/// What has succeeded and rests on nothing that is done again.
fn kept(source: &RunView, plan: &Plan, at: &SubtaskId) -> Vec<Kind> {
    let again = again(plan, at);
    let kept = source
        .subtasks
        .iter()
        .filter_map(|view| match &view.outcome {
            Some(Outcome::Succeeded { output }) if !again.contains(&view.id) => {
                Some(Kind::SubtaskKept {
                    subtask: view.id.clone(),
                    output: output.clone(),
                })
            }
            _ => None,
        });
    kept.collect()
}

/// A subtask and all that need it, over any number of steps.
fn again(plan: &Plan, at: &SubtaskId) -> BTreeSet<SubtaskId> {
    let mut needed_by: BTreeMap<SubtaskId, Vec<SubtaskId>> = BTreeMap::new();
    for subtask in &plan.subtasks {
        for need in subtask.needs() {
            needed_by.entry(need).or_default().push(subtask.id.clone());
        }
    }
    let mut again = BTreeSet::new();
    let mut next = vec![at.clone()];
    while let Some(id) = next.pop() {
        next.extend(needed_by.remove(&id).unwrap_or_default());
        again.insert(id);
    }
    again
}

/// Checks that every body the agent's past names is there before anything is recorded.
async fn still_there(runtime: &Runtime, run: RunId, past: &[Event]) -> Result<(), GoalError> {
    for event in past {
        let digest = match &event.kind {
            Kind::ModelReplied { reply, .. } => reply,
            Kind::ToolResult { output, .. } => output,
            _ => continue,
        };
        let digest = Digest(digest.clone());
        if runtime.shared.deps.journal.get(&digest).await.is_err() {
            return Err(replay::gone(run, &format!("the body {digest}")));
        }
    }
    Ok(())
}

/// What the new run is granted, its own folder included.
fn granted(
    runtime: &Runtime,
    id: RunId,
    terms: Terms,
    first: &Draft,
) -> Result<Vec<Kind>, GoalError> {
    let run = goals::fresh(&runtime.shared, id, terms, Seq(0), first.clone())?;
    run.issue_grants().map_err(invalid)
}

/// Records what the new run begins with, all of it or nothing, and lets it go on from there.
async fn begin(
    runtime: &Runtime,
    id: RunId,
    first: Draft,
    rest: Vec<Kind>,
) -> Result<(), GoalError> {
    let shared = &runtime.shared;
    let journal = &shared.deps.journal;
    let time = first.time;
    let subject = first.subject;
    let known = goals::begun(&first, Seq(0))?;
    let rest = rest.into_iter().map(|kind| Draft {
        time,
        subject,
        kind,
    });
    let all = std::iter::once(first).chain(rest).collect();
    journal.append(all, Durability::Durable).await?;
    match restore::restore(shared, id).await {
        Ok(Restored { run, begun, .. }) => {
            runtime.registry.enter(shared, &run);
            resume::carry_on(shared, &runtime.registry, run, begun);
            Ok(())
        }
        Err(Failure::Journal { .. }) => {
            // It is recorded, and goes on as soon as it can be read.
            resume::later(shared, &runtime.registry, known);
            Ok(())
        }
        Err(failure) => {
            resume::give_up(shared, &runtime.registry, known, failure.clone()).await;
            Err(invalid(failure))
        }
    }
}

pub(crate) fn invalid(failure: Failure) -> GoalError {
    match failure {
        Failure::Unrecoverable { problem, next_step } => GoalError::Invalid { problem, next_step },
        Failure::Journal { message } => GoalError::Unavailable { reason: message },
        other => GoalError::Failed(Box::new(other)),
    }
}
