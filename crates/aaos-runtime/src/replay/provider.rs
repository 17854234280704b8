//! A replay's model provider: it answers what was asked before as it was answered then, and asks nobody.

use super::{
    journal,
    record::{Answered, Came},
    stage::Stage,
};
use aaos_core::{
    failure::ProviderFault,
    model::{ModelRef, Reply, Request},
    money::MicroDollars,
};
use aaos_ports::{DeltaSink, Digest, Provider, ProviderError};
use async_trait::async_trait;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The provider. `real` is asked for what it is configured with and never for an answer.
pub(super) struct Recorded {
    stage: Arc<Stage>,
    real: Arc<dyn Provider>,
    answers: Mutex<BTreeMap<String, Vec<Answered>>>,
}

impl Recorded {
    pub(super) fn new(stage: Arc<Stage>, real: Arc<dyn Provider>) -> Self {
        let answers = Mutex::new(stage.record.answers.clone());
        Self {
            stage,
            real,
            answers,
        }
    }

    /// What came of this request when the same line asked it, or else of the first one like it.
    fn take(&self, digest: &str) -> Option<Came> {
        let speaker = self.stage.speaker();
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let same = answers.get_mut(digest).filter(|same| !same.is_empty())?;
        let own = same.iter().position(|answered| answered.agent == speaker);
        Some(same.remove(own.unwrap_or(0)).came)
    }

    async fn reply(&self, model: &ModelRef, digest: String) -> Result<Reply, ProviderError> {
        let digest = Digest(digest);
        let read = self.stage.real.get(&digest).await.ok();
        let reply = read.and_then(|body| serde_json::from_slice(&body).ok());
        let Some(reply) = reply else {
            self.stage.misses(&digest);
            return Err(unanswered(model));
        };
        self.stage.count(|counts| counts.replies += 1);
        Ok(reply)
    }
}

fn digest_of(request: &Request) -> String {
    journal::digest(&serde_json::to_vec(request).unwrap_or_default())
}

fn unanswered(model: &ModelRef) -> ProviderError {
    let message = "the record has no answer to this request";
    ProviderError::new(model, ProviderFault::ScriptEnded, None, message, "")
}

#[async_trait]
impl Provider for Recorded {
    async fn complete(&self, request: &Request, _: &dyn DeltaSink) -> Result<Reply, ProviderError> {
        let digest = digest_of(request);
        match self.take(&digest) {
            Some(Came::Reply(reply)) => self.reply(&request.model, reply).await,
            Some(Came::Failed(failure)) => Err(ProviderError::free(failure)),
            // It was asked, and nobody waited for the answer.
            None if self.stage.record.worst.contains_key(&digest)
                || !self.stage.record.is_whole() =>
            {
                self.stage.over.cancelled().await;
                Err(unanswered(&request.model))
            }
            None => Err(unanswered(&request.model)),
        }
    }

    async fn probe(&self, model: &ModelRef) -> Result<(), ProviderError> {
        Err(unanswered(model))
    }

    fn worst_case(&self, request: &Request) -> MicroDollars {
        let recorded = self.stage.record.worst.get(&digest_of(request));
        // One that was never sent is not recorded; by today's prices it is refused again.
        let priced = || self.real.worst_case(request);
        recorded.copied().unwrap_or_else(priced)
    }

    fn window(&self, model: &ModelRef) -> Option<u64> {
        self.real.window(model)
    }

    fn label(&self, model: &ModelRef) -> String {
        self.real.label(model)
    }
}
