//! Working time: how long each agent of a run was at work, computed from the run's events, so that an agent that goes on
//! under another daemon does not begin its time anew.
//!
//! Time without a daemon does not count, nor does the time in which an agent, or anything it started, waited for the
//! operator, nor that in which the run waited at a limit. What an agent did after the last event before its daemon ended
//! left no trace and cannot count.

use super::{
    Event, Kind,
    waiting::{begins_to_wait, count, ends_waiting},
};
use crate::{
    failure::LimitKind,
    id::{AgentId, CallId},
    time::{Span, Timestamp},
};
use std::collections::BTreeMap;

/// How long the agents of one run that have not stopped were at work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkTimes {
    /// How long the run went on in which an agent may have been at work.
    clock: Span,
    touched: Timestamp,
    /// Whether it is between two daemons.
    away: bool,
    parked: Option<LimitKind>,
    stints: BTreeMap<AgentId, Stint>,
    /// Calls that wait for the operator, and whose they are.
    waits: BTreeMap<CallId, AgentId>,
}

/// One agent. Moments are the run's clock's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stint {
    parent: Option<AgentId>,
    began: Span,
    /// Waits that are open, its own and those of what it started.
    open: u32,
    /// When the first of these began.
    since: Span,
    /// What it had waited before that.
    waited: Span,
}

impl WorkTimes {
    /// Takes the run's next event, in the journal's order.
    pub fn take_up(&mut self, event: &Event) {
        self.count(event);
        match &event.kind {
            Kind::RunRecovering { .. } => self.away = true,
            Kind::RunResumed { .. } => self.away = false,
            Kind::RunParked { limit, .. } => self.parked = Some(*limit),
            Kind::BudgetRaised { .. } => self.parked = None,
            // The day is over, or its limit is another one since the daemon started.
            Kind::ModelRequested { .. } if self.parked.is_some_and(LimitKind::is_of_day) => {
                self.parked = None;
            }
            _ => {}
        }
        let Some(agent) = event.subject.agent else {
            return;
        };
        match &event.kind {
            Kind::AgentSpawned { parent, .. } => self.begin(agent, *parent),
            Kind::AgentStopped { .. } => self.end(agent),
            _ => {}
        }
        let Some(call) = event.subject.call else {
            return;
        };
        if begins_to_wait(&event.kind) {
            if self.waits.insert(call, agent).is_none() {
                self.along(agent, Stint::wait);
            }
        } else if ends_waiting(&event.kind)
            && let Some(agent) = self.waits.remove(&call)
        {
            self.along(agent, Stint::go_on);
        }
    }

    /// How long an agent that has begun and not stopped was at work.
    #[must_use]
    pub fn of(&self, agent: AgentId) -> Span {
        let stint = self.stints.get(&agent);
        stint.map_or(Span::ZERO, |stint| stint.worked(self.clock))
    }

    fn count(&mut self, event: &Event) {
        let stands =
            self.away || self.parked.is_some() || matches!(event.kind, Kind::RunRecovering { .. });
        count(&mut self.clock, &mut self.touched, event.time, stands);
    }

    fn begin(&mut self, agent: AgentId, parent: Option<AgentId>) {
        let stint = Stint {
            parent,
            began: self.clock,
            open: 0,
            since: self.clock,
            waited: Span::ZERO,
        };
        self.stints.entry(agent).or_insert(stint);
    }

    fn end(&mut self, agent: AgentId) {
        let own = |(call, whose): (&CallId, &AgentId)| (*whose == agent).then_some(*call);
        let waits: Vec<CallId> = self.waits.iter().filter_map(own).collect();
        for call in waits {
            self.waits.remove(&call);
            self.along(agent, Stint::go_on);
        }
        self.stints.remove(&agent);
    }

    /// Changes an agent and all that it was started by.
    fn along(&mut self, agent: AgentId, change: fn(&mut Stint, Span)) {
        let mut next = Some(agent);
        // A record that tells of a circle ends nowhere else.
        for _ in 0..self.stints.len() {
            let Some(stint) = next.and_then(|agent| self.stints.get_mut(&agent)) else {
                return;
            };
            change(stint, self.clock);
            next = stint.parent;
        }
    }
}

impl Stint {
    fn wait(&mut self, now: Span) {
        if self.open == 0 {
            self.since = now;
        }
        self.open = self.open.saturating_add(1);
    }

    fn go_on(&mut self, now: Span) {
        self.open = self.open.saturating_sub(1);
        if self.open == 0 {
            self.waited = self.waited.plus(now.less(self.since));
        }
    }

    fn worked(&self, now: Span) -> Span {
        let until = if self.open > 0 { self.since } else { now };
        until.less(self.began).less(self.waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        budget::Budget,
        event::{BackendName, Seq, StopReason, Subject},
        tool::Effect,
    };

    const PARENT: AgentId = AgentId::from_drawn(1);
    const CHILD: AgentId = AgentId::from_drawn(2);
    const CALL: CallId = CallId::from_drawn(3);

    #[derive(Default)]
    struct Story {
        times: WorkTimes,
        seconds: u64,
    }

    impl Story {
        /// Two agents, the second started by the first ten seconds later.
        fn of_two() -> Self {
            let mut story = Self {
                seconds: 1_000,
                ..Self::default()
            };
            story
                .then(0, Some(PARENT), spawned(None))
                .then(10, Some(CHILD), spawned(Some(PARENT)));
            story
        }

        fn then(&mut self, seconds: u64, agent: Option<AgentId>, kind: Kind) -> &mut Self {
            self.event(seconds, agent, None, kind)
        }

        fn event(
            &mut self,
            seconds: u64,
            agent: Option<AgentId>,
            call: Option<CallId>,
            kind: Kind,
        ) -> &mut Self {
            self.seconds += seconds;
            self.times.take_up(&Event {
                seq: Seq(1),
                time: Timestamp::from_micros(self.seconds * 1_000_000),
                subject: Subject {
                    agent,
                    call,
                    ..Subject::default()
                },
                kind,
            });
            self
        }

        /// Seconds of both.
        fn worked(&self) -> (u64, u64) {
            let seconds = |agent| self.times.of(agent).micros() / 1_000_000;
            (seconds(PARENT), seconds(CHILD))
        }
    }

    fn spawned(parent: Option<AgentId>) -> Kind {
        Kind::AgentSpawned {
            role: "w".parse().expect("a role"),
            subtask: None,
            parent,
            backend: BackendName("in_process".to_owned()),
            model: None,
            rests_on: None,
        }
    }

    fn doubted() -> Kind {
        Kind::EffectInDoubt {
            tool: "t".to_owned(),
            effect: Effect::Irreversible,
            args_preview: String::new(),
            why: String::new(),
        }
    }

    fn repeated() -> Kind {
        Kind::ToolRepeated {
            tool: "t".to_owned(),
            reason: String::new(),
        }
    }

    fn something() -> Kind {
        Kind::RunStopRequested { operator: 1 }
    }

    #[test]
    fn what_a_child_waits_for_its_parent_waits_for_too() {
        let mut story = Story::of_two();
        story
            .event(5, Some(CHILD), Some(CALL), doubted())
            .then(1_000, None, something());
        assert_eq!(story.worked(), (15, 5));
        story
            .event(1_000, Some(CHILD), Some(CALL), repeated())
            .then(2, None, something());
        assert_eq!(story.worked(), (17, 7));
    }

    #[test]
    fn a_parent_goes_on_when_a_child_ends_that_waited() {
        let mut story = Story::of_two();
        let stop = StopReason::Complete;
        story
            .event(5, Some(CHILD), Some(CALL), doubted())
            .then(100, Some(CHILD), Kind::AgentStopped { stop })
            .then(3, None, something());
        assert_eq!(story.worked(), (18, 0));
    }

    #[test]
    fn the_time_between_two_daemons_does_not_count() {
        let mut story = Story::of_two();
        let resumed = Kind::RunResumed {
            subtasks_kept: 0,
            agents_resumed: 2,
            calls_cut_off: 0,
        };
        story
            .then(4, None, something())
            .then(500, None, Kind::RunRecovering { attempt: 1 })
            .then(50, None, resumed)
            .then(1, None, something());
        assert_eq!(story.worked(), (15, 5));
    }

    #[test]
    fn nobody_works_while_the_run_waits_at_a_limit() {
        let mut story = Story::of_two();
        let parked = Kind::RunParked {
            limit: LimitKind::Tokens,
            allowed: 1,
            used: 1,
            wanted: 1,
        };
        let raised = Kind::BudgetRaised {
            budget: Budget::default(),
            operator: 1,
        };
        story
            .then(1, Some(CHILD), parked)
            .then(900, None, raised)
            .then(1, None, something());
        assert_eq!(story.worked(), (12, 2));
    }

    #[test]
    fn a_clock_that_jumps_does_not_use_up_a_time() {
        let mut story = Story::of_two();
        story.then(1_000_000, None, something());
        assert_eq!(story.worked(), (3_610, 3_600));
        story.seconds = 1;
        story.then(0, None, something());
        assert_eq!(story.worked(), (3_610, 3_600));
    }
}
