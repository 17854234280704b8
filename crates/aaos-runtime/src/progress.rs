//! What a run has in hand while it walks its plan, and how it follows from the run's events.
//!
//! A plan that replaces another keeps what is finished and the rungs that were climbed. Refuses: a record of a subtask
//! that is in no plan; it is believed in all else.

use crate::{
    run::Run,
    subtask::{self, Ended},
};
use aaos_core::{
    event::{Event, Kind, Outcome, Seq},
    failure::{Failure, LimitKind},
    id::SubtaskId,
    lineage,
    plan::{
        Plan, Subtask, escalate,
        walk::{Effect, Input, Walk},
    },
    role::Signal,
    value::Value,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a run had done before it is carried on; nothing, for a fresh one.
#[derive(Default)]
pub(crate) struct Begun {
    /// Whether the operator's grants are recorded.
    pub(crate) granted: bool,
    /// Where the walk of its last plan is, if there is a plan.
    pub(crate) progress: Option<Progress>,
    /// What the next plan keeps of the last.
    kept: BTreeSet<SubtaskId>,
}

/// Where the walk of a plan is.
pub(crate) struct Progress {
    pub(crate) plan: Plan,
    pub(crate) outputs: BTreeMap<SubtaskId, Value>,
    pub(crate) rungs: BTreeMap<SubtaskId, usize>,
    pub(crate) failures: BTreeMap<SubtaskId, Failure>,
    /// Subtasks whose beginning is recorded and whose end is not.
    pub(crate) started: BTreeMap<SubtaskId, Started>,
    pub(crate) replans: u32,
}

/// A subtask whose beginning is recorded.
#[derive(Clone, Copy)]
pub(crate) struct Started {
    /// The event its agent follows from.
    pub(crate) cause: Seq,
    /// Agents that carried it out before the one that is next.
    pub(crate) attempts: u32,
}

impl Begun {
    /// Takes up the next event of the run's own line, in the journal's order.
    pub(crate) fn take_up(&mut self, run: &Run, event: &Event) {
        match &event.kind {
            Kind::CapabilityGranted { parent: None, .. } => self.granted = true,
            Kind::PlanReplanned { kept, .. } => self.kept = kept.iter().cloned().collect(),
            Kind::PlanProduced { plan, replans_used } => {
                let kept = std::mem::take(&mut self.kept);
                match &mut self.progress {
                    Some(progress) => {
                        climb(run, progress, plan);
                        progress.adopt(plan.clone(), &kept);
                        progress.replans = *replans_used;
                    }
                    None => self.progress = Some(Progress::new(plan.clone(), *replans_used)),
                }
            }
            _ => {
                if let Some(progress) = &mut self.progress {
                    progress.take_up(run, event);
                }
            }
        }
    }

    /// Subtasks that are finished.
    pub(crate) fn kept(&self) -> u32 {
        let finished = self.progress.as_ref().map_or(0, |p| p.outputs.len());
        u32::try_from(finished).unwrap_or(u32::MAX)
    }
}

impl Progress {
    pub(crate) const fn new(plan: Plan, replans: u32) -> Self {
        Self {
            plan,
            outputs: BTreeMap::new(),
            rungs: BTreeMap::new(),
            failures: BTreeMap::new(),
            started: BTreeMap::new(),
            replans,
        }
    }

    fn take_up(&mut self, run: &Run, event: &Event) {
        match &event.kind {
            Kind::SubtaskStarted { subtask, .. } => {
                let started = Started {
                    cause: event.seq,
                    attempts: 0,
                };
                self.started.insert(subtask.clone(), started);
            }
            Kind::SubtaskModelEscalated {
                subtask, reason, ..
            } => self.take_up_rung(run, subtask, *reason, event.seq),
            Kind::SubtaskCompleted { subtask, outcome } => {
                self.started.remove(subtask);
                match outcome {
                    Outcome::Succeeded { output } => {
                        self.outputs.insert(subtask.clone(), output.clone());
                    }
                    Outcome::Failed { failure } => {
                        self.take_up_silent_rung(run, subtask, failure);
                        self.failures.insert(subtask.clone(), failure.clone());
                    }
                }
            }
            Kind::SubtaskKept { subtask, output } => {
                self.outputs.insert(subtask.clone(), output.clone());
            }
            Kind::SubtaskSkipped { subtask, needs } => {
                let needs = needs.clone();
                let failure = Failure::Dependency { subtask: needs };
                self.failures.insert(subtask.clone(), failure);
            }
            _ => {}
        }
    }

    /// A subtask that had begun goes on a rung higher; one that had not begun moves together with its plan, which
    /// [`climb`] has taken up already.
    fn take_up_rung(&mut self, run: &Run, id: &SubtaskId, reason: Signal, seq: Seq) {
        let rung = self.rungs.get(id).copied().unwrap_or(0);
        let above = self
            .role_of(run, id)
            .and_then(|role| escalate::next_rung(role, rung, &BTreeSet::from([reason])));
        let Some(started) = self.started.get_mut(id) else {
            return;
        };
        started.cause = seq;
        started.attempts = started.attempts.saturating_add(1);
        if let Some((above, _)) = above {
            self.rungs.insert(id.clone(), above);
        }
    }

    /// A rung with the same model is climbed without an event of its own.
    fn take_up_silent_rung(&mut self, run: &Run, id: &SubtaskId, failure: &Failure) {
        let rung = self.rungs.get(id).copied().unwrap_or(0);
        let above = self
            .role_of(run, id)
            .and_then(|role| escalate::next_rung(role, rung, &subtask::signals(failure)));
        self.rungs
            .insert(id.clone(), above.map_or(rung, |(above, _)| above));
    }

    fn role_of<'a>(&self, run: &'a Run, id: &SubtaskId) -> Option<&'a aaos_core::role::Role> {
        let subtask = self.plan.subtasks.iter().find(|known| known.id == *id)?;
        run.roles.get(&subtask.role)
    }

    /// The walk as far as it has come.
    pub(crate) fn walk(&self, running_max: usize) -> Walk {
        let finished = self.outputs.keys().cloned().collect();
        let lost = self.failures.keys().cloned().collect();
        Walk::resumed(&self.plan, running_max, &finished, &lost)
    }

    /// The outputs a subtask's parameters name.
    pub(crate) fn inputs_of(&self, subtask: &Subtask) -> BTreeMap<SubtaskId, Value> {
        let named = subtask.needs().into_iter();
        named
            .filter_map(|id| self.outputs.get(&id).cloned().map(|value| (id, value)))
            .collect()
    }

    /// Where the next agent of the plan's subtask at this position stands in the run.
    pub(crate) fn place_of(&self, id: &SubtaskId, position: usize) -> lineage::Place {
        lineage::Place {
            plan: self.replans,
            position: u32::try_from(position).unwrap_or(u32::MAX),
            attempt: self.started.get(id).map_or(0, |started| started.attempts),
        }
    }

    pub(crate) fn note(&mut self, id: SubtaskId, ended: Ended, walk: &mut Walk) -> Vec<Effect> {
        self.rungs.insert(id.clone(), ended.rung);
        self.started.remove(&id);
        match ended.result {
            Ok(value) => {
                self.outputs.insert(id.clone(), value);
                walk.step(&Input::Done(id))
            }
            Err(failure) => {
                self.failures.insert(id.clone(), failure);
                walk.step(&Input::Failed(id))
            }
        }
    }

    pub(crate) fn result(mut self) -> Result<Value, Failure> {
        let missing = Failure::OutputMissing {
            declared: self.plan.result.to_string(),
            found: "the subtask ended without an output".to_owned(),
        };
        self.outputs.remove(&self.plan.result).ok_or(missing)
    }

    /// Whether a subtask ran and failed, rather than never having run.
    fn has_failed(&self, id: &SubtaskId) -> bool {
        self.failures
            .get(id)
            .is_some_and(|failure| !matches!(failure, Failure::Dependency { .. }))
    }

    /// The failure that began it: one that is not merely a consequence of another, the gravest first.
    pub(crate) fn first_failure(&self) -> (SubtaskId, Failure) {
        let own = |failure: &Failure| !matches!(failure, Failure::Dependency { .. });
        let grave = self
            .failures
            .iter()
            .find(|(_, failure)| own(failure) && !correctable(failure));
        let first = grave.or_else(|| self.failures.iter().find(|(_, failure)| own(failure)));
        first
            .map(|(id, failure)| (id.clone(), failure.clone()))
            .unwrap_or_else(|| (self.plan.result.clone(), Failure::Interrupted))
    }

    /// What the planner is told about the plan that failed.
    pub(crate) fn problems(&self, failed: &SubtaskId) -> Vec<String> {
        let plan = serde_json::to_string(&self.plan).unwrap_or_default();
        let finished = self
            .outputs
            .iter()
            .map(|(id, value)| format!("{id} finished: {}", value.describe()));
        let failures = self.failures.iter().map(|(id, failure)| match failure {
            // Which of several things it lacked first depends on the moment.
            Failure::Dependency { .. } => {
                format!("{id} was not begun: something it needs did not succeed")
            }
            failure => format!("{id} failed: {failure}"),
        });
        let mut problems = vec![
            format!("the previous plan failed at {failed}: {plan}"),
            "keep finished subtasks exactly as they are, same id, role, task and params; change what failed".to_owned(),
        ];
        problems.extend(finished);
        problems.extend(failures);
        problems
    }

    pub(crate) fn adopt(&mut self, next: Plan, kept: &BTreeSet<SubtaskId>) {
        self.outputs.retain(|id, _| kept.contains(id));
        self.failures.clear();
        self.started.clear();
        self.plan = next;
        self.replans = self.replans.saturating_add(1);
    }
}

/// Moves subtasks that failed, and are tried again in the same role, to their next rung where the role wants it; what is
/// to be recorded of those whose model changes. Subtasks of other roles begin at their own first rung.
pub(crate) fn climb(run: &Run, progress: &mut Progress, next: &Plan) -> Vec<Kind> {
    let signals = BTreeSet::from([Signal::ReplanRetry]);
    let before: BTreeMap<_, _> = progress
        .plan
        .subtasks
        .iter()
        .map(|old| (&old.id, &old.role))
        .collect();
    let mut rungs = BTreeMap::new();
    let mut moved = Vec::new();
    for subtask in next
        .subtasks
        .iter()
        .filter(|new| before.get(&new.id) == Some(&&new.role))
    {
        let rung = progress.rungs.get(&subtask.id).copied().unwrap_or(0);
        let role = run
            .roles
            .get(&subtask.role)
            .filter(|_| progress.has_failed(&subtask.id));
        let above = role.and_then(|role| Some((role, escalate::next_rung(role, rung, &signals)?)));
        let Some((role, (above, reason))) = above else {
            rungs.insert(subtask.id.clone(), rung);
            continue;
        };
        rungs.insert(subtask.id.clone(), above);
        let (from_model, to_model) = (run.model_of(role, rung), run.model_of(role, above));
        if from_model != to_model {
            let subtask = subtask.id.clone();
            moved.push(Kind::SubtaskModelEscalated {
                subtask,
                from_model,
                to_model,
                reason,
            });
        }
    }
    progress.rungs = rungs;
    moved
}

/// Whether another plan could do better: not when a person must act first.
pub(crate) fn correctable(failure: &Failure) -> bool {
    !matches!(
        failure,
        Failure::Provider { .. }
            | Failure::GoalRefused { .. }
            | Failure::Stopped
            | Failure::Interrupted
            | Failure::Journal { .. }
            | Failure::Unrecoverable { .. }
            | Failure::Launch { .. }
            | Failure::Limit {
                kind: LimitKind::Tokens
                    | LimitKind::Cost
                    | LimitKind::Calls
                    | LimitKind::Agents
                    | LimitKind::OperatorDayTokens
                    | LimitKind::OperatorDayCost
                    | LimitKind::DayTokens
                    | LimitKind::DayCost,
                ..
            }
    )
}
