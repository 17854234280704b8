//! Carrying a run out: from where it is to its end. It performs the effects of the plan's walk, plans again when
//! subtasks fail, and ends with one outcome.
//!
//! What the record has is not done again: a run that was begun by another daemon goes the same way through here as a
//! fresh one. Refuses: an end that is not the run's own, as when only the daemon goes away.

use crate::{
    agent::ask,
    classify, limits, park, planner,
    progress::{Begun, Progress, climb, correctable},
    record::Who,
    run::Run,
    subtask::{self, Ended},
};
use aaos_core::{
    event::{AgentView, Kind, Mode, Outcome, RunView, StopReason, SubtaskState},
    failure::Failure,
    id::{AgentId, SubtaskId},
    plan::{
        Plan, check,
        walk::{Effect, Input},
    },
    value::Value,
};
use aaos_ports::Durability;
use std::{collections::BTreeMap, sync::Arc};
use tokio::task::JoinSet;

impl Run {
    /// Carries the goal out from where it is, and records how it ended. A run that is suspended, as by an end that could
    /// not be recorded, has not ended.
    pub(crate) async fn perform(self: Arc<Self>, begun: Begun) {
        let result = self.within_time(begun).await;
        self.settle().await;
        if self.is_suspended() {
            return;
        }
        let outcome = match result {
            Ok(output) => Outcome::Succeeded { output },
            Err(failure) => Outcome::Failed { failure },
        };
        self.end(outcome).await;
    }

    /// Records the end of the run, and before it that of whatever was still open.
    pub(crate) async fn end(&self, outcome: Outcome) {
        let mut recorded = ask::close_books(self).await;
        recorded = recorded.and(self.record_unseen(None).await);
        let view = self.view();
        let failure = match &outcome {
            Outcome::Succeeded { .. } => Failure::Interrupted,
            Outcome::Failed { failure } => failure.clone(),
        };
        for (who, kind) in open_ends(&view, &failure) {
            recorded = recorded.and(self.record(who, kind).await.map(drop));
        }
        let usage = view.usage;
        let finished = vec![Kind::RunFinished { outcome, usage }];
        let ended = self
            .record_all(Who::RUN, finished, Durability::Durable)
            .await;
        if let Err(failure) = recorded.and(ended.map(drop)) {
            // The run is suspended with that, and taken up again when the journal takes something.
            tracing::error!(run = %self.id, %failure, "the end of the run could not be recorded");
        }
    }

    /// Ends agents below one that were begun under an earlier daemon and that nobody goes on with, those furthest below
    /// first: what they were cut off in is in doubt. Nothing below may be at work.
    pub(crate) async fn end_below(&self, agent: AgentId, failure: &Failure) -> Result<(), Failure> {
        for left in below(&self.view().agents_running, agent) {
            self.record_unseen(Some(left)).await?;
            self.forget_grants(left);
            self.ledger().close(left);
            let failure = failure.clone();
            let stop = StopReason::Failed { failure };
            self.record(Who::agent(left), Kind::AgentStopped { stop })
                .await?;
            self.forget_agent(left);
        }
        Ok(())
    }

    /// Carries the run out within its wall clock: the time it was at work before counts, waiting for the operator does
    /// not.
    async fn within_time(self: &Arc<Self>, begun: Begun) -> Result<Value, Failure> {
        let mut allowed = self.ledger().budget().wall_clock;
        let mut left = allowed.less(self.view().active);
        let work = self.carry_out(begun);
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                result = &mut work => return result,
                () = self.patience.elapsed(left) => {}
            }
            let expired = park::out_of_time(self, allowed);
            tokio::pin!(expired);
            // What is in hand goes on while the run waits for more time.
            let raised = tokio::select! {
                biased;
                result = &mut work => return result,
                raised = &mut expired => raised,
            };
            if let Err(why) = raised {
                self.ending.end(why);
                return work.await;
            }
            let now_allowed = self.ledger().budget().wall_clock;
            left = now_allowed.less(allowed);
            allowed = now_allowed;
        }
    }

    async fn carry_out(self: &Arc<Self>, begun: Begun) -> Result<Value, Failure> {
        if self.ending.has_ended() {
            return Err(self.ending.why());
        }
        if !begun.granted {
            let granted = self.issue_grants()?;
            self.record_all(Who::RUN, granted, Durability::Ordered)
                .await?;
        }
        let mut progress = match begun.progress {
            Some(progress) => progress,
            None => self.plan_first().await?,
        };
        loop {
            if self.walk(&mut progress).await? {
                return progress.result();
            }
            self.replan(&mut progress).await?;
        }
    }

    async fn plan_first(&self) -> Result<Progress, Failure> {
        let mode = self.unless_stopped(classify::mode(self)).await??;
        let plan = self.unless_stopped(self.first_plan(mode)).await??;
        let progress = Progress::new(plan, 0);
        self.record(Who::RUN, progress.produced()).await?;
        Ok(progress)
    }

    /// Waits for `work` unless the run is ended first. What a suspended run has in flight may come to its end.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::pin!(work);
        let why = tokio::select! {
            biased;
            why = self.ending.ended() => why,
            done = &mut work => return Ok(done),
        };
        if self.is_suspended() {
            tokio::select! {
                biased;
                _ = &mut work => {}
                () = self.quiet(None) => {}
                () = self.cut_short() => {}
            }
        }
        Err(why)
    }

    pub(crate) async fn first_plan(&self, mode: Mode) -> Result<Plan, Failure> {
        match mode {
            Mode::Direct => planner::direct(self),
            Mode::Plan => planner::plan(self, &[]).await,
        }
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
        let mut walk = progress.walk(self.shared.deps.config.workers_max.get());
        let by_id: BTreeMap<_, _> = progress
            .plan
            .subtasks
            .iter()
            .enumerate()
            .map(|(position, subtask)| (subtask.id.clone(), (position, subtask.clone())))
            .collect();
        let mut effects = walk.step(&Input::Begin);
        let mut told_to_stop = false;
        loop {
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Launch(id) => {
                        let Some((position, subtask)) = by_id.get(&id) else {
                            continue;
                        };
                        let job = subtask::Job {
                            subtask: subtask.clone(),
                            outputs: progress.inputs_of(subtask),
                            rung: progress.rungs.get(&id).copied().unwrap_or(0),
                            place: progress.place_of(&id, *position),
                            started: progress.started.get(&id).map(|started| started.cause),
                        };
                        let run = Arc::clone(self);
                        running.spawn(async move { (id, subtask::perform(&run, job).await) });
                    }
                    Effect::Skip { subtask, needs } => self.skip(progress, subtask, needs).await?,
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

    async fn skip(
        &self,
        progress: &mut Progress,
        subtask: SubtaskId,
        needs: SubtaskId,
    ) -> Result<(), Failure> {
        let skipped = Kind::SubtaskSkipped {
            subtask: subtask.clone(),
            needs: needs.clone(),
        };
        self.record(Who::RUN, skipped).await?;
        let failure = Failure::Dependency { subtask: needs };
        progress.failures.insert(subtask, failure);
        Ok(())
    }

    /// Asks for another plan, keeping what is finished, or gives up with the first failure.
    async fn replan(self: &Arc<Self>, progress: &mut Progress) -> Result<(), Failure> {
        let (failed, failure) = progress.first_failure();
        let hopeless = progress.replans >= limits::REPLANS_MAX || !correctable(&failure);
        if hopeless || self.mode() == Some(Mode::Direct) {
            return Err(failure);
        }
        let mut problems = progress.problems(&failed);
        problems.extend(self.left_in_doubt(None));
        let next = match self.unless_stopped(planner::plan(self, &problems)).await? {
            Ok(next) => next,
            Err(broken @ (Failure::Journal { .. } | Failure::Unrecoverable { .. })) => {
                return Err(broken);
            }
            Err(_) => return Err(failure),
        };
        let climbed = climb(self, progress, &next);
        if next == progress.plan && climbed.is_empty() {
            return Err(failure);
        }
        let finished = progress.outputs.keys().cloned().collect();
        let kept = check::kept(&progress.plan, &next, &finished);
        progress.adopt(next, &kept);
        let reason = format!("{failed}: {failure}");
        let replanned = Kind::PlanReplanned {
            reason,
            kept: kept.into_iter().collect(),
        };
        // All or none of them: a record that ends here still has one plan in force.
        let mut kinds = vec![replanned, progress.produced()];
        kinds.extend(climbed);
        self.record_all(Who::RUN, kinds, Durability::Ordered)
            .await
            .map(drop)
    }

    fn mode(&self) -> Option<Mode> {
        self.view
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .mode
    }
}

impl Progress {
    fn produced(&self) -> Kind {
        Kind::PlanProduced {
            plan: self.plan.clone(),
            replans_used: self.replans,
        }
    }
}

/// Agents below one, those furthest below first.
fn below(running: &[AgentView], agent: AgentId) -> Vec<AgentId> {
    let mut found = vec![agent];
    let mut next = 0;
    while let Some(above) = found.get(next).copied() {
        let children = running.iter().filter(|view| view.parent == Some(above));
        found.extend(children.map(|view| view.agent));
        next = next.saturating_add(1);
    }
    found.into_iter().skip(1).rev().collect()
}

/// The ends of agents and subtasks that are open when their run ends, as when it was asked to stop before it was cut off.
pub(crate) fn open_ends(view: &RunView, failure: &Failure) -> Vec<(Who, Kind)> {
    let stop = StopReason::Failed {
        failure: failure.clone(),
    };
    let outcome = Outcome::Failed {
        failure: failure.clone(),
    };
    let agents = view.agents_running.iter().map(|agent| {
        let stop = stop.clone();
        (Who::agent(agent.agent), Kind::AgentStopped { stop })
    });
    let open = |subtask: &&aaos_core::event::SubtaskView| subtask.state == SubtaskState::Running;
    let subtasks = view.subtasks.iter().filter(open).map(|subtask| {
        let ended = Kind::SubtaskCompleted {
            subtask: subtask.id.clone(),
            outcome: outcome.clone(),
        };
        (Who::RUN, ended)
    });
    agents.chain(subtasks).collect()
}
