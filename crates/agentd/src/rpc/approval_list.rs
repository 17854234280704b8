//! `approval.list`: Lists the acts that wait for the operator: for approval, or for a word on whether they happened.

use super::{Call, Caller, Fault, Front, decided::PendingParams};
use aaos_ports::Pending;
use std::sync::Arc;

/// The method.
pub(crate) struct ApprovalList;

impl Call for ApprovalList {
    const NAME: &'static str = "approval.list";
    const SUMMARY: &'static str = "Lists the acts that wait for the operator: for approval, or for a word on whether they happened.";
    const ANSWER: &'static str = "[{run, operator, call, agent, tool, since, for: `approval` or `doubt`, and what is known of it}]";
    type Params = PendingParams;
    type Answer = Vec<Pending>;

    async fn call(
        front: Arc<Front>,
        caller: Caller,
        params: PendingParams,
    ) -> Result<Vec<Pending>, Fault> {
        let run = front.find_some(&caller, params.run.as_deref()).await?;
        front.pending(&caller, run).await
    }
}
