//! Steps in words: one readable sentence each, and where two of the same kind differ.

use aaos_core::{
    event::{Kind, Outcome, StopReason},
    text,
};
use serde_json::Value;

/// Bytes of one value that are shown; enough for a line on a screen.
const VALUE_BYTES_MAX: usize = 160;
/// Bytes that two differing texts share which are shown before their difference.
const CONTEXT_BYTES: usize = 24;
/// Bytes of one sentence.
const SENTENCE_BYTES_MAX: usize = 600;

/// Both sides of a difference, a sentence each.
pub(super) fn both(recorded: &Kind, replayed: &Kind) -> (String, String) {
    let (one, other) = (say(recorded), say(replayed));
    let json = |kind: &Kind| serde_json::to_value(kind).unwrap_or_default();
    let same_kind = std::mem::discriminant(recorded) == std::mem::discriminant(replayed);
    if !same_kind {
        return (one, other);
    }
    pointed(one, other, &json(recorded), &json(replayed))
}

/// The sentences, with the first place where the values behind them differ.
pub(super) fn pointed(
    one: String,
    other: String,
    recorded: &Value,
    replayed: &Value,
) -> (String, String) {
    let Some((path, was, is)) = difference(recorded, replayed, String::new()) else {
        return (one, other);
    };
    let with = |sentence: String, value: String| {
        let sentence = text::preview(&sentence, SENTENCE_BYTES_MAX);
        format!("{sentence}; `{path}` is {value}")
    };
    (with(one, was), with(other, is))
}

/// The first place where two documents differ, and what is there.
fn difference(one: &Value, other: &Value, path: String) -> Option<(String, String, String)> {
    let below = |key: &str| match path.as_str() {
        "" => key.to_owned(),
        above => format!("{above}.{key}"),
    };
    let nothing = Value::Null;
    match (one, other) {
        (Value::Object(ones), Value::Object(others)) => {
            let keys = ones
                .keys()
                .chain(others.keys().filter(|key| !ones.contains_key(*key)));
            let pair = |key: &String| {
                let (one, other) = (ones.get(key), others.get(key));
                difference(
                    one.unwrap_or(&nothing),
                    other.unwrap_or(&nothing),
                    below(key),
                )
            };
            keys.into_iter().find_map(pair)
        }
        (Value::Array(ones), Value::Array(others)) => {
            (0..ones.len().max(others.len())).find_map(|index| {
                let (one, other) = (ones.get(index), others.get(index));
                let below = below(&index.to_string());
                difference(one.unwrap_or(&nothing), other.unwrap_or(&nothing), below)
            })
        }
        (Value::String(one), Value::String(other)) if one != other => {
            let (was, is) = excerpts(one, other);
            Some((path, was, is))
        }
        (one, other) if one == other => None,
        (one, other) => {
            let shown = |value: &Value| match value {
                Value::Null => "not there".to_owned(),
                value => text::preview(&value.to_string(), VALUE_BYTES_MAX),
            };
            Some((path, shown(one), shown(other)))
        }
    }
}

/// The part of two texts where they begin to differ.
fn excerpts(one: &str, other: &str) -> (String, String) {
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    let shared: usize = same.map(|(same, _)| same.len_utf8()).sum();
    let mut from = shared.saturating_sub(CONTEXT_BYTES);
    while !one.is_char_boundary(from) {
        from = from.saturating_sub(1);
    }
    let cut = |text: &str| {
        let rest = text.get(from..).unwrap_or_default();
        let before = if from > 0 { "…" } else { "" };
        format!("\"{before}{}\"", text::preview(rest, VALUE_BYTES_MAX))
    };
    (cut(one), cut(other))
}

/// One step as a sentence without its full stop.
pub(super) fn say(kind: &Kind) -> String {
    let said = of_run(kind)
        .or_else(|| of_agent(kind))
        .or_else(|| of_call(kind));
    let said = said.unwrap_or_else(|| {
        let json = serde_json::to_value(kind).unwrap_or_default();
        let tag = json.get("kind").and_then(Value::as_str);
        tag.unwrap_or("an event").replace('_', " ")
    });
    text::preview(&said, SENTENCE_BYTES_MAX)
}

fn of_run(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::OrchestrationSelected { mode, .. } => {
            let mode = format!("{mode:?}").to_lowercase();
            format!("the way to carry the goal out was settled as {mode}")
        }
        Kind::PlanProduced { plan, .. } => {
            let ids: Vec<&str> = plan.subtasks.iter().map(|s| s.id.as_str()).collect();
            format!("a plan of {} came: {}", ids.len(), ids.join(", "))
        }
        Kind::PlanRefused { problems, .. } => {
            format!("the plan was refused: {}", problems.join("; "))
        }
        Kind::PlanReplanned { reason, .. } => format!("another plan was asked for: {reason}"),
        Kind::SubtaskStarted { subtask, role } => format!("subtask {subtask} began as {role}"),
        Kind::SubtaskCompleted { subtask, outcome } => {
            format!("subtask {subtask} {}", ended(outcome))
        }
        Kind::SubtaskSkipped { subtask, .. } => format!("subtask {subtask} was skipped"),
        Kind::SubtaskKept { subtask, .. } => format!("subtask {subtask} was kept"),
        Kind::SubtaskTtlExpired { subtask, .. } => format!("the time of subtask {subtask} was up"),
        Kind::SubtaskModelEscalated {
            subtask, to_model, ..
        } => format!("subtask {subtask} went on to {to_model}"),
        Kind::RunFinished { outcome, .. } => format!("the run {}", ended(outcome)),
        _ => return None,
    })
}

fn of_agent(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::AgentSpawned { role, model, .. } => match model {
            Some(model) => format!("an agent of role {role} began with {model}"),
            None => format!("an agent of role {role} began"),
        },
        Kind::AgentExecutionStarted { message_preview } => {
            format!("the agent was told: {message_preview}")
        }
        Kind::AgentExecutionCompleted { stop, turns } => {
            format!("the agent ended after {turns} requests: {}", stopped(stop))
        }
        Kind::AgentStopped { stop } => format!("the agent is gone: {}", stopped(stop)),
        Kind::CapabilityGranted { capability, .. } => format!("`{capability}` was granted"),
        Kind::CapabilityRefused { wanted, reason, .. } => {
            format!("`{wanted}` was refused: {reason}")
        }
        Kind::ModelRequested { model, .. } => format!("{model} was asked"),
        Kind::ModelReplied { model, preview, .. } => format!("{model} answered \"{preview}\""),
        Kind::ModelFailed { failure } => format!("the model could not be asked: {failure}"),
        Kind::BudgetRefused { limit, allowed, .. } => {
            format!(
                "a limit of the budget was reached: {} ({allowed})",
                limit.words()
            )
        }
        Kind::ContextSummarized { messages, .. } => {
            format!("{messages} messages were replaced by a summary")
        }
        Kind::ContextSummarizationFailed { reason, .. } => {
            format!("no summary came: {reason}")
        }
        Kind::OutputFound { declared, bytes } => format!("{declared} was there, {bytes} bytes"),
        Kind::SubtaskOutputMissing { declared, .. } => format!("{declared} was missing"),
        _ => return None,
    })
}

fn of_call(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::ToolInvoked {
            tool, args_preview, ..
        } => format!("{tool} was called with {args_preview}"),
        Kind::ToolResult {
            tool,
            success: true,
            result_preview,
            ..
        } => format!("{tool} gave {result_preview}"),
        Kind::ToolResult {
            tool,
            result_preview,
            ..
        } => format!("{tool} failed: {result_preview}"),
        Kind::ToolRejected { tool, problem } => format!("{tool} was refused: {problem}"),
        Kind::ToolRepeat {
            tool,
            attempt_count,
        } => format!("{tool} came the same for the {attempt_count}th time"),
        Kind::ToolRepeatGuardFired {
            tool,
            attempt_count,
        } => format!("{tool} was refused as the same for the {attempt_count}th time"),
        Kind::CapabilityDenied { tool, reason, .. } => format!("{tool} was refused: {reason}"),
        Kind::ApprovalRequested { tool, rule, .. } => {
            format!("{tool} waited for approval by the rule `{rule}`")
        }
        _ => return None,
    })
}

fn ended(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Succeeded { output } => format!("delivered {}", output.describe()),
        Outcome::Failed { failure } => format!("failed: {failure}"),
    }
}

fn stopped(stop: &StopReason) -> String {
    match stop {
        StopReason::Complete => "it had finished".to_owned(),
        StopReason::Failed { failure } => failure.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_place_that_differs_is_named_with_what_is_there() {
        let long = "x".repeat(100);
        let (one, other) = (
            json!({ "a": 1, "b": [{ "text": format!("{long} old") }], "c": 1 }),
            json!({ "a": 1, "b": [{ "text": format!("{long} new") }], "c": 2 }),
        );
        let (was, is) = pointed("was".to_owned(), "is".to_owned(), &one, &other);
        assert!(
            was.starts_with("was; `b.0.text` is \"…") && was.ends_with("old\""),
            "{was}"
        );
        assert!(is.ends_with("new\""), "{is}");
        let same = pointed("was".to_owned(), "is".to_owned(), &one, &one);
        assert_eq!(same, ("was".to_owned(), "is".to_owned()));
    }

    #[test]
    fn texts_of_many_bytes_a_character_are_cut_between_characters() {
        let (one, other) = (json!("ä".repeat(50) + "ö"), json!("ä".repeat(50) + "é"));
        let (was, _) = pointed(String::new(), String::new(), &one, &other);
        assert!(was.contains('ö'), "{was}");
    }
}
