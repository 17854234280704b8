//! A call that is over already: what it came to is told from its record. Nothing is performed, charged or recorded.

use super::{Answer, Caller, admit, bound, only_looks, result};
use aaos_core::{
    agent::repeat::Verdict,
    event::Kind,
    failure::Failure,
    model::{Arguments, ToolCall},
};
use aaos_ports::ToolOutput;

use crate::past::{CallPast, End};

/// The answer the model was given.
///
/// # Errors
/// `Unrecoverable` if what is stored of it is gone or damaged; what ended its agent then.
pub(super) async fn recall(
    caller: &Caller<'_>,
    call: &ToolCall,
    past: &CallPast,
    end: &End,
) -> Result<Answer, Failure> {
    let counted = past.intent.is_some() || past.approval.is_some();
    match end {
        End::Result { success, output } => {
            let repeats = match count(caller, call, counted)? {
                Some(Verdict::Warn(count)) => Some(count),
                _ => None,
            };
            let whole = body(caller, call, output).await?;
            let output = output_of(call, &whole, *success)?;
            let changed = past
                .intent
                .as_ref()
                .is_some_and(|intent| !only_looks(intent.effect));
            if *success && changed {
                caller.hands.count_change();
            }
            let text = bound::shown(&whole, admit::warning(repeats));
            Ok(Answer {
                result: result(call, text, !success),
                repeat_refused: false,
                output,
            })
        }
        End::Refused(event) => {
            let guarded = matches!(
                **event,
                Kind::ToolRepeatGuardFired { .. } | Kind::BudgetRefused { .. }
            );
            count(caller, call, counted || guarded)?;
            refused(call, event)
        }
    }
}

/// Tells the repeat guard of a call that it was told of then. Nothing is waited for before that: calls of one reply are
/// counted in the order in which they stand there.
fn count(caller: &Caller<'_>, call: &ToolCall, counted: bool) -> Result<Option<Verdict>, Failure> {
    let Arguments::Json(input) = &call.input else {
        return Ok(None);
    };
    if !counted {
        return Ok(None);
    }
    let input_hash = admit::digest(input)?;
    Ok(Some(admit::seen(caller, &call.name, &input_hash)))
}

/// What the model was told of a refusal.
fn refused(call: &ToolCall, event: &Kind) -> Result<Answer, Failure> {
    let (told, repeat_refused) = match event {
        Kind::ToolRejected { problem, .. } => (problem.clone(), false),
        Kind::CapabilityDenied { axis, reason, .. } => {
            (format!("refused ({axis}): {reason}"), false)
        }
        Kind::ToolRepeatGuardFired { attempt_count, .. } => {
            let super::Stopped::Refused { told, .. } =
                admit::repeated(call.name.clone(), *attempt_count)
            else {
                return Err(lost(call, "the refusal of a repeated call"));
            };
            (told, true)
        }
        Kind::BudgetRefused { limit, allowed, .. } => {
            return Err(Failure::Limit {
                kind: *limit,
                limit: *allowed,
            });
        }
        _ => return Err(lost(call, "how it was refused")),
    };
    Ok(Answer {
        result: result(call, told, true),
        repeat_refused,
        output: None,
    })
}

async fn body(caller: &Caller<'_>, call: &ToolCall, digest: &str) -> Result<String, Failure> {
    let gone = |why: String| lost(call, &why);
    let body = caller.run.body(digest.to_owned(), gone).await?;
    String::from_utf8(body).map_err(|error| lost(call, &error.to_string()))
}

fn output_of(call: &ToolCall, whole: &str, success: bool) -> Result<Option<ToolOutput>, Failure> {
    if !success {
        return Ok(None);
    }
    let json = serde_json::from_str(whole).map_err(|error| lost(call, &error.to_string()))?;
    Ok(Some(ToolOutput { json }))
}

fn lost(call: &ToolCall, what: &str) -> Failure {
    Failure::Unrecoverable {
        problem: format!(
            "the result of a call of {} cannot be read again: {what}",
            call.name
        ),
        next_step: "Run it again, or `agentd fork` it from an earlier step".to_owned(),
    }
}
