//! A model whose answers a test writes.

use aaos_core::{
    failure::ProviderFault,
    model::{Arguments, Block, ModelRef, Purpose, Reply, Request, Stop, ToolCall, Usage},
    money::MicroDollars,
};
use aaos_ports::{DeltaSink, Provider, ProviderError};
use async_trait::async_trait;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// What a test's model says to a request.
type Brain = dyn Fn(&Request, usize) -> Result<Reply, ProviderError> + Send + Sync;

/// A model that answers by a function of the request and of how often the same speaker has asked before.
pub struct FakeProvider {
    brain: Box<Brain>,
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    by_speaker: BTreeMap<String, usize>,
    requests: Vec<Request>,
}

impl FakeProvider {
    /// A model with this brain.
    pub fn new(
        brain: impl Fn(&Request, usize) -> Result<Reply, ProviderError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            brain: Box::new(brain),
            asked: Mutex::default(),
        }
    }

    /// Every request so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .requests
            .clone()
    }
}

/// Who asks: the planner, the classifier, or a subtask's agent.
fn speaker(purpose: &Purpose) -> String {
    match purpose {
        Purpose::Classify { .. } => "classify".to_owned(),
        Purpose::Plan { .. } => "plan".to_owned(),
        Purpose::Summarise => "summarise".to_owned(),
        Purpose::Turn {
            subtask: Some(subtask),
            ..
        } => subtask.to_string(),
        Purpose::Turn {
            subtask: None,
            task,
            ..
        } => format!("child {task}"),
    }
}

#[async_trait]
impl Provider for FakeProvider {
    async fn complete(
        &self,
        request: &Request,
        _pieces: &dyn DeltaSink,
    ) -> Result<Reply, ProviderError> {
        let before = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.requests.push(request.clone());
            let count = asked
                .by_speaker
                .entry(speaker(&request.purpose))
                .or_default();
            *count += 1;
            *count - 1
        };
        tokio::task::yield_now().await;
        (self.brain)(request, before)
    }

    async fn probe(&self, _model: &ModelRef) -> Result<(), ProviderError> {
        Ok(())
    }

    fn worst_case(&self, request: &Request) -> MicroDollars {
        MicroDollars(u64::from(request.output_tokens_max))
    }

    fn window(&self, _model: &ModelRef) -> Option<u64> {
        None
    }

    fn label(&self, model: &ModelRef) -> String {
        model.to_string()
    }
}

/// Tokens and money of every fake reply: easy to add up.
pub const USAGE: Usage = Usage {
    input_tokens: 10,
    cached_tokens: 0,
    output_tokens: 5,
    cost: MicroDollars(7),
};

/// The model says something and has finished.
#[must_use]
pub fn says(text: &str) -> Reply {
    reply(
        vec![Block::Text {
            text: text.to_owned(),
        }],
        Stop::EndTurn,
    )
}

/// The model calls tools.
#[must_use]
pub fn calls(calls: &[(&str, serde_json::Value)]) -> Reply {
    let call = |(index, (name, input)): (usize, &(&str, serde_json::Value))| {
        let input = Arguments::Json(input.clone());
        Block::ToolCall(ToolCall {
            id: format!("c{index}"),
            name: (*name).to_owned(),
            input,
        })
    };
    reply(calls.iter().enumerate().map(call).collect(), Stop::ToolUse)
}

/// A reply with these blocks.
#[must_use]
pub fn reply(blocks: Vec<Block>, stop: Stop) -> Reply {
    Reply {
        blocks,
        stop,
        usage: USAGE,
        model: "fake".to_owned(),
    }
}

/// A provider's failure.
#[must_use]
pub fn fault(fault: ProviderFault) -> ProviderError {
    let model = ModelRef {
        provider: "fake".to_owned(),
        model: "fake".to_owned(),
    };
    ProviderError::new(&model, fault, None, "as the test says", "Nothing to do")
}
