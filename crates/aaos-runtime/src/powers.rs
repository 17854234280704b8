//! Powers over the runtime's own state: the only place that makes one.

use crate::{
    agent::{self, Task},
    ending::{EndOnDrop, Ending},
    invoke::{CallGate, Caller},
    park,
    patience::Patience,
    record::Who,
    run::Run,
};
use aaos_core::{
    approval::Rule,
    capability::Need,
    failure::Failure,
    id::{AgentId, CallId, GrantId, RoleName, SubtaskId},
    model::ModelRef,
    plan::{Subtask, placeholder},
    time::Span,
    value::Value,
};
use aaos_ports::{PowerError, Powers, Spawn, power::Child};
use async_trait::async_trait;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio_util::task::TaskTracker;

/// What a tool that runs in the daemon is handed.
pub(crate) fn daemon_side(caller: &Caller<'_>, call: CallId, gate: Arc<CallGate>) -> Powers {
    let spawn = RunSpawn {
        run: Arc::clone(caller.run),
        parent: caller.task.agent,
        call,
        ending: caller.task.ending.clone(),
        patience: caller.task.patience.clone(),
        approve: caller.task.manifest.approve.clone(),
        gate: Arc::clone(&gate),
        started: AtomicU64::new(0),
        siblings: caller.hands.children().clone(),
    };
    Powers::none(call, gate).with_spawn(Arc::new(spawn))
}

/// Starts children of one agent.
struct RunSpawn {
    run: Arc<Run>,
    parent: AgentId,
    /// The call that starts children, as the cause of theirs.
    call: CallId,
    /// The parent's; a child ends with it.
    ending: Ending,
    /// The parent's; what a child waits for, it waits for too.
    patience: Patience,
    /// Acts of the parent that wait for approval; a child's wait for it too.
    approve: Vec<Rule>,
    gate: Arc<CallGate>,
    /// Children started so far.
    started: AtomicU64,
    /// The parent's children; it does not end before they have.
    siblings: TaskTracker,
}

#[async_trait]
impl Spawn for RunSpawn {
    async fn spawn(&self, child: Child) -> Result<Value, PowerError> {
        let child_role = child.role.clone();
        let rests_on = self.gate.admit_on(&Need::Spawn(child_role.clone())).await?;
        let what = format!("starting {}", child.role);
        let failed = |failure: Failure| PowerError::Io {
            what: what.clone(),
            message: failure.to_string(),
        };
        let task = self.task(child, rests_on).map_err(failed)?;
        // A task of its own, which gives back what it holds also when nobody waits for it; the run does.
        let _told_to_end = self.told_to_end(&child_role, &task.ending);
        let (run, agent) = (Arc::clone(&self.run), task.agent);
        let child = async move { agent::perform(&run, task).await };
        let child = self.siblings.track_future(child);
        let running = self.run.children.spawn(child);
        let ended = running.await.unwrap_or(Err(Failure::Interrupted));
        if let Err(why @ (Failure::Journal { .. } | Failure::Unrecoverable { .. })) = &ended {
            // Nobody can say what the child has done, so nobody goes on from it.
            self.ending.end(why.clone());
        }
        ended.map_err(|failure| {
            let mut words = vec![failure.to_string()];
            words.extend(self.run.left_in_doubt(Some(agent)));
            PowerError::Io {
                what: what.clone(),
                message: words.join("; "),
            }
        })
    }
}

/// Tells a child to end when nobody waits for it, and why: with its parent, or because the authority to start it was
/// taken back.
struct ToldToEnd {
    gate: Arc<CallGate>,
    role: RoleName,
    ending: Ending,
    _with: EndOnDrop,
}

impl Drop for ToldToEnd {
    fn drop(&mut self) {
        if self.gate.is_revoked() && !self.ending.has_ended() {
            self.ending.end(Failure::Refused {
                wanted: Need::Spawn(self.role.clone()).to_string(),
                axis: "revoked".to_owned(),
                reason: "the capability this rests on was revoked".to_owned(),
            });
        }
    }
}

impl RunSpawn {
    fn told_to_end(&self, role: &RoleName, ending: &Ending) -> ToldToEnd {
        ToldToEnd {
            gate: Arc::clone(&self.gate),
            role: role.clone(),
            ending: ending.clone(),
            _with: ending.on_drop(),
        }
    }

    fn task(&self, child: Child, rests_on: GrantId) -> Result<Task, Failure> {
        let unready = |problems: Vec<String>| Failure::Unready { problems };
        let Some(role) = self.run.roles.get(&child.role) else {
            let known: Vec<&str> = self.run.roles.keys().map(|name| name.as_str()).collect();
            return Err(unready(vec![format!(
                "there is no role `{}`; there are: {}",
                child.role,
                known.join(", ")
            )]));
        };
        if role.scaffold.is_some() {
            return Err(unready(vec![format!(
                "role `{}` is a fixed procedure; call its tools instead",
                child.role
            )]));
        }
        let subtask = as_subtask(child).map_err(unready)?;
        let place = self.run.place();
        let params =
            placeholder::resolve(role, &subtask, &BTreeMap::new(), &place).map_err(unready)?;
        let mut manifest =
            aaos_core::manifest::render(role, &subtask.task, params, &place).map_err(unready)?;
        let more = self.approve.iter();
        let more = more.filter(|rule| !role.approve.contains(rule)).cloned();
        manifest.approve.extend(more);
        let model: ModelRef = self.run.model_of(role, 0);
        let limit = Span::from_secs(u64::from(manifest.limits.wall_clock_s));
        let limit = park::time_of_role(&self.run, &role.name, limit);
        let agent = self
            .call
            .child(self.started.fetch_add(1, Ordering::Relaxed));
        let ending = self.ending.below();
        let cause = self
            .run
            .cause(Who::call(self.parent, self.call))
            .unwrap_or_default();
        let (parent, rests_on) = (self.parent, Some(rests_on));
        let deadline = self.run.shared.now().after(limit);
        Ok(Task {
            agent,
            parent,
            subtask: None,
            manifest,
            model,
            limit,
            deadline,
            ending,
            patience: self.patience.below(self.run.past.worked(agent)),
            cause,
            rests_on,
        })
    }
}

/// A child takes parameters as a subtask does; there are no other subtasks whose outputs it could name.
fn as_subtask(child: Child) -> Result<Subtask, Vec<String>> {
    let id: SubtaskId = "child".parse().map_err(|error| vec![format!("{error}")])?;
    let Child { role, task, params } = child;
    Ok(Subtask {
        id,
        task,
        role,
        params,
        depends_on: Default::default(),
        ttl: None,
    })
}
