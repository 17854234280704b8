//! At the start: what the journal says of earlier runs. One that was open when the daemon ended is taken up again,
//! visibly; the daemon serves meanwhile.
//!
//! The start reads only how runs began and ended; each open run is read whole once, a bounded number at a time, the
//! oldest first. Refuses: to take up a run again and again that never gets further.

use crate::{deps::StartError, limits, shared::Shared};
use aaos_core::{
    event::{Draft, Event, Kind, RunView, Seq, Subject},
    id::RunId,
};
use aaos_ports::{Durability, Filter, JournalError};
use std::collections::BTreeMap;

/// Earlier runs.
#[derive(Default)]
pub(crate) struct Earlier {
    /// Those that are over, as far as their beginning and end tell, the longest submitted first.
    pub(crate) ended: Vec<RunView>,
    /// Those that are to be taken up again, with how often that was tried since they last got further; the oldest
    /// first.
    pub(crate) open: Vec<(RunView, u32)>,
}

/// What is known of a run that is not seen to have ended.
struct Known {
    view: RunView,
    /// When it was last taken up again, and how often in a row.
    recovering: Option<(Seq, u32)>,
}

/// Every earlier run, as far as its beginning and end tell.
pub(crate) async fn recover(shared: &Shared) -> Result<Earlier, StartError> {
    let tags = [
        "run_submitted",
        "run_finished",
        "run_recovering",
        "daemon_stopped",
    ];
    let filter = Filter {
        kinds: tags.map(str::to_owned).to_vec(),
        ..Filter::default()
    };
    let mut known: BTreeMap<RunId, Known> = BTreeMap::new();
    let mut stopped = Seq::default();
    each(shared, &filter, |event| match event.kind {
        Kind::DaemonStopped { .. } => stopped = event.seq,
        _ => note(&mut known, event),
    })
    .await?;
    let mut earlier = Earlier::default();
    for Known { view, recovering } in known.into_values() {
        if view.outcome.is_some() {
            earlier.ended.push(view);
        } else {
            // A run that only waited until a daemon went away by itself did not bring it down.
            let recovering = recovering.filter(|(since, _)| *since > stopped);
            let attempt = attempt(shared, view.run, recovering).await?;
            earlier.open.push((view, attempt));
        }
    }
    earlier.ended.sort_by_key(|view| view.submitted);
    earlier.open.sort_by_key(|(view, _)| view.submitted);
    announce(shared, &mut earlier.open).await?;
    Ok(earlier)
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
    let Some(Known { view, recovering }) = known.remove(&run) else {
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

pub(crate) async fn each(
    shared: &Shared,
    filter: &Filter,
    mut take: impl FnMut(&Event),
) -> Result<(), JournalError> {
    let mut after = Seq(0);
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
            let recovering = None;
            known.insert(run, Known { view, recovering });
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
