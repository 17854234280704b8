//! Terms: everything beside its goal that a run is carried out under, kept with it, so that neither an upgrade nor an
//! edited configuration changes a run under way.
//!
//! Refuses: terms that are not there or cannot be read. A run is never carried out under guessed ones.

use crate::{
    models::Models,
    record::{is_gone, journal_failure},
    shared::Shared,
};
use aaos_core::{failure::Failure, role::Role};
use aaos_ports::{Digest, JournalError, Submit};
use serde::{Deserialize, Serialize};

/// What a run is carried out under.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// What was asked.
    pub(crate) submit: Submit,
    /// The roles as they were when the run began.
    pub(crate) roles: Vec<Role>,
    /// Which model serves which class.
    pub(crate) models: Models,
}

impl Terms {
    /// Stores them and answers with their digest. They are as sure as the next durable append.
    ///
    /// # Errors
    /// The journal's.
    pub(crate) async fn store(&self, shared: &Shared) -> Result<String, JournalError> {
        let body = serde_json::to_vec(self).map_err(|error| JournalError::Storage {
            place: "the run's terms".to_owned(),
            message: error.to_string(),
            next_step: "Submit the goal again".to_owned(),
        })?;
        Ok(shared.deps.journal.put(body).await?.to_string())
    }

    /// The terms with this digest.
    ///
    /// # Errors
    /// `Unrecoverable`: they are gone, damaged, or of another version; `Journal`: they cannot be read now.
    pub(crate) async fn load(shared: &Shared, digest: &str) -> Result<Self, Failure> {
        let body = shared.deps.journal.get(&Digest(digest.to_owned())).await;
        let body = body.map_err(|error| {
            if is_gone(&error) {
                unreadable(&error.to_string())
            } else {
                journal_failure(&error)
            }
        })?;
        serde_json::from_slice(&body).map_err(|error| unreadable(&error.to_string()))
    }
}

fn unreadable(why: &str) -> Failure {
    Failure::Unrecoverable {
        problem: format!("the terms it was accepted under cannot be read: {why}"),
        next_step: "Submit the goal again".to_owned(),
    }
}
