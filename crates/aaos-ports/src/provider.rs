//! Model providers.

use aaos_core::{
    failure::{Failure, ProviderFault},
    model::{ModelRef, Reply, Request},
    money::MicroDollars,
};
use async_trait::async_trait;

/// A piece of a reply as it streams in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// More words.
    Text(String),
    /// More thought.
    Reasoning(String),
    /// A tool call has begun to arrive.
    ToolCall(String),
}

/// An attempt that failed and is to be made again; pieces so far are void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Attempts that have failed.
    pub attempt: u32,
    /// Wait before the next, in milliseconds.
    pub wait_ms: u64,
    /// What went wrong, cut short.
    pub reason: String,
    /// Whether the one that failed may have to be paid for all the same.
    pub billed: bool,
}

/// Takes pieces of a reply, and pays for the attempts at it.
#[async_trait]
pub trait DeltaSink: Send + Sync {
    /// The next piece. Called in order, possibly hundreds of times a second; must not block.
    fn delta(&self, delta: Delta);

    /// Called before an attempt is made again. Returns when what the next one could cost is set aside; if it may not be
    /// made, the request is dropped instead.
    async fn again(&self, retry: Retry);
}

/// Why a provider could not answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{failure}")]
pub struct ProviderError {
    /// What is told.
    pub failure: Box<Failure>,
    /// Whether the last attempt may have to be paid for all the same: the provider had taken it up, and what it made of it
    /// did not arrive whole.
    pub billed: bool,
}

impl ProviderError {
    /// What cost nothing.
    #[must_use]
    pub fn free(failure: Failure) -> Self {
        Self {
            failure: Box::new(failure),
            billed: false,
        }
    }

    /// The same, of an attempt that may have to be paid for.
    #[must_use]
    pub fn billed(self) -> Self {
        Self {
            billed: true,
            ..self
        }
    }

    /// A provider's failure in full, which cost nothing.
    #[must_use]
    pub fn new(
        model: &ModelRef,
        fault: ProviderFault,
        status: Option<u16>,
        message: &str,
        next_step: &str,
    ) -> Self {
        Self::free(Failure::Provider {
            provider: model.provider.clone(),
            model: model.model.clone(),
            fault,
            status,
            message: aaos_core::text::preview(message, MESSAGE_BYTES_MAX),
            next_step: next_step.to_owned(),
        })
    }
}

/// Most bytes of a provider's own words that are kept: enough for any message a person wrote.
const MESSAGE_BYTES_MAX: usize = 600;

/// A service that completes. Called by many agents at once; the runtime bounds how many.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Answers a request. Retries what is worth retrying, within its own deadline. Dropping the future ends the
    /// request.
    ///
    /// # Errors
    /// Typed, with the next step for the operator; a goal that a planner refuses is `Failure::GoalRefused`.
    async fn complete(
        &self,
        request: &Request,
        pieces: &dyn DeltaSink,
    ) -> Result<Reply, ProviderError>;

    /// Whether `model` could be asked: reachable, authorised, known. Costs next to nothing.
    ///
    /// # Errors
    /// As `complete`.
    async fn probe(&self, model: &ModelRef) -> Result<(), ProviderError>;

    /// The most this request could cost, from the price file; zero for models without a price.
    fn worst_case(&self, request: &Request) -> MicroDollars;

    /// Tokens of conversation that the model can hold, where the provider knows better than the role: one that is no
    /// language model holds any. None leaves it to the role's own limit.
    fn window(&self, model: &ModelRef) -> Option<u64>;

    /// What people are told of one of its models: `provider/model`, or what stands in a model's place, as
    /// `none (rules)` or `scripted (replies.jsonl)`.
    fn label(&self, model: &ModelRef) -> String;
}
