//! `run.status`: Tells all there is to know of one run.

use super::{Call, Caller, Fault, Front, wire};
use aaos_core::event::RunState;
use std::sync::Arc;

/// The method.
pub(crate) struct RunStatus;

impl Call for RunStatus {
    const NAME: &'static str = "run.status";
    const SUMMARY: &'static str = "Tells all there is to know of one run.";
    const ANSWER: &'static str =
        "{view, envelope: [grant], live: [{grant, agent, parent, capability}], approve: [rule]}";
    type Params = wire::RunParams;
    type Answer = wire::RunDetail;

    async fn call(
        front: Arc<Front>,
        caller: Caller,
        params: wire::RunParams,
    ) -> Result<wire::RunDetail, Fault> {
        let view = front.find_run(&caller, &params.run).await?;
        let envelope = front.granted(&view).await;
        // Nothing is held while it is put together again, and whoever asks how it stands is not kept waiting.
        let live = match view.state {
            RunState::Recovering => Vec::new(),
            _ => front.live(view.run).await?,
        };
        Ok(wire::RunDetail {
            approve: front.rules_of(view.run).await,
            view,
            envelope,
            live,
        })
    }
}
