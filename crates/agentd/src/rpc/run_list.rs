//! `run.list`: Lists runs, newest first.

use super::{Call, Caller, Fault, Front, wire};
use crate::limits::RUNS_LISTED_MAX;
use aaos_core::event::RunView;
use std::sync::Arc;

/// Runs listed if no number is asked for: what fits on a screen.
const LISTED_UNASKED: usize = 50;

/// The method.
pub(crate) struct RunList;

impl Call for RunList {
    const NAME: &'static str = "run.list";
    const SUMMARY: &'static str = "Lists runs, newest first.";
    const ANSWER: &'static str = "[{run, goal, state, submitted, finished, backend, usage, operator, waiting, parked, recoveries}]";
    type Params = wire::ListParams;
    type Answer = Vec<wire::RunSummary>;

    async fn call(
        front: Arc<Front>,
        caller: Caller,
        params: wire::ListParams,
    ) -> Result<Vec<wire::RunSummary>, Fault> {
        let limit = params.limit.unwrap_or(LISTED_UNASKED).min(RUNS_LISTED_MAX);
        let views = front.runs_of(&caller, limit).await?;
        let summary = |view: RunView| wire::RunSummary {
            run: view.run,
            goal: view.goal,
            state: view.state,
            submitted: view.submitted,
            finished: view.finished,
            backend: view.backend,
            usage: view.usage,
            operator: view.operator,
            waiting: view.waiting.len(),
            parked: view.parked,
            recoveries: view.recoveries,
        };
        Ok(views.into_iter().map(summary).collect())
    }
}
