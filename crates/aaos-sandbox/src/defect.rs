//! A defect in a tool is its call's failure, not that of the daemon or the worker it runs in.

use aaos_core::{id::ToolName, text};
use aaos_ports::{Act, AnyTool, ToolError};
use std::any::Any;

/// Most bytes of a panic's text that are passed on: a sentence, not what a tool was holding.
const PANIC_BYTES_MAX: usize = 400;

/// Whether an act leaves the world other than it was, so that one cut off in the middle is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changes {
    /// It does, each time.
    Yes,
    /// It does not, or not a second time.
    No,
}

/// What an act of a tool does.
pub(crate) fn changes(tool: &dyn AnyTool, act: &Act) -> Changes {
    match act {
        Act::Perform if !tool.spec().effect.may_repeat() => Changes::Yes,
        Act::Perform | Act::Consider(_) => Changes::No,
    }
}

/// An act that came to this in the tool's own hands, at a place nobody knows.
pub(crate) fn broken(tool: &ToolName, changes: Changes, reason: String) -> ToolError {
    match changes {
        Changes::Yes => ToolError::InDoubt {
            tool: tool.to_string(),
            reason,
        },
        Changes::No => ToolError::Failed(reason),
    }
}

/// What a call comes to whose tool panicked.
pub(crate) fn broke_off(tool: &ToolName, changes: Changes, panic: &(dyn Any + Send)) -> ToolError {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no words");
    let reason = format!(
        "{tool} has a defect and broke off: {}",
        text::preview(said, PANIC_BYTES_MAX)
    );
    broken(tool, changes, reason)
}
