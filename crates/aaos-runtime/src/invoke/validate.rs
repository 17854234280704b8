//! Stage one: there is such a tool, and the arguments fit its schema.

use super::{Caller, Stopped};
use aaos_core::{
    capability::Need,
    id::ToolName,
    model::{Arguments, ToolCall},
    text,
};
use aaos_ports::AnyTool;
use std::sync::Arc;

/// A call that makes sense.
pub(super) struct Valid {
    pub(super) tool: Arc<dyn AnyTool>,
    pub(super) input: serde_json::Value,
    pub(super) needs: Vec<Need>,
}

/// Problems of one call's arguments that are told; the first ones mostly explain the rest.
const PROBLEMS_TOLD_MAX: usize = 5;
/// Bytes of a malformed argument text that are shown back.
const MALFORMED_SHOWN_BYTES: usize = 200;

pub(super) fn validate(caller: &Caller<'_>, call: &ToolCall) -> Result<Valid, Stopped> {
    let ready = call
        .name
        .parse::<ToolName>()
        .ok()
        .and_then(|name| caller.run.shared.tools.get(&name))
        .ok_or_else(|| rejected(call, unknown(caller, call)))?;
    let input = match &call.input {
        Arguments::Json(input) => input.clone(),
        Arguments::Malformed(raw) => return Err(rejected(call, malformed(raw))),
    };
    let problems: Vec<String> = ready
        .schema
        .iter_errors(&input)
        .take(PROBLEMS_TOLD_MAX)
        .map(|error| {
            format!(
                "at `{}`: {}",
                error.instance_path(),
                text::preview(&error.to_string(), MALFORMED_SHOWN_BYTES)
            )
        })
        .collect();
    if !problems.is_empty() {
        return Err(rejected(
            call,
            format!(
                "the arguments do not fit the schema: {}",
                problems.join("; ")
            ),
        ));
    }
    let needs = ready
        .tool
        .needs(&input)
        .map_err(|error| rejected(call, error.to_string()))?;
    Ok(Valid {
        tool: Arc::clone(&ready.tool),
        input,
        needs,
    })
}

fn unknown(caller: &Caller<'_>, call: &ToolCall) -> String {
    let names: Vec<&str> = caller
        .hands
        .tools
        .iter()
        .map(|tool| tool.name.as_str())
        .collect();
    let asked = text::preview(&call.name, 64);
    format!(
        "there is no tool `{asked}`; you may call: {}",
        names.join(", ")
    )
}

fn malformed(raw: &str) -> String {
    let shown = text::preview(raw, MALFORMED_SHOWN_BYTES);
    format!(
        "the arguments are not a JSON document: {shown}. Send the call again with one JSON object"
    )
}

fn rejected(call: &ToolCall, problem: String) -> Stopped {
    Stopped::rejected(&text::preview(&call.name, 64), problem)
}
