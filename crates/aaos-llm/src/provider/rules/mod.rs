//! `rules`: a provider without a model. Plans everyday goals over files and pages by fixed forms, and carries out its
//! own plans as scripted tool sequences; summaries are extracts.
//!
//! It answers from a request's purpose alone, deterministically, and refuses what it does not fully understand, quoting
//! the part: it never guesses. It costs nothing, calls nothing and remembers nothing.

mod apply;
mod build;
mod clause;
mod compare;
mod compute;
mod dates;
mod deliver;
mod digest;
mod extract;
mod lex;
mod noun;
mod nouns;
mod op;
mod parser;
mod records;
mod refusal;
mod report;
mod source;
mod story;
mod summary;
mod tail;
mod turn;
mod verbs;
mod words;
mod written;

use aaos_core::{
    failure::{Failure, ProviderFault},
    model::{Arguments, Block, Message, ModelRef, Purpose, Reply, Request, Stop, ToolCall, Usage},
    money::MicroDollars,
    role::Role,
};
use aaos_ports::provider::{Delta, DeltaSink, Provider, ProviderError};
use async_trait::async_trait;

/// What the replies name as their model.
pub const MODEL: &str = "rules";
/// What people are told of the provider.
pub const LABEL: &str = "none (rules)";

/// Longest account of what was wrong with a plan, in bytes.
const PROBLEMS_BYTES_MAX: usize = 400;
/// Sentences of a summary of earlier messages.
const HISTORY_SENTENCES: usize = 20;

/// The provider without a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules;

#[async_trait]
impl Provider for Rules {
    async fn complete(
        &self,
        request: &Request,
        pieces: &dyn DeltaSink,
    ) -> Result<Reply, ProviderError> {
        let blocks = match &request.purpose {
            Purpose::Classify { .. } => vec![said("plan".to_owned())],
            Purpose::Plan {
                goal,
                roles,
                problems,
                ..
            } => vec![said(plan_text(request, goal, roles, problems)?)],
            Purpose::Turn {
                role, task, params, ..
            } => match turn::next(request, role.as_str(), task, params) {
                turn::Next::Say(words) => vec![said(words)],
                turn::Next::Call(calls) => called(request.messages.len(), calls),
            },
            Purpose::Summarise => vec![said(history(&request.messages))],
        };
        Ok(reply(blocks, pieces))
    }

    async fn probe(&self, _model: &ModelRef) -> Result<(), ProviderError> {
        Ok(())
    }

    fn worst_case(&self, _request: &Request) -> MicroDollars {
        MicroDollars::ZERO
    }

    fn window(&self, _: &ModelRef) -> Option<u64> {
        Some(u64::MAX)
    }

    fn label(&self, _: &ModelRef) -> String {
        LABEL.to_owned()
    }
}

/// What a plan by rules may name beside what its goal names: the public list of stories, and the base directory.
#[must_use]
pub const fn own_addresses() -> [&'static str; 2] {
    build::own_addresses()
}

/// A plan's JSON text for a goal.
fn plan_text(
    request: &Request,
    goal: &str,
    roles: &[Role],
    problems: &[String],
) -> Result<String, ProviderError> {
    let refuse = |refusal: refusal::Refusal| ProviderError::free(refusal.into_failure());
    if !problems.is_empty() {
        let problems = aaos_core::text::preview(&problems.join("; "), PROBLEMS_BYTES_MAX);
        let why =
            format!("rules make the same plan every time, and that one did not do: {problems}");
        return Err(refuse(refusal::Refusal::new(goal, why)));
    }
    let plan = parser::parse(goal)
        .and_then(|understood| build::plan(understood, goal, roles))
        .map_err(refuse)?;
    serde_json::to_string(&plan).map_err(|error| {
        ProviderError::new(
            &request.model,
            ProviderFault::BadReply,
            None,
            &error.to_string(),
            "say the goal in plainer words",
        )
    })
}

fn said(text: String) -> Block {
    Block::Text { text }
}

/// Tool calls with ids that no earlier turn of the conversation has used.
fn called(turn: usize, calls: Vec<(&'static str, serde_json::Value)>) -> Vec<Block> {
    let call = |(at, (name, input)): (usize, (&str, serde_json::Value))| {
        Block::ToolCall(ToolCall {
            id: format!("rules-{turn}-{at}"),
            name: name.to_owned(),
            input: Arguments::Json(input),
        })
    };
    calls.into_iter().enumerate().map(call).collect()
}

fn reply(blocks: Vec<Block>, pieces: &dyn DeltaSink) -> Reply {
    let mut stop = Stop::EndTurn;
    for block in &blocks {
        match block {
            Block::Text { text } => pieces.delta(Delta::Text(text.clone())),
            Block::ToolCall(call) => {
                stop = Stop::ToolUse;
                pieces.delta(Delta::ToolCall(call.name.clone()));
            }
            Block::Reasoning { .. } => {}
        }
    }
    Reply {
        blocks,
        stop,
        usage: Usage::default(),
        model: MODEL.to_owned(),
    }
}

/// An extract of what was said.
fn history(messages: &[Message]) -> String {
    let text = |message: &Message| match message {
        Message::User { text } => text.clone(),
        Message::Assistant { blocks } => blocks
            .iter()
            .filter_map(|block| {
                if let Block::Text { text } = block {
                    Some(text.as_str())
                } else {
                    None
                }
            })
            .collect::<Vec<_>>()
            .join("\n"),
        Message::Tools { results } => results
            .iter()
            .map(|result| result.text.as_str())
            .collect::<Vec<_>>()
            .join("\n\n"),
    };
    let all = messages.iter().map(text).collect::<Vec<_>>().join("\n\n");
    let chosen = summary::summarise(&all, HISTORY_SENTENCES).join(" ");
    if chosen.is_empty() {
        "Nothing was said in sentences.".to_owned()
    } else {
        chosen
    }
}

/// The failure for a goal, if it is refused; for tests and for a dry run without roles.
#[must_use]
pub fn refusal(goal: &str) -> Option<Failure> {
    parser::parse(goal)
        .err()
        .map(refusal::Refusal::into_failure)
}
