//! `run.watch`: sends a run's events as notifications, then answers.
//!
//! Nothing is left out: a watcher that is too slow for the live feed is told of the gap and then given what it missed.

use super::{Call, Caller, Fault, FaultKind, Front, daemon_status, wire};
use aaos_core::{
    event::{Event, Kind, RunState, RunView, Seq},
    id::RunId,
};
use aaos_ports::WatchItem;
use futures::StreamExt;
use std::{sync::Arc, time::Duration};

/// How often a watcher looks whether the run has ended without an event that says so: a journal that cannot be
/// written, on a full disk, records no end either.
const LOOK_TIME: Duration = Duration::from_secs(1);

/// The method.
pub(crate) struct RunWatch;

impl Call for RunWatch {
    const NAME: &'static str = "run.watch";
    const SUMMARY: &'static str = "Sends a run's events, past and live, as `run.event` notifications; answers when there are no more to come.";
    const ANSWER: &'static str = "{run, state, last, detail: the run as by run.status, if it has ended}, after notifications {watch: the request's id, piece: {event} or {gap: {from, to}}}";
    type Params = wire::WatchParams;
    type Answer = wire::Watched;

    async fn call(
        front: Arc<Front>,
        caller: Caller,
        params: wire::WatchParams,
    ) -> Result<wire::Watched, Fault> {
        let before = front.find_run(&caller, &params.run).await?;
        let run = before.run;
        let all_sent =
            |last: Seq| last >= before.last && (before.state.is_final() || !params.follow);
        let mut last = Seq(params.after);
        let mut end = None;
        let mut items = front.goals.watch(run, last);
        let mut look = tokio::time::interval(LOOK_TIME);
        // The first look has been had.
        look.reset();
        while !all_sent(last) {
            let item = tokio::select! {
                item = items.next() => item,
                () = caller.gone.cancelled() => break,
                _ = look.tick() => {
                    let view = front.view(run).await?;
                    if view.state.is_final() && last >= view.last {
                        break;
                    }
                    held_up(&front, &view)?;
                    continue;
                }
            };
            let Some(item) = item else { break };
            let item = item.map_err(aaos_ports::GoalError::from)?;
            if let WatchItem::Event(event) = &item {
                last = event.seq;
                end = matches!(event.kind, Kind::RunFinished { .. }).then(|| event.clone());
            }
            if !caller.notifier.piece(&item.into()).await || end.is_some() {
                break;
            }
        }
        let view = caught_up(&front, run, end.as_ref()).await?;
        let (state, over) = (view.state, view.state.is_final());
        let detail = if over {
            Some(wire::RunDetail {
                envelope: front.granted(&view).await,
                live: Vec::new(),
                approve: Vec::new(),
                view,
            })
        } else {
            None
        };
        Ok(wire::Watched {
            run,
            state,
            last: last.0,
            detail,
        })
    }
}

/// Tells a watcher of a run that waits for the journal why it does, for no event can.
fn held_up(front: &Front, view: &RunView) -> Result<(), Fault> {
    let waits = view.state == RunState::Recovering;
    match daemon_status::trouble(front).filter(|_| waits) {
        None => Ok(()),
        Some(trouble) => Err(Fault::new(
            FaultKind::Unavailable,
            format!("{} waits: {}", view.run, trouble.problem),
            format!(
                "{}. The run goes on by itself then; `agentd attach {}` rejoins it",
                trouble.next_step.trim_end_matches('.'),
                view.run
            ),
        )),
    }
}

/// The view with the run's last event in it. That event reaches watchers when it is committed, and the runtime's own
/// view when the disk has confirmed it; nobody is kept waiting for the difference.
async fn caught_up(front: &Front, run: RunId, end: Option<&Event>) -> Result<RunView, Fault> {
    let mut view = front.view(run).await?;
    if let Some(end) = end.filter(|_| view.outcome.is_none()) {
        view.apply_new(end);
    }
    Ok(view)
}
