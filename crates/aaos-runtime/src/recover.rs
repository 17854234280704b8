//! At the start: what the journal says of earlier runs. One that was open when the daemon ended is taken up again,
//! visibly; the daemon serves meanwhile.
//!
//! The start reads only how runs began and ended, and no further back than the start before found something to look at;
//! each open run is read whole once, a bounded number at a time, the oldest first. Refuses: to take up a run again and
//! again that never gets further.

use crate::{deps::StartError, limits, shared::Shared};
use aaos_core::{
    event::{Draft, Event, Kind, RunView, Seq, Subject},
    id::RunId,
};
use aaos_ports::{Durability, Filter, JournalError};
use std::collections::{BTreeMap, VecDeque};

/// Earlier runs.
#[derive(Default)]
pub(crate) struct Earlier {
    /// The newest of those that are over, as far as their beginning and end tell, the longest finished first.
    pub(crate) ended: Vec<RunView>,
    /// Those that are to be taken up again, with how often that was tried since they last got further; the oldest
    /// first.
    pub(crate) open: Vec<(RunView, u32)>,
    /// Rehearsals that were not over, and where they began.
    pub(crate) rehearsals: BTreeMap<RunId, Seq>,
    /// None of the runs began before this place.
    pub(crate) from: Seq,
}

/// What is known of a run that is not seen to have ended.
struct Known {
    began: Seq,
    view: RunView,
    /// When it was last taken up again, and how often in a row.
    recovering: Option<(Seq, u32)>,
}

/// What the journal says of runs, as far as it was read.
#[derive(Default)]
struct Found {
    open: BTreeMap<RunId, Known>,
    /// The newest that are over and where they began, the longest finished first.
    ended: VecDeque<(Seq, RunView)>,
    rehearsals: BTreeMap<RunId, Seq>,
    /// Where a daemon last went away by itself.
    stopped: Seq,
}

/// Every earlier run that is open and the newest of the others, as far as their beginning and end tell.
pub(crate) async fn recover(shared: &Shared) -> Result<Earlier, StartError> {
    let tags = [
        "run_submitted",
        "run_finished",
        "run_recovering",
        "daemon_stopped",
        "plan_rehearsed",
        "rehearsal_ended",
    ];
    let started = newest(shared, "daemon_started").await?;
    let from = match started.map(|event| event.kind) {
        Some(Kind::DaemonStarted { runs_from, .. }) => runs_from,
        _ => Seq::default(),
    };
    let mut found = Found::default();
    let before = Seq(from.0.saturating_sub(1));
    each_after(shared, &of_kinds(&tags), before, |event| {
        found.take_up(event)
    })
    .await?;
    let from = found.began().unwrap_or(from);
    let mut open = Vec::new();
    for Known {
        view, recovering, ..
    } in found.open.into_values()
    {
        // A run that only waited until a daemon went away by itself did not bring it down.
        let recovering = recovering.filter(|(since, _)| *since > found.stopped);
        let attempt = attempt(shared, view.run, recovering).await?;
        open.push((view, attempt));
    }
    open.sort_by_key(|(view, _)| view.submitted);
    announce(shared, &mut open).await?;
    Ok(Earlier {
        ended: found.ended.into_iter().map(|(_, view)| view).collect(),
        open,
        rehearsals: found.rehearsals,
        from,
    })
}

impl Found {
    fn take_up(&mut self, event: &Event) {
        match (&event.kind, event.subject.run) {
            (Kind::DaemonStopped { .. }, _) => self.stopped = event.seq,
            (Kind::PlanRehearsed { .. }, Some(run)) => {
                self.rehearsals.insert(run, event.seq);
            }
            (Kind::RehearsalEnded { .. }, Some(run)) => {
                self.rehearsals.remove(&run);
            }
            (kind, Some(run)) => {
                note(&mut self.open, event);
                if matches!(kind, Kind::RunFinished { .. }) {
                    self.end(run);
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, run: RunId) {
        let Some(Known { began, view, .. }) = self.open.remove(&run) else {
            return;
        };
        self.ended.push_back((began, view));
        if self.ended.len() > limits::RUNS_REMEMBERED_MAX {
            self.ended.pop_front();
        }
    }

    /// Where the first of all these began.
    fn began(&self) -> Option<Seq> {
        let open = self.open.values().map(|known| known.began);
        let ended = self.ended.iter().map(|(began, _)| *began);
        open.chain(ended).min()
    }
}

/// The newest event of a kind. The journal is read forwards only, so its place is found by steps that become longer as
/// long as there is a later one, and then shorter.
async fn newest(shared: &Shared, kind: &str) -> Result<Option<Event>, JournalError> {
    let filter = of_kinds(&[kind]);
    let (mut newest, mut step, mut grows) = (None::<Event>, 1_u64, true);
    while step > 0 {
        let place = newest.as_ref().map_or(0, |event| event.seq.0);
        let before = Seq(place.saturating_add(step - 1));
        let mut later = shared.deps.journal.read(&filter, before, 1).await?;
        match later.pop() {
            Some(event) => {
                newest = Some(event);
                step = if grows { step.saturating_mul(2) } else { step };
            }
            None => (step, grows) = (step / 2, false),
        }
    }
    Ok(newest)
}

fn of_kinds(tags: &[&str]) -> Filter {
    Filter {
        kinds: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..Filter::default()
    }
}

/// Records of one run that it is being taken up again by the daemon that had begun it, and answers with what is known of
/// it. No daemon has ended, so none counts as having ended.
///
/// # Errors
/// The journal's; then it is not.
pub(crate) async fn again(shared: &Shared, run: RunId) -> Result<RunView, JournalError> {
    let filter = Filter {
        run: Some(run),
        ..Filter::default()
    };
    let mut known = BTreeMap::new();
    each(shared, &filter, |event| note(&mut known, event)).await?;
    let Some(Known {
        view, recovering, ..
    }) = known.remove(&run)
    else {
        return Err(JournalError::Closed);
    };
    let attempt = attempt(shared, run, recovering).await?;
    let mut open = [(view, attempt.saturating_sub(1).max(1))];
    announce(shared, &mut open).await?;
    let [(view, _)] = open;
    Ok(view)
}

/// Everything that is known of one run.
pub(crate) async fn whole(shared: &Shared, run: RunId) -> Result<Option<RunView>, JournalError> {
    let filter = Filter {
        run: Some(run),
        ..Filter::default()
    };
    let mut view: Option<RunView> = None;
    each(shared, &filter, |event| match &mut view {
        Some(view) => view.apply(event),
        None => view = RunView::begin(event),
    })
    .await?;
    Ok(view)
}

/// Gives every event that a filter wants to `take`, in order.
///
/// # Errors
/// The journal cannot be read.
pub(crate) async fn each(
    shared: &Shared,
    filter: &Filter,
    take: impl FnMut(&Event),
) -> Result<(), JournalError> {
    each_after(shared, filter, Seq(0), take).await
}

async fn each_after(
    shared: &Shared,
    filter: &Filter,
    mut after: Seq,
    mut take: impl FnMut(&Event),
) -> Result<(), JournalError> {
    loop {
        let page = shared
            .deps
            .journal
            .read(filter, after, limits::EVENTS_PAGE)
            .await?;
        page.iter().for_each(&mut take);
        match page.last() {
            Some(event) if page.len() == limits::EVENTS_PAGE => after = event.seq,
            _ => return Ok(()),
        }
    }
}

fn note(known: &mut BTreeMap<RunId, Known>, event: &Event) {
    let Some(run) = event.subject.run else { return };
    let Some(known) = known.get_mut(&run) else {
        if let Some(view) = RunView::begin(event) {
            let known_now = Known {
                began: event.seq,
                view,
                recovering: None,
            };
            known.insert(run, known_now);
        }
        return;
    };
    known.view.apply(event);
    if let Kind::RunRecovering { attempt } = &event.kind {
        known.recovering = Some((event.seq, *attempt));
    }
}

/// How often a run is being taken up again, this time included, since it last got further.
async fn attempt(
    shared: &Shared,
    run: RunId,
    recovering: Option<(Seq, u32)>,
) -> Result<u32, JournalError> {
    let Some((since, attempts)) = recovering else {
        return Ok(1);
    };
    let filter = Filter {
        run: Some(run),
        ..Filter::default()
    };
    let mut after = since;
    loop {
        let journal = &shared.deps.journal;
        let page = journal
            .read(&filter, after, limits::EVENTS_LOOKED_AT)
            .await?;
        if page.iter().any(|event| is_further(&event.kind)) {
            return Ok(1);
        }
        match page.last() {
            Some(event) if page.len() == limits::EVENTS_LOOKED_AT => after = event.seq,
            _ => return Ok(attempts.saturating_add(1)),
        }
    }
}

/// Whether a run has got further with this event, rather than only to where it was.
const fn is_further(kind: &Kind) -> bool {
    !matches!(
        kind,
        Kind::RunResumed { .. }
            | Kind::ToolRepeated { .. }
            | Kind::WorkerStarted { .. }
            | Kind::WorkerRefused { .. }
            | Kind::WorkerLost { .. }
    )
}

/// Records of every open run that it is being taken up again.
async fn announce(shared: &Shared, open: &mut [(RunView, u32)]) -> Result<(), JournalError> {
    for group in open.chunks_mut(limits::RECOVERIES_APPENDED_MAX) {
        let drafts: Vec<Draft> = group
            .iter()
            .map(|(view, attempt)| Draft {
                time: shared.now(),
                subject: Subject {
                    run: Some(view.run),
                    cause: Some(view.last),
                    ..Subject::default()
                },
                kind: Kind::RunRecovering { attempt: *attempt },
            })
            .collect();
        let journal = &shared.deps.journal;
        let last = journal.append(drafts.clone(), Durability::Durable).await?;
        let first = (last.0 + 1).saturating_sub(drafts.len() as u64);
        for ((offset, draft), (view, _)) in (0..).zip(drafts).zip(group) {
            view.apply(&Event {
                seq: Seq(first + offset),
                time: draft.time,
                subject: draft.subject,
                kind: draft.kind,
            });
        }
    }
    Ok(())
}
