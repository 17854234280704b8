//! Books that are put together again from the events of their run.
//!
//! What was recorded has happened, so nothing is refused here. A request whose end is not recorded stays set aside
//! until it is known to be lost: it may have been paid for.

use super::{Ledger, Reservation};
use crate::{
    event::{Event, Kind},
    id::AgentId,
    model::{ModelRef, Usage},
    money::MicroDollars,
};

/// A request whose end is not recorded.
#[derive(Debug, Clone)]
pub(super) struct Lost {
    model: ModelRef,
    tokens: u64,
    cost: MicroDollars,
}

impl Ledger {
    /// Takes up the next event of the run, in the journal's order. Events that cost nothing change nothing.
    pub fn take_up(&mut self, event: &Event) {
        let agent = event.subject.agent;
        match &event.kind {
            Kind::AgentSpawned { role, parent, .. } => {
                if let Some(agent) = agent.filter(|agent| !self.nodes.contains_key(agent)) {
                    self.enter(agent, *parent, role);
                }
            }
            Kind::AgentStopped { .. } => {
                if let Some(agent) = agent {
                    self.close(agent);
                }
            }
            Kind::ToolInvoked { .. } => self.upward(agent, super::Tally::count_call),
            Kind::ModelRequested {
                model,
                tokens_reserved,
                cost_reserved,
                ..
            } => {
                let Reservation { tokens, cost, .. } =
                    self.set_aside(agent, *tokens_reserved, *cost_reserved);
                let model = model.clone();
                let lost = Lost {
                    model,
                    tokens,
                    cost,
                };
                self.lost.insert(agent, lost);
            }
            Kind::UsageReported { usage, .. } => self.count(agent, *usage),
            Kind::ModelAbandoned { tokens, cost, .. } => {
                let usage = Usage::worst(*tokens, *cost);
                self.count(agent, usage);
            }
            Kind::ModelFailed { .. } => {
                if let Some(reservation) = self.lost(agent) {
                    self.release(reservation);
                }
            }
            Kind::BudgetRaised { budget, .. } => self.raise(*budget),
            _ => {}
        }
    }

    /// Takes the reservation of a request that was in flight when the daemon ended: an agent's, or the run's own.
    pub fn lost(&mut self, agent: Option<AgentId>) -> Option<Reservation> {
        let Lost { tokens, cost, .. } = self.lost.remove(&agent)?;
        Some(Reservation {
            agent,
            tokens,
            cost,
        })
    }

    /// Any one request that was in flight when the daemon ended and has not been taken since: whose, and the model.
    #[must_use]
    pub fn any_lost(&self) -> Option<(Option<AgentId>, ModelRef)> {
        let (agent, lost) = self.lost.first_key_value()?;
        Some((*agent, lost.model.clone()))
    }

    fn count(&mut self, agent: Option<AgentId>, usage: Usage) {
        match self.lost(agent) {
            Some(reservation) => self.settle(reservation, usage),
            None => self.upward(agent, |tally| tally.spend(usage)),
        }
    }
}
