//! `run.submit`: Accepts a goal; the run is durable when this answers, and goes on whatever becomes of the caller.

use super::{Call, Caller, Fault, Front, wire};
use std::sync::Arc;

/// The method.
pub(crate) struct RunSubmit;

impl Call for RunSubmit {
    const NAME: &'static str = "run.submit";
    const SUMMARY: &'static str = "Accepts a goal; the run is durable when this answers, and goes on whatever becomes of the caller.";
    const ANSWER: &'static str =
        "{run, backend, model, folder, profile, envelope: [grant], budget, approve: [rule]}";
    type Params = wire::SubmitParams;
    type Answer = wire::Submitted;

    async fn call(
        front: Arc<Front>,
        caller: Caller,
        params: wire::SubmitParams,
    ) -> Result<wire::Submitted, Fault> {
        let submit = front.submission(&caller, params)?;
        let envelope = submit.grants.clone();
        let approve = front.rules_in_force(&submit.approve, &front.catalog.roles());
        front.check_room()?;
        let run = front.goals.submit(submit).await?;
        let view = front.view(run).await?;
        Ok(wire::Submitted::of(view, envelope, approve))
    }
}
