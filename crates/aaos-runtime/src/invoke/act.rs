//! The act: what tells later whether it happened, the intent, the act itself, the receipt.
//!
//! The intent of an act that changes something is durable before the act begins, its receipt before the model is told.
//! Refuses: an intent without an end that anybody knows of, while its agent lives.

use super::{
    Answer, Caller,
    admit::{self, Admitted, Counted},
    bound,
    gate::CallGate,
    only_looks,
    place::Deed,
    result,
    settle::{self, Doubt},
};
use crate::{
    limits,
    past::{CallPast, Intent},
    record::Who,
    run::Run,
};
use aaos_core::{
    event::{GrantUse, Kind},
    failure::Failure,
    model::ToolCall,
    text,
    tool::{Effect, Placement, Recovery, ToolSpec},
};
use aaos_ports::{Durability, Question, ToolError, ToolOutput};

/// A call that is performed now, or gone on with.
pub(super) struct Ready {
    counted: Counted,
    /// What was being done when it was cut off, if it was.
    doubt: Option<Doubt>,
    evidence: Option<serde_json::Value>,
}

impl Ready {
    pub(super) fn fresh(Admitted(counted): Admitted) -> Self {
        Self {
            counted,
            doubt: None,
            evidence: None,
        }
    }

    pub(super) fn cut_off(counted: Counted, past: &CallPast, intent: &Intent) -> Self {
        Self {
            counted,
            doubt: Some(Doubt::of_past(past)),
            evidence: intent.evidence.clone(),
        }
    }
}

/// How sure the events of an act with this effect have to be.
pub(super) const fn sure(effect: Effect) -> Durability {
    if only_looks(effect) {
        Durability::Ordered
    } else {
        Durability::Durable
    }
}

/// Records the intent, performs the call, records the receipt.
///
/// # Errors
/// The journal's failure, or why the agent is ended before anybody knows what became of the act.
pub(super) async fn carry_out(
    caller: &Caller<'_>,
    who: Who,
    call: &ToolCall,
    ready: Ready,
) -> Result<Answer, Failure> {
    let Ready {
        counted,
        doubt,
        evidence,
    } = ready;
    let Counted {
        call: authorized,
        input_hash,
        repeats,
    } = counted;
    let deed = Deed::of(&authorized);
    let in_flight = authorized.in_flight;
    let spec = deed.tool.spec();
    // Until the receipt is recorded, so that the grace period of a stop covers it too.
    let _changing = (!only_looks(spec.effect)).then(|| caller.hands.changing());
    let evidence = match (&doubt, spec.recovery) {
        (None, Recovery::Looks) => look_before(caller, &deed).await,
        _ => Ok(evidence),
    };
    may_begin(caller, doubt.as_ref())?;
    // Until the receipt is recorded: if nobody waits for that, the act is in doubt.
    let _underway = evidence
        .is_ok()
        .then(|| settle::underway(caller, &deed, who));
    caller.run.past.seen_to(deed.call);
    let started = caller.run.shared.now();
    let mut kinds = Vec::with_capacity(3);
    if doubt.is_none() {
        kinds = intent(caller, &deed, &input_hash, repeats, evidence.as_ref().ok());
    }
    let raw = match evidence {
        // It is not tried; that it was to be, and was not, is told in one step.
        Err(unseen) => Err(unseen),
        Ok(evidence) => {
            let recorded =
                caller
                    .run
                    .record_all(who, std::mem::take(&mut kinds), sure(spec.effect));
            recorded.await?;
            let performed = async {
                let known = settle::to_the_end(caller, who, &deed, doubt, evidence).await;
                drop(in_flight);
                known
            };
            let (known, told) =
                futures::join!(performed, record_connections(caller.run, who, &deed.gate));
            told?;
            settle::with_what_is_left(caller, &deed, known?).await
        }
    };
    let elapsed_ms = caller.run.shared.now().since(started).millis();
    let shown = bound::bound(caller.run, &raw, admit::warning(repeats)).await?;
    let bytes_in = deed.input.to_string().len() as u64;
    let took = deed.gate.settle_bytes(bytes_in.saturating_add(shown.bytes));
    kinds.extend(deed.gate.leftovers(&call.name));
    kinds.push(receipt(caller, spec, &raw, &shown, elapsed_ms, took));
    caller.run.record_all(who, kinds, sure(spec.effect)).await?;
    if raw.is_ok() && !only_looks(spec.effect) {
        caller.hands.count_change();
    }
    Ok(Answer {
        result: result(call, shown.text, raw.is_err()),
        repeat_refused: false,
        output: raw.ok(),
    })
}

/// Whether an act goes on: nothing is begun for an agent that is being ended.
fn may_begin(caller: &Caller<'_>, doubt: Option<&Doubt>) -> Result<(), Failure> {
    if doubt.is_none() && caller.task.ending.has_ended() {
        return Err(caller.task.ending.why());
    }
    Ok(())
}

/// What tells later whether the act happened.
async fn look_before(
    caller: &Caller<'_>,
    deed: &Deed,
) -> Result<Option<serde_json::Value>, ToolError> {
    let limit = limits::QUESTION_MAX.min(deed.tool.spec().deadline);
    let seen = settle::ask_again(caller, deed, &Question::Evidence, limit).await?;
    Ok(Some(seen.json).filter(|json| !json.is_null()))
}

/// Records the connections a call tries, as they happen, until it is over.
async fn record_connections(run: &Run, who: Who, gate: &CallGate) -> Result<(), Failure> {
    while let Some(kinds) = gate.connections().await {
        run.record_aside(who, kinds, Durability::Ordered).await?;
    }
    Ok(())
}

/// Where a call really runs: its tool's place, unless the backend has no place but the daemon.
fn surface(caller: &Caller<'_>, spec: &ToolSpec) -> Placement {
    match spec.placement() {
        Placement::Worker => caller.run.shared.deps.backend.surface(),
        Placement::Daemon => Placement::Daemon,
    }
}

fn intent(
    caller: &Caller<'_>,
    deed: &Deed,
    input_hash: &str,
    repeats: Option<u32>,
    evidence: Option<&Option<serde_json::Value>>,
) -> Vec<Kind> {
    let spec = deed.tool.spec();
    let tool = spec.name.to_string();
    let mut kinds = Vec::with_capacity(2);
    if let Some(attempt_count) = repeats {
        kinds.push(Kind::ToolRepeat {
            tool: tool.clone(),
            attempt_count,
        });
    }
    let declared = deed.gate.declared().into_iter();
    kinds.push(Kind::ToolInvoked {
        tool,
        input_hash: input_hash.to_owned(),
        args_preview: args_preview(deed),
        execution_surface: surface(caller, spec),
        effect: spec.effect,
        evidence: evidence.cloned().flatten(),
        grants: declared.map(|(_, grant)| grant).collect(),
    });
    kinds
}

/// A call's arguments, short enough for an event.
pub(super) fn args_preview(deed: &Deed) -> String {
    brief(&deed.input)
}

/// If there is no room for all, the shortest come first: which file is written is not hidden behind what is written.
fn brief(input: &serde_json::Value) -> String {
    let whole = input.to_string();
    let shown = match input.as_object() {
        Some(members) if whole.len() > limits::PREVIEW_BYTES_MAX => {
            let named = |(name, value)| format!("{}:{value}", serde_json::Value::from(name));
            let mut members: Vec<String> = members
                .iter()
                .map(|(n, v)| (n.as_str(), v))
                .map(named)
                .collect();
            members.sort_by_key(String::len);
            format!("{{{}}}", members.join(","))
        }
        _ => whole,
    };
    text::preview(&shown, limits::PREVIEW_BYTES_MAX)
}

fn receipt(
    caller: &Caller<'_>,
    spec: &ToolSpec,
    raw: &Result<ToolOutput, ToolError>,
    shown: &bound::Bounded,
    elapsed_ms: u64,
    took: Vec<GrantUse>,
) -> Kind {
    Kind::ToolResult {
        tool: spec.name.to_string(),
        success: raw.is_ok(),
        output: shown.digest.clone(),
        result_preview: text::preview(&shown.text, limits::PREVIEW_BYTES_MAX),
        elapsed_ms,
        execution_surface: surface(caller, spec),
        took,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_call_is_about_is_shown_before_the_long_text_that_it_brings() {
        let long = json!({ "content": "word ".repeat(100), "path": "/w/a b.md", "mode": "new" });
        let shown = brief(&long);
        assert!(
            shown.starts_with(r#"{"mode":"new","path":"/w/a b.md","content":"word "#),
            "{shown}"
        );
        assert!(
            shown.len() <= limits::PREVIEW_BYTES_MAX + '…'.len_utf8(),
            "{shown}"
        );
        let short = json!({ "content": "word", "path": "/w/a" });
        assert_eq!(
            brief(&short),
            short.to_string(),
            "what fits stands as it is"
        );
    }
}
