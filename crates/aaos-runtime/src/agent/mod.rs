//! One agent: its grants, its worker, its turns, and the end of all three.

pub(crate) mod ask;
mod context;
mod hands;
mod tether;
mod turns;
mod witness;

pub(crate) use hands::Hands;
pub(crate) use tether::Tether;

use crate::{ending::Ending, limits, record::Who, run::Run};
use aaos_core::{
    event::{Kind, Seq, StopReason},
    failure::{Failure, LimitKind},
    id::{AgentId, GrantId, SubtaskId},
    manifest::Manifest,
    model::ModelRef,
    text,
    time::{Span, Timestamp},
    value::Value,
};
use aaos_ports::Durability;
use std::{pin::Pin, sync::Arc};
use tokio::time::Sleep;

/// What an agent is to do, and as whose.
pub(crate) struct Task {
    pub(crate) agent: AgentId,
    /// Whose grants its own are attenuated from: the run's root, or the agent that started it.
    pub(crate) parent: AgentId,
    pub(crate) subtask: Option<SubtaskId>,
    pub(crate) manifest: Manifest,
    pub(crate) model: ModelRef,
    /// Longest time from its start.
    pub(crate) limit: Span,
    /// When that is; orders the queue for slots.
    pub(crate) deadline: Timestamp,
    /// Ends it, and everything below it.
    pub(crate) ending: Ending,
    /// The event that led to it.
    pub(crate) cause: Seq,
    /// The grant its start was charged to, if another agent started it; its cost is charged there too.
    pub(crate) rests_on: Option<GrantId>,
}

impl Task {
    /// The agent that started it, if one did; it shares that one's budget.
    pub(crate) fn payer(&self, run: &Run) -> Option<AgentId> {
        (self.parent != run.root).then_some(self.parent)
    }

    pub(crate) const fn out_of_time(&self) -> Failure {
        Failure::Limit {
            kind: LimitKind::WallClock,
            limit: self.limit.millis(),
        }
    }
}

/// Runs a model-driven agent to its end.
pub(crate) fn perform<'a>(
    run: &'a Arc<Run>,
    task: Task,
) -> Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send + 'a>> {
    // Boxed because an agent may start agents: the future contains itself.
    Box::pin(async move {
        let model = Some(task.model.clone());
        live(run, task, model, |run, task, hands| {
            Box::pin(turns::perform(run, task, hands))
        })
        .await
    })
}

/// What an agent does between its start and its end.
pub(crate) type Work<'a> = Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send + 'a>>;

/// Gives an agent its grants and worker, lets `work` happen within its time, and takes everything back on every way
/// out. Never dropped half way: it ends because it is told to.
pub(crate) async fn live<F>(
    run: &Arc<Run>,
    task: Task,
    model: Option<ModelRef>,
    work: F,
) -> Result<Value, Failure>
where
    F: for<'a> FnOnce(&'a Arc<Run>, &'a Task, &'a Hands) -> Work<'a>,
{
    if task.ending.has_ended() {
        return Err(task.ending.why());
    }
    enter(run, &task).await?;
    let limit = tokio::time::sleep(task.limit.as_duration());
    tokio::pin!(limit);
    let result = match Hands::take(run, &task, model, limit.as_mut()).await {
        Ok(hands) => {
            let result = timed(run, &task, &hands, limit, work(run, &task, &hands)).await;
            let turns = hands.turns();
            drop(hands);
            Hands::give_back(run, &task).await;
            record_end(run, &task, &result, turns).await.and(result)
        }
        Err(failure) => {
            Hands::give_back(run, &task).await;
            Err(failure)
        }
    };
    run.forget_agent(task.agent);
    result
}

/// Enters the agent in the run's books.
async fn enter(run: &Run, task: &Task) -> Result<(), Failure> {
    let payer = task.payer(run);
    let opened = run.ledger().open(task.agent, payer);
    if let Err(refused) = opened {
        let who = payer.map_or(Who::RUN, Who::agent);
        ask::record_refused(run, who, &refused).await?;
        return Err(refused.into());
    }
    run.remember_cause(Who::agent(task.agent), task.cause);
    Ok(())
}

/// Lets `work` go on until it is done, its time is up, or it is told to end. A call that changes something may finish
/// within the grace period; everything else is dropped at once, and the worker's end kills what it started.
async fn timed(
    run: &Run,
    task: &Task,
    hands: &Hands,
    limit: Pin<&mut Sleep>,
    mut work: Work<'_>,
) -> Result<Value, Failure> {
    let why = tokio::select! {
        biased;
        why = task.ending.ended() => why,
        done = &mut work => return done,
        () = limit => task.out_of_time(),
    };
    task.ending.end(why.clone());
    let settled = tokio::select! {
        biased;
        () = hands.settled() => true,
        _ = &mut work => true,
        () = tokio::time::sleep(limits::STOP_GRACE.as_duration()) => false,
    };
    if !settled {
        Hands::withdraw(run, task.agent).await?;
    }
    Err(why)
}

async fn record_end(
    run: &Run,
    task: &Task,
    result: &Result<Value, Failure>,
    turns: u32,
) -> Result<(), Failure> {
    let stop = match result {
        Ok(_) => StopReason::Complete,
        Err(failure) => StopReason::Failed {
            failure: failure.clone(),
        },
    };
    let kinds = vec![
        Kind::AgentExecutionCompleted {
            stop: stop.clone(),
            turns,
        },
        Kind::AgentStopped { stop },
    ];
    run.record_all(Who::agent(task.agent), kinds, Durability::Ordered)
        .await
        .map(drop)
}

/// What an agent was told, short enough for an event.
pub(crate) fn message_preview(manifest: &Manifest) -> String {
    text::preview(&manifest.message, limits::PREVIEW_BYTES_MAX)
}
