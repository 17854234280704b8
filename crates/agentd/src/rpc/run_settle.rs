//! `run.settle`: Says what becomes of an act in doubt: one that was cut off and may or may not have happened.

use super::{
    Call, Caller, Fault, Front,
    decided::{Decided, SettleParams, Sort},
};
use std::sync::Arc;

/// The method.
pub(crate) struct RunSettle;

impl Call for RunSettle {
    const NAME: &'static str = "run.settle";
    const SUMMARY: &'static str = "Says what becomes of an act in doubt: one that was cut off and may or may not have happened.";
    const ANSWER: &'static str = "{run, call, tool}";
    type Params = SettleParams;
    type Answer = Decided;

    async fn call(
        front: Arc<Front>,
        caller: Caller,
        params: SettleParams,
    ) -> Result<Decided, Fault> {
        let run = front.find_run(&caller, &params.run).await?.run;
        let pending = front
            .waiting(&caller, Some(run), &params.call, Sort::Doubt)
            .await?;
        let call = pending.waiting.call;
        let settlement = params.settlement.into();
        let word = || front.decisions.settle(run, call, settlement, caller.uid);
        front.say(&pending, word).await
    }
}
