//! Time that a test sets, and identities in order.

use aaos_core::time::{Span, Timestamp};
use aaos_ports::{Clock, Ids};
use std::sync::atomic::{AtomicU64, Ordering};

/// A clock that moves a microsecond with every look, and as far as a test says.
#[derive(Debug, Default)]
pub struct FakeClock(AtomicU64);

impl FakeClock {
    /// Moves the clock on.
    pub fn advance(&self, span: Span) {
        self.0.fetch_add(span.micros(), Ordering::Relaxed);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// Identities 1, 2, 3 and so on.
#[derive(Debug, Default)]
pub struct FakeIds(AtomicU64);

impl Ids for FakeIds {
    fn draw(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}
