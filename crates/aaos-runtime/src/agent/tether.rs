//! An agent's worker, as those hold it who take authority back: what its agent has left is told to it in order, and not
//! at all once it is stopping.

use crate::run::Run;
use aaos_core::id::AgentId;
use aaos_ports::Worker;
use tokio::sync::Semaphore;

/// A worker and the turn to change it.
pub(crate) struct Tether {
    worker: Box<dyn Worker>,
    /// One at a time, so that an older answer to what is left never comes after a newer one.
    turn: Semaphore,
}

impl Tether {
    pub(super) fn new(worker: Box<dyn Worker>) -> Self {
        Self {
            worker,
            turn: Semaphore::new(1),
        }
    }

    pub(crate) fn worker(&self) -> &dyn Worker {
        &*self.worker
    }

    /// Tells the worker what its agent holds now.
    pub(crate) async fn narrow(&self, run: &Run, agent: AgentId) {
        let Ok(_turn) = self.turn.acquire().await else {
            // It is being stopped.
            return;
        };
        let held = run.table().held(agent, run.shared.now());
        let left = held.into_iter().map(|(_, capability)| capability).collect();
        self.worker.narrow(left).await;
    }

    /// Ends the worker, after whatever it is being told.
    pub(super) async fn stop(&self) {
        let turn = self.turn.acquire().await;
        self.turn.close();
        drop(turn);
        self.worker.stop().await;
    }
}
