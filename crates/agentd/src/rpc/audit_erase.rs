//! `audit.erase`: Erases the content of a run that has ended, or of a rehearsed plan; that it happened, and the chain,
//! stay.

use super::{Call, Caller, Fault, FaultKind, Front};
use aaos_core::id::RunId;
use aaos_store::EraseError;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Longest reason, in bytes: some sentences.
const REASON_BYTES_MAX: usize = 1_024;

/// Which run, and why.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EraseParams {
    /// A run's id, or the beginning of one that no other run shares.
    pub(crate) run: String,
    /// Why, for the record.
    #[serde(default)]
    pub(crate) reason: Option<String>,
}

/// What was erased.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ErasedAnswer {
    /// The run.
    pub(crate) run: RunId,
    /// Events whose content is gone.
    pub(crate) events: u64,
    /// Bodies that are gone.
    pub(crate) bodies: u64,
}

/// The method.
pub(crate) struct AuditErase;

impl Call for AuditErase {
    const NAME: &'static str = "audit.erase";
    const SUMMARY: &'static str = "Erases the content of a run that has ended, or of a rehearsed plan; that it happened, and the chain, stay.";
    const ANSWER: &'static str = "{run, events, bodies}";
    type Params = EraseParams;
    type Answer = ErasedAnswer;

    async fn call(
        front: Arc<Front>,
        caller: Caller,
        params: EraseParams,
    ) -> Result<ErasedAnswer, Fault> {
        let reason = params
            .reason
            .unwrap_or_else(|| "the operator asked for it".to_owned());
        Fault::check_reason(&reason, REASON_BYTES_MAX)?;
        let run = front.find_recorded(&caller, &params.run).await?;
        let now = front.clock.now();
        let erased = front.store.erase(run, &reason, Some(caller.uid), now).await;
        (front.forget)(&[run]);
        let erased = erased.map_err(|error| refused(&error))?;
        Ok(ErasedAnswer {
            run,
            events: erased.events,
            bodies: erased.bodies,
        })
    }
}

fn refused(error: &EraseError) -> Fault {
    match error {
        EraseError::Open(run) => Fault::new(
            FaultKind::Refused,
            format!("{run} has not ended, so its content is still needed"),
            format!("`agentd stop {run}` ends it"),
        ),
        EraseError::Needed { run, fork } => Fault::new(
            FaultKind::Refused,
            format!("{fork} was forked from {run} and goes on from what was said in it"),
            format!("Erase it when {fork} is over; `agentd stop {fork}` ends it"),
        ),
        EraseError::Unknown(run) => aaos_ports::GoalError::Unknown(*run).into(),
        EraseError::Journal(error) => {
            let (problem, next_step) = crate::report::storage_parts(error);
            Fault::new(FaultKind::Unavailable, problem, next_step)
        }
    }
}
