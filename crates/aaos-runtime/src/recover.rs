//! At the start: what the journal says of earlier runs. A run that was open when the daemon ended is closed, visibly.

use crate::{deps::StartError, limits, shared::Shared};
use aaos_core::{
    event::{Draft, Event, Kind, Outcome, RunView, Seq, Subject},
    failure::Failure,
    id::RunId,
    model::Usage,
};
use aaos_ports::{Durability, Filter, JournalError};
use std::collections::BTreeMap;

/// Every earlier run, as far as its beginning and end tell.
pub(crate) async fn recover(shared: &Shared) -> Result<BTreeMap<RunId, RunView>, StartError> {
    let kinds = vec!["run_submitted".to_owned(), "run_finished".to_owned()];
    let filter = Filter {
        run: None,
        agent: None,
        kinds,
    };
    let mut views: BTreeMap<RunId, RunView> = BTreeMap::new();
    each(shared, &filter, |event| note(&mut views, event)).await?;
    let open: Vec<RunId> = views
        .values()
        .filter(|view| view.outcome.is_none())
        .map(|view| view.run)
        .collect();
    for run in open {
        let view = close(shared, run).await?;
        views.insert(run, view);
    }
    Ok(views)
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

async fn each(
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

fn note(views: &mut BTreeMap<RunId, RunView>, event: &Event) {
    let Some(run) = event.subject.run else { return };
    match views.get_mut(&run) {
        Some(view) => view.apply(event),
        None => {
            if let Some(view) = RunView::begin(event) {
                views.insert(run, view);
            }
        }
    }
}

async fn close(shared: &Shared, run: RunId) -> Result<RunView, StartError> {
    let known = whole(shared, run).await?;
    let usage = known
        .as_ref()
        .map_or_else(Usage::default, |view| view.usage);
    let kind = Kind::RunFinished {
        outcome: Outcome::Failed {
            failure: Failure::Interrupted,
        },
        usage,
    };
    let cause = known.as_ref().map(|view| view.last);
    let subject = Subject {
        run: Some(run),
        cause,
        ..Subject::default()
    };
    let draft = Draft {
        time: shared.now(),
        subject,
        kind,
    };
    shared
        .deps
        .journal
        .append(vec![draft], Durability::Durable)
        .await?;
    let closed = whole(shared, run).await?;
    closed.ok_or(StartError::Journal(JournalError::Closed))
}
