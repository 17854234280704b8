//! `scripted`: replies read from a file, for tests, demonstrations and measurements. Always labelled so.
//!
//! A script is JSON lines, one entry a line, or a YAML list of entries:
//!
//! ```yaml
//! - match: { purpose: plan, contains: stories }   # every part is optional; an empty match fits everything
//!   reply: { json: { subtasks: [] } }
//! - match: { purpose: turn, role: fetcher, turn: 1 }
//!   times: many                                    # default: once
//!   reply:
//!     text: fetching
//!     tool_calls: [ { name: web_fetch, input: { url: "${url}" } } ]
//! - match: { role: writer }
//!   reply: { fail: { fault: server, status: 503, message: busy } }
//! ```
//!
//! The first entry that fits and is not used up answers, so the same requests get the same replies. Where requests
//! come at the same time, match on `subtask` and `turn`: entries used `many` times keep no count and no order.
//! `${name}` in a text or in a tool call's input stands for the subtask's parameter of that name. A request that
//! nothing fits is a failure that names the request; nothing is ever made up.

use super::{ProviderConfig, SetupError};
use crate::{
    fault::Site,
    limits::{SCRIPT_BYTES_MAX, SCRIPT_DELAY_MS_MAX, SCRIPT_ENTRIES_MAX},
};
use aaos_core::{
    failure::ProviderFault,
    model::{Arguments, Block, Message, ModelRef, Purpose, Reply, Request, Stop, ToolCall, Usage},
    money::MicroDollars,
    text::preview,
    value::Value as Output,
};
use aaos_ports::provider::{Delta, DeltaSink, Provider, ProviderError};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Why a script was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct ScriptError {
    /// The file.
    pub file: String,
    /// What is wrong, with the line.
    pub problem: String,
}

/// Which requests an entry answers. What is left out fits everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Match {
    purpose: Option<PurposeWord>,
    role: Option<String>,
    subtask: Option<String>,
    /// Found in the goal or the task, or in what was said last.
    contains: Option<String>,
    /// Which of an agent's turns, counting from one.
    turn: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PurposeWord {
    Plan,
    Turn,
    Classify,
    Summarise,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default, rename = "match")]
    fits: Match,
    reply: Answer,
    #[serde(default)]
    times: Times,
}

/// How often an entry answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Times {
    Number(u64),
    Word(TimesWord),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TimesWord {
    Many,
}

impl Default for Times {
    fn default() -> Self {
        Self::Number(1)
    }
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Answer {
    text: Option<String>,
    /// A document, said as text.
    json: Option<Value>,
    reasoning: Option<String>,
    tool_calls: Vec<Call>,
    stop: Option<Stop>,
    delay_ms: u64,
    usage: Tokens,
    fail: Option<Fail>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    name: String,
    id: Option<String>,
    #[serde(default)]
    input: Value,
    /// Arguments that are no JSON, as a model may send them.
    malformed: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Tokens {
    input_tokens: u64,
    cached_tokens: u64,
    output_tokens: u64,
    /// In micro-dollars.
    cost: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fail {
    fault: ProviderFault,
    status: Option<u16>,
    #[serde(default)]
    message: String,
}

/// A script, read and checked.
#[derive(Debug)]
pub struct Scripted {
    file: String,
    entries: Vec<(Entry, AtomicU64)>,
    cost_max: MicroDollars,
}

/// An entry that is never used up.
const ENDLESS: u64 = u64::MAX;

impl Scripted {
    /// Reads a script's text; `file` names it in labels and errors.
    ///
    /// # Errors
    /// Too large, or an entry that is not understood, with its line.
    pub fn parse(file: &str, text: &str) -> Result<Self, ScriptError> {
        let refuse = |problem: String| ScriptError {
            file: file.to_owned(),
            problem,
        };
        if text.len() > SCRIPT_BYTES_MAX {
            return Err(refuse(format!("larger than {SCRIPT_BYTES_MAX} bytes")));
        }
        let entries = if text.trim_start().starts_with('{') {
            lines(text)
        } else {
            list(text)
        };
        let entries = entries.map_err(refuse)?;
        if entries.len() > SCRIPT_ENTRIES_MAX {
            return Err(refuse(format!("more than {SCRIPT_ENTRIES_MAX} entries")));
        }
        if let Some(entry) = entries
            .iter()
            .find(|entry| entry.reply.delay_ms > SCRIPT_DELAY_MS_MAX)
        {
            return Err(refuse(format!(
                "delay_ms {} is over {SCRIPT_DELAY_MS_MAX}",
                entry.reply.delay_ms
            )));
        }
        let cost_max = entries
            .iter()
            .map(|entry| entry.reply.usage.cost)
            .max()
            .unwrap_or(0);
        let left = |entry: Entry| {
            let times = if let Times::Number(number) = entry.times {
                number
            } else {
                ENDLESS
            };
            (entry, AtomicU64::new(times))
        };
        Ok(Self {
            file: file.to_owned(),
            entries: entries.into_iter().map(left).collect(),
            cost_max: MicroDollars(cost_max),
        })
    }

    pub(super) fn from_config(config: &ProviderConfig) -> Result<Self, SetupError> {
        let refuse = |problem: String| SetupError::Script {
            name: config.name.clone(),
            problem,
        };
        let script = config
            .script
            .as_ref()
            .ok_or_else(|| refuse("no script is configured".to_owned()))?;
        Self::parse(&script.file, &script.text).map_err(|error| refuse(error.to_string()))
    }

    /// The first entry that fits and is not used up, used once more.
    fn claim(&self, request: &Request) -> Option<&Entry> {
        let asked = Asked::of(request);
        let fitting = self
            .entries
            .iter()
            .filter(|(entry, _)| asked.fits(&entry.fits));
        fitting.into_iter().find_map(|(entry, left)| {
            let use_one = |left: u64| match left {
                ENDLESS => Some(ENDLESS),
                left => left.checked_sub(1),
            };
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, use_one)
                .is_ok()
                .then_some(entry)
        })
    }

    fn error(
        &self,
        model: &ModelRef,
        fault: ProviderFault,
        status: Option<u16>,
        message: &str,
    ) -> ProviderError {
        let site = Site {
            name: model.provider.clone(),
            base: self.file.clone(),
            key_variable: None,
        };
        ProviderError::new(model, fault, status, message, &site.next_step(fault))
    }
}

fn lines(text: &str) -> Result<Vec<Entry>, String> {
    let entry = |(number, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|error| format!("line {}, column {}: {error}", number + 1, error.column()))
    };
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(entry)
        .collect()
}

fn list(text: &str) -> Result<Vec<Entry>, String> {
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

/// What a request says of itself, for matching.
struct Asked<'a> {
    purpose: PurposeWord,
    role: Option<&'a str>,
    subtask: Option<&'a str>,
    about: &'a str,
    turn: u64,
    messages: &'a [Message],
}

impl<'a> Asked<'a> {
    fn of(request: &'a Request) -> Self {
        let (purpose, role, subtask, about) = match &request.purpose {
            Purpose::Classify { goal } => (PurposeWord::Classify, None, None, goal.as_str()),
            Purpose::Plan { goal, .. } => (PurposeWord::Plan, None, None, goal.as_str()),
            Purpose::Turn {
                role,
                subtask,
                task,
                ..
            } => {
                let subtask = subtask.as_ref().map(|subtask| subtask.as_str());
                (
                    PurposeWord::Turn,
                    Some(role.as_str()),
                    subtask,
                    task.as_str(),
                )
            }
            Purpose::Summarise => (PurposeWord::Summarise, None, None, ""),
        };
        let said = |message: &&Message| matches!(message, Message::Assistant { .. });
        let turn = 1 + request.messages.iter().filter(said).count() as u64;
        Self {
            purpose,
            role,
            subtask,
            about,
            turn,
            messages: &request.messages,
        }
    }

    fn fits(&self, wanted: &Match) -> bool {
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        wanted.purpose.is_none_or(|purpose| purpose == self.purpose)
            && same(&wanted.role, self.role)
            && same(&wanted.subtask, self.subtask)
            && wanted.turn.is_none_or(|turn| turn == self.turn)
            && wanted
                .contains
                .as_deref()
                .is_none_or(|text| self.contains(text))
    }

    fn contains(&self, text: &str) -> bool {
        let in_last = match self.messages.last() {
            Some(Message::User { text: said }) => said.contains(text),
            Some(Message::Tools { results }) => {
                results.iter().any(|result| result.text.contains(text))
            }
            _ => false,
        };
        in_last || self.about.contains(text)
    }

    fn describe(&self) -> String {
        let mut text = match self.purpose {
            PurposeWord::Plan => "a plan".to_owned(),
            PurposeWord::Classify => "a classification".to_owned(),
            PurposeWord::Summarise => "a summary".to_owned(),
            PurposeWord::Turn => format!("turn {} of role {}", self.turn, self.role.unwrap_or("?")),
        };
        if let Some(subtask) = self.subtask {
            text = format!("{text}, subtask {subtask}");
        }
        format!("{text}, about: {}", preview(self.about, 120))
    }
}

/// The parameters that `${name}` may stand for.
fn parameters(request: &Request) -> BTreeMap<String, String> {
    let Purpose::Turn { params, .. } = &request.purpose else {
        return BTreeMap::new();
    };
    let text = |value: &Output| match value {
        Output::Text { text } => text.clone(),
        Output::Json { json } => json.to_string(),
        Output::Artifact { path, .. } => path.clone(),
    };
    let first = |(name, values): (&String, &Vec<Output>)| {
        Some((format!("${{{name}}}"), text(values.first()?)))
    };
    params.iter().filter_map(first).collect()
}

fn fill(text: &str, params: &BTreeMap<String, String>) -> String {
    if !text.contains("${") {
        return text.to_owned();
    }
    params.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(name, value)
    })
}

fn fill_json(json: &Value, params: &BTreeMap<String, String>) -> Value {
    match json {
        Value::String(text) => fill(text, params).into(),
        Value::Array(items) => items.iter().map(|item| fill_json(item, params)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), fill_json(value, params)))
            .collect(),
        other => other.clone(),
    }
}

fn blocks(answer: &Answer, request: &Request) -> Vec<Block> {
    let params = parameters(request);
    let turn = request.messages.len();
    let reasoning = answer.reasoning.as_ref().map(|text| Block::Reasoning {
        text: text.clone(),
        signature: None,
    });
    let text = answer.text.as_ref().map(|text| fill(text, &params));
    let json = answer.json.as_ref().map(Value::to_string);
    let call = |(place, call): (usize, &Call)| {
        let input = match (&call.malformed, &call.input) {
            (Some(text), _) => Arguments::Malformed(text.clone()),
            (None, Value::Null) => Arguments::Json(Value::Object(serde_json::Map::new())),
            (None, input) => Arguments::Json(fill_json(input, &params)),
        };
        let id = call
            .id
            .clone()
            .unwrap_or_else(|| format!("call_{turn}_{place}"));
        Block::ToolCall(ToolCall {
            id,
            name: call.name.clone(),
            input,
        })
    };
    let said = text
        .into_iter()
        .chain(json)
        .map(|text| Block::Text { text });
    reasoning
        .into_iter()
        .chain(said)
        .chain(answer.tool_calls.iter().enumerate().map(call))
        .collect()
}

fn tell(blocks: &[Block], pieces: &dyn DeltaSink) {
    for block in blocks {
        pieces.delta(match block {
            Block::Text { text } => Delta::Text(text.clone()),
            Block::Reasoning { text, .. } => Delta::Reasoning(text.clone()),
            Block::ToolCall(call) => Delta::ToolCall(call.name.clone()),
        });
    }
}

impl Scripted {
    /// What stands in a model's place: the file's name.
    fn shown(&self) -> String {
        format!("scripted ({})", self.file)
    }
}

#[async_trait]
impl Provider for Scripted {
    async fn complete(
        &self,
        request: &Request,
        pieces: &dyn DeltaSink,
    ) -> Result<Reply, ProviderError> {
        let Some(entry) = self.claim(request) else {
            let message = format!("no entry is left for {}", Asked::of(request).describe());
            return Err(self.error(&request.model, ProviderFault::ScriptEnded, None, &message));
        };
        let answer = &entry.reply;
        if answer.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(answer.delay_ms)).await;
        }
        if let Some(fail) = &answer.fail {
            return Err(self.error(&request.model, fail.fault, fail.status, &fail.message));
        }
        let blocks = blocks(answer, request);
        tell(&blocks, pieces);
        let calls = !answer.tool_calls.is_empty();
        let Tokens {
            input_tokens,
            cached_tokens,
            output_tokens,
            cost,
        } = answer.usage;
        Ok(Reply {
            blocks,
            stop: answer
                .stop
                .unwrap_or(if calls { Stop::ToolUse } else { Stop::EndTurn }),
            usage: Usage {
                input_tokens,
                cached_tokens,
                output_tokens,
                cost: MicroDollars(cost),
            },
            model: self.shown(),
        })
    }

    async fn probe(&self, _: &ModelRef) -> Result<(), ProviderError> {
        Ok(())
    }

    fn worst_case(&self, _: &Request) -> MicroDollars {
        self.cost_max
    }

    fn window(&self, _: &ModelRef) -> Option<u64> {
        None
    }

    fn label(&self, _: &ModelRef) -> String {
        self.shown()
    }
}
