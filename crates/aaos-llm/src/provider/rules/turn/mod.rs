//! One turn of an agent that has no model: the next tool calls, or its last words, computed from its sentence, its
//! parameters and what its tools have given so far.
//!
//! Nothing is remembered between turns. What a tool could not do ends the agent with the reason; nothing is made up.

mod browser;
mod explorer;
mod reader;
mod seen;
mod writer;

use super::{
    compute::Answer,
    deliver::Delivery,
    op::{Analysis, Form, describe},
    report,
    story::Story,
};
use aaos_core::{
    model::{Message, Request},
    text,
    value::Value,
};
use std::collections::BTreeMap;

use seen::Seen;

/// Longest sentence quoted back, in bytes.
const TASK_BYTES_MAX: usize = 200;

/// Why an agent whose conversation was shortened cannot go on.
const TOO_MUCH: &str = "the texts are larger than one subtask can hold; name fewer or smaller files, or raise \
context_tokens_max in the role";

/// What an agent does next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    /// Calls tools, all at once.
    Call(Vec<(&'static str, serde_json::Value)>),
    /// Ends with these words.
    Say(String),
}

/// A turn's outcome; an error is why the agent cannot go on.
type Step = Result<Next, String>;

/// An agent's parameters.
type Params = BTreeMap<String, Vec<Value>>;

/// The next step of an agent.
pub(super) fn next(request: &Request, role: &str, task: &str, params: &Params) -> Next {
    let seen = Seen::of(&request.messages);
    let step = match role {
        _ if shortened(&request.messages) => Err(TOO_MUCH.to_owned()),
        "analyzer" => analyzer(task, params, &seen),
        "explorer" => known(Analysis::parse(task), task)
            .and_then(|analysis| explorer::next(&analysis, params, &seen)),
        "browser" => known(Story::parse(task), task).and_then(|story| browser::next(&story, &seen)),
        "writer" => known(Delivery::parse(task), task)
            .and_then(|delivery| writer::next(&delivery, params, &seen)),
        _ => Err(format!(
            "the role {role} needs a model; configure one with `agentd configure`"
        )),
    };
    step.unwrap_or_else(|reason| Next::Say(format!("CANNOT: {reason}")))
}

/// Whether earlier messages were taken out to save room: what an answer must be computed from is gone.
fn shortened(messages: &[Message]) -> bool {
    matches!(messages.get(1), Some(Message::User { .. }))
}

fn analyzer(task: &str, params: &Params, seen: &Seen<'_>) -> Step {
    if let Some(delivery) = Delivery::parse(task) {
        return writer::together(&delivery, params, seen);
    }
    known(Analysis::parse(task), task).and_then(|analysis| reader::next(&analysis, params, seen))
}

/// A sentence of these rules, or a refusal of any other.
fn known<T>(parsed: Option<T>, task: &str) -> Result<T, String> {
    let shown = text::preview(task, TASK_BYTES_MAX);
    parsed.ok_or_else(|| format!("`{shown}` is not one of the steps that are carried out without a model; configure one with `agentd configure`"))
}

/// The last words for an answer.
fn words(answer: &Answer, form: Form, title: &str) -> String {
    match form {
        Form::Section => report::sections(answer),
        Form::Report => report::report(title, &[report::sections(answer)]),
        Form::Json => report::json(title, answer),
        Form::Csv => report::csv(answer),
        Form::Data => serde_json::to_string(answer).unwrap_or_default(),
    }
}

/// A title for an analysis that is the whole answer.
fn title(analysis: &Analysis) -> String {
    let what = match analysis.chains.as_slice() {
        [chain] => super::compute::title(chain),
        chains => super::compute::capital(
            &chains
                .iter()
                .map(|chain| describe(chain))
                .collect::<Vec<_>>()
                .join("; "),
        ),
    };
    format!("{what}: {}", analysis.labels.join(", "))
}

/// The text of a parameter.
fn text_param<'a>(params: &'a Params, name: &str) -> Result<&'a str, String> {
    match params.get(name).and_then(|values| values.first()) {
        Some(Value::Text { text }) => Ok(text),
        Some(Value::Artifact { path, .. }) => Ok(path),
        _ => Err(format!("the parameter `{name}` is missing")),
    }
}
