//! Every kind of event, each with one sentence of documentation.

use super::Seq;
use crate::{
    approval::{Answer, Settlement},
    budget::Budget,
    capability::Capability,
    failure::{Failure, LimitKind},
    id::{AgentId, GrantId, RoleName, RunId, SubtaskId},
    model::{ModelRef, Stop, Usage},
    money::MicroDollars,
    plan::Plan,
    proof::{Layer, Proof},
    time::{Span, Timestamp},
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

/// Where a run was continued from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The run it was made from.
    pub run: RunId,
    /// The subtask from which on it goes its own way.
    pub at: SubtaskId,
    /// Model requests of that subtask's agent that are kept; none of them means that the subtask begins anew.
    pub turns_kept: u32,
}

/// What a call took from one grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantUse {
    /// The grant.
    pub grant: GrantId,
    /// Uses.
    pub uses: u64,
    /// Bytes, in and out.
    pub bytes: u64,
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
        /// No run that was open then, or among the newest that were over, began before this place: the next start looks
        /// no further back.
        #[serde(default)]
        runs_from: Seq,
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
        /// Digest of its terms in the blob store: everything beside the goal that it is carried out under.
        #[serde(default)]
        terms: String,
        /// What it may use.
        #[serde(default)]
        budget: Budget,
        /// The run it continues under other terms, if it does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forked: Option<Fork>,
    },
    /// A plan is about to be asked for of which nothing will run.
    PlanRehearsed {
        /// The goal, as it was given.
        goal: String,
        /// The operator's user number.
        operator: u32,
    },
    /// The rehearsal of a plan is over: nothing more is asked for it.
    RehearsalEnded {
        /// Why there is no plan; none if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// The daemon ended while the run went on; what is known of it is being put together again.
    RunRecovering {
        /// How often this has happened since the run last got further.
        attempt: u32,
    },
    /// The run goes on where it was.
    RunResumed {
        /// Subtasks that had finished and are not done again.
        subtasks_kept: u32,
        /// Agents whose conversations go on.
        agents_resumed: u32,
        /// Calls that were cut off: their intent is recorded and their end is not.
        calls_cut_off: u32,
    },
    /// The run waits at a limit of its budget until the operator raises it.
    RunParked {
        /// Which limit.
        limit: LimitKind,
        /// Its value, in the limit's unit.
        allowed: u64,
        /// What is used and reserved.
        used: u64,
        /// What was asked for.
        wanted: u64,
    },
    /// The operator gave the run another budget.
    BudgetRaised {
        /// The budget from now on.
        budget: Budget,
        /// The operator's user number.
        operator: u32,
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
    /// A subtask's outcome was taken over from the run this one was forked from.
    SubtaskKept {
        /// The subtask.
        subtask: SubtaskId,
        /// What it delivered.
        output: Value,
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
        /// What was found instead, as the agent was told.
        #[serde(default)]
        found: String,
    },
    /// A declared file is there.
    OutputFound {
        /// Its path.
        declared: String,
        /// Its size, in bytes.
        bytes: u64,
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
        /// The grant its start was charged to, if another agent started it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rests_on: Option<GrantId>,
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
    /// A call took a further use of a grant, beside those its intent names, and uses of it are counted.
    CapabilityCharged {
        /// The grant it was charged to.
        grant: GrantId,
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
        /// Money reserved for the worst case.
        #[serde(default)]
        cost_reserved: MicroDollars,
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
    /// A model's answer broke off, or nobody waits for it any more. What it cost is not known, so all that was reserved counts
    /// as spent.
    ModelAbandoned {
        /// The model.
        model: ModelRef,
        /// Tokens that count as spent.
        tokens: u64,
        /// Money that counts as spent.
        cost: MicroDollars,
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
        /// What the tool saw before the act, by which it can tell later whether it happened.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<serde_json::Value>,
        /// The grants it was charged to, one use each.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        grants: Vec<GrantId>,
    },
    /// A call that was cut off is performed again, under the same identity.
    ToolRepeated {
        /// The tool.
        tool: String,
        /// Why that is right.
        reason: String,
    },
    /// A call was cut off and may or may not have happened.
    EffectInDoubt {
        /// The tool.
        tool: String,
        /// What it does to the world.
        effect: Effect,
        /// The arguments, cut short.
        args_preview: String,
        /// Why nobody can tell.
        why: String,
    },
    /// It was found out, or decided, what becomes of a call in doubt.
    EffectSettled {
        /// What.
        settlement: Settlement,
        /// How that is known, or the operator's words.
        reason: String,
        /// The operator who decided, as a user number; none if the tool looked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operator: Option<u32>,
    },
    /// An act waits for a person's word.
    ApprovalRequested {
        /// The tool.
        tool: String,
        /// Digest of its canonical arguments; the answer is bound to it.
        input_hash: String,
        /// The rule that asks.
        rule: String,
        /// What would happen, in one line.
        preview: String,
        /// Digest of the whole preview in the blob store.
        body: String,
        /// When the request ends by itself.
        expires: Timestamp,
        /// Why it is asked about once more, if it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again: Option<String>,
    },
    /// A person answered.
    ApprovalAnswered {
        /// The tool.
        tool: String,
        /// What they said.
        #[serde(flatten)]
        answer: Answer,
        /// Who, as a user number.
        operator: u32,
    },
    /// Nobody answered in time; the act is refused.
    ApprovalExpired {
        /// The tool.
        tool: String,
        /// How long it waited.
        waited: Span,
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
        /// All that it took from each grant.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        took: Vec<GrantUse>,
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
    /// Where the chain stood, signed: what comes to be missing before it, or of it, shows.
    HeadSigned {
        /// The last event that is covered.
        head: u64,
        /// Its hash.
        hash: String,
        /// The public key, in hexadecimal digits.
        key: String,
        /// The Ed25519 signature, in hexadecimal digits.
        signature: String,
    },
    /// The content of a run's events and bodies was erased; the chain holds without it.
    ContentErased {
        /// The run.
        erased: RunId,
        /// Events whose content is gone.
        events: u64,
        /// Bodies that are gone.
        bodies: u64,
        /// Why.
        reason: String,
        /// The operator who asked for it, as a user number; none if its time had come.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operator: Option<u32>,
        /// The operator whose run it was, as a user number; none if that is not recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        whose: Option<u32>,
    },
    /// Stands where an event was whose content has been erased.
    Erased {
        /// The kind it was.
        was: String,
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
            | Self::ModelAbandoned { .. }
            | Self::RunRecovering { .. }
            | Self::RunParked { .. }
            | Self::BudgetRaised { .. }
            | Self::ToolRepeated { .. }
            | Self::EffectInDoubt { .. }
            | Self::EffectSettled { .. }
            | Self::ApprovalRequested { .. }
            | Self::ApprovalExpired { .. }
            | Self::ContentErased { .. }
            | Self::ToolRejected { .. }
            | Self::ToolRepeat { .. }
            | Self::ToolRepeatGuardFired { .. }
            | Self::ContextSummarizationFailed { .. }
            | Self::RunStopRequested { .. } => Severity::Warning,
            Self::CapabilityGranted { .. }
            | Self::CapabilityCharged { .. }
            | Self::ModelRequested { .. }
            | Self::UsageReported { .. }
            | Self::OutputFound { .. }
            | Self::RehearsalEnded { .. }
            | Self::HeadSigned { .. }
            | Self::Erased { .. }
            | Self::AgentExecutionStarted { .. } => Severity::Detail,
            _ => Severity::Notice,
        }
    }
}
