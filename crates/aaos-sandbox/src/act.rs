//! What a tool is to do with a call: perform it, or answer a question about it.
//!
//! The one place where the two are told apart, for every backend. Refuses: handing a question more than the call itself
//! holds; it may look at what the call would write, if the agent may read there.

use aaos_core::capability::{FileRight, Need};
use aaos_ports::{Act, AnyTool, Powers, ToolError, ToolOutput};
use serde_json::Value;

/// What an act declares: what its call needs and, to look at what that would change, reading what it would write. The
/// file power still refuses what is not held.
///
/// # Errors
/// The input does not fit.
pub(crate) fn needs(tool: &dyn AnyTool, act: &Act, input: &Value) -> Result<Vec<Need>, ToolError> {
    let mut needs = tool.needs(input)?;
    if let Act::Consider(_) = act {
        let looks: Vec<Need> = needs.iter().filter_map(look).collect();
        needs.extend(looks);
    }
    Ok(needs)
}

/// Reading what this need would write.
fn look(need: &Need) -> Option<Need> {
    match need {
        Need::File {
            right: FileRight::Write,
            path,
        } => Some(Need::read(path)),
        _ => None,
    }
}

/// Has the tool do it.
///
/// # Errors
/// As the tool's.
pub(crate) async fn perform(
    tool: &dyn AnyTool,
    act: Act,
    input: Value,
    powers: &Powers,
) -> Result<ToolOutput, ToolError> {
    match act {
        Act::Perform => tool.call(input, powers).await,
        Act::Consider(question) => tool.consider(question, input, powers).await,
    }
}
