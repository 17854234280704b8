//! Plan walk: which subtasks may run now, and when a run is over.
//!
//! A machine. It is told what happened and answers what to do next; it starts nothing, waits for nothing and knows
//! no clock. Deadlines arrive as inputs like everything else. An input that cannot be true here is ignored.
//!
//! ```
//! # use aaos_core::plan::{Plan, walk::{Effect, Input, Walk}};
//! let plan: Plan = serde_json::from_str(r#"{"result": "b", "subtasks": [
//!     {"id": "a", "task": "first", "role": "worker"},
//!     {"id": "b", "task": "then", "role": "worker", "depends_on": ["a"]}]}"#)?;
//! let (a, b) = ("a".parse::<aaos_core::id::SubtaskId>()?, "b".parse::<aaos_core::id::SubtaskId>()?);
//! let mut walk = Walk::new(&plan, 4);
//! assert_eq!(walk.step(&Input::Begin), [Effect::Launch(a.clone())]);
//! assert_eq!(walk.step(&Input::Done(a)), [Effect::Launch(b.clone())]);
//! assert_eq!(walk.step(&Input::Done(b)), [Effect::Finish { ok: true }]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::{Plan, graph::Graph};
use crate::id::SubtaskId;
use std::collections::BTreeSet;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The walk may start.
    Begin,
    /// A launched subtask succeeded.
    Done(SubtaskId),
    /// A launched subtask failed.
    Failed(SubtaskId),
    /// Nothing more may be launched.
    Stop,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Start this subtask; say later how it ended.
    Launch(SubtaskId),
    /// This subtask will not run.
    Skip {
        /// The one that will not run.
        subtask: SubtaskId,
        /// What it needs and will not get.
        needs: SubtaskId,
    },
    /// The walk is over; nothing follows.
    Finish {
        /// Whether every subtask succeeded.
        ok: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Needs so many more.
    Waiting(usize),
    Running,
    Succeeded,
    /// Failed, or will never run.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    Walking,
    Stopping,
    Over,
}

/// A walk through a plan.
#[derive(Debug, Clone)]
pub struct Walk {
    ids: Vec<SubtaskId>,
    graph: Graph,
    states: Vec<State>,
    ready: BTreeSet<usize>,
    running: usize,
    running_max: usize,
    succeeded: usize,
    bearers: usize,
    /// Those that had failed before the walk began; what needs them is skipped at its beginning.
    lost_before: Vec<usize>,
    phase: Phase,
}

impl Walk {
    /// A walk from the start, with at most `running_max` subtasks running at once (at least one).
    #[must_use]
    pub fn new(plan: &Plan, running_max: usize) -> Self {
        Self::resumed(plan, running_max, &BTreeSet::new(), &BTreeSet::new())
    }

    /// A walk in which `finished` have succeeded already, and `lost` have failed or been skipped: none of them is
    /// launched or skipped again, and what needs a lost one is skipped when the walk begins. Names that are not in the
    /// plan mean nothing.
    #[must_use]
    pub fn resumed(
        plan: &Plan,
        running_max: usize,
        finished: &BTreeSet<SubtaskId>,
        lost: &BTreeSet<SubtaskId>,
    ) -> Self {
        let graph = Graph::of(plan);
        let ids: Vec<SubtaskId> = plan
            .subtasks
            .iter()
            .map(|subtask| subtask.id.clone())
            .collect();
        let bears = |position: usize, id: &SubtaskId| graph.position(id) == Some(position);
        let bearers = ids
            .iter()
            .enumerate()
            .filter(|(position, id)| bears(*position, id))
            .count();
        let state = |position: usize, id: &SubtaskId| {
            if !bears(position, id) {
                State::Lost
            } else if finished.contains(id) {
                State::Succeeded
            } else if lost.contains(id) {
                State::Lost
            } else {
                // An unknown need counts as one that never comes.
                State::Waiting(graph.needs(position).len() + graph.unknown(position).len())
            }
        };
        let states: Vec<State> = ids
            .iter()
            .enumerate()
            .map(|(position, id)| state(position, id))
            .collect();
        let lost_before = ids
            .iter()
            .enumerate()
            .filter(|(position, id)| bears(*position, id) && lost.contains(*id))
            .map(|(position, _)| position)
            .collect();
        let mut walk = Self {
            ids,
            graph,
            states,
            ready: BTreeSet::new(),
            running: 0,
            running_max: running_max.max(1),
            succeeded: 0,
            bearers,
            lost_before,
            phase: Phase::New,
        };
        walk.settle_finished();
        walk
    }

    fn settle_finished(&mut self) {
        for position in 0..self.ids.len() {
            match self.states.get(position) {
                Some(State::Succeeded) => {
                    self.succeeded += 1;
                    self.release_dependents(position);
                }
                Some(State::Waiting(0)) => {
                    self.ready.insert(position);
                }
                _ => {}
            }
        }
    }

    /// Takes what happened and answers what to do next.
    pub fn step(&mut self, input: &Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match (input, self.phase) {
            (Input::Begin, Phase::New) => {
                self.phase = Phase::Walking;
                for position in std::mem::take(&mut self.lost_before) {
                    self.skip_dependents(position, &mut effects);
                }
            }
            (Input::Stop, Phase::New | Phase::Walking) => self.phase = Phase::Stopping,
            (Input::Done(id), Phase::Walking | Phase::Stopping) => {
                let Some(position) = self.end(id, State::Succeeded) else {
                    return effects;
                };
                self.succeeded += 1;
                self.release_dependents(position);
            }
            (Input::Failed(id), Phase::Walking | Phase::Stopping) => {
                let Some(position) = self.end(id, State::Lost) else {
                    return effects;
                };
                self.skip_dependents(position, &mut effects);
            }
            _ => return effects,
        }
        self.launch(&mut effects);
        self.finish(&mut effects);
        effects
    }

    /// How many subtasks are running.
    #[must_use]
    pub const fn running(&self) -> usize {
        self.running
    }

    fn end(&mut self, id: &SubtaskId, state: State) -> Option<usize> {
        let position = self.graph.position(id)?;
        let found = self
            .states
            .get_mut(position)
            .filter(|found| **found == State::Running)?;
        *found = state;
        self.running -= 1;
        Some(position)
    }

    fn release_dependents(&mut self, position: usize) {
        for &dependent in self.graph.dependents(position) {
            if let Some(State::Waiting(left)) = self.states.get_mut(dependent) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.ready.insert(dependent);
                }
            }
        }
    }

    fn skip_dependents(&mut self, position: usize, effects: &mut Vec<Effect>) {
        let mut lost = vec![position];
        let mut next = 0;
        while let Some(&source) = lost.get(next) {
            next += 1;
            for &dependent in self.graph.dependents(source) {
                let Some(state) = self.states.get_mut(dependent) else {
                    continue;
                };
                if !matches!(state, State::Waiting(_)) {
                    continue;
                }
                *state = State::Lost;
                lost.push(dependent);
                if let (Some(subtask), Some(needs)) =
                    (self.ids.get(dependent), self.ids.get(source))
                {
                    effects.push(Effect::Skip {
                        subtask: subtask.clone(),
                        needs: needs.clone(),
                    });
                }
            }
        }
    }

    fn launch(&mut self, effects: &mut Vec<Effect>) {
        while self.phase == Phase::Walking && self.running < self.running_max {
            let Some(position) = self.ready.pop_first() else {
                return;
            };
            if let (Some(state), Some(id)) = (self.states.get_mut(position), self.ids.get(position))
            {
                *state = State::Running;
                self.running += 1;
                effects.push(Effect::Launch(id.clone()));
            }
        }
    }

    fn finish(&mut self, effects: &mut Vec<Effect>) {
        if self.running == 0 && (self.ready.is_empty() || self.phase == Phase::Stopping) {
            self.phase = Phase::Over;
            effects.push(Effect::Finish {
                ok: self.succeeded == self.bearers,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::{Effect::*, Input::*, *};

    fn id(text: &str) -> SubtaskId {
        text.parse().unwrap()
    }

    fn plan(shape: &[(&str, &[&str])]) -> Plan {
        let subtask = |(name, needs): &(&str, &[&str])| crate::plan::Subtask {
            id: id(name),
            task: "do it".to_owned(),
            role: "worker".parse().unwrap(),
            params: Default::default(),
            depends_on: needs.iter().map(|need| id(need)).collect(),
            ttl: None,
        };
        Plan {
            subtasks: shape.iter().map(subtask).collect(),
            result: id(shape[0].0),
        }
    }

    fn diamond(running_max: usize) -> Walk {
        let shape: &[(&str, &[&str])] = &[
            ("top", &[]),
            ("left", &["top"]),
            ("right", &["top"]),
            ("bottom", &["left", "right"]),
        ];
        Walk::new(&plan(shape), running_max)
    }

    fn skip(subtask: &str, needs: &str) -> Effect {
        Skip {
            subtask: id(subtask),
            needs: id(needs),
        }
    }

    #[test]
    fn independents_run_together_and_what_needs_both_runs_after_both() {
        let mut walk = diamond(8);
        assert_eq!(walk.step(&Begin), [Launch(id("top"))]);
        assert_eq!(
            walk.step(&Done(id("top"))),
            [Launch(id("left")), Launch(id("right"))]
        );
        assert_eq!(walk.step(&Done(id("right"))), []);
        assert_eq!(walk.step(&Done(id("left"))), [Launch(id("bottom"))]);
        assert_eq!(walk.step(&Done(id("bottom"))), [Finish { ok: true }]);
    }

    #[test]
    fn a_failed_branch_skips_what_needed_it_and_lets_the_other_finish() {
        let mut walk = diamond(8);
        walk.step(&Begin);
        walk.step(&Done(id("top")));
        assert_eq!(walk.step(&Failed(id("left"))), [skip("bottom", "left")]);
        assert_eq!(walk.step(&Done(id("right"))), [Finish { ok: false }]);
    }

    #[test]
    fn a_skip_reaches_everything_below() {
        let mut walk = Walk::new(&plan(&[("a", &[]), ("b", &["a"]), ("c", &["b"])]), 1);
        walk.step(&Begin);
        assert_eq!(
            walk.step(&Failed(id("a"))),
            [skip("b", "a"), skip("c", "b"), Finish { ok: false }]
        );
    }

    #[test]
    fn more_ready_than_may_run_wait_their_turn_in_plan_order() {
        let mut walk = Walk::new(&plan(&[("a", &[]), ("b", &[]), ("c", &[])]), 2);
        assert_eq!(walk.step(&Begin), [Launch(id("a")), Launch(id("b"))]);
        assert_eq!(walk.step(&Done(id("b"))), [Launch(id("c"))]);
        assert_eq!(walk.step(&Done(id("a"))), []);
        assert_eq!(walk.step(&Failed(id("c"))), [Finish { ok: false }]);
    }

    #[test]
    fn a_stop_launches_nothing_more_and_finishes_when_the_running_ones_have() {
        let mut walk = Walk::new(&plan(&[("a", &[]), ("b", &[]), ("c", &[])]), 2);
        walk.step(&Begin);
        assert_eq!(walk.step(&Stop), []);
        assert_eq!(walk.step(&Done(id("a"))), []);
        assert_eq!(walk.step(&Done(id("b"))), [Finish { ok: false }]);
        assert_eq!(walk.step(&Stop), []);
    }

    #[test]
    fn a_stop_before_the_start_finishes_at_once() {
        assert_eq!(diamond(1).step(&Stop), [Finish { ok: false }]);
    }

    #[test]
    fn finished_subtasks_are_not_run_again() {
        let shape: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"]), ("c", &["b"])];
        let (before, none) = ([id("a"), id("b"), id("stranger")].into(), [].into());
        let mut walk = Walk::resumed(&plan(shape), 4, &before, &none);
        assert_eq!(walk.step(&Begin), [Launch(id("c"))]);
        assert_eq!(walk.step(&Done(id("c"))), [Finish { ok: true }]);
        let all = [id("a"), id("b"), id("c")].into();
        let mut over = Walk::resumed(&plan(shape), 4, &all, &none);
        assert_eq!(over.step(&Begin), [Finish { ok: true }]);
    }

    #[test]
    fn what_was_lost_before_is_lost_and_only_what_was_not_skipped_yet_is_skipped() {
        let shape: &[(&str, &[&str])] = &[
            ("a", &[]),
            ("b", &["a"]),
            ("c", &["b"]),
            ("d", &["a"]),
            ("e", &[]),
        ];
        let (done, lost) = ([].into(), [id("a"), id("b")].into());
        let mut walk = Walk::resumed(&plan(shape), 4, &done, &lost);
        assert_eq!(
            walk.step(&Begin),
            [skip("d", "a"), skip("c", "b"), Launch(id("e"))]
        );
        assert_eq!(walk.step(&Done(id("e"))), [Finish { ok: false }]);
    }

    #[test]
    fn what_cannot_be_true_is_ignored() {
        let mut walk = diamond(8);
        assert_eq!(walk.step(&Done(id("top"))), []);
        walk.step(&Begin);
        assert_eq!(walk.step(&Begin), []);
        assert_eq!(walk.step(&Done(id("stranger"))), []);
        assert_eq!(walk.step(&Failed(id("bottom"))), []);
        walk.step(&Done(id("top")));
        assert_eq!(walk.step(&Done(id("top"))), []);
    }

    #[test]
    fn a_plan_that_can_never_go_on_ends_as_a_failure() {
        let mut circle = Walk::new(&plan(&[("a", &["b"]), ("b", &["a"])]), 2);
        assert_eq!(circle.step(&Begin), [Finish { ok: false }]);
        let mut unknown = Walk::new(&plan(&[("a", &[]), ("b", &["stranger"])]), 2);
        unknown.step(&Begin);
        assert_eq!(unknown.step(&Done(id("a"))), [Finish { ok: false }]);
    }
}
