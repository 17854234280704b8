//! Putting a run together again from its record: its view, its grants, its books, the causes of what comes next, where
//! its walk is, and the past of what it had not finished. One pass over its events, a page at a time; what is finished
//! is forgotten on the way.
//!
//! Refuses: a run whose terms are gone. It never guesses what a run was carried out under.

use crate::{
    fork, limits,
    progress::Begun,
    record::{Who, is_gone, journal_failure},
    run::Run,
    shared::Shared,
    terms::Terms,
};
use aaos_core::{
    event::{Event, Kind, RunView, Seq},
    failure::Failure,
    id::{AgentId, CallId, GrantId, RunId, SubtaskId},
};
use aaos_ports::{Filter, JournalError};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
};

/// A run put together again, and where it goes on.
pub(crate) struct Restored {
    pub(crate) run: Arc<Run>,
    pub(crate) begun: Begun,
    /// Whether the operator had asked it to stop.
    pub(crate) stopping: bool,
}

/// Puts a run together again.
///
/// # Errors
/// `Unrecoverable` if its terms or part of its record, or of another run's that it goes on from, are gone or damaged;
/// `Journal` if they cannot be read now.
pub(crate) async fn restore(shared: &Arc<Shared>, id: RunId) -> Result<Restored, Failure> {
    let filter = Filter {
        run: Some(id),
        ..Filter::default()
    };
    let mut after = Seq(0);
    let mut restoring: Option<Restoring> = None;
    loop {
        let page = shared
            .deps
            .journal
            .read(&filter, after, limits::EVENTS_PAGE)
            .await
            .map_err(|error| unreadable(&error))?;
        for event in &page {
            match &mut restoring {
                Some(restoring) => restoring.take_up(event),
                None => restoring = Restoring::begin(shared, id, event).await?,
            }
        }
        match page.last() {
            Some(event) if page.len() == limits::EVENTS_PAGE => after = event.seq,
            _ => break,
        }
    }
    let restoring = restoring.ok_or_else(|| Failure::Unrecoverable {
        problem: "its first event is gone".to_owned(),
        next_step: "Submit the goal again; `agentd audit verify` shows what is damaged".to_owned(),
    })?;
    if let Some((_, failure)) = restoring.stuck {
        return Err(failure);
    }
    Ok(Restored {
        run: Arc::new(restoring.run),
        begun: restoring.begun,
        stopping: restoring.stopping,
    })
}

fn unreadable(error: &JournalError) -> Failure {
    if !is_gone(error) {
        return journal_failure(error);
    }
    Failure::Unrecoverable {
        problem: error.to_string(),
        next_step: "Submit the goal again; `agentd audit verify` shows what is damaged".to_owned(),
    }
}

/// A run while its events are taken up.
struct Restoring {
    run: Run,
    begun: Begun,
    stopping: bool,
    /// The subtask that cannot go on, and why, while it is not finished: what it has to take over from another run cannot
    /// be had.
    stuck: Option<(SubtaskId, Failure)>,
    /// The subtask that each agent works for, while that is not finished.
    owners: BTreeMap<AgentId, SubtaskId>,
    /// Calls of those agents, and the grants that each was charged to before it ended.
    calls: BTreeMap<CallId, (AgentId, Vec<GrantId>)>,
    /// The grant that each agent's start was charged to, while the agent has not stopped.
    rests_on: BTreeMap<AgentId, GrantId>,
}

impl Restoring {
    async fn begin(
        shared: &Arc<Shared>,
        id: RunId,
        first: &Event,
    ) -> Result<Option<Self>, Failure> {
        let Some(view) = RunView::begin(first) else {
            return Ok(None);
        };
        let terms = Terms::load(shared, &view.terms).await?;
        let forked = view.forked.clone();
        let run = Run::new(Arc::clone(shared), id, terms, view);
        let mut stuck = None;
        if let Some(fork) = forked {
            match fork::inherited(shared, id, &fork).await {
                Ok(taken_over) => {
                    taken_over
                        .iter()
                        .for_each(|event| run.past.hand_down(event));
                }
                Err(failure @ Failure::Unrecoverable { .. }) => stuck = Some((fork.at, failure)),
                Err(failure) => return Err(failure),
            }
        }
        Ok(Some(Self {
            run,
            begun: Begun::default(),
            stopping: false,
            stuck,
            owners: BTreeMap::new(),
            calls: BTreeMap::new(),
            rests_on: BTreeMap::new(),
        }))
    }

    fn take_up(&mut self, event: &Event) {
        self.run
            .view
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .apply(event);
        self.take_up_grants(event);
        self.run.ledger().take_up(event);
        self.take_up_cause(event);
        self.run.past.take_up(event);
        match &event.kind {
            Kind::RunStopRequested { .. } => self.stopping = true,
            Kind::AgentSpawned {
                subtask, parent, ..
            } => self.take_up_owner(event, subtask.as_ref(), *parent),
            Kind::SubtaskCompleted { subtask, .. } => self.forget(subtask),
            _ => {}
        }
        self.begun.take_up(&self.run, event);
    }

    fn take_up_owner(
        &mut self,
        event: &Event,
        subtask: Option<&SubtaskId>,
        parent: Option<AgentId>,
    ) {
        if let (Some(agent), Some(parent)) = (event.subject.agent, parent) {
            self.run.remember_parent(agent, parent);
        }
        let owner = subtask.or_else(|| self.owners.get(&parent?)).cloned();
        if let (Some(agent), Some(owner)) = (event.subject.agent, owner) {
            self.owners.insert(agent, owner);
        }
    }

    /// Forgets what a finished subtask had done: nobody asks about it again.
    fn forget(&mut self, finished: &SubtaskId) {
        self.stuck.take_if(|(subtask, _)| subtask == finished);
        let gone: BTreeSet<AgentId> = self
            .owners
            .iter()
            .filter(|(_, owner)| *owner == finished)
            .map(|(agent, _)| *agent)
            .collect();
        self.owners.retain(|_, owner| owner != finished);
        let calls: BTreeSet<CallId> = self
            .calls
            .iter()
            .filter(|(_, (agent, _))| gone.contains(agent))
            .map(|(call, _)| *call)
            .collect();
        self.calls.retain(|call, _| !calls.contains(call));
        self.run
            .past
            .forget(|agent| gone.contains(&agent), |call| calls.contains(&call));
    }

    fn take_up_grants(&mut self, event: &Event) {
        let root = self.run.root;
        let agent = event.subject.agent;
        let mut table = self.run.table();
        match &event.kind {
            Kind::CapabilityGranted {
                grant,
                parent,
                capability,
            } => {
                // One that does not fit is not held; whoever needs it is refused.
                let _ = table.restore(*grant, *parent, agent.unwrap_or(root), capability.clone());
            }
            Kind::CapabilityRevoked { grant, .. } => {
                table.revoke(*grant);
            }
            Kind::AgentSpawned {
                rests_on: Some(grant),
                ..
            } => {
                if let Some(agent) = agent {
                    self.rests_on.insert(agent, *grant);
                }
            }
            Kind::AgentStopped { .. } => {
                let Some(agent) = agent else { return };
                let spent = self.run.ledger().spent_by(agent);
                if let (Some(grant), Some(spent)) = (self.rests_on.remove(&agent), spent) {
                    // Over the limit is charged too, as it was then.
                    let _ = table.settle_money(grant, spent.cost);
                }
                table.forget(agent);
            }
            Kind::ToolInvoked { grants, .. } => {
                for grant in grants {
                    table.restore_use(*grant, 1, 0, event.time);
                }
                if let (Some(agent), Some(call)) = (agent, event.subject.call) {
                    self.calls.insert(call, (agent, grants.clone()));
                }
            }
            Kind::CapabilityCharged { grant } => {
                table.restore_use(*grant, 1, 0, event.time);
                let call = event.subject.call;
                if let Some((_, charged)) = call.and_then(|call| self.calls.get_mut(&call)) {
                    charged.push(*grant);
                }
            }
            Kind::ToolResult { took, .. } => {
                let open = event
                    .subject
                    .call
                    .and_then(|call| self.calls.get_mut(&call));
                let charged = open.map_or_else(Vec::new, |(_, grants)| std::mem::take(grants));
                for used in took {
                    let before = charged.iter().filter(|grant| **grant == used.grant).count();
                    let more = used.uses.saturating_sub(before as u64);
                    table.restore_use(used.grant, more, used.bytes, event.time);
                }
            }
            _ => {}
        }
    }

    /// What happens beside a line of events causes none of them.
    fn take_up_cause(&self, event: &Event) {
        let who = Who {
            agent: event.subject.agent,
            call: event.subject.call,
        };
        match &event.kind {
            Kind::CapabilityRevoked {
                operator: Some(_), ..
            }
            | Kind::CapabilityCharged { .. }
            | Kind::ConnectionAllowed { .. }
            | Kind::ConnectionRefused { .. }
            | Kind::WorkerStarted { .. }
            | Kind::WorkerRefused { .. }
            | Kind::WorkerLost { .. } => {}
            Kind::AgentStopped { .. } => {
                if let Some(agent) = who.agent {
                    self.run.forget_agent(agent);
                }
            }
            kind => {
                self.run.remember_cause(who, event.seq);
                if who.call.is_some() && ends_call(kind) {
                    self.run.forget_call(who);
                }
            }
        }
    }
}

const fn ends_call(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::ToolResult { .. } | Kind::ToolRejected { .. } | Kind::ToolRepeatGuardFired { .. }
    )
}
