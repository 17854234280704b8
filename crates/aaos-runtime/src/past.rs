//! The past of a run that goes on: what its unfinished agents and calls had done, by which their code runs again up to
//! where it was without doing anything twice.
//!
//! An agent's line holds its steps in order. Whoever takes a step asks first whether the past has it; what the past has
//! is neither performed, nor charged, nor recorded again. A line that is used up is live. The past of a fresh run is
//! empty.
//!
//! Refuses: a step that the past tells otherwise. It ends the run's recovery instead of guessing.

use crate::record::Who;
use aaos_core::{
    approval::{Answer, Settlement},
    event::{Event, Kind, StopReason, WorkTimes},
    failure::Failure,
    id::{AgentId, CallId, GrantId},
    model::ModelRef,
    money::MicroDollars,
    time::{Span, Timestamp},
    tool::Effect,
};
use std::{
    collections::{BTreeMap, VecDeque},
    mem::discriminant,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What became of a model request that is recorded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Exchange {
    /// It was answered; the digest of the reply.
    Replied { request: String, reply: String },
    /// It could not be answered, or was not allowed.
    Failed(Failure),
    /// It was in flight when the daemon ended.
    Lost {
        model: ModelRef,
        tokens: u64,
        cost: MicroDollars,
    },
}

/// What is recorded of one call.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CallPast {
    /// A request for approval and, if there is one, its answer.
    pub(crate) approval: Option<ApprovalPast>,
    /// What it was about to do.
    pub(crate) intent: Option<Intent>,
    /// Whether it is known to be in doubt.
    pub(crate) doubted: bool,
    /// What was decided while it was in doubt; a repetition that was cut off again has none.
    pub(crate) settled: Option<Settlement>,
    /// How it ended.
    pub(crate) end: Option<End>,
}

/// A recorded request for approval.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApprovalPast {
    pub(crate) input_hash: String,
    pub(crate) rule: String,
    pub(crate) expires: Timestamp,
    pub(crate) asked: Timestamp,
    /// Digest of what the operator is shown.
    pub(crate) shown: String,
    pub(crate) answer: Option<Answer>,
    pub(crate) expired: bool,
}

/// A recorded intent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Intent {
    pub(crate) agent: Option<AgentId>,
    pub(crate) tool: String,
    pub(crate) args_preview: String,
    pub(crate) input_hash: String,
    pub(crate) effect: Effect,
    pub(crate) evidence: Option<serde_json::Value>,
    /// The grants it was charged to, one for each need.
    pub(crate) grants: Vec<GrantId>,
}

/// How a recorded call ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    /// With a receipt.
    Result { success: bool, output: String },
    /// It was refused before the act; the event that says so.
    Refused(Box<Kind>),
}

/// What a run had done.
#[derive(Default)]
pub(crate) struct Past(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    /// The run's own steps since its last plan.
    run: VecDeque<Kind>,
    agents: BTreeMap<AgentId, Line>,
    calls: BTreeMap<CallId, CallPast>,
    times: WorkTimes,
}

/// An agent's line.
#[derive(Default)]
struct Line {
    steps: VecDeque<Kind>,
    /// Whether its beginning is recorded; what comes before that is about its worker, or why there is no agent.
    begun: bool,
    /// How it ended, if it has.
    end: Option<StopReason>,
}

impl Past {
    /// Takes up the next event of the run, in the journal's order.
    pub(crate) fn take_up(&self, event: &Event) {
        let mut lines = self.lines();
        lines.times.take_up(event);
        lines.take_up(event);
    }

    /// Takes up, in order, what an agent that has not begun begins with: a piece of another's record. How long that took
    /// is the other's.
    pub(crate) fn hand_down(&self, event: &Event) {
        let mut lines = self.lines();
        if let Some(agent) = event.subject.agent {
            lines.agents.entry(agent).or_default();
        }
        lines.take_up(event);
    }

    /// Forgets agents that nobody will ask about any more, and their calls.
    pub(crate) fn forget(&self, gone: impl Fn(AgentId) -> bool, calls: impl Fn(CallId) -> bool) {
        let mut lines = self.lines();
        lines.agents.retain(|agent, _| !gone(*agent));
        lines.calls.retain(|call, _| !calls(*call));
    }

    /// Agents that have begun and not ended, as far as they are still asked about.
    pub(crate) fn agents(&self) -> usize {
        let open = |line: &&Line| line.begun && line.end.is_none();
        self.lines().agents.values().filter(open).count()
    }

    /// Calls whose intent is recorded and whose end is not.
    pub(crate) fn cut_off(&self) -> usize {
        let open = |call: &&CallPast| call.intent.is_some() && call.end.is_none();
        self.lines().calls.values().filter(open).count()
    }

    /// Whether an agent has begun.
    pub(crate) fn has_begun(&self, agent: AgentId) -> bool {
        let lines = self.lines();
        lines.agents.get(&agent).is_some_and(|line| line.begun)
    }

    /// How long an agent was at work under earlier daemons.
    pub(crate) fn worked(&self, agent: AgentId) -> Span {
        self.lines().times.of(agent)
    }

    /// How an agent ended, if it has.
    pub(crate) fn end_of(&self, agent: AgentId) -> Option<StopReason> {
        self.lines().agents.get(&agent)?.end.clone()
    }

    /// Whether a line has no steps left: what its owner does now is done for the first time.
    pub(crate) fn is_used_up(&self, agent: Option<AgentId>) -> bool {
        let mut lines = self.lines();
        lines.line(agent).is_none_or(|line| line.is_empty())
    }

    /// Takes the next step of a line, an agent's or the run's, if it is the one wanted.
    pub(crate) fn step(
        &self,
        agent: Option<AgentId>,
        wanted: impl FnOnce(&Kind) -> bool,
    ) -> Option<Kind> {
        let mut lines = self.lines();
        let line = lines.line(agent)?;
        if line.front().is_some_and(wanted) {
            line.pop_front()
        } else {
            None
        }
    }

    /// Whether the next step of a line is of the same kind as this one; it is taken if so.
    pub(crate) fn has(&self, agent: Option<AgentId>, kind: &Kind) -> bool {
        self.step(agent, |next| discriminant(next) == discriminant(kind))
            .is_some()
    }

    /// Takes the next model request of a line, and what became of it; none if the line is used up.
    ///
    /// # Errors
    /// `Unrecoverable`: the next step is another one.
    pub(crate) fn exchange(&self, agent: Option<AgentId>) -> Result<Option<Exchange>, Failure> {
        let mut lines = self.lines();
        let Some(line) = lines.line(agent) else {
            return Ok(None);
        };
        loop {
            let (model, tokens, cost, request) = match line.pop_front() {
                None => return Ok(None),
                // Of a request of which the record says nothing more here.
                Some(Kind::ModelAbandoned { .. }) => continue,
                Some(Kind::BudgetRefused { limit, allowed, .. }) => {
                    return Ok(Some(Exchange::Failed(Failure::Limit {
                        kind: limit,
                        limit: allowed,
                    })));
                }
                Some(Kind::ModelRequested {
                    model,
                    tokens_reserved,
                    cost_reserved,
                    request,
                }) => (model, tokens_reserved, cost_reserved, request),
                Some(other) => return Err(otherwise("a model request", &other)),
            };
            return Ok(Some(match line.pop_front() {
                None => Exchange::Lost {
                    model,
                    tokens,
                    cost,
                },
                // Counted as spent already; it was asked again after that, or is now.
                Some(Kind::ModelAbandoned { .. }) => continue,
                Some(Kind::ModelReplied { reply, .. }) => Exchange::Replied { request, reply },
                Some(Kind::ModelFailed { failure }) => {
                    // What that may have cost was counted with it.
                    line.pop_front_if(|next| matches!(next, Kind::ModelAbandoned { .. }));
                    Exchange::Failed(failure)
                }
                Some(other) => return Err(otherwise("a model's answer", &other)),
            }));
        }
    }

    /// What is recorded of a call, until somebody has seen to it.
    pub(crate) fn call(&self, call: CallId) -> Option<CallPast> {
        self.lines().calls.get(&call).cloned()
    }

    /// Somebody has seen to a call.
    pub(crate) fn seen_to(&self, call: CallId) {
        self.lines().calls.remove(&call);
    }

    /// Calls that nobody has seen to, an agent's or all, which were begun, may have happened, and whose end is not known:
    /// each as the event that says so.
    pub(crate) fn unseen(&self, agent: Option<AgentId>) -> Vec<(Who, Kind)> {
        let lines = self.lines();
        let unseen = lines.calls.iter().filter_map(|(call, past)| {
            let intent = past.intent.as_ref()?;
            let known = past.end.is_some() || past.doubted || past.settled.is_some();
            let anothers = agent.is_some() && intent.agent != agent;
            if known || anothers || intent.effect.may_repeat() {
                return None;
            }
            let who = Who {
                agent: intent.agent,
                call: Some(*call),
            };
            let doubt = Kind::EffectInDoubt {
                tool: intent.tool.clone(),
                effect: intent.effect,
                args_preview: intent.args_preview.clone(),
                why: "the daemon ended while it was under way, and its agent has ended since"
                    .to_owned(),
            };
            Some((who, doubt))
        });
        unseen.collect()
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn line(&mut self, agent: Option<AgentId>) -> Option<&mut VecDeque<Kind>> {
        match agent {
            Some(agent) => self.agents.get_mut(&agent).map(|line| &mut line.steps),
            None => Some(&mut self.run),
        }
    }

    fn take_up(&mut self, event: &Event) {
        match (event.subject.agent, event.subject.call) {
            (_, Some(call)) => self.calls.entry(call).or_default().apply(event),
            (Some(agent), None) => self.take_up_step(agent, &event.kind),
            (None, None) if matches!(event.kind, Kind::PlanProduced { .. }) => self.run.clear(),
            (None, None) if is_step(&event.kind) => self.run.push_back(event.kind.clone()),
            (None, None) => {}
        }
    }

    /// Takes up an agent's event. Only its beginning, or what stands for it, begins a line.
    fn take_up_step(&mut self, agent: AgentId, kind: &Kind) {
        let begins = matches!(
            kind,
            Kind::AgentSpawned { .. } | Kind::CapabilityRefused { .. } | Kind::BudgetRefused { .. }
        );
        if begins {
            self.agents.entry(agent).or_default();
        }
        let Some(line) = self.agents.get_mut(&agent) else {
            return;
        };
        match kind {
            Kind::AgentSpawned { .. } => line.begun = true,
            Kind::AgentStopped { stop } => line.end = Some(stop.clone()),
            _ => {}
        }
        if is_step(kind) {
            line.steps.push_back(kind.clone());
        }
    }
}

impl CallPast {
    fn apply(&mut self, event: &Event) {
        match &event.kind {
            Kind::ApprovalRequested {
                input_hash,
                rule,
                expires,
                body,
                ..
            } => {
                self.approval = Some(ApprovalPast {
                    input_hash: input_hash.clone(),
                    rule: rule.clone(),
                    expires: *expires,
                    asked: event.time,
                    shown: body.clone(),
                    answer: None,
                    expired: false,
                });
            }
            Kind::ApprovalAnswered { answer, .. } => {
                if let Some(approval) = &mut self.approval {
                    approval.answer = Some(answer.clone());
                }
            }
            Kind::ApprovalExpired { .. } => {
                if let Some(approval) = &mut self.approval {
                    approval.expired = true;
                }
            }
            Kind::ToolInvoked {
                tool,
                args_preview,
                input_hash,
                effect,
                evidence,
                grants,
                ..
            } => {
                self.intent = Some(Intent {
                    agent: event.subject.agent,
                    tool: tool.clone(),
                    args_preview: args_preview.clone(),
                    input_hash: input_hash.clone(),
                    effect: *effect,
                    evidence: evidence.clone(),
                    grants: grants.clone(),
                });
            }
            Kind::EffectInDoubt { .. } => (self.doubted, self.settled) = (true, None),
            Kind::EffectSettled { settlement, .. } => self.settled = Some(*settlement),
            // Cut off again after this, it is in doubt anew.
            Kind::ToolRepeated { .. } => (self.doubted, self.settled) = (false, None),
            Kind::ToolResult {
                success, output, ..
            } => {
                self.end = Some(End::Result {
                    success: *success,
                    output: output.clone(),
                });
            }
            Kind::ToolRejected { .. }
            | Kind::ToolRepeatGuardFired { .. }
            | Kind::BudgetRefused { .. } => {
                self.end = Some(End::Refused(Box::new(event.kind.clone())))
            }
            // One among the leftovers of a call that was admitted is not its end.
            Kind::CapabilityDenied { .. } if self.intent.is_none() => {
                self.end = Some(End::Refused(Box::new(event.kind.clone())));
            }
            _ => {}
        }
    }
}

/// Whether an event is a step that its line takes in the same order whenever it is taken again. What comes from outside
/// or beside the line is none.
const fn is_step(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::ModelRequested { .. }
            | Kind::ModelReplied { .. }
            | Kind::ModelFailed { .. }
            | Kind::ModelAbandoned { .. }
            | Kind::BudgetRefused { .. }
            | Kind::ContextSummarized { .. }
            | Kind::ContextSummarizationFailed { .. }
            | Kind::SubtaskOutputMissing { .. }
            | Kind::OutputFound { .. }
            | Kind::PlanRefused { .. }
            | Kind::OrchestrationSelected { .. }
            | Kind::CapabilityRefused { .. }
            | Kind::AgentExecutionCompleted { .. }
            | Kind::AgentStopped { .. }
    )
}

fn otherwise(expected: &str, found: &Kind) -> Failure {
    let found = serde_json::to_string(found).unwrap_or_default();
    Failure::Unrecoverable {
        problem: format!(
            "its record goes on with {}, where this version expects {expected}",
            aaos_core::text::preview(&found, 200)
        ),
        next_step: "Run it again, or `agentd fork` it from an earlier step".to_owned(),
    }
}
