//! Time and identity, which the core cannot make for itself.

use aaos_core::{id::RunId, time::Timestamp};

/// Tells the time. Called often, from anywhere; must not block.
pub trait Clock: Send + Sync {
    /// The moment it is now. May jump with the machine's clock; never panics.
    fn now(&self) -> Timestamp;
}

/// Draws identities: a run's; all others follow from it. Called from anywhere; must not block for long.
pub trait Ids: Send + Sync {
    /// A number never drawn before, as far as chance allows: 64 random bits.
    fn draw(&self) -> u64;

    /// A run's identity.
    fn run(&self) -> RunId {
        RunId::from_drawn(self.draw())
    }
}
