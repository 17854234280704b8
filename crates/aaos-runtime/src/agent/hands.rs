//! What an agent acts with: its grants in the table, its tools, its worker.

use super::{Task, post::Post, tether::Tether};
use crate::{
    record::Who,
    run::{self, Run},
};
use aaos_core::{
    capability::{Capability, Need, Rendered, Resource},
    event::Kind,
    failure::Failure,
    id::{AgentId, GrantId, ToolName},
    model::ModelRef,
    tool::{Placement, Power, ToolSpec},
};
use aaos_ports::{Durability, ToolError};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// An agent's tools and its worker.
pub(crate) struct Hands {
    /// The tools it may call.
    pub(crate) tools: Vec<ToolSpec>,
    /// Its worker, unless none of its tools needs one.
    post: Option<Post>,
    /// Agents that it started.
    children: TaskTracker,
    /// Calls in flight that change something.
    changing: watch::Sender<u32>,
    turns: AtomicU32,
    /// Calls that changed something and did what they were asked.
    changes: AtomicU32,
}

/// A call that changes something, in flight until this is dropped.
pub(crate) struct Changing<'a>(&'a watch::Sender<u32>);

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl Hands {
    /// Derives the agent's grants from its parent's, records that it exists, and lets its worker be started beside its
    /// first model request. An agent that goes on has its grants, and exists; its worker is started when a call needs
    /// one.
    ///
    /// # Errors
    /// `Refused` with the axis if its role wants more than its parent holds. A launch that is refused ends the agent.
    pub(crate) async fn take(
        run: &Arc<Run>,
        task: &Task,
        model: Option<ModelRef>,
    ) -> Result<Self, Failure> {
        let begun = run.past.has_begun(task.agent);
        if !begun {
            be_born(run, task, model).await?;
        }
        let tools = usable(run, task.agent);
        let needed = |tool: &ToolSpec| tool.placement() == Placement::Worker;
        let post = tools.iter().any(needed).then(|| Post::new(run, task));
        if let Some(post) = post.as_ref().filter(|_| !begun) {
            post.call_up();
        }
        Ok(Self {
            tools,
            post,
            children: TaskTracker::new(),
            changing: watch::Sender::new(0),
            turns: AtomicU32::new(0),
            changes: AtomicU32::new(0),
        })
    }

    /// The agent's worker, started or replaced if need be, for a call of `tool`.
    ///
    /// # Errors
    /// `NoWorker`, `Unknown`: it has none.
    pub(crate) async fn worker(&self, tool: &ToolName) -> Result<Arc<Tether>, ToolError> {
        let Some(post) = &self.post else {
            return Err(ToolError::Unknown(tool.to_string()));
        };
        post.worker().await.map_err(|failure| ToolError::NoWorker {
            tool: tool.to_string(),
            reason: failure.to_string(),
        })
    }

    /// Waits until no launch is under way: an agent whose worker may not be started does not succeed without it.
    ///
    /// # Errors
    /// `Launch`.
    pub(crate) async fn ready(&self) -> Result<(), Failure> {
        match &self.post {
            Some(post) => post.settled().await,
            None => Ok(()),
        }
    }

    /// Lets another worker take the place of one that its backend gave up; whether there may be one.
    pub(crate) async fn replace(&self, lost: &Arc<Tether>) -> bool {
        match &self.post {
            Some(post) => post.replace(lost).await,
            None => false,
        }
    }

    /// The size in bytes of a declared file, or none if there is none.
    ///
    /// # Errors
    /// In words; the agent has no worker, or may not look there.
    pub(crate) async fn inspect(&self, path: &str) -> Result<Option<u64>, String> {
        let Some(post) = &self.post else {
            return Err("the role holds no file tool to write it with".to_owned());
        };
        let tether = post.worker().await.map_err(|failure| failure.to_string())?;
        let inspected = tether.worker().inspect(path).await;
        inspected.map_err(|error| error.to_string())
    }

    /// Agents that it started and that are not gone.
    pub(crate) const fn children(&self) -> &TaskTracker {
        &self.children
    }

    /// Waits until every agent that it started is gone.
    pub(crate) async fn gone(&self) {
        self.children.close();
        self.children.wait().await;
    }

    /// Marks a call that changes something as in flight.
    pub(crate) fn changing(&self) -> Changing<'_> {
        self.changing.send_modify(|count| *count += 1);
        Changing(&self.changing)
    }

    /// Waits until no call that changes something is in flight.
    pub(crate) async fn settled(&self) {
        let mut count = self.changing.subscribe();
        // The sender lives as long as these hands, so the wait cannot fail.
        let _ = count.wait_for(|count| *count == 0).await;
    }

    /// Model requests made so far.
    pub(crate) fn turns(&self) -> u32 {
        self.turns.load(Ordering::Relaxed)
    }

    pub(crate) fn count_turns(&self, turns: u32) {
        self.turns.store(turns, Ordering::Relaxed);
    }

    /// Whether any of its calls has changed something.
    pub(crate) fn has_changed(&self) -> bool {
        self.changes.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn count_change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Revokes what an agent holds while calls of it are still in flight, so that they reach nothing more. Those that may
    /// have changed something are in doubt, and nobody waits for the operator's word on them.
    pub(crate) async fn withdraw(run: &Run, agent: AgentId) -> Result<(), Failure> {
        let held = run.table().held(agent, run.shared.now());
        let grants: Vec<GrantId> = held.into_iter().map(|(grant, _)| grant).collect();
        let taken = run.take_back(&grants, None);
        run.record_all(Who::agent(agent), taken.events, Durability::Ordered)
            .await?;
        for (who, doubt) in run.desk.underway_of(agent) {
            run.record_all(who, vec![doubt], Durability::Durable)
                .await?;
        }
        Ok(())
    }

    /// Ends the worker, if one was started, and every grant of the agent, and whatever was derived from them; what it
    /// cost is charged to the grant its start rested on.
    pub(crate) async fn give_back(run: &Run, task: &Task) {
        // A launch under way ended with the hands that wanted it.
        if let Some(worker) = run.roll.leave_worker(task.agent) {
            worker.stop().await;
        }
        let spent = run.ledger().spent_by(task.agent);
        run.ledger().close(task.agent);
        if let (Some(grant), Some(spent)) = (task.rests_on, spent) {
            // Over the limit is charged too: the next start is refused.
            let _ = run.table().settle_money(grant, spent.cost);
        }
        run.forget_grants(task.agent);
    }
}

/// Attenuates the agent's grants and records that it exists.
async fn be_born(run: &Arc<Run>, task: &Task, model: Option<ModelRef>) -> Result<(), Failure> {
    let granted = match derive(run, task) {
        Ok(granted) => granted,
        Err(failure) => {
            record_refusal(run, task, &failure).await?;
            return Err(failure);
        }
    };
    let born = birth(run, task, model, granted);
    run.record_all(Who::agent(task.agent), born, Durability::Ordered)
        .await
        .map(drop)
}

/// The events of an agent's beginning.
fn birth(run: &Run, task: &Task, model: Option<ModelRef>, granted: Granted) -> Vec<Kind> {
    let mut kinds = vec![Kind::AgentSpawned {
        role: task.manifest.role.clone(),
        subtask: task.subtask.clone(),
        parent: task.payer(run),
        backend: run.shared.deps.backend.name(),
        model,
        rests_on: task.rests_on,
    }];
    let grants = granted.into_iter();
    kinds.extend(
        grants.map(|(grant, parent, capability)| Kind::CapabilityGranted {
            grant,
            parent: Some(parent),
            capability,
        }),
    );
    kinds.push(Kind::AgentExecutionStarted {
        message_preview: super::message_preview(&task.manifest),
    });
    kinds
}

type Granted = Vec<(GrantId, GrantId, Capability)>;

/// Attenuates every capability the role wants from one its parent holds. All or none.
fn derive(run: &Run, task: &Task) -> Result<Granted, Failure> {
    let now = run.shared.now();
    let mut table = run.table();
    let mut granted = Granted::new();
    for wanted in wanted(&table.held(task.parent, now), &task.manifest.wanted) {
        let refused = |refusal| run::refused(&wanted, &refusal);
        let parent = table
            .find_parent(task.parent, &wanted, now)
            .map_err(refused)?;
        let grant = task.agent.grant(granted.len() as u64);
        table
            .derive(parent, grant, task.agent, wanted.clone(), now)
            .map_err(refused)?;
        granted.push((grant, parent, wanted));
    }
    Ok(granted)
}

/// The capabilities a role asks for, those it inherits by kind included, each once.
fn wanted(held: &[(GrantId, Capability)], rendered: &[Rendered]) -> Vec<Capability> {
    let mut all: Vec<Capability> = Vec::new();
    for one in rendered {
        match one {
            Rendered::Capability(capability) => all.push(capability.clone()),
            Rendered::Inherit(kind) => {
                let same = held
                    .iter()
                    .map(|(_, capability)| capability)
                    .filter(|c| c.resource.kind() == kind);
                all.extend(same.cloned());
            }
        }
    }
    let mut once: Vec<Capability> = Vec::with_capacity(all.len());
    for capability in all {
        if !once.contains(&capability) {
            once.push(capability);
        }
    }
    once
}

/// The tools an agent may call by name, as at its beginning: what it has lost since is refused when it is called. One
/// that starts programs is not shown to an agent that may start none.
fn usable(run: &Run, agent: AgentId) -> Vec<ToolSpec> {
    let given = run.table().given(agent);
    let starts = given
        .iter()
        .any(|capability| matches!(capability.resource, Resource::Exec(_)));
    let mut specs = run.shared.specs(|name| {
        let need = Need::Tool(name.clone());
        given.iter().any(|capability| capability.allows(&need))
    });
    specs.retain(|spec| starts || !spec.powers.contains(&Power::Exec));
    specs
}

async fn record_refusal(run: &Run, task: &Task, failure: &Failure) -> Result<(), Failure> {
    let Failure::Refused {
        wanted,
        axis,
        reason,
    } = failure
    else {
        return Ok(());
    };
    let refused = Kind::CapabilityRefused {
        wanted: wanted.clone(),
        axis: axis.clone(),
        reason: reason.clone(),
    };
    run.record_step(Who::agent(task.agent), refused).await
}
