//! `run.fork`: Starts a run that keeps what another did before a step, under other terms.

use super::{Call, Caller, Fault, FaultKind, Front, recounted::ForkParams, wire};
use aaos_ports::ForkOrder;
use std::sync::Arc;

/// The method.
pub(super) struct RunFork;

impl Call for RunFork {
    const NAME: &'static str = "run.fork";
    const SUMMARY: &'static str =
        "Starts a run that keeps what another did before a step, under other terms.";
    const ANSWER: &'static str =
        "{run, backend, model, folder, profile, envelope: [grant], approve: [rule]}";
    type Params = ForkParams;
    type Answer = wire::Submitted;

    async fn call(
        front: Arc<Front>,
        caller: Caller,
        params: ForkParams,
    ) -> Result<wire::Submitted, Fault> {
        if let Some(model) = &params.model {
            front.check_model(model)?;
        }
        front.check_room()?;
        let from = front.find_run(&caller, &params.run).await?;
        let at = params.at.parse().map_err(|error| {
            let next_step = format!("`agentd status {}` shows its subtasks", from.run);
            Fault::new(FaultKind::Refused, format!("{error}"), next_step)
        })?;
        let budget = (!params.budget.is_empty()).then(|| {
            let mut budget = from.budget;
            params
                .budget
                .iter()
                .for_each(|amount| amount.apply(&mut budget));
            budget
        });
        let order = ForkOrder {
            run: from.run,
            at,
            turns_kept: params.turns_kept,
            model: params.model,
            budget,
            // What the configuration asks about now, it asks about here too, however old the other run is.
            approve: front.rules(&[])?,
            operator: caller.uid,
        };
        let run = front.history.fork(order).await?;
        let view = front.view(run).await?;
        Ok(wire::Submitted {
            run,
            envelope: front.granted(&from).await,
            approve: front.rules_of(&view).await,
            backend: view.backend,
            model: view.model,
            folder: view.folder,
            profile: view.profile,
        })
    }
}
