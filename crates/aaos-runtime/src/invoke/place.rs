//! The call is performed, or asked about, in the agent's worker or, for acts on the runtime's own state, in the daemon.
//! Nothing else in this room calls a tool.
//!
//! It ends when what it rests on is revoked, also if that came before it began.

use super::{
    Caller,
    authorize::Authorized,
    gate::{CallGate, Looking},
};
use crate::{limits, powers};
use aaos_core::{capability::Need, failure::Failure, id::CallId, time::Span, tool::Placement};
use aaos_ports::{
    Act, AnyTool, Gate, PowerError, Powers, Question, ToolError, ToolOutput, WorkerCall,
};
use std::sync::Arc;

/// A call as it is performed.
pub(super) struct Deed {
    pub(super) tool: Arc<dyn AnyTool>,
    pub(super) input: serde_json::Value,
    pub(super) gate: Arc<CallGate>,
    pub(super) call: CallId,
}

impl Deed {
    pub(super) fn of(call: &Authorized) -> Self {
        Self {
            tool: Arc::clone(&call.tool),
            input: call.input.clone(),
            gate: Arc::clone(call.in_flight.gate()),
            call: call.call,
        }
    }
}

/// Waits for the worker that is to perform a call, if one is to. One that cannot be had ends the agent, or is told of
/// when the call is performed.
pub(super) async fn ready(caller: &Caller<'_>, call: &Authorized) {
    let spec = call.tool.spec();
    if spec.placement() == Placement::Worker {
        let _ = caller.hands.worker(&spec.name).await;
    }
}

/// How performing a call ended.
pub(super) enum Performed {
    /// By itself.
    Ended(Result<ToolOutput, ToolError>),
    /// Because what it rests on was revoked.
    Revoked {
        /// Whether the tool may have done something by then.
        begun: bool,
    },
}

pub(super) async fn perform(caller: &Caller<'_>, deed: &Deed) -> Performed {
    let mut begun = false;
    let performed = async {
        begun = true;
        match deed.tool.spec().placement() {
            Placement::Worker => {
                let limit = deed.tool.spec().deadline.min(caller.task.time_left());
                in_worker(caller, deed, Act::Perform, limit).await
            }
            Placement::Daemon => in_daemon(caller, deed).await,
        }
    };
    let ended = tokio::select! {
        biased;
        () = deed.gate.revoked() => None,
        outcome = performed => Some(outcome),
    };
    ended.map_or(Performed::Revoked { begun }, Performed::Ended)
}

/// Asks the tool about a call. Changes nothing, and takes no longer than `limit`.
///
/// # Errors
/// As the tool's; it is revoked like an act.
pub(super) async fn consider(
    caller: &Caller<'_>,
    deed: &Deed,
    question: Question,
    limit: Span,
) -> Result<ToolOutput, ToolError> {
    let answered = async {
        match deed.tool.spec().placement() {
            Placement::Worker => in_worker(caller, deed, Act::Consider(question), limit).await,
            Placement::Daemon => {
                let gate: Arc<dyn Gate> = Arc::new(Looking(Arc::clone(&deed.gate)));
                let powers = Powers::none(deed.call, gate);
                let input = deed.input.clone();
                let answer = deed.tool.consider(question, input, &powers);
                let timed = tokio::time::timeout(limit.as_duration(), answer);
                timed.await.unwrap_or_else(|_| Err(late(deed, limit)))
            }
        }
    };
    tokio::select! {
        biased;
        () = deed.gate.revoked() => Err(revoked(deed)),
        answer = answered => answer,
    }
}

/// A worker that its backend gave up takes nothing; another is launched, a few times.
async fn in_worker(
    caller: &Caller<'_>,
    deed: &Deed,
    act: Act,
    limit: Span,
) -> Result<ToolOutput, ToolError> {
    let tool = deed.tool.spec().name.clone();
    loop {
        let tether = caller.hands.worker(&tool).await?;
        let gate: Arc<dyn Gate> = match act {
            Act::Perform => Arc::clone(&deed.gate) as Arc<dyn Gate>,
            Act::Consider(_) => Arc::new(Looking(Arc::clone(&deed.gate))),
        };
        let call = WorkerCall {
            act: act.clone(),
            call: deed.call,
            tool: tool.clone(),
            input: deed.input.clone(),
            gate,
            deadline: limit,
        };
        // The worker keeps the deadline itself; one that does not is not waited for.
        let timed = tokio::time::timeout(
            limit.as_duration() + limits::ANSWER_SLACK.as_duration(),
            tether.worker().call(call),
        );
        match timed.await {
            Ok(Err(given_up @ ToolError::NoWorker { .. })) => {
                if !caller.hands.replace(&tether).await {
                    return Err(given_up);
                }
            }
            Ok(answered) => return answered,
            Err(_) => {
                // What it is doing ends with it, before anybody looks whether it did it.
                caller.hands.replace(&tether).await;
                return Err(late(deed, limit));
            }
        }
    }
}

/// A call here acts on agents; it lasts as long as they do, within its own agent's time.
async fn in_daemon(caller: &Caller<'_>, deed: &Deed) -> Result<ToolOutput, ToolError> {
    let powers = powers::daemon_side(caller, deed.call, Arc::clone(&deed.gate));
    deed.tool.call(deed.input.clone(), &powers).await
}

fn late(deed: &Deed, limit: Span) -> ToolError {
    ToolError::TimedOut {
        tool: deed.tool.spec().name.to_string(),
        limit_ms: limit.millis(),
    }
}

/// What the model is told of a call that ended because its authority did.
pub(super) const REVOKED: &str =
    "the capability this rests on was revoked; finish with what you have left";

/// A call that ended with its authority, before it did anything itself.
pub(super) fn revoked(deed: &Deed) -> ToolError {
    ToolError::Power(PowerError::Denied {
        need: need_of(deed),
        axis: "revoked".to_owned(),
        reason: REVOKED.to_owned(),
    })
}

/// Why what a call had started ends with the call's authority.
pub(super) fn revoked_start(deed: &Deed) -> Failure {
    Failure::Refused {
        wanted: need_of(deed),
        axis: "revoked".to_owned(),
        reason: "the capability this rests on was revoked".to_owned(),
    }
}

fn need_of(deed: &Deed) -> String {
    Need::Tool(deed.tool.spec().name.clone()).to_string()
}
