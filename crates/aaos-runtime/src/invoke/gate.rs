//! The gate a call's powers ask at each further point of use.

use super::authorize;
use crate::run::Run;
use aaos_core::{
    capability::{Charge, Need, Refusal},
    event::Kind,
    id::{AgentId, GrantId},
};
use aaos_ports::{Gate, PowerError};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Most refusals of one call that are recorded one by one; a tool that goes on is told no all the same.
const REFUSALS_RECORDED_MAX: usize = 64;

/// The one authority, for one call of one agent.
pub(crate) struct CallGate {
    run: Arc<Run>,
    agent: AgentId,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Needs that were charged when the call was authorised; each admits one use without a second charge.
    charged: Vec<(Need, GrantId)>,
    /// Every grant the call rests on.
    grants: BTreeSet<GrantId>,
    refused: Vec<(Need, Refusal)>,
}

impl CallGate {
    pub(super) fn new(run: Arc<Run>, agent: AgentId, charged: Vec<(Need, GrantId)>) -> Self {
        let grants = charged.iter().map(|(_, grant)| *grant).collect();
        Self {
            run,
            agent,
            state: Mutex::new(State {
                charged,
                grants,
                refused: Vec::new(),
            }),
        }
    }

    /// Checks and charges one need, and names the grant it rests on.
    ///
    /// # Errors
    /// `Denied`, with the axis.
    pub(crate) fn admit_on(&self, need: &Need) -> Result<GrantId, PowerError> {
        let now = self.run.shared.now();
        let mut state = self.state();
        let mut table = self.run.table();
        if let Some(grant) = state.prepaid(need).filter(|grant| table.live(*grant, now)) {
            return Ok(grant);
        }
        match table.authorize(self.agent, need, &Charge::USE, now) {
            Ok(grant) => {
                state.grants.insert(grant);
                Ok(grant)
            }
            Err(refusal) => Err(state.refuse(need, refusal)),
        }
    }

    /// Charges the bytes that went in and came out to every grant the call rested on. What goes over a limit is
    /// charged too: the next act is refused.
    pub(super) fn settle_bytes(&self, bytes: u64) {
        let state = self.state();
        let mut table = self.run.table();
        for grant in &state.grants {
            let _ = table.settle_bytes(*grant, bytes);
        }
    }

    /// The events of what was refused while the call ran.
    pub(super) fn refusals(&self, tool: &str) -> Vec<Kind> {
        let refused = std::mem::take(&mut self.state().refused);
        refused
            .iter()
            .map(|(need, refusal)| authorize::denial(tool, need, refusal).0)
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes one use that was paid for at the start.
    fn prepaid(&mut self, need: &Need) -> Option<GrantId> {
        let position = self.charged.iter().position(|(known, _)| known == need)?;
        Some(self.charged.swap_remove(position).1)
    }

    fn refuse(&mut self, need: &Need, refusal: Refusal) -> PowerError {
        let (axis, reason) = (refusal.axis().to_owned(), refusal.to_string());
        if self.refused.len() < REFUSALS_RECORDED_MAX {
            self.refused.push((need.clone(), refusal));
        }
        PowerError::Denied {
            need: need.to_string(),
            axis,
            reason,
        }
    }
}

impl Gate for CallGate {
    fn admit(&self, need: &Need) -> Result<(), PowerError> {
        self.admit_on(need).map(drop)
    }
}
