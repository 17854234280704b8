//! `run.replay`: Carries a run out again from its record, asking no model and performing nothing, and names the first difference.

use super::{Call, Caller, Fault, Front, wire};
use aaos_ports::Replayed;
use std::sync::Arc;

/// The method.
pub(crate) struct RunReplay;

impl Call for RunReplay {
    const NAME: &'static str = "run.replay";
    const SUMMARY: &'static str = "Carries a run out again from its record, asking no model and performing nothing, and names the first difference.";
    const ANSWER: &'static str =
        "{run, events, replies, results, ends_at, divergence: {line, seq, recorded, replayed}}";
    type Params = wire::RunParams;
    type Answer = Replayed;

    async fn call(
        front: Arc<Front>,
        caller: Caller,
        params: wire::RunParams,
    ) -> Result<Replayed, Fault> {
        let run = front.find_run(&caller, &params.run).await?.run;
        Ok(caller.unless_gone(front.history.replay(run)).await??)
    }
}
