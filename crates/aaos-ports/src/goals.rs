//! The front door: goals come in, runs are watched. Used by the command line and by MCP.

use crate::journal::{JournalError, Watch};
use aaos_core::{
    approval::Rule,
    budget::Budget,
    capability::Capability,
    event::{Mode, RunView, Seq},
    failure::Failure,
    id::{AgentId, GrantId, RoleName, RunId},
    plan::Plan,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is asked, and under which terms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Submit {
    /// The goal, in words.
    pub goal: String,
    /// Directory that relative paths start from.
    pub base: String,
    /// The operator's user number, from the socket's peer credentials.
    pub operator: u32,
    /// Name of the profile the grants come from, for the record.
    pub profile: String,
    /// Everything the run may do.
    pub grants: Vec<Capability>,
    /// Limits of the run.
    pub budget: Budget,
    /// Limits of all agents of a role together, with what they start, beside the run's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub role_budgets: BTreeMap<RoleName, Budget>,
    /// Whether the run waits at a limit of its budget for the operator to raise it, rather than fail.
    #[serde(default)]
    pub park: bool,
    /// Acts that wait for a person's approval, beside those that roles name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approve: Vec<Rule>,
    /// How it is to be carried out; the classifier decides if none.
    pub mode: Option<Mode>,
    /// A model to use for every class, as `provider/model`; configuration decides if none.
    pub model: Option<String>,
}

/// Why a goal or a request about one was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GoalError {
    /// Not fit to be tried; nothing was started.
    #[error("{problem}. {next_step}")]
    Invalid {
        /// What is wrong.
        problem: String,
        /// What to do.
        next_step: String,
    },
    /// No run has this id.
    #[error("there is no {0}, or its content was erased. `agentd list` shows the runs there are")]
    Unknown(RunId),
    /// The run has already ended.
    #[error("{0} has already ended")]
    Ended(RunId),
    /// The daemon is going away or cannot record anything.
    #[error("the daemon accepts no goals: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// It was tried and failed.
    #[error("{0}")]
    Failed(Box<Failure>),
}

impl From<JournalError> for GoalError {
    fn from(error: JournalError) -> Self {
        Self::Unavailable {
            reason: error.to_string(),
        }
    }
}

/// A plan and what each of its agents would be granted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DryRun {
    /// How it would be carried out.
    pub mode: Mode,
    /// The plan.
    pub plan: Plan,
    /// What the run itself would hold.
    pub envelope: Vec<Capability>,
    /// Per subtask, what its agent would hold.
    pub grants: Vec<(aaos_core::id::SubtaskId, Vec<Capability>)>,
    /// The models that would serve it, for people.
    pub model: String,
}

/// Goals and runs.
#[async_trait]
pub trait Goals: Send + Sync {
    /// Accepts a goal. The run is durable when this returns, and goes on whatever becomes of the caller.
    ///
    /// # Errors
    /// `Invalid`, `Unavailable`.
    async fn submit(&self, submit: Submit) -> Result<RunId, GoalError>;

    /// Plans a goal and starts nothing.
    ///
    /// # Errors
    /// `Invalid`, or `Failed` with the planner's failure.
    async fn plan(&self, submit: Submit) -> Result<DryRun, GoalError>;

    /// What is known of runs: one of them, or all, newest first, at most `limit`.
    ///
    /// # Errors
    /// `Unknown`, `Unavailable`.
    async fn view(&self, run: Option<RunId>, limit: usize) -> Result<Vec<RunView>, GoalError>;

    /// Asks a run to stop: at the next safe point, and in any case after a grace period.
    ///
    /// # Errors
    /// `Unknown`, `Ended`.
    async fn stop(&self, run: RunId, operator: u32) -> Result<(), GoalError>;

    /// A run's events after `after`, past and live.
    fn watch(&self, run: RunId, after: Seq) -> Watch;
}

/// One grant of a run that may still be used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveGrant {
    /// Its handle, which names it to [`Authority::revoke`].
    pub grant: GrantId,
    /// The agent that holds it; none for the run's own envelope, from which all others were made.
    pub agent: Option<AgentId>,
    /// The grant it was made from; none for the operator's own.
    pub parent: Option<GrantId>,
    /// What it allows.
    pub capability: Capability,
}

/// What ended with a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Grants made from it, over any number of steps.
    pub descendants: u32,
    /// Calls in flight that rested on one of them.
    pub calls: u32,
}

/// What runs that are going on may still do, and taking it back. Used by the command line.
#[async_trait]
pub trait Authority: Send + Sync {
    /// Every live grant of a run: its own envelope first, then each agent's, in the order they were given.
    ///
    /// # Errors
    /// `Unknown`, `Ended`.
    async fn grants(&self, run: RunId) -> Result<Vec<LiveGrant>, GoalError>;

    /// Ends a grant and everything made from it. When it returns, no new act rests on any of them, calls in flight
    /// that did have been ended, agents whose start rested on one are told to end, and every worker has been told what
    /// is left.
    ///
    /// # Errors
    /// `Unknown`, `Ended`; `Invalid` if the run has no such live grant; `Unavailable` if it could not be recorded, in
    /// which case it is revoked all the same.
    async fn revoke(&self, run: RunId, grant: GrantId, operator: u32)
    -> Result<Revoked, GoalError>;
}
