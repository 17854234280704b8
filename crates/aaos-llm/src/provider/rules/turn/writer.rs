//! The writer's turns: read what is needed, write the file, name it. Without a file the document is the last words.

use super::{
    Next, Params, Step,
    reader::{Inputs, inputs},
    seen::Seen,
    text_param,
};
use crate::provider::rules::deliver::Delivery;
use serde_json::{Value, json};

pub(super) fn next(delivery: &Delivery, params: &Params, seen: &Seen<'_>) -> Step {
    let output = text_param(params, "output")?;
    let same = |input: &Value| input.get("path").and_then(Value::as_str) == Some(output);
    if let Some(written) = seen
        .document("file_write", same)
        .map_err(|reason| format!("{output} cannot be written: {reason}"))?
    {
        let bytes = written
            .get("bytes_written")
            .and_then(Value::as_u64)
            .map(|bytes| format!(" ({bytes} bytes)"))
            .unwrap_or_default();
        return Ok(Next::Say(format!("Wrote {output}{bytes}.")));
    }
    let texts = match inputs(params, seen)? {
        Inputs::Ready(texts) => texts,
        Inputs::Ask(calls) => return Ok(calls),
    };
    let content = delivery.compose(&texts)?;
    Ok(Next::Call(vec![(
        "file_write",
        json!({ "path": output, "content": content }),
    )]))
}

/// The document as last words.
pub(super) fn together(delivery: &Delivery, params: &Params, seen: &Seen<'_>) -> Step {
    match inputs(params, seen)? {
        Inputs::Ready(texts) => delivery.compose(&texts).map(Next::Say),
        Inputs::Ask(calls) => Ok(calls),
    }
}
