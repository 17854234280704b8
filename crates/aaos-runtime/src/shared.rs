//! What every run shares: the ports, the tools made ready, the slots, the owner of every started task.

use crate::{
    deps::{Deps, StartError},
    limits,
    purse::Purse,
    record::Who,
    slots::Gatekeeper,
};
use aaos_core::{
    event::Kind,
    id::ToolName,
    time::Timestamp,
    tool::{Recovery, ToolSpec},
};
use aaos_ports::AnyTool;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A tool with its schema compiled once.
pub(crate) struct ReadyTool {
    pub(crate) tool: Arc<dyn AnyTool>,
    pub(crate) schema: jsonschema::Validator,
}

/// What every run shares.
pub(crate) struct Shared {
    pub(crate) deps: Deps,
    pub(crate) tools: BTreeMap<ToolName, ReadyTool>,
    pub(crate) slots: Gatekeeper,
    /// What is left of the day for all runs together.
    pub(crate) purse: Purse,
    /// Turns to hold whole records in memory.
    pub(crate) records: Semaphore,
    /// Owns every task of the runtime; the runtime's end waits for it.
    pub(crate) tasks: TaskTracker,
    /// Cancelled when the daemon goes away: no new subtasks.
    pub(crate) draining: CancellationToken,
}

impl Shared {
    /// Compiles every tool's schema.
    pub(crate) fn new(deps: Deps) -> Result<Self, StartError> {
        let tools = deps.tools.iter().map(ready).collect::<Result<_, _>>()?;
        let slots = Gatekeeper::new(deps.config.slots);
        let purse = Purse::new(deps.config.budget_operator_day, deps.config.budget_day);
        Ok(Self {
            deps,
            tools,
            slots,
            purse,
            records: Semaphore::new(limits::RECORDS_HELD_MAX),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.deps.clock.now()
    }

    /// Whether a call of a tool goes on by parts: what it started is not at its end when the call is cut off.
    pub(crate) fn goes_on(&self, tool: &str) -> bool {
        let name = tool.parse().ok();
        let ready = name.and_then(|name: ToolName| self.tools.get(&name));
        ready.is_some_and(|ready| ready.tool.spec().recovery == Recovery::GoesOn)
    }

    /// Of these acts that nobody has seen to, those that are in doubt: the parts of one that goes on speak for themselves.
    pub(crate) fn in_doubt(&self, unseen: Vec<(Who, Kind)>) -> Vec<(Who, Kind)> {
        let by_parts =
            |kind: &Kind| matches!(kind, Kind::EffectInDoubt { tool, .. } if self.goes_on(tool));
        let unseen = unseen.into_iter();
        unseen.filter(|(_, kind)| !by_parts(kind)).collect()
    }

    /// The specifications of the named tools, in the catalogue's order.
    pub(crate) fn specs(&self, wanted: impl Fn(&ToolName) -> bool) -> Vec<ToolSpec> {
        let held = self.tools.iter().filter(|(name, _)| wanted(name));
        held.map(|(_, ready)| ready.tool.spec().clone()).collect()
    }
}

fn ready(tool: &Arc<dyn AnyTool>) -> Result<(ToolName, ReadyTool), StartError> {
    let spec = tool.spec();
    let schema =
        jsonschema::validator_for(&spec.input_schema).map_err(|error| StartError::Schema {
            tool: spec.name.to_string(),
            problem: error.to_string(),
        })?;
    Ok((
        spec.name.clone(),
        ReadyTool {
            tool: Arc::clone(tool),
            schema,
        },
    ))
}
