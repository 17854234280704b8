//! A plan in a model's reply: bare, fenced, or surrounded by words.
//!
//! The JSON parser itself finds where an object ends, so braces in strings mean nothing. The work is bounded whatever
//! the text is.

use super::{Param, Plan};
use crate::text::{head, preview};
use serde_json::Value;

/// Longest reply that is looked at, in bytes: a plan at its limits, generously quoted.
const REPLY_BYTES_MAX: usize = 8 << 20;
/// Most places at which an object is looked for. A plan lies behind the first few braces or nowhere.
const CANDIDATES_MAX: usize = 256;
/// Most problems with the form that are named.
const PROBLEMS_MAX: usize = 20;
/// Most bytes of a value shown in a problem.
const SHOWN_BYTES_MAX: usize = 80;

/// Finds the plan in a model's reply.
///
/// # Errors
/// What is wrong with the object that comes nearest to a plan, or that there is none.
pub fn parse(reply: &str) -> Result<Plan, Vec<String>> {
    if reply.len() > REPLY_BYTES_MAX {
        return Err(vec![format!(
            "the reply has {} bytes; at most {REPLY_BYTES_MAX} are read",
            reply.len()
        )]);
    }
    let mut nearest: Option<Vec<String>> = None;
    let mut broken: Option<String> = None;
    let mut from = 0;
    for _ in 0..CANDIDATES_MAX {
        let Some(start) = reply
            .get(from..)
            .and_then(|rest| rest.find('{'))
            .map(|at| from + at)
        else {
            break;
        };
        match object_at(reply, start) {
            Ok((value, end)) => {
                match planlike(&value).map(plan_of) {
                    Some(Ok(plan)) => return Ok(plan),
                    Some(Err(problems)) => nearest = Some(problems),
                    None => {}
                }
                from = end;
            }
            Err(problem) => {
                broken.get_or_insert(problem);
                from = start + 1;
            }
        }
    }
    Err(nearest.unwrap_or_else(|| vec![nothing_found(reply, broken)]))
}

fn nothing_found(reply: &str, broken: Option<String>) -> String {
    let shown = preview(head(reply.trim(), SHOWN_BYTES_MAX), SHOWN_BYTES_MAX);
    match broken {
        Some(problem) => format!(
            "no JSON object with `subtasks` and `result` was found; the first brace opens none: {problem}"
        ),
        None => format!(
            "no JSON object with `subtasks` and `result` was found; the reply begins: {shown}"
        ),
    }
}

/// The JSON object that begins at `start`, and where it ends.
fn object_at(reply: &str, start: usize) -> Result<(Value, usize), String> {
    let rest = reply.get(start..).unwrap_or("");
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => Ok((value, start + values.byte_offset())),
        Some(Err(error)) if error.is_eof() => Err("it breaks off before its end".to_owned()),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("nothing follows it".to_owned()),
    }
}

/// The object itself or the one it wraps, if that means to be a plan.
fn planlike(value: &Value) -> Option<&Value> {
    let means = |value: &&Value| value.get("subtasks").is_some();
    std::iter::once(value)
        .chain(value.as_object()?.values())
        .find(means)
}

fn plan_of(value: &Value) -> Result<Plan, Vec<String>> {
    serde_json::from_value(value.clone()).map_err(|error| {
        let problems = form_problems(value);
        if problems.is_empty() {
            vec![error.to_string()]
        } else {
            problems
        }
    })
}

/// What keeps an object from being a plan, subtask by subtask.
fn form_problems(value: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    if value.get("result").and_then(Value::as_str).is_none() {
        problems.push("`result` must name the subtask whose output answers the goal".to_owned());
    }
    match value.get("subtasks").and_then(Value::as_array) {
        Some(subtasks) => {
            let each = subtasks
                .iter()
                .enumerate()
                .flat_map(|(position, subtask)| subtask_problems(position, subtask));
            problems.extend(each.take(PROBLEMS_MAX));
        }
        None => problems.push("`subtasks` must be a list".to_owned()),
    }
    problems
}

fn subtask_problems(position: usize, subtask: &Value) -> Vec<String> {
    let Err(error) = serde_json::from_value::<super::Subtask>(subtask.clone()) else {
        return Vec::new();
    };
    let shown = |name: &str| preview(name, SHOWN_BYTES_MAX);
    let name = match subtask.get("id").and_then(Value::as_str) {
        Some(id) => shown(id),
        None => format!("subtask {}", position + 1),
    };
    let params = subtask.get("params").and_then(Value::as_object);
    let wrong = params
        .into_iter()
        .flatten()
        .filter(|(_, param)| serde_json::from_value::<Param>((*param).clone()).is_err());
    let wrong: Vec<String> = wrong
        .map(|(param, _)| {
            let param = shown(param);
            format!("{name}: parameter `{param}` must be a text, a {{\"from\": \"ID\"}}, or a list of these")
        })
        .collect();
    if wrong.is_empty() {
        vec![format!("{name}: {error}")]
    } else {
        wrong
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    const PLAN: &str =
        r#"{"subtasks": [{"id": "a", "task": "say {\"} or }{", "role": "w"}], "result": "a"}"#;

    #[test]
    fn a_plan_is_found_bare_fenced_and_among_words() {
        let fenced = format!("```json\n{PLAN}\n```");
        let words =
            format!("I use {{braces}} and {{\"a\": 1}} freely.\nHere: {PLAN} That is {{all}}.");
        let wrapped = format!("{{\"plan\": {PLAN}}}");
        for reply in [PLAN.to_owned(), fenced, words, wrapped] {
            assert_eq!(parse(&reply).unwrap().result.as_str(), "a", "{reply}");
        }
    }

    #[test]
    fn a_reply_without_a_plan_says_how_it_begins() {
        assert!(parse("I cannot do that.").unwrap_err()[0].contains("I cannot do that."));
        assert!(parse("").is_err());
        assert!(parse(&"é".repeat(300)).is_err());
    }

    #[test]
    fn a_plan_cut_short_is_said_to_break_off() {
        for cut in (1..PLAN.len()).filter(|cut| PLAN.is_char_boundary(*cut)) {
            let problems = parse(&PLAN[..cut]).unwrap_err();
            assert!(problems[0].contains("breaks off"), "{problems:?}");
        }
    }

    #[test]
    fn the_flaw_is_named_with_its_subtask_and_parameter() {
        let bad = r#"{"subtasks": [{"id": "a", "task": "t", "role": "w", "params": {"x": {"of": "b"}}}, {"id": "b c", "task": "t", "role": "w"}]}"#;
        let problems = parse(bad).unwrap_err();
        assert!(
            problems
                .iter()
                .any(|problem| problem.contains("a: parameter `x`")),
            "{problems:?}"
        );
        assert!(
            problems.iter().any(|problem| problem.contains("b c")),
            "{problems:?}"
        );
        assert!(
            problems.iter().any(|problem| problem.contains("`result`")),
            "{problems:?}"
        );
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let extra = PLAN.replacen("{\"subtasks\"", "{\"grants\": [], \"subtasks\"", 1);
        assert!(parse(&extra).unwrap_err()[0].contains("grants"));
    }

    #[test]
    fn a_million_braces_cost_little() {
        for filler in ["{", "{\"", "{\"a\":", "[{", "{\"a\":{\"b\":["] {
            assert!(parse(&filler.repeat(200_000)).is_err());
        }
    }
}
