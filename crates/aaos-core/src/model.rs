//! A model's request and reply, whoever serves it.

use crate::{
    id::{RoleName, RunId, SubtaskId},
    money::MicroDollars,
    role::Role,
    tool::ToolSpec,
    value::Value,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a role asks of a model, mapped to a model's name by configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelClass {
    /// Cheap and quick: turns a goal into a plan.
    Planner,
    /// Carries out most subtasks.
    Worker,
    /// Slower and better: where a worker's model failed.
    Reasoner,
}

impl ModelClass {
    /// Every class.
    pub const ALL: [Self; 3] = [Self::Planner, Self::Worker, Self::Reasoner];

    /// The word used in files and configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planner => "planner",
            Self::Worker => "worker",
            Self::Reasoner => "reasoner",
        }
    }
}

/// Which model serves a request: a configured provider and the name it knows the model by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelRef {
    /// The provider's configured name.
    pub provider: String,
    /// The model, as that provider names it.
    pub model: String,
}

impl ModelRef {
    /// Reads `provider/model`; a model's own name may hold further slashes. None if either is empty.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (provider, model) = text.split_once('/')?;
        let named = !provider.is_empty() && !model.is_empty();
        named.then(|| Self {
            provider: provider.to_owned(),
            model: model.to_owned(),
        })
    }
}

impl std::fmt::Display for ModelRef {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.provider, self.model)
    }
}

/// What a request is for, as typed data beside the text that says the same to a language model.
///
/// Providers that are no language models (`rules`) answer from this alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum Purpose {
    /// One step or a plan? The answer is the word `direct` or `plan`.
    Classify {
        /// The goal, as it was given.
        goal: String,
    },
    /// A plan for a goal, as JSON.
    Plan {
        /// The goal, as it was given.
        goal: String,
        /// Directory that relative paths in the goal start from.
        base: String,
        /// Roles that may be used.
        roles: Vec<Role>,
        /// What was wrong with the last attempt; empty the first time.
        problems: Vec<String>,
    },
    /// One turn of an agent.
    Turn {
        /// The agent's role.
        role: RoleName,
        /// The subtask it carries out; none for an agent started by another.
        subtask: Option<SubtaskId>,
        /// What it was asked to do.
        task: String,
        /// Its parameters, resolved; a list for list parameters.
        params: BTreeMap<String, Vec<Value>>,
    },
    /// A summary of earlier messages, to make room.
    Summarise,
}

/// One thing said to or by a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Message {
    /// By the operator or the runtime.
    User {
        /// What was said.
        text: String,
    },
    /// By the model.
    Assistant {
        /// In order.
        blocks: Vec<Block>,
    },
    /// What its tool calls gave, in the order of the calls.
    Tools {
        /// One per call.
        results: Vec<ToolResult>,
    },
}

/// A part of a model's reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// Words.
    Text {
        /// The words.
        text: String,
    },
    /// Thought that some providers need back with the next request.
    Reasoning {
        /// The thought, in words.
        text: String,
        /// The provider's signature over it, carried back unread.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
    },
    /// A wish to call a tool.
    ToolCall(ToolCall),
}

/// A model's wish to call a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The provider's name for this call; its result carries it back.
    pub id: String,
    /// The tool, as the model named it: it may not exist.
    pub name: String,
    /// The arguments, or the text that did not parse as JSON.
    pub input: Arguments,
}

/// A tool call's arguments as they came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arguments {
    /// A JSON document.
    Json(serde_json::Value),
    /// Not JSON: told to the model, never guessed at.
    Malformed(String),
}

/// What a tool call gave back to the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The call it answers.
    pub id: String,
    /// The tool that was called.
    pub name: String,
    /// What came back: the output, or what went wrong and what to do about it.
    pub text: String,
    /// Whether it went wrong.
    pub is_error: bool,
}

/// A request to a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The run it belongs to.
    pub run: RunId,
    /// Which model.
    pub model: ModelRef,
    /// What it is for.
    pub purpose: Purpose,
    /// Standing instructions; the stable prefix that providers may cache.
    pub system: String,
    /// The conversation so far, never empty.
    pub messages: Vec<Message>,
    /// Tools the model may call.
    pub tools: Vec<ToolSpec>,
    /// Most tokens of output.
    pub output_tokens_max: u32,
    /// JSON Schema the reply's text must follow, where the provider can be told.
    pub reply_schema: Option<serde_json::Value>,
}

impl Request {
    /// Its size in tokens, before a provider has counted them: three bytes a token, plus a little per message. Words take
    /// fewer tokens than that; what takes more, as rows of digits, is counted when the answer tells.
    #[must_use]
    pub fn tokens_estimate(&self) -> u64 {
        let tools: usize = self
            .tools
            .iter()
            .map(|tool| {
                tool.name.as_str().len() + tool.summary.len() + tool.input_schema.to_string().len()
            })
            .sum();
        let schema = self.reply_schema.as_ref();
        let schema = schema.map_or(0, |schema| schema.to_string().len());
        let messages: usize = self.messages.iter().map(Message::bytes).sum();
        let bytes = self.system.len() + tools + schema + messages;
        (bytes as u64).div_ceil(3) + 8 * (self.messages.len() as u64 + 1)
    }
}

impl Message {
    /// Bytes of text it carries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::User { text } => text.len(),
            Self::Assistant { blocks } => blocks.iter().map(Block::bytes).sum(),
            Self::Tools { results } => results
                .iter()
                .map(|result| result.text.len() + result.name.len())
                .sum(),
        }
    }
}

impl Block {
    /// Bytes of text it carries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text { text } => text.len(),
            Self::Reasoning { text, signature } => {
                text.len() + signature.as_ref().map_or(0, String::len)
            }
            Self::ToolCall(call) => match &call.input {
                Arguments::Json(json) => call.name.len() + json.to_string().len(),
                Arguments::Malformed(text) => call.name.len() + text.len(),
            },
        }
    }
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// It had finished.
    EndTurn,
    /// It wants its tool calls answered.
    ToolUse,
    /// It ran into the limit on its output.
    OutputLimit,
    /// The provider withheld the rest.
    Refusal,
}

/// What a request cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read, cached ones included.
    pub input_tokens: u64,
    /// Of those, read from the provider's cache.
    pub cached_tokens: u64,
    /// Tokens written, thought included.
    pub output_tokens: u64,
    /// What it cost by the price file; zero for a model without a price.
    pub cost: MicroDollars,
}

impl Usage {
    /// What a request counts as of which nobody knows what it cost: all that was set aside for it.
    #[must_use]
    pub const fn worst(tokens: u64, cost: MicroDollars) -> Self {
        Self {
            input_tokens: tokens,
            cached_tokens: 0,
            output_tokens: 0,
            cost,
        }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            cached_tokens: self.cached_tokens.saturating_add(other.cached_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cost: self.cost.plus(other.cost),
        }
    }

    /// Tokens in and out.
    #[must_use]
    pub const fn tokens(self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

impl std::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::plus)
    }
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Its parts, in order.
    pub blocks: Vec<Block>,
    /// Why it stopped.
    pub stop: Stop,
    /// What it cost.
    pub usage: Usage,
    /// The model, as the provider named it in its answer.
    pub model: String,
}

impl Reply {
    /// Its words, joined.
    #[must_use]
    pub fn text(&self) -> String {
        let words = self.blocks.iter().filter_map(|block| match block {
            Block::Text { text } => Some(text.as_str()),
            _ => None,
        });
        words.collect::<Vec<_>>().join("")
    }

    /// The tool calls it asks for, in order.
    #[must_use]
    pub fn tool_calls(&self) -> Vec<&ToolCall> {
        let calls = self.blocks.iter().filter_map(|block| match block {
            Block::ToolCall(call) => Some(call),
            _ => None,
        });
        calls.collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::{
        time::Span,
        tool::{Effect, Recovery},
    };

    const LONG: usize = 3_000;

    fn bare() -> Request {
        let model = ModelRef {
            provider: "p".to_owned(),
            model: "m".to_owned(),
        };
        Request {
            run: RunId::from_drawn(1),
            model,
            purpose: Purpose::Summarise,
            system: String::new(),
            messages: Vec::new(),
            tools: Vec::new(),
            output_tokens_max: 1,
            reply_schema: None,
        }
    }

    #[test]
    fn all_that_is_sent_is_reckoned() {
        let long = "x".repeat(LONG);
        let text = || long.clone();
        let said = |block| Request {
            messages: vec![Message::Assistant {
                blocks: vec![block],
            }],
            ..bare()
        };
        let tool = ToolSpec {
            name: "t".parse().unwrap(),
            summary: text(),
            input_schema: serde_json::json!({}),
            powers: Vec::new(),
            effect: Effect::Pure,
            recovery: Recovery::ByEffect,
            deadline: Span::ZERO,
        };
        let sent = [
            Request {
                system: text(),
                ..bare()
            },
            Request {
                reply_schema: Some(serde_json::json!({ "const": text() })),
                ..bare()
            },
            Request {
                tools: vec![tool],
                ..bare()
            },
            said(Block::Text { text: text() }),
            said(Block::Reasoning {
                text: String::new(),
                signature: Some(text()),
            }),
        ];
        for request in sent {
            let most = bare().tokens_estimate() + (LONG as u64) / 3;
            assert!(request.tokens_estimate() >= most, "{:?}", request.messages);
        }
    }
}
