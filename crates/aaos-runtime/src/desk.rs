//! The desk: acts of a run that wait for the operator's word.
//!
//! A word is recorded before it is told to whoever waits, and the first one stands: while one is being recorded no other
//! is taken, and none once the wait has ended by itself. A word may come before the wait does, as after a restart,
//! when the run's record says that the act waits and its agent has not come that far again.
//!
//! Refuses: a word on what does not wait.

use crate::{record::Who, shared::Shared};
use aaos_core::{
    approval::{Answer, Settlement},
    event::Kind,
    id::{AgentId, CallId},
    time::{Span, Timestamp},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// What an act waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Matter {
    /// Whether it may happen.
    Approval,
    /// What becomes of it, since nobody knows whether it happened.
    Doubt,
}

/// The operator's word.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Word {
    /// On a request for approval.
    Answer(Answer),
    /// On an act in doubt.
    Settlement(Settlement),
}

/// Where one matter stands.
#[derive(Debug, Clone, PartialEq)]
enum Stand {
    /// A word is waited for.
    Open,
    /// One is being recorded.
    Recording,
    /// One stands.
    Given(Word),
    /// Nobody waits any longer.
    Closed,
}

type Place = watch::Sender<Stand>;

/// What waits in one run, and what will have to if its agent ends first.
#[derive(Default)]
pub(crate) struct Desk {
    places: Mutex<BTreeMap<(CallId, Matter), Arc<Place>>>,
    underway: Mutex<BTreeMap<CallId, (Who, Kind)>>,
}

/// An act under way whose end has to be known, until this is dropped.
pub(crate) struct Underway<'a>(&'a Desk, CallId);

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        self.0.acts().remove(&self.1);
    }
}

impl Desk {
    /// Marks an act as under way; `doubt` is what is recorded if its agent ends before anybody knows how it ended.
    pub(crate) fn begin(&self, call: CallId, who: Who, doubt: Kind) -> Underway<'_> {
        self.acts().insert(call, (who, doubt));
        Underway(self, call)
    }

    /// Acts of an agent that are under way, each with what is recorded if nobody learns how it ended.
    pub(crate) fn underway_of(&self, agent: AgentId) -> Vec<(Who, Kind)> {
        let acts = self.acts();
        let of_agent = acts.values().filter(|(who, _)| who.agent == Some(agent));
        of_agent.cloned().collect()
    }

    /// Takes the seat of one who waits.
    pub(crate) fn sit(&self, call: CallId, matter: Matter) -> Seat<'_> {
        Seat {
            desk: self,
            name: (call, matter),
            place: self.place(call, matter),
        }
    }

    /// Takes the right to say the word on a matter; none if somebody has it or the matter is closed.
    pub(crate) fn speak(&self, call: CallId, matter: Matter) -> Option<Speaker> {
        let place = self.place(call, matter);
        let free = place.send_if_modified(|stand| {
            let free = *stand == Stand::Open;
            if free {
                *stand = Stand::Recording;
            }
            free
        });
        // Not made otherwise: one that is dropped opens the matter.
        free.then(|| Speaker { place, word: None })
    }

    fn place(&self, call: CallId, matter: Matter) -> Arc<Place> {
        let mut places = self.places();
        let place = places
            .entry((call, matter))
            .or_insert_with(|| Arc::new(Place::new(Stand::Open)));
        Arc::clone(place)
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<(CallId, Matter), Arc<Place>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acts(&self) -> MutexGuard<'_, BTreeMap<CallId, (Who, Kind)>> {
        self.underway.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The seat of one who waits. Leaving it closes the matter.
pub(crate) struct Seat<'a> {
    desk: &'a Desk,
    name: (CallId, Matter),
    place: Arc<Place>,
}

impl Seat<'_> {
    /// Waits for the word, or until `end`. A word that is being recorded when that comes is waited for; it stands if it
    /// could be recorded.
    pub(crate) async fn word(&mut self, end: impl Future<Output = ()>) -> Option<Word> {
        let mut stand = self.place.subscribe();
        let given = |stand: &Stand| matches!(stand, Stand::Given(_));
        tokio::select! {
            biased;
            // The sender lives as long as this seat, so the wait cannot fail.
            _ = stand.wait_for(given) => {}
            () = end => {}
        }
        loop {
            let mut word = None;
            self.place.send_if_modified(|stand| match stand {
                Stand::Given(given) => {
                    word = Some(given.clone());
                    false
                }
                Stand::Open => {
                    *stand = Stand::Closed;
                    true
                }
                Stand::Recording | Stand::Closed => false,
            });
            let recording = *stand.borrow_and_update() == Stand::Recording;
            if word.is_some() || !recording {
                return word;
            }
            let _ = stand.wait_for(|stand| *stand != Stand::Recording).await;
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.desk.places().remove(&self.name);
        self.place.send_if_modified(|stand| {
            let open = *stand == Stand::Open;
            if open {
                *stand = Stand::Closed;
            }
            open
        });
    }
}

/// The right to say the word on one matter. The word is told when this is dropped after [`Speaker::said`]; without
/// that, as when it could not be recorded, the matter is open again.
pub(crate) struct Speaker {
    place: Arc<Place>,
    word: Option<Word>,
}

impl Speaker {
    /// Lets the word stand.
    pub(crate) fn said(mut self, word: Word) {
        self.word = Some(word);
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        let stand = self.word.take().map_or(Stand::Open, Stand::Given);
        self.place.send_replace(stand);
    }
}

/// Longest sleep between two looks at the clock, so that one that is set anew is noticed.
const LOOK_EVERY: Span = Span::from_secs(60);

/// Waits until the clock shows this moment.
pub(crate) async fn until(shared: &Shared, moment: Timestamp) {
    loop {
        let left = moment.since(shared.now());
        if left == Span::ZERO {
            return;
        }
        tokio::time::sleep(left.min(LOOK_EVERY).as_duration()).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::future::{pending, ready};

    const CALL: CallId = CallId::from_drawn(7);

    fn yes() -> Word {
        Word::Answer(Answer::Approve { always: None })
    }

    #[tokio::test]
    async fn the_first_word_stands_and_no_other_is_taken() {
        let desk = Desk::default();
        let mut seat = desk.sit(CALL, Matter::Approval);
        let speaker = desk.speak(CALL, Matter::Approval).unwrap();
        assert!(desk.speak(CALL, Matter::Approval).is_none());
        speaker.said(yes());
        assert!(desk.speak(CALL, Matter::Approval).is_none());
        assert_eq!(seat.word(pending()).await, Some(yes()));
    }

    #[tokio::test]
    async fn a_word_that_could_not_be_recorded_leaves_the_matter_open() {
        let desk = Desk::default();
        let mut seat = desk.sit(CALL, Matter::Doubt);
        drop(desk.speak(CALL, Matter::Doubt));
        let word = Word::Settlement(Settlement::Done);
        desk.speak(CALL, Matter::Doubt).unwrap().said(word.clone());
        assert_eq!(seat.word(pending()).await, Some(word));
    }

    #[tokio::test]
    async fn a_word_comes_before_its_wait_and_none_after_it() {
        let desk = Desk::default();
        desk.speak(CALL, Matter::Approval).unwrap().said(yes());
        let mut seat = desk.sit(CALL, Matter::Approval);
        assert_eq!(seat.word(ready(())).await, Some(yes()));
        drop(seat);
        let mut late = desk.sit(CALL, Matter::Approval);
        assert_eq!(late.word(ready(())).await, None);
        assert!(desk.speak(CALL, Matter::Approval).is_none());
    }

    #[tokio::test]
    async fn a_word_being_recorded_when_the_time_is_up_is_waited_for() {
        let desk = Desk::default();
        let mut seat = desk.sit(CALL, Matter::Approval);
        let speaker = desk.speak(CALL, Matter::Approval).unwrap();
        let (word, ()) = futures::join!(seat.word(ready(())), async {
            tokio::task::yield_now().await;
            speaker.said(yes());
        });
        assert_eq!(word, Some(yes()));
    }

    #[tokio::test]
    async fn time_is_up_when_a_word_could_not_be_recorded_after_all() {
        let desk = Desk::default();
        let mut seat = desk.sit(CALL, Matter::Approval);
        let speaker = desk.speak(CALL, Matter::Approval).unwrap();
        let (word, ()) = futures::join!(seat.word(ready(())), async {
            tokio::task::yield_now().await;
            drop(speaker);
        });
        assert_eq!(word, None);
    }
}
