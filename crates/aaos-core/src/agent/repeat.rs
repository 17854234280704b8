//! The repeat guard: the same call with the same arguments, again and again, is warned of and then refused.
//!
//! A different call in between does not start the count anew, or a loop of two calls would go on for ever.

use crate::text::head;
use std::collections::BTreeMap;

/// Most different calls that are remembered; beyond them the one not seen for longest is forgotten. Far more than one
/// agent makes within its turns.
pub const CALLS_REMEMBERED_MAX: usize = 1024;
/// Most bytes of a name or digest that are compared: a name at its limit, a digest twice over.
const KEY_BYTES_MAX: usize = 128;

/// What to do about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// Make it and say that it has come so often.
    Warn(u32),
    /// Refuse it and say that it has come so often.
    Refuse(u32),
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    times: u32,
    last: u64,
}

/// The calls one agent has made.
#[derive(Debug, Clone)]
pub struct Repeat {
    warn_at: u32,
    refuse_at: u32,
    calls: BTreeMap<(String, String), Seen>,
    clock: u64,
}

impl Repeat {
    /// Warns from the `warn_at`th time on, refuses from the `refuse_at`th.
    #[must_use]
    pub const fn new(warn_at: u32, refuse_at: u32) -> Self {
        Self {
            warn_at,
            refuse_at,
            calls: BTreeMap::new(),
            clock: 0,
        }
    }

    /// Counts a call, named by its tool and a digest of its canonical arguments.
    pub fn seen(&mut self, tool: &str, input_hash: &str) -> Verdict {
        let key = (
            head(tool, KEY_BYTES_MAX).to_owned(),
            head(input_hash, KEY_BYTES_MAX).to_owned(),
        );
        if !self.calls.contains_key(&key) && self.calls.len() >= CALLS_REMEMBERED_MAX {
            self.forget_oldest();
        }
        self.clock = self.clock.saturating_add(1);
        let seen = self.calls.entry(key).or_insert(Seen { times: 0, last: 0 });
        seen.times = seen.times.saturating_add(1);
        seen.last = self.clock;
        let times = seen.times;
        if times >= self.refuse_at {
            Verdict::Refuse(times)
        } else if times >= self.warn_at {
            Verdict::Warn(times)
        } else {
            Verdict::Fine
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self
            .calls
            .iter()
            .min_by_key(|(_, seen)| seen.last)
            .map(|(key, _)| key.clone())
        {
            self.calls.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict::*, *};

    #[test]
    fn the_same_call_is_warned_of_and_then_refused() {
        let mut repeat = Repeat::new(3, 5);
        let verdicts: Vec<Verdict> = (0..6).map(|_| repeat.seen("file_read", "h")).collect();
        assert_eq!(
            verdicts,
            [Fine, Fine, Warn(3), Warn(4), Refuse(5), Refuse(6)]
        );
    }

    #[test]
    fn a_loop_of_two_calls_is_refused_too() {
        let mut repeat = Repeat::new(2, 3);
        let verdicts: Vec<Verdict> = (0..6)
            .map(|n| repeat.seen("t", if n % 2 == 0 { "a" } else { "b" }))
            .collect();
        assert_eq!(
            verdicts,
            [Fine, Fine, Warn(2), Warn(2), Refuse(3), Refuse(3)]
        );
    }

    #[test]
    fn other_arguments_are_another_call() {
        let mut repeat = Repeat::new(2, 3);
        assert_eq!(
            [
                repeat.seen("t", "a"),
                repeat.seen("t", "b"),
                repeat.seen("u", "a")
            ],
            [Fine, Fine, Fine]
        );
    }

    #[test]
    fn memory_is_bounded_and_the_newest_stay() {
        let mut repeat = Repeat::new(2, 3);
        repeat.seen("t", "always");
        for number in 0..2 * CALLS_REMEMBERED_MAX {
            repeat.seen(&"x".repeat(10_000), &number.to_string());
            repeat.seen("t", "always");
        }
        assert_eq!(repeat.calls.len(), CALLS_REMEMBERED_MAX);
        assert!(matches!(repeat.seen("t", "always"), Refuse(_)));
    }
}
