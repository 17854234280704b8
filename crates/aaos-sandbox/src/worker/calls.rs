//! The calls in flight: how each is ended, and why it was.
//!
//! Refuses: an id twice, and more calls than agreed.

use super::ServeError;
use crate::{protocol::CALLS_MAX, stop::Stop};
use aaos_core::{
    capability::{Capability, Need},
    id::CallId,
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Longest deadline taken at its word; a longer one is this long.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a call was ended before it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// The daemon does not want it any longer.
    Cancelled,
    /// Its deadline passed.
    Late,
    /// What it rests on is not held any longer.
    Narrowed,
    /// The worker ends.
    Gone,
}

/// What a call is known by while it runs.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    /// Its identity.
    pub(super) call: CallId,
    /// Says that it is over.
    pub(super) stop: Stop,
    /// When it has to have ended.
    pub(super) due: Instant,
}

impl Ticket {
    /// Time until it has to have ended.
    pub(super) fn left(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    /// Whether it is over, by word or by time.
    pub(super) fn is_over(&self) -> bool {
        self.stop.is_stopped() || self.left().is_zero()
    }
}

struct Entry {
    ticket: Ticket,
    needs: Vec<Need>,
    over: Option<Over>,
}

/// The calls in flight.
#[derive(Default)]
pub(super) struct Calls {
    table: Mutex<BTreeMap<CallId, Entry>>,
}

impl Calls {
    fn table(&self) -> MutexGuard<'_, BTreeMap<CallId, Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a call that came over the line.
    ///
    /// # Errors
    /// There is one with this id, or there are as many as agreed.
    pub(super) fn enter(&self, call: CallId, deadline_ms: u64) -> Result<Ticket, ServeError> {
        let mut table = self.table();
        if table.len() >= CALLS_MAX {
            return Err(ServeError::Nonsense("more calls at once than agreed"));
        }
        if table.contains_key(&call) {
            return Err(ServeError::Nonsense("a call with the id of one in flight"));
        }
        let deadline = Duration::from_millis(deadline_ms).min(DEADLINE_MAX);
        let ticket = Ticket {
            call,
            stop: Stop::default(),
            due: Instant::now() + deadline,
        };
        let entry = Entry {
            ticket: ticket.clone(),
            needs: Vec::new(),
            over: None,
        };
        table.insert(call, entry);
        Ok(ticket)
    }

    /// Notes what a call needs and looks at what is held, in one step: whoever takes something away afterwards finds
    /// the call here.
    pub(super) fn declare<T>(&self, call: CallId, needs: &[Need], look: impl FnOnce() -> T) -> T {
        let mut table = self.table();
        if let Some(entry) = table.get_mut(&call) {
            entry.needs = needs.to_vec();
        }
        look()
    }

    /// Takes a call out; answers with why it was ended, if it was. Its own thread may find its time over first.
    pub(super) fn leave(&self, call: CallId) -> Option<Over> {
        let entry = self.table().remove(&call)?;
        let late = entry.ticket.left().is_zero().then_some(Over::Late);
        entry.over.or(late)
    }

    /// Ends one call. One that has answered meanwhile is not there, which is no fault of anyone.
    pub(super) fn end(&self, call: CallId, why: Over) -> Vec<CallId> {
        self.end_where(why, |entry| entry.ticket.call == call)
    }

    /// Ends the calls whose deadline has passed.
    pub(super) fn end_late(&self) -> Vec<CallId> {
        let now = Instant::now();
        self.end_where(Over::Late, |entry| entry.ticket.due <= now)
    }

    /// Ends the calls that need what is not among these any longer.
    pub(super) fn end_beyond(&self, left: &[Capability]) -> Vec<CallId> {
        let held = |need: &Need| left.iter().any(|capability| capability.allows(need));
        self.end_where(Over::Narrowed, |entry| !entry.needs.iter().all(held))
    }

    /// Ends them all.
    pub(super) fn end_all(&self) -> Vec<CallId> {
        self.end_where(Over::Gone, |_| true)
    }

    /// When the first of the calls that still run has to have ended.
    pub(super) fn nearest(&self) -> Option<Instant> {
        let table = self.table();
        let running = table.values().filter(|entry| entry.over.is_none());
        running.map(|entry| entry.ticket.due).min()
    }

    fn end_where(&self, why: Over, which: impl Fn(&Entry) -> bool) -> Vec<CallId> {
        let mut table = self.table();
        let ended = table.values_mut().filter(|entry| which(entry));
        ended
            .map(|entry| {
                entry.over.get_or_insert(why);
                entry.ticket.stop.stop();
                entry.ticket.call
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_call_of_one_id_and_a_call_too_many_make_no_sense() {
        let calls = Calls::default();
        let id = |number: usize| CallId::from_drawn(u64::try_from(number).unwrap());
        for number in 0..CALLS_MAX - 1 {
            calls.enter(id(number), 1000).unwrap();
        }
        assert!(calls.enter(id(0), 1000).is_err());
        calls.enter(id(CALLS_MAX), 1000).unwrap();
        assert!(calls.enter(id(CALLS_MAX + 1), 1000).is_err());
    }

    #[test]
    fn only_the_calls_that_need_what_was_taken_away_are_ended() {
        let calls = Calls::default();
        let [kept, ended] = [1, 2].map(|id| calls.enter(CallId::from_drawn(id), 1000).unwrap());
        calls.declare(kept.call, &[Need::read("/d/a")], || ());
        calls.declare(ended.call, &[Need::read("/d/a"), Need::read("/e")], || ());
        let left: Vec<Capability> = vec!["file_read: /d/*".parse().unwrap()];
        assert_eq!(calls.end_beyond(&left), [ended.call]);
        assert!(ended.stop.is_stopped() && !kept.stop.is_stopped());
        assert_eq!(calls.leave(ended.call), Some(Over::Narrowed));
        assert_eq!(calls.leave(kept.call), None);
    }

    #[test]
    fn the_first_reason_a_call_was_ended_for_stays() {
        let calls = Calls::default();
        let call = calls.enter(CallId::from_drawn(1), 0).unwrap().call;
        assert_eq!(calls.end_late(), [call]);
        calls.end(call, Over::Cancelled);
        assert_eq!(calls.nearest(), None);
        assert_eq!(calls.leave(call), Some(Over::Late));
    }
}
