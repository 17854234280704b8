//! Stage four: the call is performed, in the agent's worker or, for acts on the runtime's own state, in the daemon.

use super::{Caller, admit::Admitted};
use crate::{limits, powers};
use aaos_core::tool::Placement;
use aaos_ports::{ToolError, ToolOutput, WorkerCall};

pub(super) async fn run(caller: &Caller<'_>, admitted: Admitted) -> Result<ToolOutput, ToolError> {
    match admitted.tool.spec().placement() {
        Placement::Worker => in_worker(caller, admitted).await,
        Placement::Daemon => in_daemon(caller, admitted).await,
    }
}

async fn in_worker(caller: &Caller<'_>, admitted: Admitted) -> Result<ToolOutput, ToolError> {
    let tool = admitted.tool.spec().name.clone();
    let Some(worker) = caller.hands.worker() else {
        return Err(ToolError::Unknown(tool.to_string()));
    };
    let call = WorkerCall {
        call: admitted.call,
        tool: tool.clone(),
        input: admitted.input,
        gate: admitted.gate,
        deadline: limits::CALL_DEADLINE,
    };
    let limit = limits::CALL_DEADLINE;
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
async fn in_daemon(caller: &Caller<'_>, admitted: Admitted) -> Result<ToolOutput, ToolError> {
    let powers = powers::daemon_side(caller, admitted.call, admitted.gate);
    admitted.tool.call(admitted.input, &powers).await
}
