//! What is made of a run's record: another run that goes its own way from a step on, the same run once more without
//! effects, where the money went.

use crate::goals::{GoalError, Submit};
use aaos_core::{
    approval::Rule,
    budget::Budget,
    capability::Capability,
    event::{Seq, StopReason},
    id::{AgentId, RoleName, RunId, SubtaskId},
    model::{ModelRef, Usage},
    role::Role,
    time::Timestamp,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a run is carried out under, as it was when it was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunTerms {
    /// What was asked.
    pub submit: Submit,
    /// The roles.
    pub roles: Vec<Role>,
    /// The models that serve its classes.
    #[serde(default)]
    pub models: Vec<ModelRef>,
}

/// A run to be continued from one of its steps under other terms. What is none stays as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForkOrder {
    /// The run.
    pub run: RunId,
    /// The subtask from which on it goes its own way.
    pub at: SubtaskId,
    /// Model requests of that subtask's agent that are kept, with the calls they led to.
    pub turns_kept: u32,
    /// A model for every class, as `provider/model`.
    pub model: Option<String>,
    /// All that the new run may do, beside what it does in its own directory.
    pub grants: Vec<Capability>,
    /// Limits of the new run.
    pub budget: Budget,
    /// Limits of each role's agents together.
    pub role_budgets: BTreeMap<RoleName, Budget>,
    /// Acts that wait for a person's approval, beside those that do in the other run.
    #[serde(default)]
    pub approve: Vec<Rule>,
    /// The operator's user number.
    pub operator: u32,
}

/// Whose line of events one is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// The run's own: planning, subtasks, the end.
    Run,
    /// An agent's.
    Agent {
        /// The agent.
        agent: AgentId,
        /// Its role.
        role: RoleName,
        /// The subtask it works for.
        subtask: Option<SubtaskId>,
    },
}

/// The first place where carrying a run out again led elsewhere than its record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Divergence {
    /// Whose line.
    pub line: Line,
    /// The event of the record, if there is one.
    pub seq: Option<Seq>,
    /// What the record says; none if it says nothing more.
    pub recorded: Option<String>,
    /// What happened now; none if nothing more did.
    pub replayed: Option<String>,
}

/// What came of carrying a run out again from its record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// The run.
    pub run: RunId,
    /// Events that were compared and are the same.
    pub events: u64,
    /// Model replies that came from the record.
    pub replies: u64,
    /// Tool results that came from the record.
    pub results: u64,
    /// Where the record ends early: at a stop, a time limit or an operator's act, which no replay repeats.
    pub ends_at: Option<String>,
    /// The first difference, if there is one.
    pub divergence: Option<Divergence>,
}

/// What one agent, or the run itself, asked one model for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spending {
    /// The run.
    pub run: RunId,
    /// The operator whose run it is, as a user number.
    pub operator: u32,
    /// The agent; none for planning.
    pub agent: Option<AgentId>,
    /// The agent's role.
    pub role: Option<RoleName>,
    /// The subtask it works for.
    pub subtask: Option<SubtaskId>,
    /// The model.
    pub model: ModelRef,
    /// Answered requests.
    pub requests: u64,
    /// Requests nobody waited for, which count at their worst case.
    pub abandoned: u64,
    /// Tokens and money.
    pub usage: Usage,
    /// How the agent ended, if it has.
    pub stop: Option<StopReason>,
}

/// What is made of the record.
#[async_trait]
pub trait History: Send + Sync {
    /// Starts a run that keeps what another did before a step. Effects of the past are not repeated.
    ///
    /// # Errors
    /// `Unknown`; `Invalid` if the run has no such step, or its bodies are gone; `Unavailable`.
    async fn fork(&self, order: ForkOrder) -> Result<RunId, GoalError>;

    /// What a run is carried out under.
    ///
    /// # Errors
    /// `Unknown`; `Invalid` if it is gone; `Unavailable`.
    async fn terms(&self, run: RunId) -> Result<RunTerms, GoalError>;

    /// Carries a run out again, asking no model and performing nothing, and compares.
    ///
    /// # Errors
    /// `Unknown`; `Invalid` if its bodies are gone, naming the first.
    async fn replay(&self, run: RunId) -> Result<Replayed, GoalError>;

    /// Where tokens and money went: of one run, or of all since a moment; the dearest first.
    ///
    /// # Errors
    /// `Unknown`, `Unavailable`.
    async fn spending(
        &self,
        run: Option<RunId>,
        since: Timestamp,
    ) -> Result<Vec<Spending>, GoalError>;
}
