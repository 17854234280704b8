//! Waiting, parking and recovering: the parts of a run's view that say whom it waits for, and how long it was at work.

use super::{Event, Kind, RunState, RunView};
use crate::{
    approval::Answer,
    failure::LimitKind,
    id::{AgentId, CallId},
    time::{Span, Timestamp},
    tool::Effect,
};
use serde::{Deserialize, Serialize};

/// What an act waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum WaitsFor {
    /// A person's approval.
    Approval {
        /// The rule that asks.
        rule: String,
        /// What would happen, in one line.
        preview: String,
        /// Digest of the whole preview in the blob store.
        body: String,
        /// Digest of the canonical arguments that the answer is bound to.
        input_hash: String,
        /// When the request ends by itself.
        expires: Timestamp,
    },
    /// A person's word on whether it happened before it was cut off.
    Doubt {
        /// What it does to the world.
        effect: Effect,
        /// The arguments, cut short.
        args_preview: String,
        /// Why nobody can tell.
        why: String,
    },
}

/// An act that waits for the operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// The act; names it in the operator's answer.
    pub call: CallId,
    /// Whose act it is.
    pub agent: AgentId,
    /// Its tool.
    pub tool: String,
    /// Since when.
    pub since: Timestamp,
    /// For what.
    #[serde(flatten)]
    pub what: WaitsFor,
}

/// Approval of calls that have not come yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ahead {
    /// Calls of this tool.
    pub tool: String,
    /// As far as this rule asks about them; another that names them still does.
    pub rule: String,
    /// Until then.
    pub until: Timestamp,
}

/// A limit at which a run waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// Which limit.
    pub limit: LimitKind,
    /// Its value, in the limit's unit.
    pub allowed: u64,
    /// What is used and reserved.
    pub used: u64,
    /// What was asked for.
    pub wanted: u64,
}

/// Longest time between two events that counts as time at work: longer than any one model request or call takes, so
/// that a clock that jumps ahead does not use up a run's time.
const STEP_MAX: Span = Span::from_secs(3_600);

impl RunView {
    /// What a restart, a limit or the operator's purse does to it.
    pub(super) fn apply_interruption(&mut self, event: &Event) {
        match &event.kind {
            Kind::RunRecovering { .. } => {
                self.recoveries = self.recoveries.saturating_add(1);
                if self.state != RunState::Stopping {
                    self.state = RunState::Recovering;
                }
            }
            Kind::RunResumed { .. } if self.state == RunState::Recovering => {
                self.state = if self.plan.is_some() {
                    RunState::Running
                } else {
                    RunState::Planning
                };
            }
            Kind::RunParked {
                limit,
                allowed,
                used,
                wanted,
            } => {
                self.parked = Some(Parked {
                    limit: *limit,
                    allowed: *allowed,
                    used: *used,
                    wanted: *wanted,
                });
            }
            Kind::BudgetRaised { budget, .. } => {
                self.budget = *budget;
                self.parked = None;
            }
            // The day is over, or its limit is another one since the daemon started.
            Kind::ModelRequested { .. }
                if self.parked.is_some_and(|parked| parked.limit.is_of_day()) =>
            {
                self.parked = None;
            }
            _ => {}
        }
    }

    /// Time between events is time at work unless the run waited for someone.
    pub(super) fn count_time(&mut self, event: &Event) {
        let waited = matches!(event.kind, Kind::RunRecovering { .. })
            || matches!(self.state, RunState::Waiting | RunState::Parked);
        count(&mut self.active, &mut self.touched, event.time, waited);
    }

    /// Acts begin to wait for the operator, and end.
    pub(super) fn apply_waiting(&mut self, event: &Event) {
        let (Some(agent), Some(call)) = (event.subject.agent, event.subject.call) else {
            match (&event.kind, event.subject.agent) {
                (Kind::AgentStopped { .. }, Some(agent)) => {
                    self.stop_waiting(|waiting| waiting.agent == agent);
                }
                (Kind::RunFinished { .. }, _) => self.stop_waiting(|_| true),
                _ => {}
            }
            return;
        };
        if let Kind::ApprovalAnswered {
            tool,
            answer: Answer::Approve { always: Some(span) },
            ..
        } = &event.kind
        {
            self.approve_ahead(call, tool, event.time.after(*span));
        }
        if let Some((tool, what)) = begins(&event.kind) {
            self.waiting.retain(|waiting| waiting.call != call);
            self.waiting.push(Waiting {
                call,
                agent,
                tool,
                since: event.time,
                what,
            });
        } else if ends_waiting(&event.kind) {
            self.waiting.retain(|waiting| waiting.call != call);
        }
    }

    /// Calls like the one that waits are approved until then.
    fn approve_ahead(&mut self, call: CallId, tool: &str, until: Timestamp) {
        let mut waiting = self.waiting.iter().filter(|waiting| waiting.call == call);
        let rule = waiting.find_map(|waiting| match &waiting.what {
            WaitsFor::Approval { rule, .. } => Some(rule.clone()),
            WaitsFor::Doubt { .. } => None,
        });
        let Some(rule) = rule else { return };
        let same = |ahead: &Ahead| ahead.tool == tool && ahead.rule == rule;
        self.approved_ahead.retain(|ahead| !same(ahead));
        self.approved_ahead.push(Ahead {
            tool: tool.to_owned(),
            rule,
            until,
        });
    }

    /// Whether calls of this tool that this rule asks about are approved at this moment.
    #[must_use]
    pub fn is_approved_ahead(&self, tool: &str, rule: &str, now: Timestamp) -> bool {
        let holds = |ahead: &Ahead| ahead.tool == tool && ahead.rule == rule && now < ahead.until;
        self.approved_ahead.iter().any(holds)
    }

    /// Lets acts wait no more whose agents are gone; those in doubt are kept in sight.
    fn stop_waiting(&mut self, gone: impl Fn(&Waiting) -> bool) {
        for waiting in std::mem::take(&mut self.waiting) {
            if !gone(&waiting) {
                self.waiting.push(waiting);
            } else if matches!(waiting.what, WaitsFor::Doubt { .. }) {
                self.unsettled.push(waiting);
            }
        }
    }

    /// Whether it waits shows in its state, unless something graver does.
    pub(super) fn settle_state(&mut self) {
        let at_work = if self.plan.is_some() {
            RunState::Running
        } else {
            RunState::Planning
        };
        self.state = match self.state {
            RunState::Planning | RunState::Running | RunState::Waiting | RunState::Parked => {
                if self.parked.is_some() {
                    RunState::Parked
                } else if !self.waiting.is_empty() {
                    RunState::Waiting
                } else if matches!(self.state, RunState::Waiting | RunState::Parked) {
                    at_work
                } else {
                    self.state
                }
            }
            other => other,
        };
    }
}

/// What an act begins to wait for with this event, and its tool.
fn begins(kind: &Kind) -> Option<(String, WaitsFor)> {
    match kind {
        Kind::ApprovalRequested {
            tool,
            input_hash,
            rule,
            preview,
            body,
            expires,
            ..
        } => {
            let what = WaitsFor::Approval {
                rule: rule.clone(),
                preview: preview.clone(),
                body: body.clone(),
                input_hash: input_hash.clone(),
                expires: *expires,
            };
            Some((tool.clone(), what))
        }
        Kind::EffectInDoubt {
            tool,
            effect,
            args_preview,
            why,
        } => {
            let what = WaitsFor::Doubt {
                effect: *effect,
                args_preview: args_preview.clone(),
                why: why.clone(),
            };
            Some((tool.clone(), what))
        }
        _ => None,
    }
}

/// Whether an act begins to wait for the operator with this event.
pub(super) const fn begins_to_wait(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::ApprovalRequested { .. } | Kind::EffectInDoubt { .. }
    )
}

/// Whether an act waits no more with this event.
pub(super) const fn ends_waiting(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::ApprovalAnswered { .. }
            | Kind::ApprovalExpired { .. }
            | Kind::EffectSettled { .. }
            | Kind::CapabilityDenied { .. }
            | Kind::ToolInvoked { .. }
            | Kind::ToolRejected { .. }
            | Kind::ToolRepeated { .. }
            | Kind::ToolResult { .. }
    )
}

/// The time since the last event is time at work, unless nobody was; a clock that jumps ahead adds no more than [`STEP_MAX`].
pub(super) fn count(active: &mut Span, touched: &mut Timestamp, now: Timestamp, stood: bool) {
    if stood {
        *touched = now;
        return;
    }
    *active = active.plus(now.since(*touched).min(STEP_MAX));
    *touched = now.max(*touched);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::{
        approval::Settlement,
        budget::Budget,
        event::{BackendName, Seq, Subject},
        id::RunId,
        money::MicroDollars,
    };

    const RUN: RunId = RunId::from_drawn(1);

    struct Story {
        view: RunView,
        seconds: u64,
    }

    impl Story {
        fn new() -> Self {
            let kind = Kind::RunSubmitted {
                goal: "g".to_owned(),
                base: "/b".to_owned(),
                folder: "/f".to_owned(),
                operator: 1000,
                profile: "default".to_owned(),
                backend: BackendName("in_process".to_owned()),
                model: "none (rules)".to_owned(),
                terms: String::new(),
                budget: Budget::default(),
                forked: None,
            };
            let view = RunView::begin(&event(1, 0, None, kind)).unwrap();
            Self { view, seconds: 0 }
        }

        /// So many seconds later.
        fn then(&mut self, seconds: u64, call: Option<u64>, kind: Kind) -> &mut Self {
            self.seconds += seconds;
            let seq = self.view.last.0 + 1;
            self.view.apply(&event(seq, self.seconds, call, kind));
            self
        }
    }

    fn event(seq: u64, seconds: u64, call: Option<u64>, kind: Kind) -> Event {
        Event {
            seq: Seq(seq),
            time: Timestamp::from_micros(seconds * 1_000_000),
            subject: Subject {
                run: Some(RUN),
                agent: call.map(|_| AgentId::from_drawn(7)),
                call: call.map(CallId::from_drawn),
                cause: None,
            },
            kind,
        }
    }

    fn asked() -> Kind {
        Kind::ApprovalRequested {
            tool: "http_send".to_owned(),
            input_hash: "h".to_owned(),
            rule: "tool: http_send".to_owned(),
            preview: "POST https://a.example/".to_owned(),
            body: "d".to_owned(),
            expires: Timestamp::from_micros(9_000_000_000),
            again: None,
        }
    }

    fn doubted() -> Kind {
        Kind::EffectInDoubt {
            tool: "shell".to_owned(),
            effect: Effect::Irreversible,
            args_preview: "{}".to_owned(),
            why: "the worker was lost".to_owned(),
        }
    }

    fn parked() -> Kind {
        Kind::RunParked {
            limit: LimitKind::Cost,
            allowed: 5,
            used: 5,
            wanted: 1,
        }
    }

    #[test]
    fn a_run_whose_act_waits_says_so_until_all_are_answered() {
        let mut story = Story::new();
        story.then(1, Some(1), asked()).then(1, Some(2), doubted());
        assert_eq!(story.view.state, RunState::Waiting);
        assert_eq!(story.view.waiting.len(), 2);
        let answered = Kind::ApprovalAnswered {
            tool: "http_send".to_owned(),
            answer: Answer::Approve { always: None },
            operator: 1000,
        };
        story.then(1, Some(1), answered);
        assert_eq!(story.view.state, RunState::Waiting);
        let settled = Kind::EffectSettled {
            settlement: Settlement::Done,
            reason: String::new(),
            operator: Some(1000),
        };
        story.then(1, Some(2), settled);
        assert_eq!(
            (story.view.state, story.view.waiting.len()),
            (RunState::Planning, 0)
        );
    }

    #[test]
    fn a_limit_outweighs_a_question_and_a_raise_ends_it() {
        let mut story = Story::new();
        story.then(1, Some(1), asked()).then(1, None, parked());
        assert_eq!(story.view.state, RunState::Parked);
        let budget = Budget {
            cost: MicroDollars(9),
            ..Budget::default()
        };
        let raised = Kind::BudgetRaised {
            budget,
            operator: 1000,
        };
        story.then(1, None, raised);
        assert_eq!(story.view.state, RunState::Waiting);
        assert_eq!(story.view.budget.cost, MicroDollars(9));
    }

    #[test]
    fn a_run_recovers_into_what_it_was() {
        let mut story = Story::new();
        story
            .then(1, Some(1), asked())
            .then(1, None, Kind::RunRecovering { attempt: 1 });
        assert_eq!(story.view.state, RunState::Recovering);
        let resumed = Kind::RunResumed {
            subtasks_kept: 0,
            agents_resumed: 1,
            calls_cut_off: 0,
        };
        story.then(1, None, resumed);
        assert_eq!(
            (story.view.state, story.view.recoveries),
            (RunState::Waiting, 1)
        );
    }

    #[test]
    fn only_time_at_work_counts() {
        let mut story = Story::new();
        let nothing = || Kind::RunStopRequested { operator: 1 };
        story
            .then(10, Some(1), asked())
            .then(
                10_000,
                Some(1),
                Kind::ApprovalExpired {
                    tool: String::new(),
                    waited: Span::ZERO,
                },
            )
            .then(5, None, Kind::RunRecovering { attempt: 1 })
            .then(
                7,
                None,
                Kind::RunResumed {
                    subtasks_kept: 0,
                    agents_resumed: 0,
                    calls_cut_off: 0,
                },
            )
            .then(90_000, None, nothing());
        assert_eq!(story.view.active, Span::from_secs(10 + 7 + 3_600));
    }
}
