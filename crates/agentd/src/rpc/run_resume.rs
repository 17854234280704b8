//! `run.resume`: Raises a run's budget; one that waits at a limit goes on.

use super::{
    Call, Caller, Fault, FaultKind, Front,
    decided::{ResumeParams, Resumed, raise},
};
use std::sync::Arc;

/// The method.
pub(crate) struct RunResume;

impl Call for RunResume {
    const NAME: &'static str = "run.resume";
    const SUMMARY: &'static str = "Raises a run's budget; one that waits at a limit goes on.";
    const ANSWER: &'static str = "{run, budget}";
    type Params = ResumeParams;
    type Answer = Resumed;

    async fn call(
        front: Arc<Front>,
        caller: Caller,
        params: ResumeParams,
    ) -> Result<Resumed, Fault> {
        let raise = raise(&params.budget).map_err(|problem| {
            Fault::new(FaultKind::Refused, problem, "Leave out `deep` and `wide`")
        })?;
        let run = front.find_run(&caller, &params.run).await?.run;
        let budget = front.decisions.resume(run, raise, caller.uid).await?;
        Ok(Resumed { run, budget })
    }
}
