//! Tools as the core knows them: a name, a description for models, the powers they ask for, the effect they have.

use crate::{id::ToolName, time::Span};
use serde::{Deserialize, Serialize};

/// A kind of live access a tool may be handed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// Files beneath what was granted.
    Files,
    /// Outbound HTTP to granted hosts.
    Http,
    /// Starting programs.
    Exec,
    /// The agent's memory.
    Remember,
    /// Starting further agents.
    Spawn,
    /// Sending messages to other agents.
    Send,
    /// Reading skills.
    ReadSkill,
}

/// Where a tool call runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// In the agent's worker.
    Worker,
    /// In the daemon.
    Daemon,
}

impl Placement {
    /// Whatever touches files, processes, the network or foreign bytes runs in the worker. Only acts on the
    /// runtime's own state happen in the daemon.
    #[must_use]
    pub fn of(powers: &[Power]) -> Self {
        let own = |power: &Power| matches!(power, Power::Remember | Power::Spawn | Power::Send);
        if !powers.is_empty() && powers.iter().all(own) {
            Self::Daemon
        } else {
            Self::Worker
        }
    }
}

/// What a tool call does to the world, and so what may be done about it after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing outside the call itself.
    Pure,
    /// Observes the world.
    Read,
    /// Changes the world, and a second time changes nothing more.
    Idempotent,
    /// Changes the world and can be taken back.
    Reversible,
    /// Changes the world for good.
    Irreversible,
}

impl Effect {
    /// Every class, the most harmless first.
    pub const ALL: [Self; 5] = [
        Self::Pure,
        Self::Read,
        Self::Idempotent,
        Self::Reversible,
        Self::Irreversible,
    ];

    /// The word used in events, roles and configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pure => "pure",
            Self::Read => "read",
            Self::Idempotent => "idempotent",
            Self::Reversible => "reversible",
            Self::Irreversible => "irreversible",
        }
    }

    /// Whether doing it twice is the same as doing it once.
    #[must_use]
    pub const fn may_repeat(self) -> bool {
        matches!(self, Self::Pure | Self::Read | Self::Idempotent)
    }
}

/// How a call is settled whose intent is recorded and whose end is not, beyond what its effect says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// By its effect alone: repeated if that changes nothing more, else asked about.
    #[default]
    ByEffect,
    /// The tool looks whether it happened; what it cannot tell is asked about.
    Looks,
    /// It carries its identity with it. Repeated where the operator says that the other side keeps such identities
    /// apart, else asked about.
    Keyed,
    /// It is gone on with: what it had started goes on by itself, each part by its own rules.
    GoesOn,
}

/// What models and operators are told of a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Its name.
    pub name: ToolName,
    /// One sentence: what it does.
    pub summary: String,
    /// JSON Schema of its input.
    pub input_schema: serde_json::Value,
    /// What it asks to be handed.
    pub powers: Vec<Power>,
    /// What it does to the world.
    pub effect: Effect,
    /// How a call of it is settled that was cut off.
    #[serde(default)]
    pub recovery: Recovery,
    /// Longest time one call may take.
    pub deadline: Span,
}

impl ToolSpec {
    /// Where its calls run.
    #[must_use]
    pub fn placement(&self) -> Placement {
        Placement::of(&self.powers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_acts_on_the_runtimes_own_state_happen_in_the_daemon() {
        assert_eq!(Placement::of(&[Power::Spawn]), Placement::Daemon);
        assert_eq!(
            Placement::of(&[Power::Spawn, Power::Files]),
            Placement::Worker
        );
        assert_eq!(Placement::of(&[Power::Http]), Placement::Worker);
        assert_eq!(Placement::of(&[]), Placement::Worker);
    }
}
