//! What the runtime is handed at the start, complete.

use crate::{models::Models, purse::DayLimit};
use aaos_core::{capability::Capability, time::Span};
use aaos_ports::{
    AnyTool, Backend, Bell, Catalog, Clock, Ids, Journal, JournalError, Provider, Secrets,
};
use std::{num::NonZeroUsize, sync::Arc};

/// The ports the runtime needs.
pub struct Deps {
    /// Where every act is first an event.
    pub journal: Arc<dyn Journal>,
    /// Who completes.
    pub provider: Arc<dyn Provider>,
    /// Which model serves which class.
    pub models: Models,
    /// Roles.
    pub catalog: Arc<dyn Catalog>,
    /// Where agents' tools run.
    pub backend: Arc<dyn Backend>,
    /// Every tool there is.
    pub tools: Vec<Arc<dyn AnyTool>>,
    /// Values of the secrets that grants name.
    pub secrets: Arc<dyn Secrets>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who is new.
    pub ids: Arc<dyn Ids>,
    /// Told when an act begins to wait for the operator, if anything is to be.
    pub bell: Option<Arc<dyn Bell>>,
    /// Plain settings.
    pub config: Config,
}

/// Plain settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory in which each run gets its own, absolute.
    pub runs_dir: String,
    /// Model requests at the same time, over all runs.
    pub slots: NonZeroUsize,
    /// Agents with a worker at the same time, per run; further ready subtasks wait.
    pub workers_max: NonZeroUsize,
    /// Runs of one operator that may be open at once, of [`crate::RUNS_OPEN_MAX`] in all; root's may be as many as that.
    pub runs_of_one_max: usize,
    /// The daemon's version, for the journal.
    pub version: String,
    /// Digest of the price files in force, for the journal.
    pub prices: String,
    /// What each operator's runs may spend in a day, together.
    pub budget_operator_day: DayLimit,
    /// What all runs may spend in a day, together.
    pub budget_day: DayLimit,
    /// How long a request for approval waits before it ends by itself.
    pub approval_expires: Span,
    /// Addresses that tell a request sent twice under one key from two requests: what was cut off there is sent again.
    pub effects_keyed: Vec<Capability>,
}

/// Why the runtime did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The journal cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A tool's input schema is no JSON Schema.
    #[error("the input schema of tool {tool} is not valid: {problem}")]
    Schema {
        /// The tool.
        tool: String,
        /// What is wrong.
        problem: String,
    },
}
