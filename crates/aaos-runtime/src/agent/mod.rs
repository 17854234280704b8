//! One agent: its grants, its worker, its turns, and the end of all three.

pub(crate) mod ask;
mod context;
mod hands;
mod post;
mod tether;
mod turns;
mod witness;

pub(crate) use hands::Hands;
pub(crate) use tether::Tether;

use crate::{ending::Ending, limits, park, patience::Patience, record::Who, run::Run};
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

/// What an agent is to do, and as whose.
pub(crate) struct Task {
    pub(crate) agent: AgentId,
    /// Whose grants its own are attenuated from: the run's root, or the agent that started it.
    pub(crate) parent: AgentId,
    pub(crate) subtask: Option<SubtaskId>,
    pub(crate) manifest: Manifest,
    pub(crate) model: ModelRef,
    /// Longest time it may be at work, waits for the operator left out. What it was at work under earlier daemons counts.
    pub(crate) limit: Span,
    /// When that is if it never waits; orders the queue for slots, and nothing else.
    pub(crate) deadline: Timestamp,
    /// Ends it, and everything below it.
    pub(crate) ending: Ending,
    /// Whether it, or anything below it, waits for the operator; its time stands still then.
    pub(crate) patience: Patience,
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

    /// What is left of its time, waits for the operator left out.
    pub(crate) fn time_left(&self) -> Span {
        self.limit.less(self.patience.worked())
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
    F: for<'a> FnOnce(&'a Arc<Run>, &'a Task, &'a Hands) -> Work<'a> + Send,
{
    let begun = run.past.has_begun(task.agent);
    let over = match run.past.end_of(task.agent) {
        Some(StopReason::Failed { failure }) => return Err(failure),
        Some(StopReason::Complete) => true,
        None => false,
    };
    if task.ending.has_ended() && !begun {
        return Err(task.ending.why());
    }
    enter(run, &task, begun).await?;
    let limit = task.patience.elapsed(task.limit);
    tokio::pin!(limit);
    let result = match Hands::take(run, &task, model).await {
        Ok(hands) => {
            let working = work(run, &task, &hands);
            let whole: Work<'_> = Box::pin(async {
                let value = working.await?;
                hands.ready().await.map(|()| value)
            });
            if over {
                // All of it is recorded, its end too: it is told what it came to, and neither time nor a stop ends it again.
                let told = whole.await;
                run.forget_agent(task.agent);
                return told;
            }
            let result = timed(run, &task, &hands, limit, whole).await;
            // They were told to end with it. What they leave in doubt is known before it has ended.
            hands.gone().await;
            let turns = hands.turns();
            drop(hands);
            Hands::give_back(run, &task).await;
            let left = match &result {
                Err(failure) if begun && !run.is_suspended() => {
                    let unseen = run.record_unseen(Some(task.agent)).await;
                    unseen.and(run.end_below(task.agent, failure).await)
                }
                _ => Ok(()),
            };
            let ended = record_end(run, &task, &result, turns).await;
            left.and(ended).and(result)
        }
        Err(failure) => {
            Hands::give_back(run, &task).await;
            let result = Err(failure);
            if begun {
                record_end(run, &task, &result, 0).await?;
            }
            result
        }
    };
    run.forget_agent(task.agent);
    result
}

/// Enters the agent in the run's books, where one that goes on is already.
async fn enter(run: &Run, task: &Task, begun: bool) -> Result<(), Failure> {
    run.remember_cause(Who::agent(task.agent), task.cause);
    if let Some(parent) = task.payer(run) {
        run.remember_parent(task.agent, parent);
    }
    if begun {
        return Ok(());
    }
    let refused = |kind: &Kind| matches!(kind, Kind::BudgetRefused { .. });
    if let Some(Kind::BudgetRefused { limit, allowed, .. }) =
        run.past.step(Some(task.agent), refused)
    {
        let (kind, limit) = (limit, allowed);
        return Err(Failure::Limit { kind, limit });
    }
    let role = &task.manifest.role;
    // Under its own name: the line of whoever started it goes on by itself meanwhile.
    let opened = park::or_fail(run, Who::agent(task.agent), &task.patience, || {
        run.ledger().open(task.agent, task.payer(run), role)
    });
    let opened = tokio::select! {
        biased;
        why = task.ending.ended() => Err(why),
        opened = opened => opened,
    };
    if opened.is_err() {
        run.forget_agent(task.agent);
    }
    opened
}

/// Lets `work` go on until it is done, its time is up, or it is told to end. A call that changes something may finish
/// within the grace period; everything else is dropped at once, and the worker's end kills what it started. In a run
/// that is suspended, everything in flight may finish, and what follows it cannot be recorded and so does not happen.
async fn timed(
    run: &Run,
    task: &Task,
    hands: &Hands,
    limit: Pin<&mut (impl Future<Output = ()> + Send)>,
    mut work: Work<'_>,
) -> Result<Value, Failure> {
    let why = tokio::select! {
        biased;
        why = task.ending.ended() => why,
        done = &mut work => return done,
        () = limit => task.out_of_time(),
    };
    if run.is_suspended() {
        tokio::select! {
            biased;
            _ = &mut work => {}
            () = run.quiet(Some(task.agent)) => {}
            () = run.cut_short() => {}
        }
        return Err(Failure::Interrupted);
    }
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
    let who = Who::agent(task.agent);
    let is_recorded = kinds
        .iter()
        .all(|kind| run.past.has(Some(task.agent), kind));
    if is_recorded {
        return Ok(());
    }
    run.record_all(who, kinds, Durability::Ordered)
        .await
        .map(drop)
}

/// What an agent was told, short enough for an event.
pub(crate) fn message_preview(manifest: &Manifest) -> String {
    text::preview(&manifest.message, limits::PREVIEW_BYTES_MAX)
}
