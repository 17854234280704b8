//! `model.list`: Lists the model of each class, probed if asked.

use super::{Call, Caller, Fault, Front, wire};
use crate::limits::PROBE_TIME;
use aaos_core::model::ModelRef;
use std::sync::Arc;

/// The method.
pub(crate) struct ModelList;

impl Call for ModelList {
    const NAME: &'static str = "model.list";
    const SUMMARY: &'static str = "Lists the model of each class, probed if asked.";
    const ANSWER: &'static str = "{label, models: [{class, model, probe}]}";
    type Params = wire::ModelParams;
    type Answer = wire::Models;

    async fn call(
        front: Arc<Front>,
        caller: Caller,
        params: wire::ModelParams,
    ) -> Result<wire::Models, Fault> {
        let probes = front.models.iter().map(async |(class, model)| {
            let probe = if params.probe {
                Some(probe(&front, model).await)
            } else {
                None
            };
            wire::ModelLine {
                class: *class,
                model: model.to_string(),
                probe,
            }
        });
        let models = caller
            .unless_gone(futures::future::join_all(probes))
            .await?;
        Ok(wire::Models {
            label: front.model_label.clone(),
            models,
        })
    }
}

/// What asking the model once says.
async fn probe(front: &Front, model: &ModelRef) -> String {
    match tokio::time::timeout(PROBE_TIME, front.provider.probe(model)).await {
        Ok(Ok(())) => "ok".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", PROBE_TIME.as_secs()),
    }
}
