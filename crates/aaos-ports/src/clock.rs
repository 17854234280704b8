//! Time and identity, which the core cannot make for itself.

use aaos_core::{id::AgentId, id::CallId, id::GrantId, id::RunId, time::Timestamp};

/// Tells the time. Called often, from anywhere; must not block.
pub trait Clock: Send + Sync {
    /// The moment it is now. May jump with the machine's clock; never panics.
    fn now(&self) -> Timestamp;
}

/// Draws identities. Called often, from anywhere; must not block for long.
pub trait Ids: Send + Sync {
    /// A number never drawn before, as far as chance allows: 64 random bits.
    fn draw(&self) -> u64;

    /// A run's identity.
    fn run(&self) -> RunId {
        RunId::from_drawn(self.draw())
    }

    /// An agent's identity.
    fn agent(&self) -> AgentId {
        AgentId::from_drawn(self.draw())
    }

    /// A call's identity.
    fn call(&self) -> CallId {
        CallId::from_drawn(self.draw())
    }

    /// A grant's identity.
    fn grant(&self) -> GrantId {
        GrantId::from_drawn(self.draw())
    }
}
