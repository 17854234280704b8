//! The clock and the source of identities: the two things the rest of the house may not make for itself.

use aaos_core::time::Timestamp;
use aaos_ports::{Clock, Ids};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

/// Identities from the system's randomness.
#[derive(Debug, Default)]
pub(crate) struct RandomIds {
    drawn: AtomicU64,
}

impl Ids for RandomIds {
    fn draw(&self) -> u64 {
        getrandom::u64().unwrap_or_else(|_| self.without_randomness())
    }
}

impl RandomIds {
    /// Where the system has no randomness to give: never the same twice here, hardly ever elsewhere.
    fn without_randomness(&self) -> u64 {
        let count = self.drawn.fetch_add(1, Ordering::Relaxed);
        let seed = [
            SystemClock.now().micros(),
            u64::from(std::process::id()),
            count,
        ];
        let mut digest = blake3::Hasher::new();
        for part in seed {
            digest.update(&part.to_le_bytes());
        }
        let mut bytes = [0; 8];
        digest.finalize_xof().fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}
