//! A tool call's way through. Each stage consumes one type and makes the next, so that no stage can be skipped:
//!
//! `ToolCall` → validate → `Valid` → authorize → `Authorized` → admit → `Admitted` → place → output → record.
//!
//! A refusal is recorded, told to the model in words it can act on, and never looks like the tool's own failure.

mod admit;
mod authorize;
mod bound;
mod connections;
mod gate;
mod place;
mod validate;

pub(crate) use gate::CallGate;

use crate::{
    agent::{Hands, Task},
    limits,
    record::Who,
    run::Run,
};
use aaos_core::{
    agent::repeat::Repeat,
    event::Kind,
    failure::Failure,
    id::CallId,
    model::{ToolCall, ToolResult},
    text,
    tool::{Effect, Placement, ToolSpec},
};
use aaos_ports::{Durability, ToolError, ToolOutput};
use std::sync::{Arc, Mutex};

/// Who calls.
pub(crate) struct Caller<'a> {
    pub(crate) run: &'a Arc<Run>,
    pub(crate) task: &'a Task,
    pub(crate) hands: &'a Hands,
    pub(crate) repeat: &'a Mutex<Repeat>,
}

/// What a call came to.
pub(crate) struct Answer {
    /// For the model.
    pub(crate) result: ToolResult,
    /// Whether it was refused for having come too often.
    pub(crate) repeat_refused: bool,
    /// What the tool gave, if it did what it was asked.
    pub(crate) output: Option<ToolOutput>,
}

/// Whether calls with this effect may run side by side and need no durable intent.
pub(crate) const fn only_looks(effect: Effect) -> bool {
    matches!(effect, Effect::Pure | Effect::Read)
}

/// Why a call did not get as far as its tool.
pub(crate) enum Stopped {
    /// It was refused, with what is recorded and what the model is told.
    Refused {
        event: Box<Kind>,
        told: String,
        repeat: bool,
    },
    /// Nothing can go on.
    Broken(Failure),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Broken(failure)
    }
}

/// Takes one call from the model's wish to the result it is told.
///
/// # Errors
/// Only what ends the agent: the journal's failure, a budget that is used up.
pub(crate) async fn invoke(caller: &Caller<'_>, call: &ToolCall) -> Result<Answer, Failure> {
    let id = caller.run.shared.deps.ids.call();
    let who = Who::call(caller.task.agent, id);
    let answer = carry_through(caller, who, id, call).await;
    caller.run.forget_call(who);
    answer
}

async fn carry_through(
    caller: &Caller<'_>,
    who: Who,
    id: CallId,
    call: &ToolCall,
) -> Result<Answer, Failure> {
    match prepare(caller, who, id, call).await {
        Ok(admitted) => finish(caller, who, call, admitted).await,
        Err(Stopped::Refused {
            event,
            told,
            repeat,
        }) => {
            caller.run.record(who, *event).await?;
            Ok(Answer {
                result: result(call, told, true),
                repeat_refused: repeat,
                output: None,
            })
        }
        Err(Stopped::Broken(failure)) => Err(failure),
    }
}

async fn prepare(
    caller: &Caller<'_>,
    who: Who,
    id: CallId,
    call: &ToolCall,
) -> Result<admit::Admitted, Stopped> {
    let valid = validate::validate(caller, call)?;
    let authorized = authorize::authorize(caller, id, valid)?;
    admit::admit(caller, who, authorized).await
}

/// Records the intent, performs the call, records the receipt.
async fn finish(
    caller: &Caller<'_>,
    who: Who,
    call: &ToolCall,
    admitted: admit::Admitted,
) -> Result<Answer, Failure> {
    let spec = admitted.tool.spec();
    let (surface, effect) = (surface(caller, spec), spec.effect);
    let looks = only_looks(effect);
    let sure = if looks {
        Durability::Ordered
    } else {
        Durability::Durable
    };
    // Until the receipt is recorded, so that the grace period of a stop covers it too.
    let in_flight = (!looks).then(|| caller.hands.changing());
    caller
        .run
        .record_all(who, intent(&admitted, surface, effect), sure)
        .await?;
    let warning = admitted.warning();
    let started = caller.run.shared.now();
    let gate = Arc::clone(admitted.in_flight.gate());
    let bytes_in = admitted.input.to_string().len() as u64;
    let (raw, told) = futures::join!(
        place::run(caller, admitted),
        record_connections(caller.run, who, &gate)
    );
    told?;
    let elapsed_ms = caller.run.shared.now().since(started).millis();
    let bounded = bound::bound(caller.run, &raw, warning).await?;
    gate.settle_bytes(bytes_in.saturating_add(bounded.bytes));
    let mut kinds = gate.leftovers(&call.name);
    kinds.push(Kind::ToolResult {
        tool: call.name.clone(),
        success: raw.is_ok(),
        output: bounded.digest,
        result_preview: text::preview(&bounded.text, limits::PREVIEW_BYTES_MAX),
        elapsed_ms,
        execution_surface: surface,
    });
    caller.run.record_all(who, kinds, sure).await?;
    if raw.is_ok() && !looks {
        caller.hands.count_change();
    }
    drop(in_flight);
    Ok(Answer {
        result: result(call, bounded.text, raw.is_err()),
        repeat_refused: false,
        output: raw.ok(),
    })
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

fn intent(admitted: &admit::Admitted, execution_surface: Placement, effect: Effect) -> Vec<Kind> {
    let arguments = admitted.input.to_string();
    let tool = admitted.tool.spec().name.to_string();
    let mut kinds = Vec::with_capacity(2);
    if let Some(attempt_count) = admitted.repeats {
        kinds.push(Kind::ToolRepeat {
            tool: tool.clone(),
            attempt_count,
        });
    }
    kinds.push(Kind::ToolInvoked {
        tool,
        input_hash: admitted.input_hash.clone(),
        args_preview: text::preview(&arguments, limits::PREVIEW_BYTES_MAX),
        execution_surface,
        effect,
    });
    kinds
}

fn result(call: &ToolCall, text: String, is_error: bool) -> ToolResult {
    ToolResult {
        id: call.id.clone(),
        name: call.name.clone(),
        text,
        is_error,
    }
}

/// A tool's error as the model is told it.
fn told(error: &ToolError) -> String {
    error.to_string()
}
