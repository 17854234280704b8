//! A run's events as lines of steps: what its executor decided, in the order in which each line decided it.
//!
//! Lines go on side by side, so their order among one another says nothing; within one line it says everything. Left out
//! is what comes from outside (retries, workers, connections, the operator's word), what depends on when (times), and what
//! a recovery adds.

use aaos_core::{
    event::{BackendName, Kind, Seq, Subject},
    id::{AgentId, CallId, SubtaskId},
    model::Usage,
    money::MicroDollars,
    time::Timestamp,
    tool::Placement,
};
use std::collections::{BTreeMap, BTreeSet};

/// Whose steps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// The run's own: planning, and its end.
    Run,
    /// A subtask's: its beginnings and ends.
    Subtask(SubtaskId),
    Agent(AgentId),
    Call(AgentId, CallId),
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub(super) seq: Seq,
    pub(super) time: Timestamp,
    /// Without what differs from one time to the next.
    pub(super) kind: Kind,
}

/// Every line of a run.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) lines: BTreeMap<Whose, Vec<Step>>,
    /// Calls whose intent has been seen.
    invoked: BTreeSet<CallId>,
    /// Calls that are not looked at.
    pub(super) left_out: BTreeSet<CallId>,
}

impl Lines {
    /// Takes the next event; answers with the line it is a step of, if it is one.
    pub(super) fn take(
        &mut self,
        seq: Seq,
        time: Timestamp,
        subject: Subject,
        kind: &Kind,
    ) -> Option<Whose> {
        let whose = whose(subject, kind);
        if let Some(call) = subject.call {
            let refused_within =
                matches!(kind, Kind::CapabilityDenied { .. }) && self.invoked.contains(&call);
            if refused_within || self.left_out.contains(&call) {
                return None;
            }
            if matches!(kind, Kind::ToolInvoked { .. }) {
                self.invoked.insert(call);
            }
        }
        if matches!(kind, Kind::ModelAbandoned { .. }) {
            self.abandon(&whose);
            return None;
        }
        let kind = timeless(kind)?;
        let step = Step { seq, time, kind };
        self.lines.entry(whose.clone()).or_default().push(step);
        Some(whose)
    }

    /// A request that nobody waited for is asked again or not at all: it is no step.
    fn abandon(&mut self, whose: &Whose) {
        if let Some(line) = self.lines.get_mut(whose) {
            let asked = |step: &Step| matches!(step.kind, Kind::ModelRequested { .. });
            if line.last().is_some_and(asked) {
                line.pop();
            }
        }
    }
}

fn whose(subject: Subject, kind: &Kind) -> Whose {
    match (subject.agent, subject.call) {
        (Some(agent), Some(call)) => Whose::Call(agent, call),
        (Some(agent), None) => Whose::Agent(agent),
        (None, _) => match kind {
            Kind::SubtaskStarted { subtask, .. }
            | Kind::SubtaskCompleted { subtask, .. }
            | Kind::SubtaskSkipped { subtask, .. }
            | Kind::SubtaskKept { subtask, .. }
            | Kind::SubtaskTtlExpired { subtask, .. }
            | Kind::SubtaskModelEscalated { subtask, .. } => Whose::Subtask(subtask.clone()),
            _ => Whose::Run,
        },
    }
}

/// The event as it is whenever it happens again; none if it is no step.
fn timeless(kind: &Kind) -> Option<Kind> {
    let mut kind = kind.clone();
    match &mut kind {
        Kind::OrchestrationSelected { .. }
        | Kind::PlanProduced { .. }
        | Kind::PlanRefused { .. }
        | Kind::PlanReplanned { .. }
        | Kind::SubtaskStarted { .. }
        | Kind::SubtaskCompleted { .. }
        | Kind::SubtaskKept { .. }
        | Kind::SubtaskTtlExpired { .. }
        | Kind::SubtaskModelEscalated { .. }
        | Kind::SubtaskOutputMissing { .. }
        | Kind::OutputFound { .. }
        | Kind::AgentStopped { .. }
        | Kind::AgentExecutionStarted { .. }
        | Kind::AgentExecutionCompleted { .. }
        | Kind::CapabilityGranted { .. }
        | Kind::CapabilityRefused { .. }
        | Kind::CapabilityDenied { .. }
        | Kind::ModelFailed { .. }
        | Kind::ToolRejected { .. }
        | Kind::ToolRepeat { .. }
        | Kind::ToolRepeatGuardFired { .. }
        | Kind::ApprovalRequested { .. }
        | Kind::ContextSummarized { .. }
        | Kind::ContextSummarizationFailed { .. } => {}
        // What it lacks first depends on which of several failed first.
        Kind::SubtaskSkipped { subtask, needs } => needs.clone_from(subtask),
        Kind::AgentSpawned { backend, .. } => *backend = BackendName(String::new()),
        Kind::ModelRequested {
            tokens_reserved,
            cost_reserved,
            ..
        } => (*tokens_reserved, *cost_reserved) = (0, MicroDollars::ZERO),
        // The words are in the preview; bodies of another version may be written otherwise.
        Kind::ModelReplied {
            elapsed_ms, reply, ..
        } => {
            *elapsed_ms = 0;
            reply.clear();
        }
        // What others use at the same moment differs.
        Kind::BudgetRefused { used, wanted, .. } => (*used, *wanted) = (0, 0),
        Kind::ToolInvoked {
            execution_surface,
            evidence,
            grants,
            ..
        } => {
            *execution_surface = Placement::Daemon;
            *evidence = None;
            grants.clear();
        }
        Kind::ToolResult {
            elapsed_ms,
            execution_surface,
            took,
            ..
        } => {
            *elapsed_ms = 0;
            *execution_surface = Placement::Daemon;
            took.clear();
        }
        // What nobody waited for is counted in the one and not in the other.
        Kind::RunFinished { usage, .. } => *usage = Usage::default(),
        _ => return None,
    }
    Some(kind)
}
