//! Every kind of event, each with one sentence of documentation.

use crate::{
    capability::Capability,
    failure::{Failure, LimitKind},
    id::{AgentId, GrantId, RoleName, SubtaskId},
    model::{ModelRef, Stop, Usage},
    plan::Plan,
    proof::{Layer, Proof},
    tool::{Effect, Placement},
    value::Value,
};
use serde::{Deserialize, Serialize};

/// How a goal is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Taken apart by a planner.
    Plan,
    /// Given whole to one agent.
    Direct,
}

/// Who chose the mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeSource {
    /// The operator.
    Explicit,
    /// The classifier.
    Classifier,
}

/// Which backend runs an agent's tools.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackendName(pub String);

/// How a run or an agent ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// All that was asked was delivered.
    Succeeded {
        /// What was delivered.
        output: Value,
    },
    /// It was not.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// Why an agent stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum StopReason {
    /// It had finished.
    Complete,
    /// It failed.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// How much an operator cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For those who look closely.
    Detail,
    /// Progress.
    Notice,
    /// Something was refused, repeated or failed.
    Warning,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// The daemon is ready; what it would enforce and whom it would ask.
    DaemonStarted {
        /// The daemon's version.
        version: String,
        /// The backend that runs tools.
        backend: BackendName,
        /// The provider asked first.
        provider: String,
        /// Sum of the built-in price file and the operator's, so that costs can be checked later.
        prices: String,
    },
    /// The daemon is going away.
    DaemonStopped {
        /// Why.
        reason: String,
    },
    /// A role file was refused; the other roles are unaffected.
    RoleRejected {
        /// The file.
        file: String,
        /// Line and column, counting from one, where known.
        line: Option<u64>,
        /// Column, counting from one, where known.
        column: Option<u64>,
        /// What is wrong with it.
        problem: String,
    },
    /// A goal was accepted and is durable.
    RunSubmitted {
        /// The goal, as it was given.
        goal: String,
        /// Directory that relative paths start from.
        base: String,
        /// The run's own directory.
        folder: String,
        /// The operator's user number.
        operator: u32,
        /// The profile its grants come from.
        profile: String,
        /// The backend that runs its tools.
        backend: BackendName,
        /// The models that serve it, for people; says so if there is none.
        model: String,
    },
    /// How the goal will be carried out was settled.
    OrchestrationSelected {
        /// How.
        mode: Mode,
        /// By whom.
        source: ModeSource,
    },
    /// A valid plan, before anything of it runs.
    PlanProduced {
        /// The plan.
        plan: Plan,
        /// How many plans came before it in this run.
        replans_used: u32,
    },
    /// A planner's answer was no valid plan.
    PlanRefused {
        /// What was wrong.
        problems: Vec<String>,
        /// The answer, cut short.
        reply_preview: String,
    },
    /// The plan failed and another is asked for.
    PlanReplanned {
        /// What failed.
        reason: String,
        /// Finished subtasks that are kept.
        kept: Vec<SubtaskId>,
    },
    /// A subtask's agent is about to start.
    SubtaskStarted {
        /// The subtask.
        subtask: SubtaskId,
        /// Its agent's role.
        role: RoleName,
    },
    /// A subtask ended.
    SubtaskCompleted {
        /// The subtask.
        subtask: SubtaskId,
        /// How.
        outcome: Outcome,
    },
    /// A subtask will not run because something it needs failed.
    SubtaskSkipped {
        /// The subtask.
        subtask: SubtaskId,
        /// What it needs.
        needs: SubtaskId,
    },
    /// A subtask ran into its hop or time limit.
    SubtaskTtlExpired {
        /// The subtask.
        subtask: SubtaskId,
        /// Which limit.
        limit: LimitKind,
    },
    /// A subtask is tried again with a better model.
    SubtaskModelEscalated {
        /// The subtask.
        subtask: SubtaskId,
        /// The model that failed.
        from_model: ModelRef,
        /// The model that is next.
        to_model: ModelRef,
        /// What moved it.
        reason: crate::role::Signal,
    },
    /// A declared output was not there when the agent said it had finished.
    SubtaskOutputMissing {
        /// The subtask.
        subtask: SubtaskId,
        /// What was declared.
        declared: String,
    },
    /// An agent exists.
    AgentSpawned {
        /// Its role.
        role: RoleName,
        /// The subtask it carries out, unless another agent started it.
        subtask: Option<SubtaskId>,
        /// The agent that started it.
        parent: Option<AgentId>,
        /// Where its tools run.
        backend: BackendName,
        /// Its model; none for a scaffold.
        model: Option<ModelRef>,
    },
    /// An agent is gone, its grants and its worker with it.
    AgentStopped {
        /// Why.
        #[serde(flatten)]
        stop: StopReason,
    },
    /// An agent begins its turns.
    AgentExecutionStarted {
        /// What it was told, cut short.
        message_preview: String,
    },
    /// An agent's turns ended.
    AgentExecutionCompleted {
        /// Why.
        #[serde(flatten)]
        stop: StopReason,
        /// Model requests it made.
        turns: u32,
    },
    /// A run or agent was given a capability.
    CapabilityGranted {
        /// Its handle.
        grant: GrantId,
        /// The grant it was attenuated from; none for the operator's own.
        parent: Option<GrantId>,
        /// What it allows.
        capability: Capability,
    },
    /// A capability that was asked for exceeds what there is to give.
    CapabilityRefused {
        /// What was asked for.
        wanted: String,
        /// The axis on which it is too much.
        axis: String,
        /// Why, in words.
        reason: String,
    },
    /// An act was refused for lack of authority.
    CapabilityDenied {
        /// The tool that tried.
        tool: String,
        /// What it needed.
        need: String,
        /// The axis on which it was too much.
        axis: String,
        /// Why, in words.
        reason: String,
    },
    /// A capability and all derived from it ended.
    CapabilityRevoked {
        /// The handle that was revoked.
        grant: GrantId,
        /// How many grants derived from it ended with it.
        descendants: u32,
        /// The operator who asked for it, as a user number; none if it ended with its agent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operator: Option<u32>,
    },
    /// A model is about to be asked.
    ModelRequested {
        /// The model.
        model: ModelRef,
        /// Tokens reserved for the worst case.
        tokens_reserved: u64,
        /// Digest of the whole request in the blob store.
        request: String,
    },
    /// A provider could not answer yet and is asked again.
    ModelRetried {
        /// The model.
        model: ModelRef,
        /// How many attempts have failed.
        attempt: u32,
        /// How long until the next, in milliseconds.
        wait_ms: u64,
        /// What went wrong.
        reason: String,
    },
    /// A model answered.
    ModelReplied {
        /// The model.
        model: ModelRef,
        /// Why it stopped.
        stop: Stop,
        /// How long it took, in milliseconds.
        elapsed_ms: u64,
        /// Digest of the whole reply in the blob store.
        reply: String,
        /// Its words, cut short.
        preview: String,
    },
    /// A model could not be asked.
    ModelFailed {
        /// Why.
        failure: Failure,
    },
    /// Tokens and money were spent.
    UsageReported {
        /// By which model.
        model: ModelRef,
        /// How much.
        usage: Usage,
    },
    /// A limit of the budget stood in the way.
    BudgetRefused {
        /// Which limit.
        limit: LimitKind,
        /// Its value, in the limit's unit.
        allowed: u64,
        /// What is used and reserved.
        used: u64,
        /// What was asked for.
        wanted: u64,
    },
    /// A tool is about to be called: the intent, recorded before the act.
    ToolInvoked {
        /// The tool.
        tool: String,
        /// Digest of its canonical arguments.
        input_hash: String,
        /// The arguments, cut short.
        args_preview: String,
        /// Where it runs.
        execution_surface: Placement,
        /// What it does to the world.
        effect: Effect,
    },
    /// A tool call ended: the receipt.
    ToolResult {
        /// The tool.
        tool: String,
        /// Whether it did what it was asked.
        success: bool,
        /// Digest of the whole output in the blob store.
        output: String,
        /// The output, or what went wrong, cut short.
        result_preview: String,
        /// How long it took, in milliseconds.
        elapsed_ms: u64,
        /// Where it ran.
        execution_surface: Placement,
    },
    /// A model's tool call was not fit to be tried: an unknown tool, arguments that do not match its schema.
    ToolRejected {
        /// The tool, as the model named it.
        tool: String,
        /// What is wrong.
        problem: String,
    },
    /// The same call came again and its agent was warned.
    ToolRepeat {
        /// The tool.
        tool: String,
        /// How often it has come.
        attempt_count: u32,
    },
    /// The same call came too often and was refused.
    ToolRepeatGuardFired {
        /// The tool.
        tool: String,
        /// How often it has come.
        attempt_count: u32,
    },
    /// A worker is confined, has proved it, and takes calls.
    WorkerStarted {
        /// What it showed.
        proof: Proof,
        /// Layers that are missing and that the operator does not require.
        missing: Vec<Layer>,
        /// Whether it had been started beforehand and waited.
        pooled: bool,
        /// From the wish to the proof, in microseconds.
        elapsed_us: u64,
    },
    /// A worker was not started: a required layer is missing, or something got past it.
    WorkerRefused {
        /// The layer, if one is to blame.
        layer: Option<Layer>,
        /// What was missing, or got through.
        missing: String,
        /// What would fix it.
        next_step: String,
    },
    /// A worker is gone before its agent; calls in flight failed with it.
    WorkerLost {
        /// What is known.
        reason: String,
    },
    /// A connection out was allowed, and made unless a later event of the call says otherwise.
    ConnectionAllowed {
        /// The request's method; `CONNECT` for a tunnel.
        method: String,
        /// Scheme, host, port and path; no query.
        url: String,
        /// The address connected to; none if it was not connected.
        address: Option<String>,
    },
    /// A connection out was refused.
    ConnectionRefused {
        /// The request's method; `CONNECT` for a tunnel.
        method: String,
        /// Scheme, host, port and path; no query.
        url: String,
        /// The axis on which it was too much.
        axis: String,
        /// Why, in words.
        reason: String,
    },
    /// A call tried to connect out more often than is recorded one by one.
    ConnectionsOmitted {
        /// Further connections that were allowed.
        allowed: u64,
        /// Further connections that were refused.
        refused: u64,
    },
    /// Earlier messages were replaced by a summary to make room.
    ContextSummarized {
        /// How many.
        messages: u32,
        /// Tokens saved, estimated.
        tokens_saved: u64,
    },
    /// No summary came, and the conversation goes on with its oldest messages left out.
    ContextSummarizationFailed {
        /// Why.
        reason: String,
        /// How many messages were left out.
        messages_dropped: u32,
    },
    /// The operator asked for the run to stop.
    RunStopRequested {
        /// The operator's user number.
        operator: u32,
    },
    /// A run ended.
    RunFinished {
        /// How.
        outcome: Outcome,
        /// What all its model requests cost together.
        usage: Usage,
    },
}

impl Kind {
    /// How much an operator cares.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::RoleRejected { .. }
            | Self::PlanRefused { .. }
            | Self::PlanReplanned { .. }
            | Self::SubtaskSkipped { .. }
            | Self::SubtaskTtlExpired { .. }
            | Self::SubtaskModelEscalated { .. }
            | Self::SubtaskOutputMissing { .. }
            | Self::CapabilityRefused { .. }
            | Self::CapabilityDenied { .. }
            | Self::CapabilityRevoked { .. }
            | Self::WorkerRefused { .. }
            | Self::WorkerLost { .. }
            | Self::ConnectionRefused { .. }
            | Self::ConnectionsOmitted { .. }
            | Self::ModelRetried { .. }
            | Self::ModelFailed { .. }
            | Self::BudgetRefused { .. }
            | Self::ToolRejected { .. }
            | Self::ToolRepeat { .. }
            | Self::ToolRepeatGuardFired { .. }
            | Self::ContextSummarizationFailed { .. }
            | Self::RunStopRequested { .. } => Severity::Warning,
            Self::CapabilityGranted { .. }
            | Self::ModelRequested { .. }
            | Self::UsageReported { .. }
            | Self::AgentExecutionStarted { .. } => Severity::Detail,
            _ => Severity::Notice,
        }
    }
}
