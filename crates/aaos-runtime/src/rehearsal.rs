//! Rehearsals: a goal is planned, and nothing of the plan is started. Whose it is, is recorded before a model is asked,
//! and that it is over when nothing more will be asked for it, whatever becomes of whoever asked.
//!
//! Refuses: to go on after the daemon that began it. The next one counts what was in flight and records the end.

use crate::{
    agent::ask,
    classify, goals, planner,
    record::Who,
    recover,
    run::{Run, unavailable},
    shared::Shared,
    terms::Terms,
};
use aaos_core::{
    budget::{Budget, Ledger},
    capability::Capability,
    event::{Draft, Kind, Mode, Seq, Subject},
    failure::{Failure, LimitKind},
    id::{RunId, SubtaskId},
    plan::Plan,
};
use aaos_ports::{Durability, Filter, GoalError, JournalError, goals::DryRun};
use std::{collections::BTreeMap, sync::Arc};
use tokio_util::sync::CancellationToken;

/// How it would be carried out, the plan, and what each subtask's agent would hold.
type Planned = (Mode, Plan, Vec<(SubtaskId, Vec<Capability>)>);

/// Plans a goal and starts nothing. Ends early if whoever asked goes away.
///
/// # Errors
/// `Unavailable`, or `Failed` with the planner's failure.
pub(crate) async fn rehearse(
    shared: &Arc<Shared>,
    id: RunId,
    terms: Terms,
) -> Result<DryRun, GoalError> {
    let model = goals::label(shared, &terms.models);
    let left = CancellationToken::new();
    let _left = left.clone().drop_guard();
    let own = Arc::clone(shared);
    let rehearsing = shared.tasks.spawn(async move {
        let run = begin(&own, id, terms).await?;
        let planned = until_it_ends(&run, &left).await;
        end(&run, planned.as_ref().err()).await;
        let failed = |failure| GoalError::Failed(Box::new(failure));
        let (mode, plan, grants) = planned.map_err(failed)?;
        Ok(DryRun {
            mode,
            plan,
            envelope: run.envelope(),
            grants,
            model,
        })
    });
    rehearsing.await.map_err(unavailable)?
}

/// Records durably whose rehearsal it is.
async fn begin(shared: &Arc<Shared>, id: RunId, terms: Terms) -> Result<Run, GoalError> {
    let first = goals::submitted(shared, id, &terms, String::new(), None);
    let begun = Draft {
        kind: Kind::PlanRehearsed {
            goal: terms.submit.goal.clone(),
            operator: terms.submit.operator,
        },
        ..first.clone()
    };
    let journal = &shared.deps.journal;
    let seq = journal.append(vec![begun], Durability::Durable).await?;
    goals::fresh(shared, id, terms, seq, first)
}

async fn until_it_ends(run: &Run, left: &CancellationToken) -> Result<Planned, Failure> {
    let wall_clock = run.submit.budget.wall_clock;
    tokio::select! {
        biased;
        () = run.shared.draining.cancelled() => Err(Failure::Interrupted),
        () = left.cancelled() => Err(Failure::Stopped),
        planned = plan(run) => planned,
        () = tokio::time::sleep(wall_clock.as_duration()) => {
            Err(Failure::Limit { kind: LimitKind::WallClock, limit: wall_clock.millis() })
        }
    }
}

async fn plan(run: &Run) -> Result<Planned, Failure> {
    run.issue_grants()?;
    let mode = classify::mode(run).await?;
    let plan = run.first_plan(mode).await?;
    let grants = planner::envelope(run, &plan).map_err(|problems| Failure::Unready { problems })?;
    Ok((mode, plan, grants))
}

/// Records what was spent and that it is over. If the journal takes nothing, the next start does.
async fn end(run: &Run, failure: Option<&Failure>) {
    if run.is_suspended() {
        return;
    }
    let spent = ask::close_books(run).await;
    let ended = Kind::RehearsalEnded {
        failure: failure.cloned(),
    };
    let ended = run.record(Who::RUN, ended).await;
    if let Err(failure) = spent.and(ended.map(drop)) {
        tracing::error!(run = %run.id, %failure, "the end of a rehearsal could not be recorded");
    }
}

/// Ends rehearsals that began at these places and that an earlier daemon left open. What was in flight may have been
/// paid for, so its worst case counts as spent.
///
/// # Errors
/// The journal's.
pub(crate) async fn end_cut_off(
    shared: &Shared,
    open: BTreeMap<RunId, Seq>,
) -> Result<(), JournalError> {
    for (run, began) in open {
        let ends = ends_of(shared, run, began).await?;
        shared
            .deps
            .journal
            .append(ends, Durability::Ordered)
            .await?;
    }
    Ok(())
}

/// What is recorded of the end of a rehearsal that began there.
async fn ends_of(shared: &Shared, run: RunId, began: Seq) -> Result<Vec<Draft>, JournalError> {
    let filter = Filter {
        run: Some(run),
        ..Filter::default()
    };
    let mut books = Ledger::new(Budget::default());
    let mut last = began;
    recover::each(shared, &filter, |event| {
        books.take_up(event);
        last = event.seq;
    })
    .await?;
    let mut ends = Vec::new();
    while let Some((agent, model)) = books.any_lost() {
        let Some(lost) = books.lost(agent) else { break };
        ends.push(Kind::ModelAbandoned {
            model,
            tokens: lost.tokens(),
            cost: lost.cost(),
        });
        books.release(lost);
    }
    ends.push(Kind::RehearsalEnded {
        failure: Some(Failure::Interrupted),
    });
    let draft = |kind| Draft {
        time: shared.now(),
        subject: Subject {
            run: Some(run),
            cause: Some(last),
            ..Subject::default()
        },
        kind,
    };
    Ok(ends.into_iter().map(draft).collect())
}
