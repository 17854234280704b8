//! The desk: does for a worker the file acts on paths that were granted by themselves and are not in its root.
//!
//! Refuses: an act for a call that is not in flight or did not declare it, and more than a few at once. What it does,
//! it does with the agent's own file power, so that an act here is bound exactly as one in the worker.

use super::{
    calls::Asked,
    limits::{ACTS_MAX, GONE_WITHIN, LIST_ENTRIES_MAX},
};
use crate::{
    files::BeneathFiles,
    protocol::{Answer, FileAct},
};
use aaos_ports::{Files, PowerError};
use rustix::fd::OwnedFd;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::{sync::Semaphore, time};

/// The file power of one agent, as it is at the moment.
pub(super) type AgentFiles = Arc<RwLock<BeneathFiles>>;

/// Does one worker's file acts.
#[derive(Clone)]
pub(super) struct Desk {
    files: AgentFiles,
    /// Turns of this worker, and of all.
    turns: Arc<Semaphore>,
    shared: Arc<Semaphore>,
}

impl Desk {
    pub(super) fn new(files: AgentFiles, shared: Arc<Semaphore>) -> Self {
        Self {
            files,
            turns: Arc::new(Semaphore::new(ACTS_MAX)),
            shared,
        }
    }

    /// Does one act. A thread that works on it holds its turns until it is free, whoever waits.
    pub(super) async fn answer(self, asked: Asked, act: FileAct) -> (Answer, Option<OwnedFd>) {
        let over = || PowerError::Io {
            what: "a file act".to_owned(),
            message: "the worker's turn did not come; its call is over".to_owned(),
        };
        let own = Arc::clone(&self.turns).acquire_owned().await;
        let shared = Arc::clone(&self.shared).acquire_owned().await;
        let (Ok(own), Ok(shared)) = (own, shared) else {
            return (Answer::Refused(over()), None);
        };
        let files = self.files;
        let done = tokio::task::spawn_blocking(move || {
            let _turns = (own, shared);
            perform(&files, &asked, act)
        });
        match done.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(refused)) => (Answer::Refused(refused), None),
            Err(_) => (Answer::Refused(over()), None),
        }
    }

    /// Waits until nothing is being done for the worker. Its calls have been stopped, so that nothing takes long.
    pub(super) async fn quiet(&self) {
        let all = u32::try_from(ACTS_MAX).unwrap_or(u32::MAX);
        // A thread the kernel holds cannot be ended; what it holds can do nothing more.
        let _ = time::timeout(GONE_WITHIN, self.turns.acquire_many(all)).await;
    }
}

fn perform(
    files: &RwLock<BeneathFiles>,
    asked: &Asked,
    act: FileAct,
) -> Result<(Answer, Option<OwnedFd>), PowerError> {
    let held = files.read().unwrap_or_else(PoisonError::into_inner).clone();
    let files = held.for_call(asked.needs()?, asked.stop.clone())?;
    let answer = match act {
        FileAct::Open { path } => {
            let (descriptor, path, size) = files.open_descriptor(&path)?;
            return Ok((Answer::Opened { path, size }, Some(descriptor)));
        }
        FileAct::Write {
            path,
            mode,
            content,
        } => Answer::Written(files.write(&path, &content, mode)?),
        FileAct::Stat { path } => Answer::Found(files.stat(&path)?),
        FileAct::List { path, limit } => {
            let limit = usize::try_from(limit)
                .unwrap_or(usize::MAX)
                .min(LIST_ENTRIES_MAX);
            let (entries, more) = files.list(&path, limit)?;
            Answer::Listed(entries, more)
        }
    };
    Ok((answer, None))
}
