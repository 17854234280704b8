//! What every run shares: the ports, the tools made ready, the slots, the owner of every started task.

use crate::{
    deps::{Deps, StartError},
    slots::Gatekeeper,
};
use aaos_core::{id::ToolName, time::Timestamp, tool::ToolSpec};
use aaos_ports::AnyTool;
use std::{collections::BTreeMap, sync::Arc};
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
        Ok(Self {
            deps,
            tools,
            slots,
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.deps.clock.now()
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
