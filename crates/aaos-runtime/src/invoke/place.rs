//! Stage four: the call is performed, in the agent's worker or, for acts on the runtime's own state, in the daemon.
//!
//! It ends when what it rests on is revoked, also if that came before it began.

use super::{Caller, admit::Admitted, gate::CallGate};
use crate::{limits, powers};
use aaos_core::{
    capability::Need,
    id::{CallId, ToolName},
    tool::Placement,
};
use aaos_ports::{AnyTool, PowerError, ToolError, ToolOutput, WorkerCall};
use std::sync::Arc;

/// A call as it is performed.
struct Act {
    tool: Arc<dyn AnyTool>,
    input: serde_json::Value,
    gate: Arc<CallGate>,
    call: CallId,
}

pub(super) async fn run(caller: &Caller<'_>, admitted: Admitted) -> Result<ToolOutput, ToolError> {
    // Dropped last, when nothing of the call is left.
    let in_flight = admitted.in_flight;
    let gate = Arc::clone(in_flight.gate());
    let spec = admitted.tool.spec();
    let (name, placement) = (spec.name.clone(), spec.placement());
    let act = Act {
        tool: admitted.tool,
        input: admitted.input,
        gate: Arc::clone(&gate),
        call: admitted.call,
    };
    let performed = async {
        match placement {
            Placement::Worker => in_worker(caller, act).await,
            Placement::Daemon => in_daemon(caller, act).await,
        }
    };
    tokio::select! {
        biased;
        () = gate.revoked() => Err(revoked(name)),
        outcome = performed => outcome,
    }
}

async fn in_worker(caller: &Caller<'_>, act: Act) -> Result<ToolOutput, ToolError> {
    let spec = act.tool.spec();
    let tool = spec.name.clone();
    let Some(worker) = caller.hands.worker() else {
        return Err(ToolError::Unknown(tool.to_string()));
    };
    // A tool's own time, within its agent's.
    let left = caller.task.deadline.since(caller.run.shared.now());
    let limit = spec.deadline.min(left);
    let call = WorkerCall {
        call: act.call,
        tool: tool.clone(),
        input: act.input,
        gate: act.gate,
        deadline: limit,
    };
    // The worker keeps the deadline itself; one that does not is not waited for.
    let timed = tokio::time::timeout(
        limit.as_duration() + limits::ANSWER_SLACK.as_duration(),
        worker.call(call),
    );
    let late = |_| {
        Err(ToolError::TimedOut {
            tool: tool.to_string(),
            limit_ms: limit.millis(),
        })
    };
    timed.await.unwrap_or_else(late)
}

/// A call here acts on agents; it lasts as long as they do, within its own agent's time.
async fn in_daemon(caller: &Caller<'_>, act: Act) -> Result<ToolOutput, ToolError> {
    let powers = powers::daemon_side(caller, act.call, act.gate);
    act.tool.call(act.input, &powers).await
}

/// What the model is told of a call that ended because its authority did.
fn revoked(tool: ToolName) -> ToolError {
    ToolError::Power(PowerError::Denied {
        need: Need::Tool(tool).to_string(),
        axis: "revoked".to_owned(),
        reason: "the capability this rests on was revoked; finish with what you have left"
            .to_owned(),
    })
}
