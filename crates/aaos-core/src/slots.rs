//! Slots: at most so many at once, the most urgent first.
//!
//! A machine. It knows tickets and deadlines, no clock and no waiting; whoever performs it lets the granted ones go.

use crate::time::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
};

/// A ticket's place in the queue: its deadline, then its arrival.
type Place = (Timestamp, u64);

/// So many slots, and those who wait for one.
#[derive(Debug, Clone)]
pub struct Slots<T: Copy + Eq + Ord> {
    count: usize,
    holding: BTreeSet<T>,
    waiting: BTreeMap<Place, T>,
    places: BTreeMap<T, Place>,
    arrivals: u64,
}

impl<T: Copy + Eq + Ord> Slots<T> {
    /// `count` slots, all free.
    #[must_use]
    pub const fn new(count: NonZero<usize>) -> Self {
        Self {
            count: count.get(),
            holding: BTreeSet::new(),
            waiting: BTreeMap::new(),
            places: BTreeMap::new(),
            arrivals: 0,
        }
    }

    /// Asks for a slot and answers with the tickets that are granted one now. A ticket that holds a slot or waits for
    /// one already asks in vain.
    pub fn ask(&mut self, ticket: T, deadline: Timestamp) -> Vec<T> {
        if self.holding.contains(&ticket) || self.places.contains_key(&ticket) {
            return Vec::new();
        }
        let place = (deadline, self.arrivals);
        self.arrivals = self.arrivals.wrapping_add(1);
        self.waiting.insert(place, ticket);
        self.places.insert(ticket, place);
        self.grant()
    }

    /// Gives a slot back and answers with the tickets that are granted one now.
    pub fn done(&mut self, ticket: T) -> Vec<T> {
        self.holding.remove(&ticket);
        self.grant()
    }

    /// Takes a ticket out, whether it holds a slot or waits, and answers with the tickets that are granted one now.
    pub fn cancel(&mut self, ticket: T) -> Vec<T> {
        if let Some(place) = self.places.remove(&ticket) {
            self.waiting.remove(&place);
        }
        self.done(ticket)
    }

    /// How many slots are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.holding.len()
    }

    /// How many tickets wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn grant(&mut self) -> Vec<T> {
        let mut granted = Vec::new();
        while self.holding.len() < self.count {
            let Some((_, ticket)) = self.waiting.pop_first() else {
                break;
            };
            self.places.remove(&ticket);
            self.holding.insert(ticket);
            granted.push(ticket);
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u32; 0] = [];

    fn slots(count: usize) -> Slots<u32> {
        Slots::new(NonZero::new(count).unwrap_or(NonZero::<usize>::MIN))
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_micros(secs)
    }

    #[test]
    fn the_most_urgent_goes_first_and_ties_go_by_arrival() {
        let mut slots = slots(1);
        assert_eq!(slots.ask(1, at(50)), [1]);
        assert_eq!(slots.ask(2, at(30)), NONE);
        assert_eq!(slots.ask(3, at(10)), NONE);
        assert_eq!(slots.ask(4, at(10)), NONE);
        assert_eq!(slots.done(1), [3]);
        assert_eq!(slots.done(3), [4]);
        assert_eq!(slots.done(4), [2]);
        assert_eq!(slots.done(2), NONE);
    }

    #[test]
    fn a_cancelled_ticket_frees_what_it_held_and_is_not_granted_later() {
        let mut slots = slots(2);
        assert_eq!(
            [
                slots.ask(1, at(1)),
                slots.ask(2, at(1)),
                slots.ask(3, at(1)),
                slots.ask(4, at(2))
            ]
            .concat(),
            [1, 2]
        );
        assert_eq!(slots.cancel(3), NONE);
        assert_eq!(slots.cancel(1), [4]);
        assert_eq!((slots.held(), slots.waiting()), (2, 0));
    }

    #[test]
    fn asking_twice_or_ending_twice_changes_nothing() {
        let mut slots = slots(1);
        assert_eq!(slots.ask(1, at(1)), [1]);
        assert_eq!(slots.ask(1, at(1)), NONE);
        assert_eq!(slots.ask(2, at(1)), NONE);
        assert_eq!(slots.ask(2, at(0)), NONE);
        assert_eq!(slots.done(9), NONE);
        assert_eq!(slots.done(1), [2]);
        assert_eq!(slots.done(1), NONE);
        assert_eq!(slots.held(), 1);
    }
}
