//! What an agent acts with: its grants in the table, its tools, its worker.

use super::{Task, tether::Tether, witness::AgentWitness};
use crate::{
    record::Who,
    run::{self, Run},
};
use aaos_core::{
    capability::{Capability, Need, Rendered, Resource},
    event::Kind,
    failure::Failure,
    id::{AgentId, GrantId},
    model::ModelRef,
    tool::{Placement, Power, ToolSpec},
};
use aaos_ports::{Durability, LaunchError, LaunchSpec, Worker};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::{sync::watch, time::Sleep};

/// An agent's tools and its worker.
pub(crate) struct Hands {
    /// The tools it may call.
    pub(crate) tools: Vec<ToolSpec>,
    worker: Option<Arc<Tether>>,
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
    /// Derives the agent's grants from its parent's, starts its worker, and records that it exists.
    ///
    /// # Errors
    /// `Refused` with the axis if its role wants more than its parent holds; `Launch`.
    pub(crate) async fn take(
        run: &Arc<Run>,
        task: &Task,
        model: Option<ModelRef>,
        limit: Pin<&mut Sleep>,
    ) -> Result<Self, Failure> {
        let granted = match derive(run, task) {
            Ok(granted) => granted,
            Err(failure) => {
                record_refusal(run, task, &failure).await?;
                return Err(failure);
            }
        };
        let tools = usable(run, task.agent);
        let worker = tokio::select! {
            biased;
            why = task.ending.ended() => return Err(why),
            launched = launch(run, task, &tools, &granted) => launched?,
            () = limit => return Err(task.out_of_time()),
        };
        let worker = match worker {
            Some(worker) => Some(tethered(run, task.agent, worker, &granted).await),
            None => None,
        };
        let hands = Self {
            tools,
            worker,
            changing: watch::Sender::new(0),
            turns: AtomicU32::new(0),
            changes: AtomicU32::new(0),
        };
        let born = birth(run, task, model, granted);
        run.record_all(Who::agent(task.agent), born, Durability::Ordered)
            .await?;
        Ok(hands)
    }

    pub(crate) fn worker(&self) -> Option<&dyn Worker> {
        self.worker.as_deref().map(Tether::worker)
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

    /// Revokes what an agent holds while calls of it are still in flight, so that they reach nothing more.
    pub(crate) async fn withdraw(run: &Run, agent: AgentId) -> Result<(), Failure> {
        let held = run.table().held(agent, run.shared.now());
        let grants: Vec<GrantId> = held.into_iter().map(|(grant, _)| grant).collect();
        let taken = run.take_back(&grants, None);
        run.record_all(Who::agent(agent), taken.events, Durability::Ordered)
            .await
            .map(drop)
    }

    /// Ends the worker, if one was started, and every grant of the agent, and whatever was derived from them; what it
    /// cost is charged to the grant its start rested on.
    pub(crate) async fn give_back(run: &Run, task: &Task) {
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

/// Puts a fresh worker where a revocation finds it, and tells it of those that came while it was being started.
async fn tethered(
    run: &Run,
    agent: AgentId,
    worker: Box<dyn Worker>,
    granted: &Granted,
) -> Arc<Tether> {
    let tether = Arc::new(Tether::new(worker));
    run.roll.enter_worker(agent, Arc::clone(&tether));
    let left = run.table().held(agent, run.shared.now()).len();
    if left < granted.len() {
        tether.narrow(run, agent).await;
    }
    tether
}

/// The events of an agent's beginning.
fn birth(run: &Run, task: &Task, model: Option<ModelRef>, granted: Granted) -> Vec<Kind> {
    let mut kinds = vec![Kind::AgentSpawned {
        role: task.manifest.role.clone(),
        subtask: task.subtask.clone(),
        parent: task.payer(run),
        backend: run.shared.deps.backend.name(),
        model,
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
        let grant = run.shared.deps.ids.grant();
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

/// The tools an agent may call by name. One that starts programs is not shown to an agent that may start none.
fn usable(run: &Run, agent: AgentId) -> Vec<ToolSpec> {
    let held = run.table().held(agent, run.shared.now());
    let starts = held
        .iter()
        .any(|(_, capability)| matches!(capability.resource, Resource::Exec(_)));
    let mut specs = run.shared.specs(|name| {
        let need = Need::Tool(name.clone());
        held.iter().any(|(_, capability)| capability.allows(&need))
    });
    specs.retain(|spec| starts || !spec.powers.contains(&Power::Exec));
    specs
}

async fn launch(
    run: &Arc<Run>,
    task: &Task,
    tools: &[ToolSpec],
    granted: &Granted,
) -> Result<Option<Box<dyn Worker>>, Failure> {
    if !tools
        .iter()
        .any(|tool| tool.placement() == Placement::Worker)
    {
        return Ok(None);
    }
    let spec = LaunchSpec {
        agent: task.agent,
        run: run.id,
        capabilities: granted
            .iter()
            .map(|(_, _, capability)| capability.clone())
            .collect(),
        base: run.submit.base.clone(),
        folder: run.folder.clone(),
        anchors: run.anchors(),
        witness: Arc::new(AgentWitness {
            run: Arc::clone(run),
            agent: task.agent,
        }),
    };
    let launched = run.shared.deps.backend.launch(spec).await;
    launched.map(Some).map_err(launch_failure)
}

/// Why there is no worker; the layer to blame is always named.
fn launch_failure(error: LaunchError) -> Failure {
    let missing = match error.layer {
        Some(layer) if !error.missing.contains(layer.name()) => {
            format!("{layer}: {}", error.missing)
        }
        _ => error.missing,
    };
    Failure::Launch {
        missing,
        next_step: error.next_step,
    }
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
    run.record(Who::agent(task.agent), refused).await.map(drop)
}
