//! The gate before the provider: at most so many model requests at once, the earliest deadline first.

use aaos_core::{slots::Slots, time::Timestamp};
use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// Hands out the right to one model request.
pub(crate) struct Gatekeeper {
    state: Mutex<State>,
}

struct State {
    slots: Slots<u64>,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
    next: u64,
}

/// The right to one model request; given back when dropped.
pub(crate) struct Slot<'a> {
    gate: &'a Gatekeeper,
    ticket: u64,
}

impl Gatekeeper {
    pub(crate) fn new(slots: NonZeroUsize) -> Self {
        let state = State {
            slots: Slots::new(slots),
            waiting: BTreeMap::new(),
            next: 0,
        };
        Self {
            state: Mutex::new(state),
        }
    }

    /// Waits for a slot. Dropping the future gives up the place in the queue.
    pub(crate) async fn acquire(&self, deadline: Timestamp) -> Slot<'_> {
        let (sender, granted) = oneshot::channel();
        let ticket = {
            let mut state = self.lock();
            let ticket = state.next;
            state.next += 1;
            state.waiting.insert(ticket, sender);
            let now_granted = state.slots.ask(ticket, deadline);
            state.wake(&now_granted);
            ticket
        };
        // Made before the wait, so that a dropped wait gives the place or the slot back.
        let slot = Slot { gate: self, ticket };
        let _ = granted.await;
        slot
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&mut self, granted: &[u64]) {
        for ticket in granted {
            if let Some(sender) = self.waiting.remove(ticket) {
                let _ = sender.send(());
            }
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        let waited = state.waiting.remove(&self.ticket).is_some();
        let granted = if waited {
            state.slots.cancel(self.ticket)
        } else {
            state.slots.done(self.ticket)
        };
        state.wake(&granted);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_goes_away_does_not_keep_its_slot() {
        let gate = Gatekeeper::new(NonZeroUsize::new(1).unwrap());
        let first = gate.acquire(Timestamp::from_micros(1)).await;
        let gave_up = tokio::time::timeout(
            Duration::from_millis(1),
            gate.acquire(Timestamp::from_micros(2)),
        )
        .await;
        assert!(gave_up.is_err());
        drop(first);
        let next = tokio::time::timeout(
            Duration::from_millis(1),
            gate.acquire(Timestamp::from_micros(3)),
        )
        .await;
        assert!(next.is_ok());
    }
}
