//! Erasure as it is asked for: found by a reader, recorded as intended, carried out by the writer, and waited for until
//! nothing of it is left in the log.

use super::{
    Store,
    erase::{self, EraseError, Erased, Plan},
    fault,
    writer::{Erase, Work},
};
use crate::limits::{EXPIRED_RUNS_MAX, FOLD_PAUSE_MS, FOLD_TRIES_MAX};
use aaos_core::{id::RunId, time::Timestamp};
use aaos_ports::{Durability, JournalError};
use std::{path::Path, time::Duration};
use tokio::sync::oneshot;

impl Store {
    /// Erases a run's content: its events keep their place, time, subject, kind and hash, and those that tell what
    /// was spent all of it; the bodies that no other run speaks of are removed. That it happened is recorded first. Doing it again changes nothing, and one that was
    /// cut short is finished by the next start. Searches the whole journal once.
    ///
    /// # Errors
    /// The run is unknown, not over, or needed by an open fork; storage, also if another program that reads the journal
    /// keeps the text in its log for some seconds. Then it is done again, or the next start does it.
    pub async fn erase(
        &self,
        run: RunId,
        reason: &str,
        operator: Option<u32>,
        time: Timestamp,
    ) -> Result<Erased, EraseError> {
        let work = move |from: &_, path: &Path| Ok(erase::plan(from, path, run));
        let plan = self.shared.readers.run(work).await??;
        let mut erased = Erased::default();
        if plan.runs.iter().any(|planned| planned.events > 0) {
            erased = self.erase_planned(plan, reason, operator, time).await?;
        }
        self.fold_erased().await?;
        Ok(erased)
    }

    /// Erases the content of runs that ended before `before`, the oldest first: at most [`EXPIRED_RUNS_MAX`], for all of
    /// which the journal is searched once. None is left when it answers with no run, but those that open forks need.
    ///
    /// # Errors
    /// Storage; what was erased by then is erased.
    pub async fn erase_expired(
        &self,
        before: Timestamp,
        reason: &str,
        time: Timestamp,
    ) -> Result<Erased, JournalError> {
        let before = i64::try_from(before.micros()).unwrap_or(i64::MAX);
        let work = move |from: &_, path: &Path| {
            erase::expired(from, before, EXPIRED_RUNS_MAX)
                .and_then(|runs| erase::search(from, &runs))
                .map_err(|error| fault::sqlite(path, &error))
        };
        let mut plan = self.shared.readers.run(work).await?;
        let mut erased = Erased::default();
        while !plan.runs.is_empty() {
            let part = plan.part();
            erased = erased.and(self.erase_planned(part, reason, None, time).await?);
        }
        self.fold_erased().await?;
        Ok(erased)
    }

    async fn erase_planned(
        &self,
        plan: Plan,
        reason: &str,
        operator: Option<u32>,
        time: Timestamp,
    ) -> Result<Erased, JournalError> {
        let rows = self.prepare(plan.intents(reason, operator, time))?;
        let runs = plan.run_ids();
        let seq = self.enqueue(rows, Durability::Durable, runs).await?.0;
        let (reply, answer) = oneshot::channel();
        self.send(Work::Erase(Erase { plan, seq, reply })).await?;
        answer.await.map_err(|_| JournalError::Closed)?
    }

    /// Waits until what was erased is gone from the log too.
    async fn fold_erased(&self) -> Result<(), JournalError> {
        for _ in 0..FOLD_TRIES_MAX {
            let (reply, answer) = oneshot::channel();
            self.send(Work::Fold(reply)).await?;
            if answer.await.map_err(|_| JournalError::Closed)?? {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(FOLD_PAUSE_MS)).await;
        }
        let message =
            "another program reads the journal, and what was erased stays in its log meanwhile";
        let step = "Let `agentd audit verify` or `export` end, and erase once more";
        Err(fault::storage(&self.shared.path, message, step))
    }
}
