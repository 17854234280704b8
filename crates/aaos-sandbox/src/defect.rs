//! A defect in a tool is its call's failure, not that of the daemon or the worker it runs in.

use aaos_core::{id::ToolName, text};
use aaos_ports::ToolError;
use std::any::Any;

/// Most bytes of a panic's text that are passed on: a sentence, not what a tool was holding.
const PANIC_BYTES_MAX: usize = 400;

/// What a call comes to whose tool panicked.
pub(crate) fn broke_off(tool: &ToolName, panic: &(dyn Any + Send)) -> ToolError {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no words");
    ToolError::Failed(format!(
        "{tool} has a defect and broke off: {}",
        text::preview(said, PANIC_BYTES_MAX)
    ))
}
