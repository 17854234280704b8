//! One run and what it owns: its terms, its books, its record, and how it is told to end.
//!
//! Refuses: to be held or recorded in when its end is about to be recorded.

use crate::{
    agent::ask::Owed,
    authority::Roll,
    desk::Desk,
    ending::Ending,
    models::Models,
    park::Park,
    past::Past,
    patience::Patience,
    record::{Flight, Who},
    shared::Shared,
    terms::Terms,
};
use aaos_core::{
    budget::Ledger,
    capability::{Capability, FileRight, PathScope, Resource, Table},
    event::{Kind, RunView, Seq},
    failure::Failure,
    id::{AgentId, CallId, RunId},
    model::ModelRef,
    plan::{escalate, placeholder::Place},
    role::Role,
};
use aaos_ports::{GoalError, Submit};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// Why what was asked for cannot be told to be done.
pub(crate) fn unavailable(why: impl std::fmt::Display) -> GoalError {
    GoalError::Unavailable {
        reason: why.to_string(),
    }
}

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
    pub(crate) view: Arc<Mutex<RunView>>,
    /// By the operator's stop, the run's wall clock, the daemon's end, or a journal that cannot be written.
    pub(crate) ending: Ending,
    /// Owns agents that other agents started; the run's end waits for them, and for whoever holds it.
    pub(crate) children: TaskTracker,
    /// Whether the end is about to be recorded; nothing else is from then on.
    over: Mutex<bool>,
    /// Whether the daemon goes away under it; it then ends without an end in its record.
    suspended: CancellationToken,
    /// Whether what is in flight is not waited for any more.
    cut: CancellationToken,
    /// What it had done before the daemon that began it ended; empty for a fresh run.
    pub(crate) past: Past,
    /// Acts that wait for the operator.
    pub(crate) desk: Desk,
    /// Whether it waits for the operator; its time stands still then.
    pub(crate) patience: Patience,
    /// Who waits at a limit.
    pub(crate) park: Park,
    /// What ended where nobody could wait for the journal.
    pub(crate) owed: Arc<Owed>,
    /// Who acts right now, so that authority that is taken back reaches them.
    pub(crate) roll: Roll,
    /// The last event of each call, of each agent, and of the run itself, as the cause of the next.
    causes: Mutex<BTreeMap<Line, Seq>>,
    /// What is in flight.
    pub(crate) flight: Arc<Flight>,
    /// Who started whom.
    parents: Mutex<BTreeMap<AgentId, AgentId>>,
}

/// Whose line of events: a call's, its agent's, or the run's own.
type Line = (Option<AgentId>, Option<CallId>);

impl Run {
    /// A run as its first event begins it: `view` is folded from that.
    pub(crate) fn new(shared: Arc<Shared>, id: RunId, terms: Terms, view: RunView) -> Self {
        let Terms {
            submit,
            roles,
            models,
        } = terms;
        let named = roles.into_iter().map(|role| (role.name.clone(), role));
        let roles = named.collect();
        let folder = view.folder.clone();
        let root = id.root();
        let causes = Mutex::new(BTreeMap::from([((None, None), view.last)]));
        let ledger = Mutex::new(Ledger::new(submit.budget).with_roles(&submit.role_budgets));
        let table = Mutex::new(Table::default());
        let (view, ending, children) = (
            Arc::new(Mutex::new(view)),
            Ending::default(),
            TaskTracker::new(),
        );
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
            suspended: CancellationToken::new(),
            cut: CancellationToken::new(),
            past: Past::default(),
            desk: Desk::default(),
            patience: Patience::default(),
            park: Park::default(),
            owed: Arc::default(),
            roll: Roll::default(),
            causes,
            flight: Arc::default(),
            parents: Mutex::default(),
        }
    }

    /// Suspends the run: the daemon goes away and the next one goes on with it, or the journal takes nothing for a while.
    /// What is in flight may write its receipt; nothing else is recorded any more.
    pub(crate) fn suspend(&self) {
        self.suspended.cancel();
        self.ending.end(Failure::Interrupted);
    }

    /// Whether it is suspended.
    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended.is_cancelled()
    }

    /// Tells a suspended run that what is still in flight is not waited for.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }

    /// Waits until what is in flight is not waited for any more.
    pub(crate) async fn cut_short(&self) {
        self.cut.cancelled().await;
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

    /// Remembers that an agent was started by another.
    pub(crate) fn remember_parent(&self, agent: AgentId, parent: AgentId) {
        let mut parents = self.parents.lock().unwrap_or_else(PoisonError::into_inner);
        parents.insert(agent, parent);
    }

    /// Whether an agent is this one, or was started by it over any number of steps.
    pub(crate) fn is_or_is_below(&self, agent: AgentId, above: AgentId) -> bool {
        let parents = self.parents.lock().unwrap_or_else(PoisonError::into_inner);
        let line = std::iter::successors(Some(agent), |here| parents.get(here).copied());
        // A record that tells of a circle ends nowhere else.
        line.take(parents.len().saturating_add(1))
            .any(|here| here == above)
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
            .and_then(ModelRef::parse)
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
        for (capability, ordinal) in envelope.into_iter().zip(0..) {
            let grant = self.root.grant(ordinal);
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

    /// Keeps the run from ending until it is dropped; none if the run has ended.
    pub(crate) fn hold(&self) -> Option<TaskTrackerToken> {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        (!*over).then(|| self.children.token())
    }

    /// Does what the operator asked for to its end, whatever becomes of whoever asked. The run's end waits for it.
    ///
    /// # Errors
    /// `Ended`; `Unavailable` if it was broken off with the daemon.
    pub(crate) async fn see_through<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, GoalError> {
        let held = self.hold().ok_or(GoalError::Ended(self.id))?;
        let doing = self.shared.tasks.spawn(async move {
            let _held = held;
            work.await
        });
        doing.await.map_err(unavailable)
    }

    /// Waits until no child is left and nobody holds the run, and lets nobody hold it from then on.
    pub(crate) async fn settle(&self) {
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
