//! A replay's backend: its workers give what the calls gave before, and do nothing.

use super::{journal, record::Called, stage::Stage};
use aaos_core::{capability::Capability, event::BackendName, id::AgentId, tool::Placement};
use aaos_ports::{
    Act, Backend, Digest, LaunchError, LaunchSpec, Question, ToolError, ToolOutput, Worker,
    WorkerCall,
};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;

/// The backend.
pub(super) struct Recorded {
    pub(super) stage: Arc<Stage>,
    pub(super) name: BackendName,
}

struct RecordedWorker {
    stage: Arc<Stage>,
    agent: AgentId,
}

#[async_trait]
impl Backend for Recorded {
    fn name(&self) -> BackendName {
        self.name.clone()
    }

    fn surface(&self) -> Placement {
        Placement::Worker
    }

    async fn launch(&self, spec: LaunchSpec) -> Result<Box<dyn Worker>, LaunchError> {
        match self.stage.record.refused.get(&spec.agent) {
            Some(refusal) => Err(refusal.clone()),
            None => Ok(Box::new(RecordedWorker {
                stage: Arc::clone(&self.stage),
                agent: spec.agent,
            })),
        }
    }
}

impl RecordedWorker {
    /// What the record has of this very call, the same tool with the same arguments.
    fn recorded(&self, call: &WorkerCall) -> Option<&Called> {
        let called = self.stage.record.calls.get(&call.call)?;
        let input = serde_json::to_vec(&call.input).unwrap_or_default();
        let same =
            called.tool == call.tool.as_str() && called.input_hash == journal::digest(&input);
        same.then_some(called)
    }

    async fn performed(&self, call: WorkerCall) -> Result<ToolOutput, ToolError> {
        let end = self.recorded(&call).map(|called| called.end.clone());
        let Some(Some((success, output))) = end else {
            if end.is_some() || !self.stage.record.is_whole() {
                // It was cut off here, and what is recorded does not go on.
                self.stage.over.cancelled().await;
            }
            return Err(not_recorded());
        };
        self.stage.charge(call.call);
        let digest = Digest(output);
        let body = self.stage.real.get(&digest).await;
        let Ok(body) = body else {
            self.stage.misses(&digest);
            return Err(not_recorded());
        };
        self.stage.count(|counts| counts.results += 1);
        if !success {
            let words = String::from_utf8_lossy(&body).into_owned();
            return Err(ToolError::Failed(words));
        }
        serde_json::from_slice(&body)
            .map(|json| ToolOutput { json })
            .map_err(|_| not_recorded())
    }
}

fn not_recorded() -> ToolError {
    ToolError::Failed("the record has no such call".to_owned())
}

#[async_trait]
impl Worker for RecordedWorker {
    async fn call(&self, call: WorkerCall) -> Result<ToolOutput, ToolError> {
        match &call.act {
            Act::Perform => self.performed(call).await,
            Act::Consider(Question::Evidence) => {
                // The intent that holds it follows; it is found by the call alone.
                let called = self.stage.record.calls.get(&call.call);
                let evidence = called.and_then(|called| called.evidence.clone());
                Ok(ToolOutput {
                    json: evidence.unwrap_or(Value::Null),
                })
            }
            Act::Consider(_) => Ok(ToolOutput { json: Value::Null }),
        }
    }

    async fn inspect(&self, _: &str) -> Result<Option<u64>, ToolError> {
        let replies = self.stage.replies_of(self.agent);
        let looks = self.stage.record.looks.get(&self.agent);
        let look = looks.and_then(|looks| looks.iter().find(|look| look.replies == replies));
        match look.map(|look| &look.found) {
            Some(Ok(bytes)) => Ok(Some(*bytes)),
            // In the words the agent was told.
            Some(Err(found)) if !found.is_empty() => Err(ToolError::Failed(found.clone())),
            Some(Err(_)) | None => Ok(None),
        }
    }

    async fn narrow(&self, _: Vec<Capability>) {}

    async fn stop(&self) {}
}
