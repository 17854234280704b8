//! `tool.list`: Lists every tool with its schema, its powers and what it does to the world.

use super::{Call, Caller, Fault, Front, wire};
use std::sync::Arc;

/// The method.
pub(crate) struct ToolList;

impl Call for ToolList {
    const NAME: &'static str = "tool.list";
    const SUMMARY: &'static str =
        "Lists every tool with its schema, its powers and what it does to the world.";
    const ANSWER: &'static str = "{tools: [tool]}";
    type Params = wire::Nothing;
    type Answer = wire::Tools;

    async fn call(front: Arc<Front>, _: Caller, _: wire::Nothing) -> Result<wire::Tools, Fault> {
        Ok(wire::Tools {
            tools: front.tools.clone(),
        })
    }
}
