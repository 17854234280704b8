//! What waits for the operator, and the operator's word on it. Used by the command line; the first answer stands.

use crate::goals::GoalError;
use aaos_core::{
    approval::{Answer, Settlement},
    budget::Budget,
    event::Waiting,
    id::{CallId, RunId},
    money::MicroDollars,
    time::Span,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// An act that waits, and its run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// The run.
    pub run: RunId,
    /// The operator whose run it is, as a user number.
    pub operator: u32,
    /// The act.
    #[serde(flatten)]
    pub waiting: Waiting,
}

/// What is added to a run's budget; nothing where zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Raise {
    /// Tokens.
    pub tokens: u64,
    /// Money.
    pub cost: MicroDollars,
    /// Time.
    pub wall_clock: Span,
    /// Tool calls.
    pub calls: u64,
    /// Agents.
    pub agents: u64,
}

impl Raise {
    /// The budget with this added.
    #[must_use]
    pub const fn of(self, budget: Budget) -> Budget {
        Budget {
            tokens: budget.tokens.saturating_add(self.tokens),
            cost: budget.cost.plus(self.cost),
            wall_clock: budget.wall_clock.plus(self.wall_clock),
            calls: budget.calls.saturating_add(self.calls),
            agents: budget.agents.saturating_add(self.agents),
            ..budget
        }
    }
}

/// The operator's word on what waits for it.
#[async_trait]
pub trait Decisions: Send + Sync {
    /// Every act that waits, of one run or of all, the oldest first.
    ///
    /// # Errors
    /// `Unknown`, `Ended`.
    async fn pending(&self, run: Option<RunId>) -> Result<Vec<Pending>, GoalError>;

    /// Answers a request for approval. The answer is durable when this returns; what it allows happens after.
    ///
    /// # Errors
    /// `Invalid` if no such request waits, as when somebody answered first; `Unavailable` if it could not be recorded,
    /// and then it waits on.
    async fn answer(
        &self,
        run: RunId,
        call: CallId,
        answer: Answer,
        operator: u32,
    ) -> Result<(), GoalError>;

    /// Says what becomes of an act in doubt.
    ///
    /// # Errors
    /// As [`Decisions::answer`].
    async fn settle(
        &self,
        run: RunId,
        call: CallId,
        settlement: Settlement,
        operator: u32,
    ) -> Result<(), GoalError>;

    /// Raises a run's budget; one that waits at a limit goes on. Answers with the budget from now on.
    ///
    /// # Errors
    /// `Unknown`, `Ended`; `Invalid` if nothing is added.
    async fn resume(&self, run: RunId, raise: Raise, operator: u32) -> Result<Budget, GoalError>;
}

/// Told when an act begins to wait for the operator, so that a person learns of it who watches nothing: a desktop
/// notice, a message. What becomes of that changes nothing.
#[async_trait]
pub trait Bell: Send + Sync {
    /// Rings once for one act, in a task of its own that is dropped when it takes too long.
    ///
    /// # Errors
    /// What went wrong, for whoever looks after the daemon.
    async fn ring(&self, pending: &Pending) -> Result<(), String>;
}
