//! Backends: ways of running an agent's tools.

use crate::{
    power::Gate,
    tool::{Question, ToolError, ToolOutput},
};
use aaos_core::{
    capability::Capability,
    event::BackendName,
    id::{AgentId, CallId, RunId, ToolName},
    proof::{Layer, Proof},
    time::Span,
    tool::Placement,
};
use async_trait::async_trait;
use std::sync::Arc;

/// An agent whose tools are to run somewhere.
#[derive(Clone)]
pub struct LaunchSpec {
    /// The agent.
    pub agent: AgentId,
    /// Its run.
    pub run: RunId,
    /// Everything it holds when it starts; the worker is confined to this.
    pub capabilities: Vec<Capability>,
    /// Directory that relative paths start from.
    pub base: String,
    /// The run's own directory.
    pub folder: String,
    /// Absolute paths that the operator named: the literal roots of the run's own file grants. A symbolic link on the
    /// way to one of these, to `base` or to `folder` is the operator's and is followed once, at launch; a link
    /// anywhere else may be an agent's work and is refused. May be empty: then nothing outside `base` and `folder`
    /// is reached through a link.
    pub anchors: Vec<String>,
    /// Told what becomes of the worker, so that it is an event.
    pub witness: Arc<dyn Witness>,
}

/// What becomes of a worker.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkerNote {
    /// It is confined and takes calls; also when it takes the place of one before it.
    Started {
        /// What it showed.
        proof: Proof,
        /// Layers that are missing and that the operator does not require.
        missing: Vec<Layer>,
        /// Whether it had been started beforehand and waited.
        pooled: bool,
        /// From the wish to the proof, in microseconds.
        elapsed_us: u64,
    },
    /// It was not started; the launch or the call fails with the same words.
    Refused(LaunchError),
    /// It is gone before it was stopped.
    Lost {
        /// What is known.
        reason: String,
    },
}

/// Hears what becomes of one agent's worker. A backend without processes has nothing to tell it.
#[async_trait]
pub trait Witness: Send + Sync {
    /// Records a note before anything that follows from it happens.
    async fn note(&self, note: WorkerNote);
}

/// Why a worker could not be started. Never a reason to run elsewhere.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{missing}. {next_step}")]
pub struct LaunchError {
    /// The layer of confinement that is missing or was got past, if one is to blame.
    pub layer: Option<Layer>,
    /// What was missing.
    pub missing: String,
    /// What would fix it.
    pub next_step: String,
}

/// A way of running agents' tools. Called once per agent; many launches may run at once and queue rather than fail.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Its name, shown on every run.
    fn name(&self) -> BackendName;

    /// Where its workers' calls really run: a backend without a process of its own says `Daemon`. Events show this.
    fn surface(&self) -> Placement;

    /// Starts a worker, ready to take calls. Dropping the future leaves nothing behind.
    ///
    /// # Errors
    /// What was missing and what would fix it.
    async fn launch(&self, spec: LaunchSpec) -> Result<Box<dyn Worker>, LaunchError>;
}

/// What a worker is to do with a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Perform it.
    Perform,
    /// Answer a question about it and change nothing.
    Consider(Question),
}

/// One admitted tool call.
pub struct WorkerCall {
    /// Its identity.
    pub call: CallId,
    /// What to do with it.
    pub act: Act,
    /// The tool.
    pub tool: ToolName,
    /// Its arguments, already checked against the schema.
    pub input: serde_json::Value,
    /// Asked at each further point of use, as at each redirect.
    pub gate: Arc<dyn Gate>,
    /// Longest time it may take.
    pub deadline: Span,
}

/// Where one agent's tools run.
#[async_trait]
pub trait Worker: Send + Sync {
    /// Runs one call. Several may be in flight. Dropping the future cancels the call.
    ///
    /// # Errors
    /// As the tool's, or `TimedOut`, `WorkerLost`, `Unknown`.
    async fn call(&self, call: WorkerCall) -> Result<ToolOutput, ToolError>;

    /// The size in bytes of the regular file at `path`, or none if there is none. Only beneath what the worker may read
    /// or write; used to check that a declared output was delivered, never on a model's behalf.
    ///
    /// # Errors
    /// `Power` if the path is out of reach or cannot be looked at, `WorkerLost`.
    async fn inspect(&self, path: &str) -> Result<Option<u64>, ToolError>;

    /// Told that the agent holds less from now on: `left` is all that is still its. Returns when nothing it does from
    /// here on can reach beyond: programs in flight are ended, files and hosts outside are refused, mounts outside are
    /// gone. Calls that rest on what was revoked have been dropped by the caller before.
    async fn narrow(&self, left: Vec<Capability>);

    /// Ends it, and what it started with it. Called once; returns when nothing that was asked of it can still happen: one
    /// that was called is gone then, one that never was may be on its way out.
    async fn stop(&self);
}
