//! Recording: an event goes into the journal first and into the run's view second.

use crate::run::Run;
use aaos_core::{
    event::{Draft, Event, Kind, Seq, Subject},
    failure::Failure,
    id::{AgentId, CallId},
};
use aaos_ports::{Durability, JournalError};
use std::sync::PoisonError;

/// Whose events these are.
#[derive(Clone, Copy, Default)]
pub(crate) struct Who {
    pub(crate) agent: Option<AgentId>,
    pub(crate) call: Option<CallId>,
}

impl Who {
    pub(crate) const RUN: Self = Self {
        agent: None,
        call: None,
    };

    pub(crate) const fn agent(agent: AgentId) -> Self {
        Self {
            agent: Some(agent),
            call: None,
        }
    }

    pub(crate) const fn call(agent: AgentId, call: CallId) -> Self {
        Self {
            agent: Some(agent),
            call: Some(call),
        }
    }
}

/// A journal that cannot be written ends whatever wanted to be recorded.
pub(crate) fn journal_failure(error: &JournalError) -> Failure {
    Failure::Journal {
        message: error.to_string(),
    }
}

impl Run {
    /// Records one event.
    pub(crate) async fn record(&self, who: Who, kind: Kind) -> Result<Seq, Failure> {
        self.record_all(who, vec![kind], Durability::Ordered).await
    }

    /// Records events together, in order, then folds them into the run's view.
    pub(crate) async fn record_all(
        &self,
        who: Who,
        kinds: Vec<Kind>,
        sure: Durability,
    ) -> Result<Seq, Failure> {
        if kinds.is_empty() {
            return Ok(self.cause(who).unwrap_or_default());
        }
        let last = self.append(who, kinds, sure).await?;
        self.remember_cause(who, last);
        Ok(last)
    }

    /// Records events that happen beside a line of events: they have its last one as their cause, and what follows in
    /// the line is not caused by them.
    pub(crate) async fn record_aside(
        &self,
        who: Who,
        kinds: Vec<Kind>,
        sure: Durability,
    ) -> Result<(), Failure> {
        if kinds.is_empty() {
            return Ok(());
        }
        self.append(who, kinds, sure).await.map(drop)
    }

    async fn append(&self, who: Who, kinds: Vec<Kind>, sure: Durability) -> Result<Seq, Failure> {
        let time = self.shared.now();
        let subject = Subject {
            run: Some(self.id),
            agent: who.agent,
            call: who.call,
            cause: self.cause(who),
        };
        let drafts: Vec<Draft> = kinds
            .into_iter()
            .map(|kind| Draft {
                time,
                subject,
                kind,
            })
            .collect();
        let count = drafts.len() as u64;
        let last = self
            .shared
            .deps
            .journal
            .append(drafts.clone(), sure)
            .await
            .map_err(|error| journal_failure(&error))?;
        let first = (last.0 + 1).saturating_sub(count);
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        for (offset, draft) in drafts.into_iter().enumerate() {
            let seq = Seq(first + offset as u64);
            view.apply_new(&Event {
                seq,
                time: draft.time,
                subject: draft.subject,
                kind: draft.kind,
            });
        }
        Ok(last)
    }

    /// Stores a body and answers with its digest.
    pub(crate) async fn store(&self, body: Vec<u8>) -> Result<String, Failure> {
        let digest = self
            .shared
            .deps
            .journal
            .put(body)
            .await
            .map_err(|error| journal_failure(&error))?;
        Ok(digest.to_string())
    }
}
