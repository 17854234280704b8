//! The front door: goals come in, runs are looked at, stopped and watched.

use crate::{
    deps::{Deps, StartError},
    limits,
    models::Models,
    progress::Begun,
    record::Who,
    recover::{self, Earlier},
    registry::Registry,
    rehearsal, resume,
    run::{self, Run, unavailable},
    shared::Shared,
    terms::Terms,
};
use aaos_core::{
    event::{Draft, Event, Fork, Kind, RunState, RunView, Seq, Subject},
    failure::Failure,
    id::{GrantId, RunId},
    model::ModelRef,
    time::Span,
};
use aaos_ports::{
    Authority, Durability, Filter, GoalError, Goals, LiveGrant, Revoked, Submit, Watch,
    goals::DryRun,
};
use async_trait::async_trait;
use std::sync::Arc;

/// The operator who looks after the machine.
const ROOT: u32 = 0;

/// The runtime: every run, and the front door to them.
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
    pub(crate) registry: Arc<Registry>,
}

impl Runtime {
    /// Starts: reads the journal, records that this daemon is ready, and takes up again what an earlier one left open.
    /// Runs are put together beside whatever else goes on; nobody waits for them here.
    ///
    /// # Errors
    /// The journal's, or a tool whose schema is none.
    pub async fn start(deps: Deps) -> Result<Arc<Self>, StartError> {
        let shared = Arc::new(Shared::new(deps)?);
        let Earlier {
            ended,
            open,
            rehearsals,
            from,
        } = recover::recover(&shared).await?;
        rehearsal::end_cut_off(&shared, rehearsals).await?;
        let recovering = open.iter().map(|(view, _)| view.clone());
        let registry = Arc::new(Registry::new(&ended, recovering));
        shared
            .deps
            .journal
            .append(started(&shared, from), Durability::Durable)
            .await?;
        shared.purse.restore(&shared).await?;
        let resuming = resume::resume_all(Arc::clone(&shared), Arc::clone(&registry), open);
        shared.tasks.spawn(resuming);
        Ok(Arc::new(Self { shared, registry }))
    }

    /// Runs that are not over, those that are being put together again included.
    #[must_use]
    pub fn runs_open(&self) -> usize {
        self.registry.count()
    }

    /// Shows runs no more whose content was erased.
    pub fn forget(&self, erased: &[RunId]) {
        erased.iter().for_each(|run| self.registry.forget(*run));
    }

    /// Takes no more goals, suspends every run, gives what is in flight `grace` to write its receipt, and records the
    /// end. The next start goes on with the runs.
    pub async fn drain(&self, grace: Span, reason: &str) {
        self.shared.draining.cancel();
        self.registry.open().iter().for_each(|run| run.suspend());
        self.shared.tasks.close();
        let in_time =
            |grace: Span| tokio::time::timeout(grace.as_duration(), self.shared.tasks.wait());
        if in_time(grace).await.is_err() {
            // Runs that were put together meanwhile are among them.
            self.registry.open().iter().for_each(|run| run.cut());
            if in_time(limits::STOP_GRACE).await.is_err() {
                tracing::warn!(
                    "runs were still busy after the grace period; the next start goes on with them"
                );
            }
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

    /// Whether another run of an operator may begin.
    ///
    /// # Errors
    /// `Unavailable`; `Invalid` if the operator has as many as one may have.
    pub(crate) fn may_begin(&self, operator: u32) -> Result<(), GoalError> {
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
        let most = self.shared.deps.config.runs_of_one_max;
        if operator != ROOT && self.registry.count_of(operator) >= most {
            return Err(self.too_many(operator));
        }
        Ok(())
    }

    /// Why no further run of an operator begins who has as many as one may have.
    fn too_many(&self, operator: u32) -> GoalError {
        let mut own = self.registry.list(limits::RUNS_OPEN_MAX);
        own.retain(|view| view.operator == operator && !view.state.is_final());
        let count = |state| own.iter().filter(|view| view.state == state).count();
        GoalError::Invalid {
            problem: format!(
                "{} of your runs are open, and one operator may have no more here; {} are parked and {} wait for your word",
                own.len(),
                count(RunState::Parked),
                count(RunState::Waiting)
            ),
            next_step: "`agentd list` shows them; `agentd stop RUN` ends one".to_owned(),
        }
    }

    /// Takes a submission up as a run that has not begun.
    fn prepare(&self, submit: Submit) -> Result<(RunId, Terms), GoalError> {
        self.may_begin(submit.operator)?;
        let submit = checked(submit)?;
        let models = match &submit.model {
            Some(text) => models_named(text)?,
            None => self.shared.deps.models.clone(),
        };
        let terms = Terms {
            submit,
            roles: self.shared.deps.catalog.roles(),
            models,
        };
        Ok((self.shared.deps.ids.run(), terms))
    }

    /// A run that is going on; one that is being put together again is waited for.
    pub(crate) async fn open(&self, run: RunId) -> Result<Arc<Run>, GoalError> {
        let found = self.registry.find(run);
        let wait = limits::RECOVERY_WAIT_MAX.as_duration();
        let Ok(found) = tokio::time::timeout(wait, found).await else {
            return Err(GoalError::Unavailable {
                reason: format!("{run} is still being put together again; try again soon"),
            });
        };
        match found {
            Some(open) => Ok(open),
            None if self.one(run).await.is_ok() => Err(GoalError::Ended(run)),
            None => Err(GoalError::Unknown(run)),
        }
    }

    /// The view with all in it that watchers have seen: an event reaches them when it is committed, and the run's own
    /// view when the disk has confirmed it.
    async fn caught_up(&self, mut view: RunView) -> Result<RunView, GoalError> {
        let filter = Filter {
            run: Some(view.run),
            ..Filter::default()
        };
        let journal = &self.shared.deps.journal;
        let committed = journal
            .read(&filter, view.last, limits::EVENTS_PAGE)
            .await?;
        committed.iter().for_each(|event| view.apply(event));
        Ok(view)
    }

    /// A run's view with everything in it.
    async fn one(&self, id: RunId) -> Result<RunView, GoalError> {
        if let Some(run) = self.registry.find_now(id) {
            return self.caught_up(run.view()).await;
        }
        let mut view = recover::whole(&self.shared, id)
            .await?
            .ok_or(GoalError::Unknown(id))?;
        if self.registry.is_recovering(id) {
            // Also while the journal takes nothing that would say so.
            view.state = RunState::Recovering;
        } else if view.outcome.is_none() {
            // Its end could not be recorded; what was seen of it is all there is.
            if let Some(ended) = self.registry.ended(id) {
                (view.state, view.outcome, view.finished) =
                    (ended.state, ended.outcome, ended.finished);
            }
        }
        Ok(view)
    }
}

/// The model of this name for every class.
///
/// # Errors
/// `Invalid`.
pub(crate) fn models_named(text: &str) -> Result<Models, GoalError> {
    ModelRef::parse(text)
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

/// A run's first event: its terms, which are stored under this digest, and where it was forked from.
pub(crate) fn submitted(
    shared: &Shared,
    id: RunId,
    terms: &Terms,
    stored: String,
    forked: Option<Fork>,
) -> Draft {
    let submit = &terms.submit;
    let kind = Kind::RunSubmitted {
        goal: submit.goal.clone(),
        base: submit.base.clone(),
        folder: run::folder(shared, id),
        operator: submit.operator,
        profile: submit.profile.clone(),
        backend: shared.deps.backend.name(),
        model: label(shared, &terms.models),
        terms: stored,
        budget: submit.budget,
        forked,
    };
    let mut first = draft(shared, kind);
    first.subject.run = Some(id);
    first
}

/// A run as its first event, with this place, begins it.
pub(crate) fn fresh(
    shared: &Arc<Shared>,
    id: RunId,
    terms: Terms,
    seq: Seq,
    first: Draft,
) -> Result<Run, GoalError> {
    let view = begun(&first, seq)?;
    Ok(Run::new(Arc::clone(shared), id, terms, view))
}

/// What is known of a run by its first event.
pub(crate) fn begun(first: &Draft, seq: Seq) -> Result<RunView, GoalError> {
    let first = Event {
        seq,
        time: first.time,
        subject: first.subject,
        kind: first.kind.clone(),
    };
    RunView::begin(&first).ok_or_else(|| GoalError::Unavailable {
        reason: "the run's first event is not one".to_owned(),
    })
}

#[async_trait]
impl Goals for Runtime {
    async fn submit(&self, submit: Submit) -> Result<RunId, GoalError> {
        let (id, terms) = self.prepare(submit)?;
        // Before the event that names them: whatever makes that durable makes them so too.
        let stored = terms.store(&self.shared).await?;
        let first = submitted(&self.shared, id, &terms, stored, None);
        let journal = &self.shared.deps.journal;
        let seq = journal
            .append(vec![first.clone()], Durability::Durable)
            .await?;
        let run = Arc::new(fresh(&self.shared, id, terms, seq, first)?);
        self.registry.enter(&self.shared, &run);
        resume::carry_on(&self.shared, &self.registry, run, Begun::default());
        Ok(id)
    }

    async fn plan(&self, mut submit: Submit) -> Result<DryRun, GoalError> {
        // Nobody could raise the budget of what is not a run.
        submit.park = false;
        let (id, terms) = self.prepare(submit)?;
        rehearsal::rehearse(&self.shared, id, terms).await
    }

    async fn view(&self, run: Option<RunId>, limit: usize) -> Result<Vec<RunView>, GoalError> {
        if let Some(id) = run {
            return Ok(vec![self.one(id).await?]);
        }
        Ok(self.registry.list(limit))
    }

    async fn stop(&self, run: RunId, operator: u32) -> Result<(), GoalError> {
        let open = self.open(run).await?;
        let own = Arc::clone(&open);
        let stopping = open.see_through(async move {
            let requested = vec![Kind::RunStopRequested { operator }];
            let asked = own.record_all(Who::RUN, requested, Durability::Durable);
            let asked = asked.await;
            own.ending.end(Failure::Stopped);
            asked.map(drop)
        });
        stopping.await?.map_err(unavailable)
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
        let own = Arc::clone(&open);
        let revoking = open.see_through(async move { own.revoke(grant, operator).await });
        let revoked = revoking.await?.map_err(unavailable)?;
        revoked.ok_or_else(|| GoalError::Invalid {
            problem: format!("{run} has no live grant {grant}"),
            next_step: format!("`agentd status {run}` lists those it has"),
        })
    }
}

fn started(shared: &Shared, runs_from: Seq) -> Vec<Draft> {
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
            runs_from,
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
pub(crate) fn label(shared: &Shared, models: &Models) -> String {
    let mut names = [&models.planner, &models.worker, &models.reasoner]
        .map(|model| shared.deps.provider.label(model))
        .to_vec();
    names.dedup();
    names.join(", ")
}
