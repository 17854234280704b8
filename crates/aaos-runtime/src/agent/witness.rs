//! What becomes of an agent's worker, as events.
//!
//! A worker is started beside its agent's first model request, or when a call needs one: its events stand beside the
//! agent's line and cause nothing in it, and so do those of one that takes a lost one's place. Refuses: a note that comes
//! when the agent is gone, so that nothing follows the end of its run.

use crate::{record::Who, run::Run};
use aaos_core::{event::Kind, id::AgentId};
use aaos_ports::{Durability, LaunchError, Witness, WorkerNote};
use async_trait::async_trait;
use std::sync::Arc;

/// Records what becomes of one agent's worker.
pub(super) struct AgentWitness {
    pub(super) run: Arc<Run>,
    pub(super) agent: AgentId,
}

#[async_trait]
impl Witness for AgentWitness {
    async fn note(&self, note: WorkerNote) {
        let kind = match note {
            WorkerNote::Started {
                proof,
                missing,
                pooled,
                elapsed_us,
            } => Kind::WorkerStarted {
                proof,
                missing,
                pooled,
                elapsed_us,
            },
            WorkerNote::Refused(LaunchError {
                layer,
                missing,
                next_step,
            }) => Kind::WorkerRefused {
                layer,
                missing,
                next_step,
            },
            WorkerNote::Lost { reason } => Kind::WorkerLost { reason },
        };
        let Some(_held) = self.run.hold() else {
            return;
        };
        if !self.run.knows_agent(self.agent) {
            return;
        }
        let recorded =
            self.run
                .record_aside(Who::agent(self.agent), vec![kind], Durability::Ordered);
        if let Err(failure) = recorded.await {
            // The journal's failure ends the run at its next own record; nothing can be recorded of it here.
            tracing::error!(%failure, agent = %self.agent, "a worker's event was not recorded");
        }
    }
}
