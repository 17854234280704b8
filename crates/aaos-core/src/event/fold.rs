//! Folds: what is known of a run, computed from its events and from nothing else.
//!
//! A fold takes each event once, in order. Events of other runs, and events it has seen, change nothing. It never
//! fails: a journal that tells of an unknown subtask is believed in all else.

use super::{
    Event, Fork, Kind, Mode, Outcome, Seq, Severity,
    waiting::{Ahead, Parked, Waiting},
};
use crate::{
    budget::Budget,
    id::{AgentId, RoleName, RunId, SubtaskId},
    model::{ModelRef, Usage},
    plan::{Plan, check::kept},
    proof::Layer,
    time::{Span, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// There is no plan yet, or another is being made.
    Planning,
    /// Its subtasks are being carried out.
    Running,
    /// The daemon ended while it went on; it is being put together again.
    Recovering,
    /// An act of it waits for the operator's word; the rest goes on.
    Waiting,
    /// It waits at a limit of its budget until the operator raises it.
    Parked,
    /// It was asked to stop and has not ended yet.
    Stopping,
    /// It ended, and delivered.
    Succeeded,
    /// It ended, and did not deliver.
    Failed,
}

impl RunState {
    /// Whether it has ended.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// Where a subtask is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubtaskState {
    /// It needs something first, or its turn has not come.
    Waiting,
    /// Its agent is at work.
    Running,
    /// It delivered.
    Succeeded,
    /// It did not deliver.
    Failed,
    /// It will not run.
    Skipped,
}

/// What is known of a subtask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubtaskView {
    /// Its name.
    pub id: SubtaskId,
    /// What is to be done.
    pub task: String,
    /// Its role.
    pub role: RoleName,
    /// Where it is.
    pub state: SubtaskState,
    /// The agent that carries it out, the last one if there were several.
    pub agent: Option<AgentId>,
    /// When it last started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// What its models cost, its agents' children included.
    pub usage: Usage,
    /// Tool calls made for it.
    pub tool_calls: u64,
    /// What it needs.
    pub needs: Vec<SubtaskId>,
}

/// What is known of an agent that has not stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentView {
    /// The agent.
    pub agent: AgentId,
    /// Its role.
    pub role: RoleName,
    /// The agent that started it.
    pub parent: Option<AgentId>,
    /// The subtask it works for: its own, or that of the agent that started it.
    pub subtask: Option<SubtaskId>,
    /// Its model; none for a scaffold.
    pub model: Option<ModelRef>,
    /// Where its tools run.
    pub backend: String,
    /// Whether it has begun its turns.
    pub running: bool,
    /// What its own models cost.
    pub usage: Usage,
    /// Its own tool calls.
    pub tool_calls: u64,
}

/// What is known of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// The run.
    pub run: RunId,
    /// The goal, as it was given.
    pub goal: String,
    /// Directory that relative paths start from.
    pub base: String,
    /// The run's own directory.
    pub folder: String,
    /// The operator's user number.
    pub operator: u32,
    /// The profile its grants come from.
    pub profile: String,
    /// The backend that runs its tools.
    pub backend: String,
    /// Layers of confinement that one of its workers or more went without, as the operator allows.
    #[serde(default)]
    pub layers_missing: BTreeSet<Layer>,
    /// The models that serve it, for people.
    pub model: String,
    /// Digest of its terms in the blob store.
    #[serde(default)]
    pub terms: String,
    /// The run it was made from, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked: Option<Fork>,
    /// What it may use, as last raised.
    #[serde(default)]
    pub budget: Budget,
    /// The limit at which it waits, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<Parked>,
    /// Acts that wait for the operator, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Waiting>,
    /// Acts that were in doubt when their agents ended; nobody waits for the operator's word on those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsettled: Vec<Waiting>,
    /// Calls that need no answer for a time, as the operator said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved_ahead: Vec<Ahead>,
    /// How often the daemon ended while it went on.
    #[serde(default)]
    pub recoveries: u64,
    /// Time it was at work: waiting for the operator and time without a daemon are left out.
    #[serde(default)]
    pub active: Span,
    /// When the last event happened that is in this view.
    #[serde(default)]
    pub touched: Timestamp,
    /// Where it is.
    pub state: RunState,
    /// How it is carried out.
    pub mode: Option<Mode>,
    /// When it was accepted.
    pub submitted: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// Its plan, the last one if there were several.
    pub plan: Option<Plan>,
    /// The plan's subtasks, in plan order.
    pub subtasks: Vec<SubtaskView>,
    /// Agents that have not stopped, by their id.
    pub agents_running: Vec<AgentView>,
    /// Agents started, over the whole time.
    pub agents: u64,
    /// What all models cost, the planner's included.
    pub usage: Usage,
    /// All tool calls.
    pub tool_calls: u64,
    /// Events that an operator should see.
    pub warnings: u64,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The last event that is in this view.
    pub last: Seq,
    #[serde(skip)]
    index: Index,
}

/// Where each subtask is in the list. Derived from the rest, so it takes no part in comparison and is rebuilt when
/// it does not fit.
#[derive(Debug, Clone, Default)]
struct Index(BTreeMap<SubtaskId, usize>);

impl PartialEq for Index {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl RunView {
    /// The run without its plan, subtasks and agents: a line in a list.
    #[must_use]
    pub fn summary(&self) -> Self {
        Self {
            run: self.run,
            goal: self.goal.clone(),
            base: self.base.clone(),
            folder: self.folder.clone(),
            operator: self.operator,
            profile: self.profile.clone(),
            backend: self.backend.clone(),
            layers_missing: self.layers_missing.clone(),
            model: self.model.clone(),
            terms: self.terms.clone(),
            forked: self.forked.clone(),
            budget: self.budget,
            parked: self.parked,
            waiting: self.waiting.clone(),
            unsettled: self.unsettled.clone(),
            approved_ahead: self.approved_ahead.clone(),
            recoveries: self.recoveries,
            active: self.active,
            touched: self.touched,
            state: self.state,
            mode: self.mode,
            submitted: self.submitted,
            finished: self.finished,
            plan: None,
            subtasks: Vec::new(),
            agents_running: Vec::new(),
            agents: self.agents,
            usage: self.usage,
            tool_calls: self.tool_calls,
            warnings: self.warnings,
            outcome: self.outcome.clone(),
            last: self.last,
            index: Index::default(),
        }
    }

    /// What is known of a run by its first event; none if this is not one.
    #[must_use]
    pub fn begin(event: &Event) -> Option<Self> {
        let Kind::RunSubmitted {
            goal,
            base,
            folder,
            operator,
            profile,
            backend,
            model,
            terms,
            budget,
            forked,
        } = &event.kind
        else {
            return None;
        };
        Some(Self {
            run: event.subject.run?,
            goal: goal.clone(),
            base: base.clone(),
            folder: folder.clone(),
            operator: *operator,
            profile: profile.clone(),
            backend: backend.0.clone(),
            layers_missing: BTreeSet::new(),
            model: model.clone(),
            terms: terms.clone(),
            forked: forked.clone(),
            budget: *budget,
            parked: None,
            waiting: Vec::new(),
            unsettled: Vec::new(),
            approved_ahead: Vec::new(),
            recoveries: 0,
            active: Span::ZERO,
            touched: event.time,
            state: RunState::Planning,
            mode: None,
            submitted: event.time,
            finished: None,
            plan: None,
            subtasks: Vec::new(),
            agents_running: Vec::new(),
            agents: 0,
            usage: Usage::default(),
            tool_calls: 0,
            warnings: 0,
            outcome: None,
            last: event.seq,
            index: Index::default(),
        })
    }

    /// Takes the next event.
    pub fn apply(&mut self, event: &Event) {
        if event.seq > self.last {
            self.apply_new(event);
        }
    }

    /// Takes an event that it has not seen. Unlike with [`RunView::apply`], events that do not depend on one another
    /// may come in any order, as those who record side by side learn of their places.
    pub fn apply_new(&mut self, event: &Event) {
        if event.subject.run != Some(self.run) {
            return;
        }
        self.last = self.last.max(event.seq);
        self.count_time(event);
        if event.kind.severity() == Severity::Warning {
            self.warnings = self.warnings.saturating_add(1);
        }
        self.apply_run(event);
        self.apply_subtask(event);
        self.apply_agent(event);
        self.apply_interruption(event);
        self.apply_waiting(event);
        self.settle_state();
    }

    /// What is known after these events; none if they do not begin with a run's first.
    #[must_use]
    pub fn fold<'a>(events: impl IntoIterator<Item = &'a Event>) -> Option<Self> {
        let mut events = events.into_iter();
        let mut view = Self::begin(events.next()?)?;
        events.for_each(|event| view.apply(event));
        Some(view)
    }

    /// One of its subtasks.
    #[must_use]
    pub fn subtask(&self, id: &SubtaskId) -> Option<&SubtaskView> {
        match self.index.0.get(id) {
            Some(position) => self.subtasks.get(*position),
            None => self.subtasks.iter().find(|view| view.id == *id),
        }
    }

    /// The subtasks that have succeeded.
    #[must_use]
    pub fn succeeded(&self) -> BTreeSet<SubtaskId> {
        let succeeded = self
            .subtasks
            .iter()
            .filter(|view| view.state == SubtaskState::Succeeded);
        succeeded.map(|view| view.id.clone()).collect()
    }

    fn apply_run(&mut self, event: &Event) {
        match &event.kind {
            Kind::OrchestrationSelected { mode, .. } => self.mode = Some(*mode),
            Kind::PlanProduced { plan, .. } => self.take_plan(plan),
            Kind::PlanReplanned { .. } => self.go_to(RunState::Planning),
            Kind::WorkerStarted { missing, .. } => self.layers_missing.extend(missing),
            Kind::RunStopRequested { .. } if !self.state.is_final() => {
                self.state = RunState::Stopping
            }
            Kind::RunFinished { outcome, usage } => {
                self.state = match outcome {
                    Outcome::Succeeded { .. } => RunState::Succeeded,
                    Outcome::Failed { .. } => RunState::Failed,
                };
                // Whoever reads nothing but how runs began and ended has it from here alone.
                if self.usage == Usage::default() {
                    self.usage = *usage;
                }
                self.finished = Some(event.time);
                self.outcome = Some(outcome.clone());
                self.parked = None;
                self.agents_running.clear();
            }
            _ => {}
        }
    }

    /// Planning and running alternate; neither undoes a stop or an end.
    fn go_to(&mut self, state: RunState) {
        if matches!(
            self.state,
            RunState::Planning | RunState::Running | RunState::Waiting
        ) {
            self.state = state;
        }
    }

    fn take_plan(&mut self, plan: &Plan) {
        self.go_to(RunState::Running);
        let finished = self.succeeded();
        let stays = self
            .plan
            .as_ref()
            .map_or_else(BTreeSet::new, |old| kept(old, plan, &finished));
        let mut before: BTreeMap<SubtaskId, SubtaskView> = std::mem::take(&mut self.subtasks)
            .into_iter()
            .filter(|view| stays.contains(&view.id))
            .map(|view| (view.id.clone(), view))
            .collect();
        let views = plan.subtasks.iter().map(|subtask| {
            before
                .remove(&subtask.id)
                .unwrap_or_else(|| waiting(subtask))
        });
        self.subtasks = views.collect();
        self.plan = Some(plan.clone());
        self.rebuild_index();
    }

    fn rebuild_index(&mut self) {
        self.index.0.clear();
        for (position, view) in self.subtasks.iter().enumerate() {
            self.index.0.entry(view.id.clone()).or_insert(position);
        }
    }

    fn subtask_mut(&mut self, id: &SubtaskId) -> Option<&mut SubtaskView> {
        if self.index.0.is_empty() {
            self.rebuild_index();
        }
        let position = self.index.0.get(id)?;
        self.subtasks.get_mut(*position)
    }

    fn apply_subtask(&mut self, event: &Event) {
        let (id, state) = match &event.kind {
            Kind::SubtaskStarted { subtask, .. } => (subtask, SubtaskState::Running),
            Kind::SubtaskCompleted {
                subtask,
                outcome: Outcome::Succeeded { .. },
            } => (subtask, SubtaskState::Succeeded),
            Kind::SubtaskCompleted {
                subtask,
                outcome: Outcome::Failed { .. },
            } => (subtask, SubtaskState::Failed),
            Kind::SubtaskSkipped { subtask, .. } => (subtask, SubtaskState::Skipped),
            Kind::SubtaskKept { subtask, .. } => (subtask, SubtaskState::Succeeded),
            _ => return,
        };
        let Some(view) = self.subtask_mut(id) else {
            return;
        };
        view.state = state;
        view.agent = event.subject.agent.or(view.agent);
        if let Kind::SubtaskStarted { role, .. } = &event.kind {
            view.role = role.clone();
            view.started = Some(event.time);
            view.finished = None;
            view.outcome = None;
        } else {
            view.finished = Some(event.time);
        }
        match &event.kind {
            Kind::SubtaskCompleted { outcome, .. } => view.outcome = Some(outcome.clone()),
            Kind::SubtaskKept { output, .. } => {
                let output = output.clone();
                view.outcome = Some(Outcome::Succeeded { output });
            }
            _ => {}
        }
    }

    fn apply_agent(&mut self, event: &Event) {
        let agent = event.subject.agent;
        match &event.kind {
            Kind::AgentSpawned { .. } => self.agent_spawned(event),
            Kind::AgentExecutionStarted { .. } => {
                if let Some(view) = agent.and_then(|agent| self.agent_mut(agent)) {
                    view.running = true;
                }
            }
            Kind::AgentStopped { .. } => {
                if let Some(position) = agent.and_then(|agent| self.agent_at(agent).ok()) {
                    self.agents_running.remove(position);
                }
            }
            Kind::UsageReported { usage, .. } => self.count(agent, *usage, 0),
            Kind::ModelAbandoned { tokens, cost, .. } => {
                let usage = Usage::worst(*tokens, *cost);
                self.count(agent, usage, 0);
            }
            Kind::ToolInvoked { .. } => self.count(agent, Usage::default(), 1),
            _ => {}
        }
    }

    fn agent_spawned(&mut self, event: &Event) {
        let Kind::AgentSpawned {
            role,
            subtask,
            parent,
            backend,
            model,
            ..
        } = &event.kind
        else {
            return;
        };
        let Some(agent) = event.subject.agent else {
            return;
        };
        self.agents = self.agents.saturating_add(1);
        if let Some(view) = subtask.as_ref().and_then(|id| self.subtask_mut(id)) {
            view.agent = Some(agent);
        }
        let inherited = || {
            parent
                .and_then(|parent| self.agent_mut(parent))
                .and_then(|view| view.subtask.clone())
        };
        let subtask = subtask.clone().or_else(inherited);
        let view = AgentView {
            agent,
            role: role.clone(),
            parent: *parent,
            subtask,
            model: model.clone(),
            backend: backend.0.clone(),
            running: false,
            usage: Usage::default(),
            tool_calls: 0,
        };
        match self.agent_at(agent) {
            Ok(_) => {}
            Err(position) => self.agents_running.insert(position, view),
        }
    }

    fn agent_at(&self, agent: AgentId) -> Result<usize, usize> {
        self.agents_running
            .binary_search_by_key(&agent, |view| view.agent)
    }

    fn agent_mut(&mut self, agent: AgentId) -> Option<&mut AgentView> {
        let position = self.agent_at(agent).ok()?;
        self.agents_running.get_mut(position)
    }

    fn count(&mut self, agent: Option<AgentId>, usage: Usage, calls: u64) {
        self.usage = self.usage.plus(usage);
        self.tool_calls = self.tool_calls.saturating_add(calls);
        let Some(view) = agent.and_then(|agent| self.agent_mut(agent)) else {
            return;
        };
        view.usage = view.usage.plus(usage);
        view.tool_calls = view.tool_calls.saturating_add(calls);
        let Some(subtask) = view.subtask.clone() else {
            return;
        };
        if let Some(view) = self.subtask_mut(&subtask) {
            view.usage = view.usage.plus(usage);
            view.tool_calls = view.tool_calls.saturating_add(calls);
        }
    }
}

fn waiting(subtask: &crate::plan::Subtask) -> SubtaskView {
    SubtaskView {
        id: subtask.id.clone(),
        task: subtask.task.clone(),
        role: subtask.role.clone(),
        state: SubtaskState::Waiting,
        agent: None,
        started: None,
        finished: None,
        outcome: None,
        usage: Usage::default(),
        tool_calls: 0,
        needs: subtask.needs().into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::{
        event::{BackendName, ModeSource, StopReason, Subject},
        failure::Failure,
        tool::{Effect, Placement},
        value::Value,
    };
    use serde_json::json;

    const RUN: RunId = RunId::from_drawn(1);
    const ONE: AgentId = AgentId::from_drawn(7);
    const TWO: AgentId = AgentId::from_drawn(3);

    struct Story(Vec<Event>);

    impl Story {
        fn new() -> Self {
            Self(Vec::new()).then(
                None,
                Kind::RunSubmitted {
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
                },
            )
        }

        fn then(mut self, agent: Option<AgentId>, kind: Kind) -> Self {
            let seq = Seq(self.0.len() as u64 + 1);
            let subject = Subject {
                run: Some(RUN),
                agent,
                ..Subject::default()
            };
            self.0.push(Event {
                seq,
                time: Timestamp::from_micros(seq.0 * 10),
                subject,
                kind,
            });
            self
        }

        fn view(&self) -> RunView {
            RunView::fold(&self.0).unwrap()
        }
    }

    fn id(text: &str) -> SubtaskId {
        text.parse().unwrap()
    }

    fn planned(second_task: &str) -> Kind {
        let plan = json!({"result": "b", "subtasks": [
            {"id": "a", "task": "first", "role": "w"},
            {"id": "b", "task": second_task, "role": "w", "depends_on": ["a"]}]});
        Kind::PlanProduced {
            plan: serde_json::from_value(plan).unwrap(),
            replans_used: 0,
        }
    }

    fn spawned(subtask: Option<&str>, parent: Option<AgentId>) -> Kind {
        Kind::AgentSpawned {
            role: "w".parse().unwrap(),
            subtask: subtask.map(id),
            parent,
            backend: BackendName("in_process".to_owned()),
            model: None,
            rests_on: None,
        }
    }

    fn used(tokens: u64) -> Kind {
        let model = ModelRef {
            provider: "p".to_owned(),
            model: "m".to_owned(),
        };
        Kind::UsageReported {
            model,
            usage: Usage {
                input_tokens: tokens,
                ..Usage::default()
            },
        }
    }

    fn invoked() -> Kind {
        Kind::ToolInvoked {
            tool: "echo".to_owned(),
            input_hash: String::new(),
            args_preview: String::new(),
            execution_surface: Placement::Worker,
            effect: Effect::Pure,
            evidence: None,
            grants: Vec::new(),
        }
    }

    fn started(subtask: &str) -> Kind {
        Kind::SubtaskStarted {
            subtask: id(subtask),
            role: "w".parse().unwrap(),
        }
    }

    fn completed(subtask: &str) -> Kind {
        Kind::SubtaskCompleted {
            subtask: id(subtask),
            outcome: Outcome::Succeeded {
                output: Value::text("x"),
            },
        }
    }

    fn failed() -> Outcome {
        Outcome::Failed {
            failure: Failure::Truncated,
        }
    }

    fn states(view: &RunView) -> Vec<SubtaskState> {
        view.subtasks.iter().map(|view| view.state).collect()
    }

    fn half_done() -> Story {
        Story::new()
            .then(
                None,
                Kind::OrchestrationSelected {
                    mode: Mode::Plan,
                    source: ModeSource::Classifier,
                },
            )
            .then(None, used(5))
            .then(None, planned("second"))
            .then(None, started("a"))
            .then(Some(ONE), spawned(Some("a"), None))
            .then(
                Some(ONE),
                Kind::AgentExecutionStarted {
                    message_preview: String::new(),
                },
            )
            .then(Some(ONE), invoked())
            .then(Some(TWO), spawned(None, Some(ONE)))
            .then(Some(TWO), used(7))
    }

    #[test]
    fn a_run_is_planned_carried_out_and_ends() {
        let story = half_done();
        let view = story.view();
        assert_eq!(
            (view.state, view.mode),
            (RunState::Running, Some(Mode::Plan))
        );
        assert_eq!(
            states(&view),
            [SubtaskState::Running, SubtaskState::Waiting]
        );
        assert_eq!(view.agents_running.len(), 2);
        let story = story
            .then(
                Some(TWO),
                Kind::AgentStopped {
                    stop: StopReason::Complete,
                },
            )
            .then(
                Some(ONE),
                Kind::AgentStopped {
                    stop: StopReason::Complete,
                },
            )
            .then(Some(ONE), completed("a"))
            .then(
                None,
                Kind::RunFinished {
                    outcome: Outcome::Succeeded {
                        output: Value::text("x"),
                    },
                    usage: Usage::default(),
                },
            );
        let view = story.view();
        assert_eq!(
            (view.state, view.agents, view.agents_running.len()),
            (RunState::Succeeded, 2, 0)
        );
        assert_eq!(view.finished, Some(Timestamp::from_micros(140)));
        assert_eq!(
            view.subtask(&id("a")).unwrap().started,
            Some(Timestamp::from_micros(50))
        );
    }

    #[test]
    fn what_children_use_counts_for_the_subtask_and_once_for_the_run() {
        let view = half_done().view();
        assert_eq!(view.usage.input_tokens, 12);
        let subtask = view.subtask(&id("a")).unwrap();
        assert_eq!(
            (
                subtask.usage.input_tokens,
                subtask.tool_calls,
                subtask.agent
            ),
            (7, 1, Some(ONE))
        );
        let own: Vec<u64> = view
            .agents_running
            .iter()
            .map(|view| view.usage.input_tokens)
            .collect();
        assert_eq!(own, [7, 0]);
    }

    #[test]
    fn a_replan_keeps_what_stands_and_starts_the_rest_anew() {
        let story = half_done()
            .then(Some(ONE), completed("a"))
            .then(None, started("b"))
            .then(
                None,
                Kind::SubtaskCompleted {
                    subtask: id("b"),
                    outcome: failed(),
                },
            )
            .then(
                None,
                Kind::PlanReplanned {
                    reason: "b".to_owned(),
                    kept: vec![id("a")],
                },
            );
        assert_eq!(story.view().state, RunState::Planning);
        let view = story.then(None, planned("otherwise")).view();
        assert_eq!(
            states(&view),
            [SubtaskState::Succeeded, SubtaskState::Waiting]
        );
        assert_eq!(view.subtasks[0].usage.input_tokens, 7);
        assert_eq!(view.warnings, 1);
    }

    #[test]
    fn a_stop_is_not_undone_and_an_end_is_an_end() {
        let story = half_done()
            .then(None, Kind::RunStopRequested { operator: 1000 })
            .then(None, planned("x"));
        assert_eq!(story.view().state, RunState::Stopping);
        let ended = story
            .then(
                None,
                Kind::RunFinished {
                    outcome: failed(),
                    usage: Usage::default(),
                },
            )
            .then(None, Kind::RunStopRequested { operator: 1000 })
            .then(None, planned("y"));
        assert_eq!(ended.view().state, RunState::Failed);
    }

    #[test]
    fn the_beginning_and_the_end_alone_tell_what_a_run_cost() {
        let spent = Usage {
            input_tokens: 3_200,
            ..Usage::default()
        };
        let end = Kind::RunFinished {
            outcome: failed(),
            usage: spent,
        };
        let view = Story::new().then(None, end).view();
        assert_eq!((view.state, view.usage), (RunState::Failed, spent));
    }

    #[test]
    fn other_runs_and_events_seen_before_change_nothing() {
        let story = half_done();
        let mut view = story.view();
        let before = view.clone();
        story.0.iter().for_each(|event| view.apply(event));
        let mut foreign = story.0.last().unwrap().clone();
        foreign.seq = Seq(99);
        foreign.subject.run = Some(RunId::from_drawn(2));
        view.apply(&foreign);
        assert_eq!(view, before);
    }

    #[test]
    fn a_view_that_was_stored_goes_on_like_one_that_was_not() {
        let story = half_done().then(Some(ONE), completed("a"));
        let (last, earlier) = story.0.split_last().unwrap();
        let stored = serde_json::to_string(&RunView::fold(earlier).unwrap()).unwrap();
        let mut read: RunView = serde_json::from_str(&stored).unwrap();
        read.apply(last);
        assert_eq!(read, story.view());
    }

    #[test]
    fn a_layer_that_one_worker_went_without_shows_on_its_run() {
        let proof = crate::proof::Proof {
            profile: crate::proof::Profile::Plain,
            landlock_abi: 7,
            layers: Layer::required_by_default(),
            canaries: Vec::new(),
        };
        let worker = |missing: &[Layer]| Kind::WorkerStarted {
            proof: proof.clone(),
            missing: missing.to_vec(),
            pooled: false,
            elapsed_us: 1,
        };
        let story = half_done().then(Some(ONE), worker(&[Layer::Landlock]));
        let view = story.then(Some(TWO), worker(&[])).view();
        assert_eq!(view.layers_missing, BTreeSet::from([Layer::Landlock]));
        assert_eq!(view.summary().layers_missing, view.layers_missing);
    }

    #[test]
    fn only_a_submission_begins_a_run() {
        assert_eq!(RunView::fold(&half_done().0[1..]), None);
        assert_eq!(RunView::fold([]), None);
    }
}
