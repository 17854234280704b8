//! The front door: goals come in, runs are looked at, stopped and watched.

use crate::{
    classify,
    deps::{Deps, StartError},
    limits,
    models::{self, Models},
    planner, recover,
    run::{self, Run},
    shared::Shared,
};
use aaos_core::{
    capability::Capability,
    event::{Draft, Event, Kind, Mode, Outcome, RunView, Seq, Subject},
    failure::{Failure, LimitKind},
    id::{GrantId, RunId, SubtaskId},
    plan::Plan,
    text,
    time::Span,
    value::Value,
};
use aaos_ports::{
    Authority, Durability, Filter, GoalError, Goals, LiveGrant, Revoked, Submit, Watch,
    goals::DryRun,
};
use async_trait::async_trait;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The runtime: every run, and the front door to them.
pub struct Runtime {
    shared: Arc<Shared>,
    runs: Arc<Mutex<Runs>>,
}

/// Runs that are going on, and those that have ended.
#[derive(Default)]
struct Runs {
    open: BTreeMap<RunId, Arc<Run>>,
    /// The beginning and end of finished runs; the rest is in the journal.
    ended: BTreeMap<RunId, RunView>,
    /// Finished runs, the longest finished first.
    order: VecDeque<RunId>,
}

impl Runs {
    fn end(&mut self, view: &RunView) {
        self.open.remove(&view.run);
        let mut view = view.summary();
        if let Some(Outcome::Succeeded {
            output: Value::Text { text },
        }) = &mut view.outcome
        {
            // The whole of it is in the journal.
            *text = text::preview(text, limits::PREVIEW_BYTES_MAX);
        }
        self.order.push_back(view.run);
        self.ended.insert(view.run, view);
        while self.order.len() > limits::RUNS_REMEMBERED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.ended.remove(&oldest);
            }
        }
    }
}

impl Runtime {
    /// Starts: reads the journal, closes what an earlier daemon left open, records that this one is ready.
    ///
    /// # Errors
    /// The journal's, or a tool whose schema is none.
    pub async fn start(deps: Deps) -> Result<Arc<Self>, StartError> {
        let shared = Arc::new(Shared::new(deps)?);
        let mut known: Vec<RunView> = recover::recover(&shared).await?.into_values().collect();
        known.sort_by_key(|view| view.submitted);
        let mut runs = Runs::default();
        known.iter().for_each(|view| runs.end(view));
        shared
            .deps
            .journal
            .append(started(&shared), Durability::Durable)
            .await?;
        Ok(Arc::new(Self {
            shared,
            runs: Arc::new(Mutex::new(runs)),
        }))
    }

    /// Runs that are going on.
    #[must_use]
    pub fn runs_open(&self) -> usize {
        self.runs().open.len()
    }

    /// Takes no more goals, gives what is in flight `grace` to finish, closes every run, and records the end.
    pub async fn drain(&self, grace: Span, reason: &str) {
        self.shared.draining.cancel();
        let open: Vec<Arc<Run>> = self.runs().open.values().cloned().collect();
        open.iter()
            .for_each(|run| run.ending.end(Failure::Interrupted));
        self.shared.tasks.close();
        if tokio::time::timeout(grace.as_duration(), self.shared.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                "runs were still ending after the grace period; the next start closes them"
            );
        }
        let stopped = draft(
            &self.shared,
            Kind::DaemonStopped {
                reason: reason.to_owned(),
            },
        );
        if let Err(error) = self
            .shared
            .deps
            .journal
            .append(vec![stopped], Durability::Durable)
            .await
        {
            tracing::error!(%error, "the end of the daemon could not be recorded");
        }
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        lock(&self.runs)
    }

    /// Takes a submission up as a run that has not begun.
    fn prepare(&self, submit: Submit) -> Result<(RunId, Submit, Models, Draft), GoalError> {
        if self.shared.draining.is_cancelled() {
            return Err(GoalError::Unavailable {
                reason: "the daemon is going away".to_owned(),
            });
        }
        if self.runs_open() >= limits::RUNS_OPEN_MAX {
            let reason = format!(
                "{} runs are going on already; wait for one to end",
                limits::RUNS_OPEN_MAX
            );
            return Err(GoalError::Unavailable { reason });
        }
        let submit = checked(submit)?;
        let models = self.models(&submit)?;
        let run = self.shared.deps.ids.run();
        let kind = Kind::RunSubmitted {
            goal: submit.goal.clone(),
            base: submit.base.clone(),
            folder: run::folder(&self.shared, run),
            operator: submit.operator,
            profile: submit.profile.clone(),
            backend: self.shared.deps.backend.name(),
            model: self.label(&models),
        };
        let mut first = draft(&self.shared, kind);
        first.subject.run = Some(run);
        Ok((run, submit, models, first))
    }

    fn models(&self, submit: &Submit) -> Result<Models, GoalError> {
        let Some(text) = &submit.model else {
            return Ok(self.shared.deps.models.clone());
        };
        models::parse(text)
            .map(|model| Models::all(&model))
            .ok_or_else(|| GoalError::Invalid {
                problem: format!(
                    "`{}` does not name a model",
                    aaos_core::text::preview(text, 64)
                ),
                next_step: "Write it as `provider/model`; `agentd models` shows what is configured"
                    .to_owned(),
            })
    }

    fn label(&self, models: &Models) -> String {
        label(&self.shared, models)
    }

    /// A run that is going on.
    async fn open(&self, run: RunId) -> Result<Arc<Run>, GoalError> {
        let open = self.runs().open.get(&run).cloned();
        match open {
            Some(open) => Ok(open),
            None if self.one(run).await.is_ok() => Err(GoalError::Ended(run)),
            None => Err(GoalError::Unknown(run)),
        }
    }

    /// A run's view with everything in it.
    async fn one(&self, id: RunId) -> Result<RunView, GoalError> {
        let open = self.runs().open.get(&id).cloned();
        if let Some(run) = open {
            return Ok(run.view());
        }
        let mut view = recover::whole(&self.shared, id)
            .await?
            .ok_or(GoalError::Unknown(id))?;
        if view.outcome.is_none() {
            // Its end could not be recorded; what was seen of it is all there is.
            if let Some(ended) = self.runs().ended.get(&id) {
                (view.state, view.outcome, view.finished) =
                    (ended.state, ended.outcome.clone(), ended.finished);
            }
        }
        Ok(view)
    }
}

#[async_trait]
impl Goals for Runtime {
    async fn submit(&self, submit: Submit) -> Result<RunId, GoalError> {
        let (id, submit, models, first) = self.prepare(submit)?;
        let seq = self
            .shared
            .deps
            .journal
            .append(vec![first.clone()], Durability::Durable)
            .await?;
        let event = Event {
            seq,
            time: first.time,
            subject: first.subject,
            kind: first.kind,
        };
        let Some(view) = RunView::begin(&event) else {
            return Err(GoalError::Unavailable {
                reason: "the run's first event is not one".to_owned(),
            });
        };
        let run = Arc::new(Run::new(Arc::clone(&self.shared), id, submit, models, view));
        self.runs().open.insert(id, Arc::clone(&run));
        if self.shared.draining.is_cancelled() {
            // The daemon began to go away while the run was being recorded.
            run.ending.end(Failure::Interrupted);
        }
        let runs = Arc::clone(&self.runs);
        self.shared.tasks.spawn(async move {
            Arc::clone(&run).perform().await;
            lock(&runs).end(&run.summary());
        });
        Ok(id)
    }

    async fn plan(&self, submit: Submit) -> Result<DryRun, GoalError> {
        let (id, submit, models, first) = self.prepare(submit)?;
        let model = self.label(&models);
        let event = Event {
            seq: Seq(0),
            time: first.time,
            subject: first.subject,
            kind: first.kind,
        };
        let Some(view) = RunView::begin(&event) else {
            return Err(GoalError::Unavailable {
                reason: "the run's first event is not one".to_owned(),
            });
        };
        let run = Run::new(Arc::clone(&self.shared), id, submit, models, view);
        let wall_clock = run.submit.budget.wall_clock;
        let planned = tokio::select! {
            biased;
            () = self.shared.draining.cancelled() => Err(Failure::Interrupted),
            planned = dry(&run) => planned,
            () = tokio::time::sleep(wall_clock.as_duration()) => {
                Err(Failure::Limit { kind: LimitKind::WallClock, limit: wall_clock.millis() })
            }
        };
        let (mode, plan, grants) =
            planned.map_err(|failure| GoalError::Failed(Box::new(failure)))?;
        let envelope = run.envelope();
        Ok(DryRun {
            mode,
            plan,
            envelope,
            grants,
            model,
        })
    }

    async fn view(&self, run: Option<RunId>, limit: usize) -> Result<Vec<RunView>, GoalError> {
        if let Some(id) = run {
            return Ok(vec![self.one(id).await?]);
        }
        let runs = self.runs();
        let mut views: Vec<RunView> = runs.open.values().map(|run| run.summary()).collect();
        views.sort_by_key(|view| std::cmp::Reverse(view.submitted));
        let room = limit.saturating_sub(views.len());
        views.extend(
            runs.order
                .iter()
                .rev()
                .take(room)
                .filter_map(|id| runs.ended.get(id))
                .cloned(),
        );
        views.truncate(limit);
        Ok(views)
    }

    async fn stop(&self, run: RunId, operator: u32) -> Result<(), GoalError> {
        let open = self.open(run).await?;
        let _held = open.hold().ok_or(GoalError::Ended(run))?;
        let asked = open
            .record(crate::record::Who::RUN, Kind::RunStopRequested { operator })
            .await;
        open.ending.end(Failure::Stopped);
        asked.map(drop).map_err(|failure| GoalError::Unavailable {
            reason: failure.to_string(),
        })
    }

    fn watch(&self, run: RunId, after: Seq) -> Watch {
        self.shared.deps.journal.watch(
            Filter {
                run: Some(run),
                ..Filter::default()
            },
            after,
        )
    }
}

#[async_trait]
impl Authority for Runtime {
    async fn grants(&self, run: RunId) -> Result<Vec<LiveGrant>, GoalError> {
        Ok(self.open(run).await?.live_grants())
    }

    async fn revoke(
        &self,
        run: RunId,
        grant: GrantId,
        operator: u32,
    ) -> Result<Revoked, GoalError> {
        let open = self.open(run).await?;
        // The run's end waits for it; whoever asked need not.
        let held = open.hold().ok_or(GoalError::Ended(run))?;
        let revoking = self.shared.tasks.spawn(async move {
            let _held = held;
            open.revoke(grant, operator).await
        });
        let unavailable = |reason: String| GoalError::Unavailable { reason };
        let revoked = revoking
            .await
            .map_err(|error| unavailable(error.to_string()))?
            .map_err(|failure| unavailable(failure.to_string()))?;
        revoked.ok_or_else(|| GoalError::Invalid {
            problem: format!("{run} has no live grant {grant}"),
            next_step: format!("`agentd status {run}` lists those it has"),
        })
    }
}

/// Plans without starting anything.
async fn dry(run: &Run) -> Result<(Mode, Plan, Vec<(SubtaskId, Vec<Capability>)>), Failure> {
    run.issue_grants()?;
    let mode = classify::mode(run).await?;
    let plan = run.first_plan(mode).await?;
    let grants = planner::envelope(run, &plan).map_err(|problems| Failure::Unready { problems })?;
    Ok((mode, plan, grants))
}

fn lock(runs: &Mutex<Runs>) -> MutexGuard<'_, Runs> {
    runs.lock().unwrap_or_else(PoisonError::into_inner)
}

fn started(shared: &Shared) -> Vec<Draft> {
    let deps = &shared.deps;
    let mut drafts: Vec<Draft> = deps
        .catalog
        .problems()
        .into_iter()
        .map(|bad| {
            let kind = Kind::RoleRejected {
                file: bad.file,
                line: bad.line,
                column: bad.column,
                problem: bad.problem,
            };
            draft(shared, kind)
        })
        .collect();
    drafts.push(draft(
        shared,
        Kind::DaemonStarted {
            version: deps.config.version.clone(),
            backend: deps.backend.name(),
            provider: label(shared, &deps.models),
            prices: deps.config.prices.clone(),
        },
    ));
    drafts
}

fn draft(shared: &Shared, kind: Kind) -> Draft {
    Draft {
        time: shared.now(),
        subject: Subject::default(),
        kind,
    }
}

/// A submission fit to be tried.
fn checked(submit: Submit) -> Result<Submit, GoalError> {
    let invalid = |problem: &str, next_step: &str| GoalError::Invalid {
        problem: problem.to_owned(),
        next_step: next_step.to_owned(),
    };
    if submit.goal.trim().is_empty() {
        return Err(invalid(
            "the goal is empty",
            "Say in words what you want, in quotes",
        ));
    }
    if submit.goal.len() > limits::GOAL_BYTES_MAX {
        let problem = format!(
            "the goal is {} bytes; the limit is {}",
            submit.goal.len(),
            limits::GOAL_BYTES_MAX
        );
        return Err(invalid(
            &problem,
            "Put the material into a file and name the file in the goal",
        ));
    }
    let odd = |c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r');
    if submit.goal.chars().any(odd) {
        return Err(invalid(
            "the goal holds control characters",
            "Give it as plain text; name a file for anything else",
        ));
    }
    if !submit.base.starts_with('/') || submit.base.contains('\0') {
        return Err(invalid(
            "the base directory is not an absolute path",
            "Give one with --base",
        ));
    }
    Ok(submit)
}

/// What people are told of the models that serve every class.
fn label(shared: &Shared, models: &Models) -> String {
    let mut names = [&models.planner, &models.worker, &models.reasoner]
        .map(|model| shared.deps.provider.label(model))
        .to_vec();
    names.dedup();
    names.join(", ")
}
