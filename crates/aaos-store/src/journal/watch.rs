//! Watching: past events from the database, then live ones from the tail, without a hole, a double or a reorder.
//!
//! A watcher holds a place and at most one chunk of events. It pulls; the writer never waits for it. When the tail
//! has moved past its place it reads the database until it has caught up, after saying so.

use super::{Shared, tail::After};
use crate::limits::WATCH_EVENTS_MAX;
use aaos_core::event::{Event, Seq};
use aaos_ports::{Filter, JournalError, Watch, WatchItem};
use futures::StreamExt;
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::watch;

/// How far the journal reaches, as watchers are told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach {
    /// The last event's place.
    pub(crate) seq: u64,
    /// Whether more may come.
    pub(crate) open: bool,
}

struct Watcher {
    shared: Arc<Shared>,
    reach: watch::Receiver<Reach>,
    filter: Filter,
    /// Everything up to here was delivered or does not match.
    place: u64,
    /// Whether the last events came from the tail.
    live: bool,
    /// Places the live feed skipped, until the first matching event among them is found.
    gap: Option<(u64, u64)>,
    ready: VecDeque<WatchItem>,
    ended: bool,
}

/// A stream of what matches after `after`, without end until the journal is closed.
pub(crate) fn watch(shared: Arc<Shared>, filter: Filter, after: Seq) -> Watch {
    let reach = shared.reach_receiver();
    let watcher = Watcher {
        shared,
        reach,
        filter,
        place: after.0,
        live: false,
        gap: None,
        ready: VecDeque::new(),
        ended: false,
    };
    futures::stream::unfold(watcher, |mut watcher| async move {
        let item = watcher.next().await?;
        Some((item, watcher))
    })
    .boxed()
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<WatchItem, JournalError>> {
        while !self.ended {
            if let Some(item) = self.ready.pop_front() {
                return Some(Ok(item));
            }
            if let Err(error) = self.fill().await {
                self.ended = true;
                return Some(Err(error));
            }
        }
        None
    }

    /// Takes one step: a chunk from the tail, a chunk from the database, or a wait for something new.
    async fn fill(&mut self) -> Result<(), JournalError> {
        let reach = *self.reach.borrow_and_update();
        let after = self.shared.tail().after(self.place, WATCH_EVENTS_MAX);
        match after {
            After::From(first) => self.catch_up(first, reach.seq).await,
            After::Next(events) if !events.is_empty() => {
                self.live = true;
                self.gap = None;
                if let Some(last) = events.last() {
                    self.place = last.event.seq.0;
                }
                let filter = &self.filter;
                let wanted = events
                    .iter()
                    .filter(|recent| filter.admits(&recent.event, &recent.kind));
                self.ready
                    .extend(wanted.map(|recent| WatchItem::Event(recent.event.clone())));
                Ok(())
            }
            After::Next(_) if !reach.open => Err(JournalError::Closed),
            After::Next(_) => {
                self.live = true;
                self.reach.changed().await.map_err(|_| JournalError::Closed)
            }
        }
    }

    /// Reads the next chunk from the database; the tail begins at `first`, the journal reaches to `reach` or on.
    async fn catch_up(&mut self, first: u64, reach: u64) -> Result<(), JournalError> {
        if self.live {
            self.live = false;
            self.gap = Some((self.place.saturating_add(1), first.saturating_sub(1)));
        }
        let events = self
            .shared
            .read(self.filter.clone(), self.place, WATCH_EVENTS_MAX)
            .await?;
        let whole = events.len() < WATCH_EVENTS_MAX;
        let last = events.last().map_or(self.place, |event| event.seq.0);
        self.place = if whole { last.max(reach) } else { last };
        self.announce(&events);
        self.ready.extend(events.into_iter().map(WatchItem::Event));
        Ok(())
    }

    /// Puts the gap's mark before its first event; a gap in which nothing matches is none to this watcher.
    fn announce(&mut self, events: &[Event]) {
        let Some((from, to)) = self.gap else { return };
        if events.first().is_some_and(|event| event.seq.0 <= to) {
            self.ready.push_back(WatchItem::Gap {
                from: Seq(from),
                to: Seq(to),
            });
            self.gap = None;
        } else if self.place >= to {
            self.gap = None;
        }
    }
}
