//! What is made of the record: forks, replays, and where the money went.

use crate::{fork, goals::Runtime, purse, replay, spending, terms::Terms};
use aaos_core::{
    event::{RunView, Seq},
    id::RunId,
    time::Timestamp,
};
use aaos_ports::{Filter, ForkOrder, GoalError, History, Replayed, RunTerms, Spending};
use async_trait::async_trait;

#[async_trait]
impl History for Runtime {
    async fn fork(&self, order: ForkOrder) -> Result<RunId, GoalError> {
        // The semaphore is never closed.
        let _turn = self.shared.records.acquire().await;
        fork::fork(self, order).await
    }

    async fn terms(&self, run: RunId) -> Result<RunTerms, GoalError> {
        let filter = Filter {
            run: Some(run),
            ..Filter::default()
        };
        let first = self.shared.deps.journal.read(&filter, Seq(0), 1).await?;
        let view = first.first().and_then(RunView::begin);
        let view = view.ok_or(GoalError::Unknown(run))?;
        let terms = Terms::load(&self.shared, &view.terms).await;
        let Terms {
            submit,
            roles,
            models,
        } = terms.map_err(fork::invalid)?;
        Ok(RunTerms {
            submit,
            roles,
            models: vec![models.planner, models.worker, models.reasoner],
        })
    }

    async fn replay(&self, run: RunId) -> Result<Replayed, GoalError> {
        let _turn = self.shared.records.acquire().await;
        replay::replay(&self.shared, run).await
    }

    async fn spending(
        &self,
        run: Option<RunId>,
        since: Timestamp,
    ) -> Result<Vec<Spending>, GoalError> {
        let rows = spending::spending(&self.shared, run, since).await?;
        match run {
            // What has asked no model is not unknown.
            Some(run) if rows.is_empty() => {
                let known = purse::operator_of(&self.shared, run).await?;
                known.ok_or(GoalError::Unknown(run)).map(|_| rows)
            }
            _ => Ok(rows),
        }
    }
}
