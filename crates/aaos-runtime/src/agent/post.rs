//! Where an agent's worker stands: called up in the background, waited for by the first who needs it, replaced when its
//! backend gives it up.
//!
//! A launch that is refused ends the agent, whatever it is doing. Refuses: a worker for an agent that is gone, and ever
//! new ones for an agent that loses them all.

use super::{Task, tether::Tether, witness::AgentWitness};
use crate::{ending::Ending, limits, run::Run};
use aaos_core::{
    capability::Capability,
    failure::Failure,
    id::{AgentId, GrantId},
};
use aaos_ports::{LaunchError, LaunchSpec};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// One agent's place for a worker. When it is dropped, a launch under way is given up.
pub(super) struct Post {
    run: Arc<Run>,
    agent: AgentId,
    ending: Ending,
    stand: watch::Sender<Stand>,
    replaced: AtomicU32,
    /// Cancelled when nobody wants a worker any longer.
    unwanted: CancellationToken,
    _unwanted_on_drop: DropGuard,
}

/// Who is there.
#[derive(Clone)]
enum Stand {
    Nobody,
    Launching,
    Here(Arc<Tether>),
    Refused(Failure),
}

impl Post {
    pub(super) fn new(run: &Arc<Run>, task: &Task) -> Self {
        let unwanted = CancellationToken::new();
        Self {
            run: Arc::clone(run),
            agent: task.agent,
            ending: task.ending.clone(),
            stand: watch::Sender::new(Stand::Nobody),
            replaced: AtomicU32::new(0),
            _unwanted_on_drop: unwanted.clone().drop_guard(),
            unwanted,
        }
    }

    /// Lets a worker be started in the background if there is none and none is being started.
    pub(super) fn call_up(&self) {
        let begins = self.stand.send_if_modified(|stand| {
            let nobody = matches!(stand, Stand::Nobody);
            if nobody {
                *stand = Stand::Launching;
            }
            nobody
        });
        if !begins {
            return;
        }
        let (run, agent) = (Arc::clone(&self.run), self.agent);
        let (stand, ending) = (self.stand.clone(), self.ending.clone());
        let unwanted = self.unwanted.clone();
        // The run's end waits for it. What a launch had begun is gone when it is dropped.
        self.run.children.spawn(async move {
            let launched = tokio::select! {
                biased;
                () = unwanted.cancelled() => None,
                launched = launch(&run, agent) => Some(launched),
            };
            if unwanted.is_cancelled() {
                // Whoever takes the worker out of the roll stops it: this, or the agent's end.
                if let Some(late) = run.roll.leave_worker(agent) {
                    late.stop().await;
                }
                return;
            }
            let now = match launched {
                Some(Ok(tether)) => Stand::Here(tether),
                Some(Err(failure)) => {
                    // Told first, so that whoever waits for the worker is not told of it before its agent ends.
                    ending.end(failure.clone());
                    Stand::Refused(failure)
                }
                None => return,
            };
            stand.send_replace(now);
        });
    }

    /// Waits until no launch is under way.
    ///
    /// # Errors
    /// `Launch`: the last one was refused.
    pub(super) async fn settled(&self) -> Result<(), Failure> {
        let mut stand = self.stand.subscribe();
        // The sender lives as long as this, so the wait cannot fail.
        let _ = stand
            .wait_for(|stand| !matches!(stand, Stand::Launching))
            .await;
        match &*stand.borrow() {
            Stand::Refused(failure) => Err(failure.clone()),
            _ => Ok(()),
        }
    }

    /// The worker, as soon as there is one.
    ///
    /// # Errors
    /// `Launch`; the agent has been told to end.
    pub(super) async fn worker(&self) -> Result<Arc<Tether>, Failure> {
        let mut stand = self.stand.subscribe();
        loop {
            let now = stand.borrow_and_update().clone();
            match now {
                Stand::Here(tether) => return Ok(tether),
                Stand::Refused(failure) => return Err(failure),
                Stand::Nobody => self.call_up(),
                // The sender lives as long as this, so the wait cannot fail.
                Stand::Launching => drop(stand.changed().await),
            }
        }
    }

    /// Ends a worker that its backend gave up and makes room for another; whether there may be one.
    pub(super) async fn replace(&self, lost: &Arc<Tether>) -> bool {
        let replaced = self.stand.send_if_modified(|stand| {
            let same = matches!(stand, Stand::Here(here) if Arc::ptr_eq(here, lost));
            if same {
                *stand = Stand::Nobody;
            }
            same
        });
        if !replaced {
            // Somebody else has seen to it.
            return self.may_replace();
        }
        let before = self.replaced.fetch_add(1, Ordering::Relaxed);
        self.run.roll.leave_this_worker(self.agent, lost);
        lost.stop().await;
        before < limits::WORKERS_LOST_MAX
    }

    fn may_replace(&self) -> bool {
        self.replaced.load(Ordering::Relaxed) <= limits::WORKERS_LOST_MAX
    }
}

/// Starts a worker and puts it where a revocation finds it; it is told of those that came meanwhile before its first
/// call.
async fn launch(run: &Arc<Run>, agent: AgentId) -> Result<Arc<Tether>, Failure> {
    let granted = held(run, agent);
    let spec = LaunchSpec {
        agent,
        run: run.id,
        capabilities: granted.iter().map(|(_, held)| held.clone()).collect(),
        base: run.submit.base.clone(),
        folder: run.folder.clone(),
        anchors: run.anchors(),
        witness: Arc::new(AgentWitness {
            run: Arc::clone(run),
            agent,
        }),
    };
    let launched = run.shared.deps.backend.launch(spec).await;
    let tether = Arc::new(Tether::new(launched.map_err(launch_failure)?));
    run.roll.enter_worker(agent, Arc::clone(&tether));
    if held(run, agent).len() < granted.len() {
        tether.narrow(run, agent).await;
    }
    Ok(tether)
}

fn held(run: &Run, agent: AgentId) -> Vec<(GrantId, Capability)> {
    run.table().held(agent, run.shared.now())
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
