//! `run.plan`: Plans a goal and starts nothing.

use super::{Call, Caller, Fault, Front, wire};
use std::sync::Arc;

/// The method.
pub(crate) struct RunPlan;

impl Call for RunPlan {
    const NAME: &'static str = "run.plan";
    const SUMMARY: &'static str = "Plans a goal and starts nothing.";
    const ANSWER: &'static str =
        "{mode, plan, envelope: [grant], grants: [[subtask, [grant]]], model, approve: [rule]}";
    type Params = wire::SubmitParams;
    type Answer = wire::Planned;

    async fn call(
        front: Arc<Front>,
        caller: Caller,
        params: wire::SubmitParams,
    ) -> Result<wire::Planned, Fault> {
        let submit = front.submission(&caller, params)?;
        let approve = front.rules_in_force(&submit.approve, &front.catalog.roles());
        let planned = caller.unless_gone(front.goals.plan(submit)).await??;
        Ok(wire::Planned {
            mode: planned.mode,
            plan: planned.plan,
            envelope: planned.envelope,
            grants: planned.grants,
            model: planned.model,
            approve,
        })
    }
}
