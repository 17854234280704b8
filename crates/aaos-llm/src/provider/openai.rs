//! OpenAI's chat completions, as OpenAI and everyone compatible with it speak them.
//!
//! Servers differ in what they call things and what they leave out. What they all send is read; what only some
//! understand is sent to those. Thought is carried back where a server of this kind asks for it, and never one that
//! another provider signed.

use crate::{
    assemble::{Assembly, arguments_object},
    fault::Fault,
    names::Names,
    price::Counts,
    provider::ProviderConfig,
    service::{Dialect, Ends, Format, Progress, Reader},
};
use aaos_core::model::{Block, Message, Request, Stop};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// How a server of this kind likes to be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Habits {
    /// What it calls the limit on its output.
    limit: &'static str,
    /// How it is told which form a reply must have.
    form: Form,
    /// Whether it wants its thought back.
    reasoning: Reasoning,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// By JSON Schema.
    Schema,
    /// Only that it must be a JSON object.
    Object,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reasoning {
    /// It refuses fields it does not know.
    Kept,
    /// Servers whose models think refuse a tool turn without its thought. Source: DeepSeek, thinking mode: 400 unless
    /// `reasoning_content` comes back. Servers whose models do not think never send any, and so get none back.
    CarriedBack,
}

impl Habits {
    /// OpenAI's own service.
    pub(crate) const OPENAI: Self = Self {
        limit: "max_completion_tokens",
        form: Form::Schema,
        reasoning: Reasoning::Kept,
    };
    /// Everyone else.
    pub(crate) const COMPATIBLE: Self = Self {
        limit: "max_tokens",
        form: Form::Schema,
        reasoning: Reasoning::CarriedBack,
    };
    /// DeepSeek's own service.
    pub(crate) const DEEPSEEK: Self = Self {
        limit: "max_tokens",
        form: Form::Object,
        reasoning: Reasoning::CarriedBack,
    };
}

/// The dialect.
pub(crate) struct Chat {
    habits: Habits,
}

impl Chat {
    /// Speaks as the server is used to. At another address than its own, OpenAI's service is someone else's.
    pub(crate) fn new(habits: Habits, config: &ProviderConfig) -> Self {
        let elsewhere = config
            .base_url
            .as_deref()
            .is_some_and(|url| !url.contains("//api.openai.com/"));
        let habits = if habits == Habits::OPENAI && elsewhere {
            Habits::COMPATIBLE
        } else {
            habits
        };
        Self { habits }
    }

    fn assistant(&self, blocks: &[Block], names: &Names) -> Option<Value> {
        let (mut text, mut thought, mut calls) = (String::new(), String::new(), Vec::new());
        for block in blocks {
            match block {
                Block::Text { text: more } => text.push_str(more),
                Block::Reasoning {
                    text: more,
                    signature: None,
                } => thought.push_str(more),
                Block::Reasoning { .. } => {}
                Block::ToolCall(call) => calls.push(json!({
                    "id": call.id,
                    "type": "function",
                    "function": {
                        "name": names.wire(&call.name),
                        "arguments": arguments_object(&call.input).to_string(),
                    },
                })),
            }
        }
        if text.is_empty() && calls.is_empty() {
            return None;
        }
        let mut message = Map::new();
        message.insert("role".to_owned(), "assistant".into());
        message.insert(
            "content".to_owned(),
            if text.is_empty() {
                Value::Null
            } else {
                text.into()
            },
        );
        if !calls.is_empty() {
            message.insert("tool_calls".to_owned(), calls.into());
        }
        if self.habits.reasoning == Reasoning::CarriedBack && !thought.is_empty() {
            message.insert("reasoning_content".to_owned(), thought.into());
        }
        Some(Value::Object(message))
    }

    fn messages(&self, request: &Request, names: &Names) -> Vec<Value> {
        let mut messages = Vec::with_capacity(request.messages.len() + 1);
        if !request.system.is_empty() {
            messages.push(json!({ "role": "system", "content": request.system }));
        }
        for message in &request.messages {
            match message {
                Message::User { text } => messages.push(json!({ "role": "user", "content": text })),
                Message::Assistant { blocks } => messages.extend(self.assistant(blocks, names)),
                Message::Tools { results } => messages.extend(results.iter().map(|result| {
                    json!({ "role": "tool", "tool_call_id": result.id, "content": result.text })
                })),
            }
        }
        messages
    }

    fn form(&self, schema: &Value) -> Value {
        match self.habits.form {
            Form::Schema => json!({
                "type": "json_schema",
                "json_schema": { "name": "reply", "schema": schema, "strict": false },
            }),
            Form::Object => json!({ "type": "json_object" }),
        }
    }
}

impl Dialect for Chat {
    const COMPLETE: &'static str = "chat/completions";
    const MODELS: &'static str = "models";
    const ENDS: Ends = Ends::SaidOrStopped;

    fn key_header(&self, key: &str) -> Option<(HeaderName, String)> {
        (!key.is_empty()).then(|| (AUTHORIZATION, format!("Bearer {key}")))
    }

    fn headers(&self) -> HeaderMap {
        HeaderMap::new()
    }

    fn body(&self, request: &Request, names: &Names, format: Format) -> Value {
        let mut body = Map::new();
        body.insert("model".to_owned(), request.model.model.clone().into());
        body.insert("stream".to_owned(), true.into());
        body.insert(
            "stream_options".to_owned(),
            json!({ "include_usage": true }),
        );
        body.insert(
            self.habits.limit.to_owned(),
            request.output_tokens_max.into(),
        );
        body.insert("messages".to_owned(), self.messages(request, names).into());
        if !request.tools.is_empty() {
            let tools = request.tools.iter().map(|tool| {
                json!({
                    "type": "function",
                    "function": {
                        "name": names.wire(tool.name.as_str()),
                        "description": tool.summary,
                        "parameters": tool.input_schema,
                    },
                })
            });
            body.insert("tools".to_owned(), tools.collect());
        }
        if let (Some(schema), Format::Asked) = (&request.reply_schema, format) {
            body.insert("response_format".to_owned(), self.form(schema));
        }
        Value::Object(body)
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(ChatReader::default())
    }
}

/// One event of a stream. What is not named here is not read.
#[derive(Deserialize)]
struct Chunk {
    error: Option<Value>,
    model: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<RawUsage>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Option<RawDelta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct RawDelta {
    content: Option<String>,
    /// DeepSeek's word, and most others'.
    reasoning_content: Option<String>,
    /// Ollama's and OpenRouter's word.
    reasoning: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<Vec<CallPiece>>,
}

#[derive(Deserialize)]
struct CallPiece {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionPiece>,
}

#[derive(Deserialize)]
struct FunctionPiece {
    name: Option<String>,
    /// Text that is JSON in pieces; some servers send the document itself.
    arguments: Option<Value>,
}

#[derive(Deserialize)]
struct RawUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    /// DeepSeek's word.
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

impl RawUsage {
    /// None where a server counts only as a matter of form.
    fn counts(self) -> Option<Counts> {
        let details = self.prompt_tokens_details;
        let cached = details.as_ref().and_then(|details| details.cached_tokens);
        let counts = Counts {
            input: self.prompt_tokens.unwrap_or(0),
            cached: cached.or(self.prompt_cache_hit_tokens).unwrap_or(0),
            written: details
                .and_then(|details| details.cache_write_tokens)
                .unwrap_or(0),
            output: self.completion_tokens.unwrap_or(0),
        };
        (counts.input > 0 || counts.output > 0).then_some(counts)
    }
}

/// Follows one reply.
#[derive(Default)]
struct ChatReader {
    /// The places of the calls, by the server's numbers: at most as many as there are calls.
    calls: Vec<(u64, usize)>,
    refused: bool,
}

impl ChatReader {
    fn delta(&mut self, delta: RawDelta, into: &mut Assembly<'_>) -> Result<(), Fault> {
        let thought = delta
            .reasoning_content
            .or(delta.reasoning)
            .unwrap_or_default();
        into.reasoning(&thought).map_err(Fault::bad_reply)?;
        into.text(&delta.content.unwrap_or_default())
            .map_err(Fault::bad_reply)?;
        if let Some(refusal) = delta.refusal.filter(|refusal| !refusal.is_empty()) {
            self.refused = true;
            into.text(&refusal).map_err(Fault::bad_reply)?;
        }
        delta
            .tool_calls
            .unwrap_or_default()
            .into_iter()
            .try_for_each(|piece| self.call(piece, into))
    }

    fn call(&mut self, piece: CallPiece, into: &mut Assembly<'_>) -> Result<(), Fault> {
        let id = piece.id.unwrap_or_default();
        let function = piece.function.unwrap_or(FunctionPiece {
            name: None,
            arguments: None,
        });
        let name = function.name.unwrap_or_default();
        // Without a number, a piece that names itself begins a call and one that does not continues the last.
        let known = match piece.index {
            Some(index) => self.calls.iter().find(|(number, _)| *number == index),
            None if id.is_empty() && name.is_empty() => self.calls.last(),
            None => None,
        };
        let place = if let Some((_, place)) = known {
            let place = *place;
            into.name_call(place, &name).map_err(Fault::bad_reply)?;
            place
        } else {
            let place = into.begin_call(&id, &name).map_err(Fault::bad_reply)?;
            self.calls.push((piece.index.unwrap_or(u64::MAX), place));
            place
        };
        let more = match function.arguments {
            Some(Value::String(text)) => text,
            None | Some(Value::Null) => String::new(),
            Some(document) => document.to_string(),
        };
        into.arguments(place, &more).map_err(Fault::bad_reply)
    }

    fn finish(&self, reason: &str, into: &mut Assembly<'_>) -> Result<(), Fault> {
        let stop = match reason {
            _ if self.refused => Stop::Refusal,
            "stop" | "end_turn" | "eos" | "stop_sequence" => Stop::EndTurn,
            "tool_calls" | "function_call" | "tool_use" => Stop::ToolUse,
            "length" | "max_tokens" | "model_length" => Stop::OutputLimit,
            "content_filter" | "refusal" | "safety" => Stop::Refusal,
            other => {
                let other = crate::fault::short(other);
                return Err(Fault::bad_reply(crate::assemble::Flaw::UnknownStop(other)));
            }
        };
        if matches!(stop, Stop::EndTurn | Stop::ToolUse) {
            into.end_calls();
        }
        into.stop = Some(stop);
        Ok(())
    }
}

impl Reader for ChatReader {
    fn read(&mut self, data: &str, into: &mut Assembly<'_>) -> Result<Progress, Fault> {
        if data.trim() == "[DONE]" {
            return Ok(Progress::Done);
        }
        let chunk: Chunk = serde_json::from_str(data).map_err(|error| {
            Fault::bad_reply(format!(
                "an event of the reply is not what was expected: {error}"
            ))
        })?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(Fault::in_stream(&error));
        }
        into.named(&chunk.model.unwrap_or_default());
        if let Some(choice) = chunk.choices.and_then(|choices| choices.into_iter().next()) {
            if let Some(delta) = choice.delta {
                self.delta(delta, into)?;
            }
            if let Some(reason) = choice.finish_reason {
                self.finish(&reason, into)?;
            }
        }
        if let Some(counts) = chunk.usage.and_then(RawUsage::counts) {
            into.counts = Some(counts);
        }
        Ok(Progress::More)
    }
}
