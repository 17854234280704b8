//! The analyzer's turns: read what is named, then answer.

use super::{
    Next, Params, Step,
    seen::{Seen, Texts, Wanted},
    title, words,
};
use crate::provider::rules::{
    compute::{self, Doc},
    op::Analysis,
};
use aaos_core::value::Value;

/// Texts of a list of inputs, or the calls that get them.
pub(super) enum Inputs {
    /// All of them, in order.
    Ready(Vec<String>),
    /// These calls come next.
    Ask(Next),
}

pub(super) fn next(analysis: &Analysis, params: &Params, seen: &Seen<'_>) -> Step {
    let texts = match inputs(params, seen)? {
        Inputs::Ready(texts) => texts,
        Inputs::Ask(calls) => return Ok(calls),
    };
    if texts.len() != analysis.labels.len() {
        return Err(format!(
            "{} inputs came where {} were named",
            texts.len(),
            analysis.labels.len()
        ));
    }
    let docs: Vec<Doc> = analysis
        .labels
        .iter()
        .zip(texts)
        .map(|(label, text)| Doc {
            label: label.clone(),
            text,
        })
        .collect();
    let answer = compute::answer(analysis, &docs)?;
    Ok(Next::Say(words(&answer, analysis.form, &title(analysis))))
}

/// The texts of the parameter `inputs`: files are read, other subtasks' outputs are at hand.
///
/// # Errors
/// One of them cannot be read: a result without it would be incomplete without saying so.
pub(super) fn inputs(params: &Params, seen: &Seen<'_>) -> Result<Inputs, String> {
    let values = params.get("inputs").map(Vec::as_slice).unwrap_or_default();
    let files: Vec<Wanted> = values.iter().filter_map(file).collect();
    let mut read = match seen.texts(&files) {
        Texts::Ask(calls) => return Ok(Inputs::Ask(calls)),
        Texts::Ready(read) => files.iter().zip(read),
    };
    let mut texts = Vec::new();
    for value in values {
        texts.push(match value {
            Value::Text { text } => text.clone(),
            Value::Json { json } => json.to_string(),
            Value::Artifact { path, .. } => match read.next() {
                Some((_, Ok(text))) => text,
                Some((_, Err(reason))) => return Err(format!("{path} cannot be read: {reason}")),
                None => return Err(format!("{path} was not read")),
            },
        });
    }
    Ok(Inputs::Ready(texts))
}

fn file(value: &Value) -> Option<Wanted> {
    match value {
        Value::Artifact { path, bytes } => Some(Wanted {
            path: path.clone(),
            bytes: *bytes,
        }),
        _ => None,
    }
}
