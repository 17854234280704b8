//! `approval.show`: Tells all there is to know of an act that waits.

use super::{
    Call, Caller, Fault, Front,
    decided::{CallParams, Shown, Sort},
};
use aaos_core::{approval::Preview, event::WaitsFor};
use aaos_ports::{Digest, Journal as _, Pending};
use std::sync::Arc;

/// The method.
pub(crate) struct ApprovalShow;

impl Call for ApprovalShow {
    const NAME: &'static str = "approval.show";
    const SUMMARY: &'static str = "Tells all there is to know of an act that waits.";
    const ANSWER: &'static str = "{run, operator, call, agent, tool, since, for, goal, base, whole: {form, and the diff, program, request or arguments}}";
    type Params = CallParams;
    type Answer = Shown;

    async fn call(front: Arc<Front>, caller: Caller, params: CallParams) -> Result<Shown, Fault> {
        let pending = front
            .waiting(&caller, None, &params.call, Sort::Any)
            .await?;
        let view = front.view(pending.run).await?;
        let whole = preview(&front, &pending).await;
        Ok(Shown {
            pending,
            goal: view.goal,
            base: view.base,
            whole,
        })
    }
}

/// What it would do, from the body store; none if there is no such body.
async fn preview(front: &Front, pending: &Pending) -> Option<Preview> {
    let WaitsFor::Approval { body, .. } = &pending.waiting.what else {
        return None;
    };
    let body = front.store.get(&Digest(body.clone())).await.ok()?;
    serde_json::from_slice(&body).ok()
}
