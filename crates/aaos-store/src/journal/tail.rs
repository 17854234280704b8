//! The newest events, kept in memory so that watchers that keep up never touch the disk.
//!
//! Bounded by number and by bytes; what falls out is read back from the database.

use crate::limits::TAIL_BYTES_MAX;
use aaos_core::event::Event;
use std::{collections::VecDeque, sync::Arc};

/// An event, its tag and its size.
#[derive(Debug)]
pub(crate) struct Recent {
    /// The event.
    pub(crate) event: Event,
    /// Its tag, for filters.
    pub(crate) kind: String,
    /// Bytes of its body.
    pub(crate) bytes: usize,
}

/// What the tail has after a place.
#[derive(Debug)]
pub(crate) enum After {
    /// The next events, without a hole; none if there is nothing newer.
    Next(Vec<Arc<Recent>>),
    /// The tail begins only here; what lies between must be read from the database.
    From(u64),
}

/// The newest events, without a hole among them.
#[derive(Debug)]
pub(crate) struct Tail {
    events: VecDeque<Arc<Recent>>,
    bytes: usize,
    /// Place of the next event to come.
    next: u64,
    events_max: usize,
}

impl Tail {
    /// An empty tail after the event at `last`.
    pub(crate) const fn after_event(last: u64, events_max: usize) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            next: last.saturating_add(1),
            events_max,
        }
    }

    /// Adds the next event; one that does not follow empties the tail first.
    pub(crate) fn push(&mut self, recent: Recent) {
        let seq = recent.event.seq.0;
        if seq != self.next {
            self.restart(seq.saturating_sub(1));
        }
        self.next = seq.saturating_add(1);
        self.bytes = self.bytes.saturating_add(recent.bytes);
        self.events.push_back(Arc::new(recent));
        while self.events.len() > self.events_max || self.bytes > TAIL_BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(oldest.bytes);
        }
    }

    /// Forgets everything: the journal ends at `last` and watchers must read it from the database.
    pub(crate) fn restart(&mut self, last: u64) {
        self.events.clear();
        self.bytes = 0;
        self.next = last.saturating_add(1);
    }

    /// At most `limit` events after `place`.
    pub(crate) fn after(&self, place: u64, limit: usize) -> After {
        let first = self.next.saturating_sub(self.events.len() as u64);
        match place.saturating_add(1).checked_sub(first) {
            None => After::From(first),
            Some(skip) => {
                let skip = usize::try_from(skip).unwrap_or(usize::MAX);
                After::Next(self.events.iter().skip(skip).take(limit).cloned().collect())
            }
        }
    }
}
