//! What a run's record answers when its executor asks again, and up to where it answers.

use super::steps::Lines;
use aaos_core::{
    approval::Answer,
    budget::Budget,
    event::{Event, Kind, Outcome, Seq, StopReason},
    failure::{Failure, LimitKind},
    id::{AgentId, CallId, GrantId, RunId},
    money::MicroDollars,
    time::Timestamp,
};
use aaos_ports::LaunchError;
use std::collections::{BTreeMap, BTreeSet};

/// How a record ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// With the end of its run: all of it can be carried out again.
    Whole,
    /// Early, and why; whether at a limit that several could have been the one to reach.
    Early { why: String, limit: bool },
}

/// What became of a recorded model request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Came {
    /// A reply; its digest.
    Reply(String),
    Failed(Failure),
}

/// A recorded request of one line, and what became of it.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub(super) agent: Option<AgentId>,
    pub(super) came: Came,
}

/// What is recorded of one call.
#[derive(Debug, Default)]
pub(super) struct Called {
    pub(super) tool: String,
    pub(super) input_hash: String,
    pub(super) evidence: Option<serde_json::Value>,
    /// Uses that it took on its way, by the grant.
    pub(super) charged: Vec<GrantId>,
    /// Whether it did what it was asked, and the digest of what it gave.
    pub(super) end: Option<(bool, String)>,
}

/// What an agent's look at its declared output found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Looked {
    /// Model replies that the agent had had by then.
    pub(super) replies: u32,
    /// The file's size, in bytes, or what there was instead.
    pub(super) found: Result<u64, String>,
}

/// The record, put where each question finds its answer.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) run: RunId,
    pub(super) end: End,
    pub(super) lines: Lines,
    /// By the digest of the request, in the order of the record.
    pub(super) answers: BTreeMap<String, Vec<Answered>>,
    /// What each request could have cost at most, by its digest.
    pub(super) worst: BTreeMap<String, MicroDollars>,
    pub(super) calls: BTreeMap<CallId, Called>,
    pub(super) looks: BTreeMap<AgentId, Vec<Looked>>,
    /// Agents that got no worker.
    pub(super) refused: BTreeMap<AgentId, LaunchError>,
    /// Events of calls that the operator did not allow: they are told from their past.
    pub(super) denied: Vec<Event>,
    /// What the operator raised its budget to at last.
    pub(super) budget: Option<Budget>,
    /// Digests of every body that the record names.
    pub(super) known: BTreeSet<String>,
}

/// What is in hand while events are put in their places.
#[derive(Default)]
struct Open {
    /// Digest of the request of each line that has no answer yet.
    asked: BTreeMap<Option<AgentId>, String>,
    replies: BTreeMap<AgentId, u32>,
    /// Agents that have had a worker.
    started: BTreeSet<AgentId>,
}

impl Record {
    /// Puts a run's events, all there are, in their places.
    pub(super) fn of(run: RunId, events: &[Event]) -> Self {
        let (until, end) = end_of(events);
        let mut record = Self {
            run,
            end,
            lines: Lines::default(),
            answers: BTreeMap::new(),
            worst: BTreeMap::new(),
            calls: BTreeMap::new(),
            looks: BTreeMap::new(),
            refused: BTreeMap::new(),
            denied: Vec::new(),
            budget: None,
            known: BTreeSet::new(),
        };
        let mut open = Open::default();
        record.lines.left_out = not_allowed(events);
        for event in events.iter().take_while(|event| event.seq < until) {
            record.take_request(&mut open, event);
            record.take_call(&open, event);
            record.take_worker(&mut open, event);
            if !matches!(event.kind, Kind::ApprovalRequested { .. }) {
                let (seq, time) = (event.seq, event.time);
                record.lines.take(seq, time, event.subject, &event.kind);
            }
        }
        record.take_refused_goal(&mut open, events);
        record
    }

    /// Whether it ends at a limit that another may reach first when it is carried out again.
    pub(super) const fn ends_at_limit(&self) -> bool {
        matches!(self.end, End::Early { limit: true, .. })
    }

    pub(super) const fn is_whole(&self) -> bool {
        matches!(self.end, End::Whole)
    }

    fn take_request(&mut self, open: &mut Open, event: &Event) {
        let line = event.subject.agent;
        match &event.kind {
            Kind::ModelRequested {
                request,
                cost_reserved,
                ..
            } => {
                self.known.insert(request.clone());
                self.worst.insert(request.clone(), *cost_reserved);
                open.asked.insert(line, request.clone());
            }
            Kind::ModelAbandoned { .. } => {
                open.asked.remove(&line);
            }
            Kind::ModelReplied { reply, .. } => {
                if let Some(agent) = line {
                    *open.replies.entry(agent).or_default() += 1;
                }
                self.known.insert(reply.clone());
                self.answer(open, line, Came::Reply(reply.clone()));
            }
            Kind::ModelFailed { failure } => {
                self.answer(open, line, Came::Failed(failure.clone()));
            }
            Kind::BudgetRaised { budget, .. } => self.budget = Some(*budget),
            _ => {}
        }
    }

    fn answer(&mut self, open: &mut Open, agent: Option<AgentId>, came: Came) {
        if let Some(request) = open.asked.remove(&agent) {
            let answered = Answered { agent, came };
            self.answers.entry(request).or_default().push(answered);
        }
    }

    /// A planner that refuses the goal has answered; only the run's end says so.
    fn take_refused_goal(&mut self, open: &mut Open, events: &[Event]) {
        let Some(Kind::RunFinished {
            outcome: Outcome::Failed { failure },
            ..
        }) = events.last().map(|event| &event.kind)
        else {
            return;
        };
        if matches!(failure, Failure::GoalRefused { .. }) {
            self.answer(open, None, Came::Failed(failure.clone()));
        }
    }

    fn take_call(&mut self, open: &Open, event: &Event) {
        let Some(call) = event.subject.call else {
            return self.take_look(open, event);
        };
        if self.lines.left_out.contains(&call) {
            self.denied.push(event.clone());
            return;
        }
        match &event.kind {
            Kind::ToolInvoked {
                tool,
                input_hash,
                evidence,
                ..
            } => {
                self.known.insert(input_hash.clone());
                let known = self.calls.entry(call).or_default();
                known.tool.clone_from(tool);
                known.input_hash.clone_from(input_hash);
                known.evidence.clone_from(evidence);
            }
            Kind::CapabilityCharged { grant } => {
                self.calls.entry(call).or_default().charged.push(*grant);
            }
            Kind::ToolResult {
                success, output, ..
            } => {
                self.known.insert(output.clone());
                self.calls.entry(call).or_default().end = Some((*success, output.clone()));
            }
            _ => {}
        }
    }

    fn take_look(&mut self, open: &Open, event: &Event) {
        let Some(agent) = event.subject.agent else {
            return;
        };
        let found = match &event.kind {
            Kind::OutputFound { bytes, .. } => Ok(*bytes),
            Kind::SubtaskOutputMissing { found, .. } => Err(found.clone()),
            _ => return,
        };
        let replies = open.replies.get(&agent).copied().unwrap_or(0);
        let looked = Looked { replies, found };
        self.looks.entry(agent).or_default().push(looked);
    }

    /// An agent that never had a worker gets none again.
    fn take_worker(&mut self, open: &mut Open, event: &Event) {
        let Some(agent) = event.subject.agent else {
            return;
        };
        match &event.kind {
            Kind::WorkerStarted { .. } => {
                open.started.insert(agent);
                self.refused.remove(&agent);
            }
            Kind::WorkerRefused {
                layer,
                missing,
                next_step,
            } if !open.started.contains(&agent) => {
                let refusal = LaunchError {
                    layer: *layer,
                    missing: missing.clone(),
                    next_step: next_step.clone(),
                };
                self.refused.insert(agent, refusal);
            }
            _ => {}
        }
    }
}

/// Calls that were asked about and refused, or that nobody answered for in time.
fn not_allowed(events: &[Event]) -> BTreeSet<CallId> {
    let refused = events.iter().filter(|event| match &event.kind {
        Kind::ApprovalAnswered { answer, .. } => matches!(answer, Answer::Deny { .. }),
        Kind::ApprovalExpired { .. } => true,
        _ => false,
    });
    refused.filter_map(|event| event.subject.call).collect()
}

/// The first event that no replay repeats, and how the record ends there.
fn end_of(events: &[Event]) -> (Seq, End) {
    let context = Course::of(events);
    let mut at_work = BTreeSet::new();
    let changed = events.iter().find_map(|event| {
        match (&event.kind, event.subject.agent) {
            (Kind::AgentSpawned { .. }, Some(agent)) => {
                at_work.insert(agent);
            }
            (Kind::AgentStopped { .. }, Some(agent)) => {
                at_work.remove(&agent);
            }
            _ => {}
        }
        Some((event, context.changed_by(event, at_work.len())?))
    });
    match (changed, events.last()) {
        (Some((event, why)), _) => {
            let why = format!("{why} (event {})", event.seq.0);
            let limit = matches!(event.kind, Kind::BudgetRefused { .. });
            (event.seq, End::Early { why, limit })
        }
        (None, Some(last)) if matches!(last.kind, Kind::RunFinished { .. }) => {
            (Seq(u64::MAX), End::Whole)
        }
        (None, last) => {
            let last = last.map_or(0, |last| last.seq.0);
            let why = format!("the run has not ended; its record goes up to event {last}");
            (Seq(u64::MAX), End::Early { why, limit: false })
        }
    }
}

/// What decides whether a limit that was reached is reached again.
struct Course {
    /// The first request nobody waited for: it counts in the record and not when it is carried out again.
    abandoned: Option<Seq>,
    /// The last time the operator gave more.
    raised: Option<Seq>,
    /// When the operator first took a capability back. That comes before it is recorded, and so may a call that is
    /// refused for it.
    revoked: Option<Timestamp>,
    /// The first recovery before which a capability expired while no daemon was there: what its agent is shown changes.
    expired: Option<Seq>,
}

impl Course {
    fn of(events: &[Event]) -> Self {
        let at = |event: &Event| event.seq;
        let abandoned = |event: &&Event| matches!(event.kind, Kind::ModelAbandoned { .. });
        let raised = |event: &&Event| matches!(event.kind, Kind::BudgetRaised { .. });
        let revoked = |event: &&Event| {
            matches!(
                event.kind,
                Kind::CapabilityRevoked {
                    operator: Some(_),
                    ..
                }
            )
        };
        let refused = |event: &&Event| matches!(&event.kind, Kind::CapabilityDenied { axis, .. } if axis == "revoked");
        let refused = events.iter().find(refused).map(|event| event.time);
        let revoked = events.iter().find(revoked).map(|event| event.time);
        Self {
            abandoned: events.iter().find(abandoned).map(at),
            raised: events.iter().rev().find(raised).map(at),
            revoked: revoked.map(|revoked| refused.map_or(revoked, |refused| refused.min(revoked))),
            expired: expired_meanwhile(events),
        }
    }

    /// Why nothing from this event on can be carried out again as it was.
    fn changed_by(&self, event: &Event, at_work: usize) -> Option<&'static str> {
        if self.revoked.is_some_and(|revoked| event.time >= revoked) {
            return Some("the operator took a capability back");
        }
        if self.expired == Some(event.seq) {
            return Some("a capability expired while no daemon was there");
        }
        let failure = match &event.kind {
            Kind::RunStopRequested { .. } => return Some("the operator stopped the run"),
            Kind::SubtaskTtlExpired { .. } => return Some(TIME),
            Kind::BudgetRefused { limit, .. } => return self.refused(event.seq, *limit, at_work),
            Kind::SubtaskCompleted {
                outcome: Outcome::Failed { failure },
                ..
            }
            | Kind::RunFinished {
                outcome: Outcome::Failed { failure },
                ..
            }
            | Kind::AgentStopped {
                stop: StopReason::Failed { failure },
            }
            | Kind::AgentExecutionCompleted {
                stop: StopReason::Failed { failure },
                ..
            } => failure,
            _ => return None,
        };
        match failure {
            Failure::Limit {
                kind: LimitKind::WallClock,
                ..
            } => Some(TIME),
            Failure::Stopped => Some("the operator stopped the run"),
            Failure::Interrupted => Some("the daemon ended"),
            Failure::Journal { .. } => Some("the journal could not record it"),
            Failure::Unrecoverable { .. } => Some("the run could not be put together again"),
            _ => None,
        }
    }

    fn refused(&self, seq: Seq, limit: LimitKind, at_work: usize) -> Option<&'static str> {
        let given_more = || self.raised.is_some_and(|raised| raised > seq);
        let counted = || self.abandoned.is_some_and(|abandoned| abandoned < seq);
        let other = match limit {
            LimitKind::Turns | LimitKind::Repeats | LimitKind::Depth | LimitKind::FanOut => false,
            LimitKind::WallClock => return Some(TIME),
            // Which of several comes too late is decided by the moment.
            _ if at_work > 1 => true,
            LimitKind::Tokens | LimitKind::Cost | LimitKind::RoleTokens | LimitKind::RoleCost => {
                counted() || given_more()
            }
            LimitKind::Calls | LimitKind::Agents | LimitKind::RoleCalls | LimitKind::RoleAgents => {
                given_more()
            }
            // A day's limits count other runs.
            LimitKind::OperatorDayTokens
            | LimitKind::OperatorDayCost
            | LimitKind::DayTokens
            | LimitKind::DayCost => true,
        };
        other.then_some("a limit was reached that is not reached again by carrying it out")
    }
}

fn expired_meanwhile(events: &[Event]) -> Option<Seq> {
    let ends = events.iter().filter_map(|event| match &event.kind {
        Kind::CapabilityGranted { capability, .. } => capability.limits.expires,
        _ => None,
    });
    let ends: BTreeSet<Timestamp> = ends.collect();
    let gap = events.windows(2).find(|pair| match pair {
        [before, after] => {
            matches!(after.kind, Kind::RunRecovering { .. })
                && before.time <= after.time
                && ends.range(before.time..=after.time).next().is_some()
        }
        _ => false,
    });
    gap.and_then(|pair| pair.last()).map(|event| event.seq)
}

const TIME: &str = "a time limit was reached";
