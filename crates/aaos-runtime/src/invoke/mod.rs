//! A tool call's way through. Each stage consumes one type and makes the next, so that no stage can be skipped:
//!
//! `ToolCall` → validate → `Valid` → authorize → `Authorized` → count → `Counted` → approve → `Approved` → admit →
//! `Admitted` → act: evidence, intent, the act itself, receipt.
//!
//! A call that the past knows begins further on: one that is over is told from its record, one that was cut off goes on
//! at the act. A refusal is recorded, told to the model in words it can act on, and never looks like the tool's own
//! failure.

mod act;
mod admit;
mod approve;
mod authorize;
mod bound;
mod connections;
mod gate;
mod place;
mod recall;
mod settle;
mod validate;

pub(crate) use gate::CallGate;

use crate::{
    agent::{Hands, Task},
    past::{ApprovalPast, CallPast, Intent},
    record::Who,
    run::Run,
};
use aaos_core::{
    agent::repeat::{Repeat, Verdict},
    event::Kind,
    failure::Failure,
    id::CallId,
    model::{ToolCall, ToolResult},
    tool::Effect,
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
    /// It was refused, with what is recorded and what the model is told. The last event is its end.
    Refused {
        events: Vec<Kind>,
        told: String,
        repeat: bool,
    },
    /// Nothing can go on.
    Broken(Failure),
}

impl Stopped {
    fn refused(event: Kind, told: String) -> Self {
        Self::Refused {
            events: vec![event],
            told,
            repeat: false,
        }
    }

    fn rejected(tool: &str, problem: String) -> Self {
        let event = Kind::ToolRejected {
            tool: tool.to_owned(),
            problem: problem.clone(),
        };
        Self::refused(event, problem)
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Broken(failure)
    }
}

/// Takes one call from the model's wish to the result it is told. `ordinal` counts its agent's calls.
///
/// # Errors
/// Only what ends the agent: the journal's failure, a budget that is used up, its own end.
pub(crate) async fn invoke(
    caller: &Caller<'_>,
    ordinal: u64,
    call: &ToolCall,
) -> Result<Answer, Failure> {
    let id = caller.task.agent.call(ordinal);
    let who = Who::call(caller.task.agent, id);
    let answer = carry_through(caller, who, id, call).await;
    if answer.is_ok() {
        caller.run.past.seen_to(id);
    }
    caller.run.forget_call(who);
    answer
}

async fn carry_through(
    caller: &Caller<'_>,
    who: Who,
    id: CallId,
    call: &ToolCall,
) -> Result<Answer, Failure> {
    let past = caller.run.past.call(id).unwrap_or_default();
    if let Some(end) = &past.end {
        return recall::recall(caller, call, &past, end).await;
    }
    let prepared = match &past.intent {
        Some(intent) => resume(caller, id, call, intent, &past).await,
        None => prepare(caller, who, id, call, past.approval).await,
    };
    match prepared {
        Ok(ready) => act::carry_out(caller, who, call, ready).await,
        Err(Stopped::Refused {
            events,
            told,
            repeat,
        }) => {
            caller
                .run
                .record_all(who, events, Durability::Ordered)
                .await?;
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
    asked: Option<ApprovalPast>,
) -> Result<act::Ready, Stopped> {
    let valid = validate::validate(caller, call)?;
    let authorized = authorize::authorize(caller, id, valid)?;
    let counted = admit::count(caller, authorized).await?;
    let approved = approve::approve(caller, who, counted, asked).await?;
    let admitted = admit::admit(caller, who, approved).await?;
    Ok(act::Ready::fresh(admitted))
}

/// Takes up a call whose intent is recorded and whose end is not. It has been charged.
async fn resume(
    caller: &Caller<'_>,
    id: CallId,
    call: &ToolCall,
    intent: &Intent,
    past: &CallPast,
) -> Result<act::Ready, Stopped> {
    let otherwise = |problem: String| {
        Stopped::Broken(Failure::Unrecoverable {
            problem: format!("a call of {} was cut off, and {problem}", call.name),
            next_step: "Run it again, or `agentd fork` it from an earlier step".to_owned(),
        })
    };
    let refused = |stopped: Stopped| match stopped {
        Stopped::Refused { told, .. } => otherwise(format!("this version refuses it: {told}")),
        broken @ Stopped::Broken(_) => broken,
    };
    let valid = validate::validate(caller, call).map_err(refused)?;
    let authorized = authorize::take_up(caller, id, valid, &intent.grants).map_err(refused)?;
    approve::guard_again(caller, &authorized, past.approval.is_some());
    let input_hash = admit::digest(&authorized.input)?;
    if input_hash != intent.input_hash {
        return Err(otherwise("its arguments are others now".to_owned()));
    }
    let repeats = match admit::seen(caller, &call.name, &input_hash) {
        Verdict::Warn(count) | Verdict::Refuse(count) => Some(count),
        Verdict::Fine => None,
    };
    let counted = admit::Counted {
        call: authorized,
        input_hash,
        repeats,
    };
    Ok(act::Ready::cut_off(counted, past, intent))
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
