//! `daemon.stop`: Ends the daemon; open runs go on at its next start.

use super::{Call, Caller, Fault, FaultKind, Front, wire};
use std::sync::Arc;

/// The method.
pub(crate) struct DaemonStop;

impl Call for DaemonStop {
    const NAME: &'static str = "daemon.stop";
    const SUMMARY: &'static str = "Ends the daemon, after calls in flight were given some seconds; open runs go on at its next start.";
    const ANSWER: &'static str = "{stopping, runs_active, pid}";
    type Params = wire::StopParams;
    type Answer = wire::Stopping;

    async fn call(
        front: Arc<Front>,
        caller: Caller,
        params: wire::StopParams,
    ) -> Result<wire::Stopping, Fault> {
        if caller.uid != front.uid && caller.uid != 0 {
            let problem = "only root and the user the daemon runs as may stop it";
            return Err(Fault::new(
                FaultKind::Peer,
                problem,
                "Ask whoever runs the daemon, or use its service manager",
            ));
        }
        let runs_active = (front.runs_open)();
        let stopping = params.when == wire::When::Now || runs_active == 0;
        if stopping {
            front.stop.give();
        }
        Ok(wire::Stopping {
            stopping,
            runs_active,
            pid: std::process::id(),
        })
    }
}
