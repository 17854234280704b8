//! `run.stop`: Asks a run to stop: at its next safe point, and in any case soon.

use super::{Call, Caller, Fault, Front, wire};
use std::sync::Arc;

/// The method.
pub(crate) struct RunStop;

impl Call for RunStop {
    const NAME: &'static str = "run.stop";
    const SUMMARY: &'static str =
        "Asks a run to stop: at its next safe point, and in any case soon.";
    const ANSWER: &'static str = "{run}";
    type Params = wire::RunParams;
    type Answer = wire::RunParams;

    async fn call(
        front: Arc<Front>,
        caller: Caller,
        params: wire::RunParams,
    ) -> Result<wire::RunParams, Fault> {
        let view = front.find_run(&caller, &params.run).await?;
        front.goals.stop(view.run, caller.uid).await?;
        Ok(wire::RunParams {
            run: view.run.to_string(),
        })
    }
}
