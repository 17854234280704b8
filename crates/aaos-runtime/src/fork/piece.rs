//! The piece of another run's record that an agent of a fork goes on from: so many model exchanges and the calls they
//! led to, under the fork's identities.

use super::replay;
use crate::{limits, shared::Shared};
use aaos_core::{
    event::{Event, Fork, Kind, RunView},
    failure::Failure,
    id::{AgentId, CallId, RunId, SubtaskId},
    lineage::Place,
    plan::Plan,
};
use aaos_ports::GoalError;
use std::collections::{BTreeMap, BTreeSet};

/// The past that the agent of the fork's first subtask begins with; nothing if it begins anew.
///
/// # Errors
/// `Unrecoverable` if the other run does not have so much, or part of it is gone; `Journal`.
pub(crate) async fn inherited(
    shared: &Shared,
    run: RunId,
    fork: &Fork,
) -> Result<Vec<Event>, Failure> {
    let mut chain = Vec::new();
    let mut next = (fork.turns_kept > 0).then(|| (run, fork.clone()));
    while let Some((run, fork)) = next {
        if chain.len() >= limits::FORKS_CHAINED_MAX {
            return Err(otherwise(format!(
                "it was forked from forks more than {} deep",
                limits::FORKS_CHAINED_MAX
            )));
        }
        let events = replay::load(shared, fork.run).await.map_err(unreadable)?;
        let link = Link::of(run, &fork, events)?;
        next = link.above.clone();
        chain.push(link);
    }
    // The oldest first: each goes on where the one above it had come.
    let mut piece = Vec::new();
    for link in chain.into_iter().rev() {
        piece = link.take_over(piece)?;
    }
    Ok(piece)
}

/// One fork and what the agent of its step had done in the run it was made from.
struct Link {
    /// The new run and its agent.
    run: RunId,
    agent: AgentId,
    fork: Fork,
    /// The other run's agent, and its events and its calls'.
    other: AgentId,
    events: Vec<Event>,
    /// If the other run's agent had itself begun with a past: that run, and the fork it was.
    above: Option<(RunId, Fork)>,
}

impl Link {
    fn of(run: RunId, fork: &Fork, events: Vec<Event>) -> Result<Self, Failure> {
        let absent = |what: &str| otherwise(format!("{} {what} `{}`", fork.run, fork.at));
        let view = RunView::fold(&events).ok_or_else(|| absent("has no record of"))?;
        let last = view.plan.as_ref();
        let agent = last.and_then(|plan| agent_of(run, plan, &fork.at));
        let agent = agent.ok_or_else(|| absent("has no subtask"))?;
        let subtask = view.subtask(&fork.at);
        let other = subtask.and_then(|subtask| subtask.agent);
        let other = other.ok_or_else(|| absent("has not begun"))?;
        let first = first_plan(&events).and_then(|plan| agent_of(fork.run, plan, &fork.at));
        let own = |event: &Event| event.subject.agent == Some(other);
        let above = view
            .forked
            .filter(|above| above.at == fork.at && above.turns_kept > 0 && first == Some(other));
        Ok(Self {
            run,
            agent,
            fork: fork.clone(),
            other,
            events: events.into_iter().filter(own).collect(),
            above: above.map(|above| (fork.run, above)),
        })
    }

    /// What is taken over, under the new run's identities. `before` is what the other run's agent had begun with.
    fn take_over(self, before: Vec<Event>) -> Result<Vec<Event>, Failure> {
        let mut piece = Piece::default();
        let all = before.iter().chain(&self.events);
        for event in all {
            if !piece.take(event, self.fork.turns_kept) {
                break;
            }
        }
        piece.check(&self.fork)?;
        let names = names(&piece.events, self.other, self.agent);
        let renamed = piece.events.into_iter().filter_map(|mut event| {
            event.subject.run = Some(self.run);
            event.subject.agent = Some(self.agent);
            event.subject.cause = None;
            if let Some(call) = event.subject.call {
                event.subject.call = Some(*names.get(&call)?);
            }
            Some(event)
        });
        Ok(renamed.collect())
    }
}

/// The agent that carries out a subtask of this plan when nothing came before the plan.
fn agent_of(run: RunId, plan: &Plan, at: &SubtaskId) -> Option<AgentId> {
    let position = plan.subtasks.iter().position(|known| known.id == *at)?;
    Some(run.agent(Place {
        plan: 0,
        position: u32::try_from(position).ok()?,
        attempt: 0,
    }))
}

fn first_plan(events: &[Event]) -> Option<&Plan> {
    events.iter().find_map(|event| match &event.kind {
        Kind::PlanProduced { plan, .. } => Some(plan),
        _ => None,
    })
}

/// What is taken over while it is taken.
#[derive(Default)]
struct Piece {
    events: Vec<Event>,
    exchanges: u32,
    /// Calls that have begun and not ended.
    open: BTreeSet<CallId>,
    invoked: BTreeSet<CallId>,
}

impl Piece {
    /// Takes the agent's next event, unless it belongs to the first exchange that is not kept.
    fn take(&mut self, event: &Event, turns: u32) -> bool {
        if let Some(call) = event.subject.call {
            self.take_call(call, event);
            return true;
        }
        match &event.kind {
            Kind::ModelRequested { .. } if self.exchanges >= turns => return false,
            Kind::BudgetRefused { .. } => return false,
            Kind::ModelReplied { .. } => self.exchanges = self.exchanges.saturating_add(1),
            Kind::ModelAbandoned { .. } => {
                // Nobody waited for it: it is asked again, or not kept.
                let asked = |last: &mut Event| matches!(last.kind, Kind::ModelRequested { .. });
                self.events.pop_if(asked);
                return true;
            }
            Kind::ModelRequested { .. }
            | Kind::ModelFailed { .. }
            | Kind::ContextSummarized { .. }
            | Kind::ContextSummarizationFailed { .. }
            | Kind::SubtaskOutputMissing { .. }
            | Kind::OutputFound { .. } => {}
            _ => return true,
        }
        self.events.push(event.clone());
        true
    }

    fn take_call(&mut self, call: CallId, event: &Event) {
        match &event.kind {
            Kind::ToolInvoked { .. } => {
                self.invoked.insert(call);
                self.open.insert(call);
            }
            Kind::ApprovalRequested { .. } | Kind::BudgetRefused { .. } => {
                self.open.insert(call);
            }
            Kind::ToolResult { .. }
            | Kind::ToolRejected { .. }
            | Kind::ToolRepeatGuardFired { .. } => {
                self.open.remove(&call);
            }
            Kind::CapabilityDenied { .. } if !self.invoked.contains(&call) => {
                self.open.remove(&call);
            }
            // What the call took, and whom it reached, the fork does neither take nor reach.
            Kind::CapabilityCharged { .. }
            | Kind::ConnectionAllowed { .. }
            | Kind::ConnectionRefused { .. }
            | Kind::ConnectionsOmitted { .. } => return,
            _ => {}
        }
        self.events.push(event.clone());
    }

    fn check(&self, fork: &Fork) -> Result<(), Failure> {
        if self.exchanges < fork.turns_kept {
            return Err(otherwise(format!(
                "the agent of `{}` has had {} answers, and {} were to be kept",
                fork.at, self.exchanges, fork.turns_kept
            )));
        }
        match self.open.first() {
            Some(call) => Err(otherwise(format!(
                "the call {call} of `{}` had not ended; keep fewer answers",
                fork.at
            ))),
            None => Ok(()),
        }
    }
}

/// The calls of one agent as the other makes them: the first is the first, and so on.
fn names(events: &[Event], other: AgentId, agent: AgentId) -> BTreeMap<CallId, CallId> {
    let calls: BTreeSet<CallId> = events.iter().filter_map(|e| e.subject.call).collect();
    // Every call an agent makes leaves an event, so there is no gap in their numbers but at the end.
    let numbers = 0..calls.len() as u64;
    numbers
        .map(|number| (other.call(number), agent.call(number)))
        .collect()
}

fn otherwise(problem: String) -> Failure {
    Failure::Unrecoverable {
        problem,
        next_step: "Fork it from an earlier step, or from one that is there".to_owned(),
    }
}

fn unreadable(error: GoalError) -> Failure {
    match error {
        GoalError::Invalid { problem, next_step } => Failure::Unrecoverable { problem, next_step },
        GoalError::Unavailable { reason } => Failure::Journal { message: reason },
        other => otherwise(other.to_string()),
    }
}
