//! One run: performs the effects of the plan's walk, plans again when subtasks fail, and ends with one outcome.

use crate::{
    authority::Roll,
    classify,
    ending::Ending,
    limits,
    models::Models,
    planner,
    record::Who,
    shared::Shared,
    subtask::{self, Ended},
};
use aaos_core::{
    budget::Ledger,
    capability::{Capability, FileRight, PathScope, Resource, Table},
    event::{Kind, Mode, Outcome, RunState, RunView, Seq},
    failure::{Failure, LimitKind},
    id::{AgentId, CallId, RunId, SubtaskId},
    model::ModelRef,
    plan::{
        Plan, check, escalate,
        placeholder::Place,
        walk::{Effect, Input, Walk},
    },
    role::{Role, Signal},
    value::Value,
};
use aaos_ports::{Durability, Submit};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::task::JoinSet;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// One run and what it owns.
pub(crate) struct Run {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: RunId,
    pub(crate) submit: Submit,
    /// The run's own directory.
    pub(crate) folder: String,
    /// Holds the operator's grants; no agent acts under this name.
    pub(crate) root: AgentId,
    pub(crate) models: Models,
    /// The roles as they were when the run began.
    pub(crate) roles: BTreeMap<aaos_core::id::RoleName, Role>,
    pub(crate) table: Mutex<Table>,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) view: Mutex<RunView>,
    /// By the operator's stop, the run's wall clock, the daemon's end, or a journal that cannot be written.
    pub(crate) ending: Ending,
    /// Owns agents that other agents started; the run's end waits for them, and for whoever holds it.
    pub(crate) children: TaskTracker,
    /// Whether the end is about to be recorded; nothing else is from then on.
    over: Mutex<bool>,
    /// Who acts right now, so that authority that is taken back reaches them.
    pub(crate) roll: Roll,
    /// The last event of each call, of each agent, and of the run itself, as the cause of the next.
    causes: Mutex<BTreeMap<Line, Seq>>,
}

/// Whose line of events: a call's, its agent's, or the run's own.
type Line = (Option<AgentId>, Option<CallId>);

/// What a run has in hand while it walks its plan.
struct Progress {
    plan: Plan,
    outputs: BTreeMap<SubtaskId, Value>,
    rungs: BTreeMap<SubtaskId, usize>,
    failures: BTreeMap<SubtaskId, Failure>,
    replans: u32,
}

impl Run {
    /// A run that has not begun. `view` is folded from its first event.
    pub(crate) fn new(
        shared: Arc<Shared>,
        id: RunId,
        submit: Submit,
        models: Models,
        view: RunView,
    ) -> Self {
        let roles = shared
            .deps
            .catalog
            .roles()
            .into_iter()
            .map(|role| (role.name.clone(), role))
            .collect();
        let folder = folder(&shared, id);
        let root = shared.deps.ids.agent();
        let causes = Mutex::new(BTreeMap::from([((None, None), view.last)]));
        let ledger = Mutex::new(Ledger::new(submit.budget));
        let table = Mutex::new(Table::default());
        let (view, ending, children) = (Mutex::new(view), Ending::default(), TaskTracker::new());
        Self {
            shared,
            id,
            submit,
            folder,
            root,
            models,
            roles,
            table,
            ledger,
            view,
            ending,
            children,
            over: Mutex::new(false),
            roll: Roll::default(),
            causes,
        }
    }

    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            base: &self.submit.base,
            folder: &self.folder,
        }
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn view(&self) -> RunView {
        self.view
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The run's beginning and end, without its subtasks and agents.
    pub(crate) fn summary(&self) -> RunView {
        self.view
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .summary()
    }

    /// What led to the next event: the last one of the call, else of its agent, else of the run.
    pub(crate) fn cause(&self, who: Who) -> Option<Seq> {
        let causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = [(who.agent, who.call), (who.agent, None), (None, None)];
        lines.iter().find_map(|line| causes.get(line)).copied()
    }

    pub(crate) fn remember_cause(&self, who: Who, seq: Seq) {
        let mut causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        for line in [(who.agent, who.call), (who.agent, None)] {
            let last = causes.entry(line).or_insert(seq);
            *last = seq.max(*last);
        }
    }

    /// Forgets a call's own line of events; its agent's goes on.
    pub(crate) fn forget_call(&self, who: Who) {
        self.causes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(who.agent, who.call));
    }

    /// Whether an agent has been entered and is not gone.
    pub(crate) fn knows_agent(&self, agent: AgentId) -> bool {
        let causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        causes.contains_key(&(Some(agent), None))
    }

    /// Forgets the lines of an agent that is gone, its calls' included.
    pub(crate) fn forget_agent(&self, agent: AgentId) {
        let mut causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        causes.retain(|(whose, _), _| *whose != Some(agent));
    }

    /// The model a class is served by in this run.
    pub(crate) fn model_of(&self, role: &Role, rung: usize) -> ModelRef {
        let pinned = role
            .model
            .as_deref()
            .filter(|_| rung == 0 && self.submit.model.is_none());
        pinned
            .and_then(crate::models::parse)
            .unwrap_or_else(|| self.models.of(escalate::class_at(role, rung)).clone())
    }

    /// The paths that the operator named: the literal roots of the run's own file grants.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let roots = self
            .submit
            .grants
            .iter()
            .filter_map(|capability| match &capability.resource {
                Resource::Files { scope, .. } => Some(scope.root()),
                _ => None,
            });
        roots.collect()
    }

    /// The most that anything in this run may do: what the operator granted, and, for each right to any files at all,
    /// the same right to the run's own directory.
    pub(crate) fn envelope(&self) -> Vec<Capability> {
        let mut grants = self.submit.grants.clone();
        for right in [FileRight::Read, FileRight::Write] {
            let held = |grant: &Capability| matches!(&grant.resource, Resource::Files { right: held, .. } if *held == right);
            if let (true, Ok(scope)) = (grants.iter().any(held), PathScope::tree(&self.folder)) {
                grants.push(Capability::of(Resource::Files { right, scope }));
            }
        }
        grants
    }

    /// Takes the envelope up as the grants of the run's root.
    pub(crate) fn issue_grants(&self) -> Result<Vec<Kind>, Failure> {
        let envelope = self.envelope();
        let mut table = self.table();
        let mut kinds = Vec::with_capacity(envelope.len());
        for capability in envelope {
            let grant = self.shared.deps.ids.grant();
            table
                .issue(grant, self.root, capability.clone())
                .map_err(|refusal| refused(&capability, &refusal))?;
            kinds.push(Kind::CapabilityGranted {
                grant,
                parent: None,
                capability,
            });
        }
        Ok(kinds)
    }

    /// Carries the goal out, and records how it ended. A run that cannot even record its end is closed as
    /// interrupted at the next start.
    pub(crate) async fn perform(self: Arc<Self>) {
        let wall_clock = self.submit.budget.wall_clock;
        let work = self.carry_out();
        tokio::pin!(work);
        let result = tokio::select! {
            biased;
            result = &mut work => result,
            () = tokio::time::sleep(wall_clock.as_duration()) => {
                self.ending.end(Failure::Limit { kind: LimitKind::WallClock, limit: wall_clock.millis() });
                work.await
            }
        };
        self.settle().await;
        let outcome = match result {
            Ok(output) => Outcome::Succeeded { output },
            Err(failure) => Outcome::Failed { failure },
        };
        let usage = self.view().usage;
        let finished = vec![Kind::RunFinished { outcome, usage }];
        if let Err(failure) = self
            .record_all(Who::RUN, finished, Durability::Durable)
            .await
        {
            tracing::error!(run = %self.id, %failure, "the end of the run could not be recorded");
            self.end_unrecorded(failure);
        }
    }

    /// Keeps the run from ending until it is dropped; none if the run has ended.
    pub(crate) fn hold(&self) -> Option<TaskTrackerToken> {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        (!*over).then(|| self.children.token())
    }

    /// Waits until no child is left and nobody holds the run, and lets nobody hold it from then on.
    async fn settle(&self) {
        self.children.close();
        loop {
            self.children.wait().await;
            let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
            if self.children.is_empty() {
                *over = true;
                return;
            }
        }
    }

    /// Shows a run as failed whose end is in no journal; the next start closes it there.
    fn end_unrecorded(&self, failure: Failure) {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        view.state = RunState::Failed;
        view.finished = Some(self.shared.now());
        view.outcome = Some(Outcome::Failed { failure });
    }

    async fn carry_out(self: &Arc<Self>) -> Result<Value, Failure> {
        let granted = self.issue_grants()?;
        self.record_all(Who::RUN, granted, Durability::Ordered)
            .await?;
        let mode = self.unless_stopped(classify::mode(self)).await??;
        let plan = self.unless_stopped(self.first_plan(mode)).await??;
        let mut progress = Progress::new(plan);
        self.announce(&progress).await?;
        loop {
            if self.walk(&mut progress).await? {
                return progress.result();
            }
            self.replan(&mut progress).await?;
        }
    }

    /// Waits for `work` unless the run is ended first.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            why = self.ending.ended() => Err(why),
            done = work => Ok(done),
        }
    }

    pub(crate) async fn first_plan(&self, mode: Mode) -> Result<Plan, Failure> {
        match mode {
            Mode::Direct => planner::direct(self),
            Mode::Plan => planner::plan(self, &[]).await,
        }
    }

    async fn announce(&self, progress: &Progress) -> Result<(), Failure> {
        let produced = Kind::PlanProduced {
            plan: progress.plan.clone(),
            replans_used: progress.replans,
        };
        self.record(Who::RUN, produced).await.map(drop)
    }

    /// Walks the plan to its end; whether everything succeeded. When it returns, no subtask is running.
    async fn walk(self: &Arc<Self>, progress: &mut Progress) -> Result<bool, Failure> {
        let mut running = JoinSet::new();
        let walked = self.step_through(progress, &mut running).await;
        if let Err(failure) = &walked {
            self.ending.end(failure.clone());
            while running.join_next().await.is_some() {}
        }
        walked
    }

    async fn step_through(
        self: &Arc<Self>,
        progress: &mut Progress,
        running: &mut JoinSet<(SubtaskId, Ended)>,
    ) -> Result<bool, Failure> {
        let finished: BTreeSet<SubtaskId> = progress.outputs.keys().cloned().collect();
        let mut walk = Walk::resumed(
            &progress.plan,
            self.shared.deps.config.workers_max.get(),
            &finished,
        );
        let by_id: BTreeMap<_, _> = progress
            .plan
            .subtasks
            .iter()
            .map(|s| (s.id.clone(), s.clone()))
            .collect();
        let mut effects = walk.step(&Input::Begin);
        let mut told_to_stop = false;
        loop {
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Launch(id) => {
                        let Some(subtask) = by_id.get(&id) else {
                            continue;
                        };
                        let job = subtask::Job {
                            subtask: subtask.clone(),
                            outputs: progress.inputs_of(subtask),
                            rung: progress.rungs.get(&id).copied().unwrap_or(0),
                        };
                        let run = Arc::clone(self);
                        running.spawn(async move { (id, subtask::perform(&run, job).await) });
                    }
                    Effect::Skip { subtask, needs } => {
                        self.record(
                            Who::RUN,
                            Kind::SubtaskSkipped {
                                subtask: subtask.clone(),
                                needs: needs.clone(),
                            },
                        )
                        .await?;
                        progress
                            .failures
                            .insert(subtask, Failure::Dependency { subtask: needs });
                    }
                    Effect::Finish { ok } => {
                        return if told_to_stop {
                            Err(self.ending.why())
                        } else {
                            Ok(ok)
                        };
                    }
                }
            }
            effects = tokio::select! {
                biased;
                ended = running.join_next(), if !running.is_empty() => match ended {
                    Some(Ok((id, ended))) => progress.note(id, ended, &mut walk),
                    Some(Err(_)) | None => return Err(Failure::Interrupted),
                },
                _ = self.ending.ended(), if !told_to_stop => {
                    told_to_stop = true;
                    walk.step(&Input::Stop)
                }
            };
        }
    }

    /// Asks for another plan, keeping what is finished, or gives up with the first failure.
    async fn replan(self: &Arc<Self>, progress: &mut Progress) -> Result<(), Failure> {
        let (failed, failure) = progress.first_failure();
        let hopeless = progress.replans >= limits::REPLANS_MAX || !correctable(&failure);
        if hopeless || self.mode() == Some(Mode::Direct) {
            return Err(failure);
        }
        let problems = progress.problems(&failed);
        let next = match self.unless_stopped(planner::plan(self, &problems)).await? {
            Ok(next) => next,
            Err(broken @ Failure::Journal { .. }) => return Err(broken),
            Err(_) => return Err(failure),
        };
        let climbed = self.climb(progress, &next);
        if next == progress.plan && climbed.is_empty() {
            return Err(failure);
        }
        let finished = progress.outputs.keys().cloned().collect();
        let kept = check::kept(&progress.plan, &next, &finished);
        progress.adopt(next, &kept);
        let reason = format!("{failed}: {failure}");
        self.record(
            Who::RUN,
            Kind::PlanReplanned {
                reason,
                kept: kept.into_iter().collect(),
            },
        )
        .await?;
        self.announce(progress).await?;
        if climbed.is_empty() {
            return Ok(());
        }
        self.record_all(Who::RUN, climbed, Durability::Ordered)
            .await
            .map(drop)
    }

    fn mode(&self) -> Option<Mode> {
        self.view
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .mode
    }

    /// Moves subtasks that failed, and are tried again in the same role, to their next rung where the role wants it;
    /// what is to be recorded of those whose model changes. Subtasks of other roles begin at their own first rung.
    fn climb(&self, progress: &mut Progress, next: &Plan) -> Vec<Kind> {
        let signals = BTreeSet::from([Signal::ReplanRetry]);
        let before: BTreeMap<_, _> = progress
            .plan
            .subtasks
            .iter()
            .map(|old| (&old.id, &old.role))
            .collect();
        let mut rungs = BTreeMap::new();
        let mut moved = Vec::new();
        for subtask in next
            .subtasks
            .iter()
            .filter(|new| before.get(&new.id) == Some(&&new.role))
        {
            let rung = progress.rungs.get(&subtask.id).copied().unwrap_or(0);
            let role = self
                .roles
                .get(&subtask.role)
                .filter(|_| progress.has_failed(&subtask.id));
            let above =
                role.and_then(|role| Some((role, escalate::next_rung(role, rung, &signals)?)));
            let Some((role, (above, reason))) = above else {
                rungs.insert(subtask.id.clone(), rung);
                continue;
            };
            rungs.insert(subtask.id.clone(), above);
            let (from_model, to_model) = (self.model_of(role, rung), self.model_of(role, above));
            if from_model != to_model {
                let subtask = subtask.id.clone();
                moved.push(Kind::SubtaskModelEscalated {
                    subtask,
                    from_model,
                    to_model,
                    reason,
                });
            }
        }
        progress.rungs = rungs;
        moved
    }
}

impl Progress {
    const fn new(plan: Plan) -> Self {
        Self {
            plan,
            outputs: BTreeMap::new(),
            rungs: BTreeMap::new(),
            failures: BTreeMap::new(),
            replans: 0,
        }
    }

    /// The outputs a subtask's parameters name.
    fn inputs_of(&self, subtask: &aaos_core::plan::Subtask) -> BTreeMap<SubtaskId, Value> {
        let named = subtask.needs().into_iter();
        named
            .filter_map(|id| self.outputs.get(&id).cloned().map(|value| (id, value)))
            .collect()
    }

    fn note(&mut self, id: SubtaskId, ended: Ended, walk: &mut Walk) -> Vec<Effect> {
        self.rungs.insert(id.clone(), ended.rung);
        match ended.result {
            Ok(value) => {
                self.outputs.insert(id.clone(), value);
                walk.step(&Input::Done(id))
            }
            Err(failure) => {
                self.failures.insert(id.clone(), failure);
                walk.step(&Input::Failed(id))
            }
        }
    }

    fn result(mut self) -> Result<Value, Failure> {
        let missing = || Failure::OutputMissing {
            declared: self.plan.result.to_string(),
            found: "the subtask ended without an output".to_owned(),
        };
        let missing = missing();
        self.outputs.remove(&self.plan.result).ok_or(missing)
    }

    /// Whether a subtask ran and failed, rather than never having run.
    fn has_failed(&self, id: &SubtaskId) -> bool {
        self.failures
            .get(id)
            .is_some_and(|failure| !matches!(failure, Failure::Dependency { .. }))
    }

    /// The failure that began it: one that is not merely a consequence of another, the gravest first.
    fn first_failure(&self) -> (SubtaskId, Failure) {
        let own = |failure: &Failure| !matches!(failure, Failure::Dependency { .. });
        let grave = self
            .failures
            .iter()
            .find(|(_, failure)| own(failure) && !correctable(failure));
        let first = grave.or_else(|| self.failures.iter().find(|(_, failure)| own(failure)));
        first
            .map(|(id, failure)| (id.clone(), failure.clone()))
            .unwrap_or_else(|| (self.plan.result.clone(), Failure::Interrupted))
    }

    /// What the planner is told about the plan that failed.
    fn problems(&self, failed: &SubtaskId) -> Vec<String> {
        let plan = serde_json::to_string(&self.plan).unwrap_or_default();
        let finished = self
            .outputs
            .iter()
            .map(|(id, value)| format!("{id} finished: {}", value.describe()));
        let failures = self
            .failures
            .iter()
            .map(|(id, failure)| format!("{id} failed: {failure}"));
        let mut problems = vec![
            format!("the previous plan failed at {failed}: {plan}"),
            "keep finished subtasks exactly as they are, same id, role, task and params; change what failed".to_owned(),
        ];
        problems.extend(finished);
        problems.extend(failures);
        problems
    }

    fn adopt(&mut self, next: Plan, kept: &BTreeSet<SubtaskId>) {
        self.outputs.retain(|id, _| kept.contains(id));
        self.failures.clear();
        self.plan = next;
        self.replans += 1;
    }
}

/// Whether another plan could do better: not when a person must act first.
fn correctable(failure: &Failure) -> bool {
    !matches!(
        failure,
        Failure::Provider { .. }
            | Failure::GoalRefused { .. }
            | Failure::Stopped
            | Failure::Interrupted
            | Failure::Journal { .. }
            | Failure::Launch { .. }
            | Failure::Limit {
                kind: LimitKind::Tokens | LimitKind::Cost | LimitKind::Calls | LimitKind::Agents,
                ..
            }
    )
}

pub(crate) fn refused(wanted: &Capability, refusal: &aaos_core::capability::Refusal) -> Failure {
    Failure::Refused {
        wanted: wanted.to_string(),
        axis: refusal.axis().to_owned(),
        reason: refusal.to_string(),
    }
}

/// The run's own directory.
pub(crate) fn folder(shared: &Shared, id: RunId) -> String {
    format!("{}/{id}", shared.deps.config.runs_dir.trim_end_matches('/'))
}
