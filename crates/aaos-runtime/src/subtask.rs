//! One subtask of a plan: its role made ready, an agent run to its end, a better model where the role has one.

use crate::{
    agent::{self, Task},
    park, planner,
    record::Who,
    run::Run,
    scaffold,
};
use aaos_core::{
    event::{Kind, Outcome, Seq},
    failure::{Failure, LimitKind},
    id::SubtaskId,
    lineage::Place,
    manifest::Manifest,
    plan::{Subtask, escalate},
    role::{Role, Signal},
    time::Span,
    value::Value,
};
use aaos_ports::Durability;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A subtask with what it is given.
pub(crate) struct Job {
    pub(crate) subtask: Subtask,
    /// The outputs that its parameters name.
    pub(crate) outputs: BTreeMap<SubtaskId, Value>,
    /// The rung of its role's ladder to begin on.
    pub(crate) rung: usize,
    /// Where its next agent stands in the run.
    pub(crate) place: Place,
    /// The event its next agent follows from, if its beginning is recorded.
    pub(crate) started: Option<Seq>,
}

/// How a subtask ended.
pub(crate) struct Ended {
    pub(crate) result: Result<Value, Failure>,
    /// The rung it ended on.
    pub(crate) rung: usize,
}

/// Carries a subtask out and records its beginning and end.
pub(crate) async fn perform(run: &Arc<Run>, job: Job) -> Ended {
    let id = job.subtask.id.clone();
    let mut rung = job.rung;
    let mut result = attempt(run, &job, &mut rung).await;
    let mut kinds = Vec::with_capacity(2);
    let timed_out = matches!(
        result,
        Err(Failure::Limit {
            kind: LimitKind::WallClock,
            ..
        })
    );
    if timed_out && !run.ending.has_ended() {
        kinds.push(Kind::SubtaskTtlExpired {
            subtask: id.clone(),
            limit: LimitKind::WallClock,
        });
    }
    let outcome = match &result {
        Ok(output) => Outcome::Succeeded {
            output: output.clone(),
        },
        Err(failure) => Outcome::Failed {
            failure: failure.clone(),
        },
    };
    kinds.push(Kind::SubtaskCompleted {
        subtask: id,
        outcome,
    });
    let recorded = run.record_all(Who::RUN, kinds, Durability::Ordered).await;
    if let Err(failure) = recorded {
        result = Err(failure);
    }
    Ended { result, rung }
}

async fn attempt(run: &Arc<Run>, job: &Job, rung: &mut usize) -> Result<Value, Failure> {
    let subtask = &job.subtask;
    let mut cause = match job.started {
        Some(cause) => cause,
        None => {
            let started = Kind::SubtaskStarted {
                subtask: subtask.id.clone(),
                role: subtask.role.clone(),
            };
            run.record(Who::RUN, started).await?
        }
    };
    let manifest = planner::manifest_of(run, subtask, &job.outputs)
        .map_err(|problems| Failure::Unready { problems })?;
    let Some(role) = run.roles.get(&subtask.role) else {
        return Err(Failure::Unready {
            problems: vec![format!("there is no role `{}`", subtask.role)],
        });
    };
    let mut place = job.place;
    loop {
        let result = once(run, job, role, &manifest, *rung, place, cause).await;
        place.attempt = place.attempt.saturating_add(1);
        let Err(failure) = &result else { return result };
        let Some((next, reason)) = escalate::next_rung(role, *rung, &signals(failure)) else {
            return result;
        };
        let (from_model, to_model) = (run.model_of(role, *rung), run.model_of(role, next));
        *rung = next;
        if from_model == to_model {
            return result;
        }
        let subtask = subtask.id.clone();
        let escalated = Kind::SubtaskModelEscalated {
            subtask,
            from_model,
            to_model,
            reason,
        };
        cause = run.record(Who::RUN, escalated).await?;
    }
}

/// One agent, within its role's time and the subtask's own, whichever is shorter.
async fn once(
    run: &Arc<Run>,
    job: &Job,
    role: &Role,
    manifest: &Manifest,
    rung: usize,
    place: Place,
    cause: Seq,
) -> Result<Value, Failure> {
    let own = job.subtask.ttl.and_then(|ttl| ttl.wall_clock());
    let limit = Span::from_secs(u64::from(manifest.limits.wall_clock_s));
    let limit = own.map_or(limit, |own| own.min(limit));
    let limit = park::time_of_role(run, &role.name, limit);
    let agent = run.id.agent(place);
    let task = Task {
        agent,
        parent: run.root,
        subtask: Some(job.subtask.id.clone()),
        manifest: manifest.clone(),
        model: run.model_of(role, rung),
        limit,
        deadline: run.shared.now().after(limit),
        ending: run.ending.below(),
        patience: run.patience.below(run.past.worked(agent)),
        cause,
        rests_on: None,
    };
    match &manifest.scaffold {
        Some(name) => scaffold::perform(run, task, name).await,
        None => agent::perform(run, task).await,
    }
}

/// What a failure says about the model that failed.
pub(crate) fn signals(failure: &Failure) -> BTreeSet<Signal> {
    let signal = match failure {
        Failure::Truncated
        | Failure::Limit {
            kind: LimitKind::Turns,
            ..
        } => Some(Signal::MaxTokens),
        Failure::Limit {
            kind: LimitKind::Repeats,
            ..
        } => Some(Signal::ToolRepeatGuard),
        _ => None,
    };
    signal.into_iter().collect()
}
