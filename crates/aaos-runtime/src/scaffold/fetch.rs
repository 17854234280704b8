//! `fetch`: one page, whole. A status that is not success, or an empty body, is a failure: what was not fetched is
//! never written as if it had been.

use crate::{
    agent::{Hands, Task, Work},
    invoke::{self, Caller},
    limits, outputs,
    run::Run,
};
use aaos_core::{
    agent::repeat::Repeat,
    failure::Failure,
    manifest::Expected,
    model::{Arguments, ToolCall},
    value::Value,
};
use serde_json::json;
use std::sync::{Arc, Mutex};

/// Largest page that is fetched: the most that the tool gives. A larger one is a failure, not a part.
const PAGE_BYTES_MAX: u64 = 1024 * 1024;

pub(super) fn perform<'a>(run: &'a Arc<Run>, task: &'a Task, hands: &'a Hands) -> Work<'a> {
    Box::pin(fetch(run, task, hands))
}

async fn fetch(run: &Arc<Run>, task: &Task, hands: &Hands) -> Result<Value, Failure> {
    let repeat = Mutex::new(Repeat::new(
        limits::REPEAT_WARN_AT,
        limits::REPEAT_REFUSE_AT,
    ));
    let caller = Caller {
        run,
        task,
        hands,
        repeat: &repeat,
    };
    let url = parameter(task, "url")?;
    let page = call(
        &caller,
        0,
        "web_fetch",
        json!({ "url": url, "max_bytes": PAGE_BYTES_MAX }),
    )
    .await?;
    let body = body_of(&url, &page)?;
    match &task.manifest.output {
        Expected::File(path) => {
            call(
                &caller,
                1,
                "file_write",
                json!({ "path": path, "content": body }),
            )
            .await?;
            outputs::check(run, task, "", hands)
                .await?
                .map_err(Failure::from)
        }
        Expected::Json => serde_json::from_str(body)
            .map(|json| Value::Json { json })
            .map_err(|error| Failure::OutputMissing {
                declared: "a JSON document".to_owned(),
                found: error.to_string(),
            }),
        Expected::Text => Ok(Value::text(body)),
    }
}

fn parameter(task: &Task, name: &str) -> Result<String, Failure> {
    let first = task
        .manifest
        .params
        .get(name)
        .and_then(|values| values.first());
    match first {
        Some(Value::Text { text }) => Ok(text.clone()),
        _ => Err(Failure::Unready {
            problems: vec![format!("the parameter `{name}` is missing")],
        }),
    }
}

async fn call(
    caller: &Caller<'_>,
    ordinal: u64,
    tool: &str,
    input: serde_json::Value,
) -> Result<serde_json::Value, Failure> {
    let call = ToolCall {
        id: tool.to_owned(),
        name: tool.to_owned(),
        input: Arguments::Json(input),
    };
    let answer = invoke::invoke(caller, ordinal, &call).await?;
    match answer.output {
        Some(output) => Ok(output.json),
        None => Err(Failure::Tool {
            tool: tool.to_owned(),
            message: answer.result.text,
        }),
    }
}

fn body_of<'a>(url: &str, page: &'a serde_json::Value) -> Result<&'a str, Failure> {
    let failed = |message: String| Failure::Tool {
        tool: "web_fetch".to_owned(),
        message,
    };
    let status = page
        .get("status")
        .and_then(serde_json::Value::as_u64)
        .unwrap_or(0);
    if !(200..300).contains(&status) {
        return Err(failed(format!("{url} answered {status}")));
    }
    if page.get("truncated").and_then(serde_json::Value::as_bool) == Some(true) {
        return Err(failed(format!(
            "{url} is larger than {PAGE_BYTES_MAX} bytes; only a part of it could be had"
        )));
    }
    let body = page
        .get("body")
        .and_then(serde_json::Value::as_str)
        .unwrap_or("");
    if body.trim().is_empty() {
        return Err(failed(format!(
            "{url} answered {status} with an empty body"
        )));
    }
    Ok(body)
}
