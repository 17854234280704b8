//! Anthropic's messages.
//!
//! The stable prefix (tools, then system) is marked for the provider's cache, and so is the end of a conversation
//! that has begun to grow. Signed thought goes back exactly as it came; unsigned thought, which this provider
//! refuses, does not.

use crate::{
    assemble::{Assembly, Flaw, SEALED, arguments_object},
    fault::Fault,
    names::Names,
    price::Counts,
    service::{Dialect, Ends, Format, Progress, Reader},
};
use aaos_core::model::{Block, Message, Request, Stop};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The version of the protocol. Source: Anthropic's API reference, `anthropic-version`.
const VERSION: &str = "2023-06-01";

/// The dialect.
pub(crate) struct Messages;

impl Dialect for Messages {
    const COMPLETE: &'static str = "v1/messages";
    const MODELS: &'static str = "v1/models";
    const ENDS: Ends = Ends::Said;

    fn key_header(&self, key: &str) -> Option<(HeaderName, String)> {
        Some((HeaderName::from_static("x-api-key"), key.to_owned()))
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("anthropic-version", HeaderValue::from_static(VERSION));
        headers
    }

    fn body(&self, request: &Request, names: &Names, format: Format) -> Value {
        let mut body = Map::new();
        body.insert("model".to_owned(), request.model.model.clone().into());
        body.insert("stream".to_owned(), true.into());
        body.insert("max_tokens".to_owned(), request.output_tokens_max.into());
        if !request.tools.is_empty() {
            body.insert("tools".to_owned(), tools(request, names));
        }
        if !request.system.is_empty() {
            let system = marked(json!({ "type": "text", "text": request.system }));
            body.insert("system".to_owned(), json!([system]));
        }
        body.insert("messages".to_owned(), messages(request, names).into());
        if let (Some(schema), Format::Asked) = (&request.reply_schema, format)
            && is_closed(schema)
        {
            let form = json!({ "format": { "type": "json_schema", "schema": schema } });
            body.insert("output_config".to_owned(), form);
        }
        Value::Object(body)
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(MessageReader::default())
    }
}

/// Marks the end of a prefix that later requests will begin with.
fn marked(mut block: Value) -> Value {
    if let Some(block) = block.as_object_mut() {
        block.insert("cache_control".to_owned(), json!({ "type": "ephemeral" }));
    }
    block
}

fn tools(request: &Request, names: &Names) -> Value {
    let last = request.tools.len().saturating_sub(1);
    let tools = request.tools.iter().enumerate().map(|(place, tool)| {
        let tool = json!({
            "name": names.wire(tool.name.as_str()),
            "description": tool.summary,
            "input_schema": tool.input_schema,
        });
        if place == last { marked(tool) } else { tool }
    });
    tools.collect()
}

/// Whether every object a schema describes lists all it may hold: this provider refuses others.
fn is_closed(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => {
            let closed = fields.get("properties").is_none()
                || fields.get("additionalProperties") == Some(&Value::Bool(false));
            let open = fields.get("type") == Some(&Value::String("object".to_owned()))
                && fields.get("properties").is_none();
            closed && !open && fields.values().all(is_closed)
        }
        Value::Array(items) => items.iter().all(is_closed),
        _ => true,
    }
}

/// The conversation, with neighbours of the same side joined: this provider wants the sides to take turns.
fn messages(request: &Request, names: &Names) -> Vec<Value> {
    let mut turns: Vec<(&'static str, Vec<Value>)> = Vec::new();
    for message in &request.messages {
        let (side, blocks) = match message {
            Message::User { text } => ("user", text_block(text).into_iter().collect()),
            Message::Assistant { blocks } => ("assistant", assistant(blocks, names)),
            Message::Tools { results } => ("user", results.iter().map(result).collect::<Vec<_>>()),
        };
        match turns.last_mut() {
            _ if blocks.is_empty() => {}
            Some((last, so_far)) if *last == side => so_far.extend(blocks),
            _ => turns.push((side, blocks)),
        }
    }
    if turns.len() > 1
        && let Some((_, blocks)) = turns.last_mut()
        && let Some(last) = blocks.pop()
    {
        blocks.push(marked(last));
    }
    turns
        .into_iter()
        .map(|(side, blocks)| json!({ "role": side, "content": blocks }))
        .collect()
}

/// Text, unless it is blank: this provider refuses blank text.
fn text_block(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({ "type": "text", "text": text }))
}

fn assistant(blocks: &[Block], names: &Names) -> Vec<Value> {
    let block = |block: &Block| match block {
        Block::Text { text } => text_block(text),
        Block::Reasoning {
            signature: None, ..
        } => None,
        Block::Reasoning {
            text,
            signature: Some(signature),
        } => Some(match signature.strip_prefix(SEALED) {
            Some(data) => json!({ "type": "redacted_thinking", "data": data }),
            None => json!({ "type": "thinking", "thinking": text, "signature": signature }),
        }),
        Block::ToolCall(call) => Some(json!({
            "type": "tool_use",
            "id": call.id,
            "name": names.wire(&call.name),
            "input": arguments_object(&call.input),
        })),
    };
    blocks.iter().filter_map(block).collect()
}

fn result(result: &aaos_core::model::ToolResult) -> Value {
    json!({
        "type": "tool_result",
        "tool_use_id": result.id,
        "content": result.text,
        "is_error": result.is_error,
    })
}

/// One event of a stream. Kinds that are not named here are passed over, as the protocol asks.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Start,
    },
    ContentBlockStart {
        index: u64,
        content_block: Begun,
    },
    ContentBlockDelta {
        index: u64,
        delta: More,
    },
    ContentBlockStop {
        index: u64,
    },
    MessageDelta {
        delta: End,
        usage: Option<RawUsage>,
    },
    MessageStop,
    Error {
        error: Value,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Start {
    model: Option<String>,
    usage: Option<RawUsage>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Begun {
    Text {
        text: Option<String>,
    },
    Thinking {
        thinking: Option<String>,
        signature: Option<String>,
    },
    RedactedThinking {
        data: String,
    },
    ToolUse {
        id: String,
        name: String,
        input: Option<Value>,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum More {
    TextDelta {
        text: String,
    },
    InputJsonDelta {
        partial_json: String,
    },
    ThinkingDelta {
        thinking: String,
    },
    SignatureDelta {
        signature: String,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct End {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the wire's own words")]
struct RawUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
}

/// The call that is arriving.
struct OpenCall {
    index: u64,
    place: usize,
    /// Arguments that came whole with its beginning; what streams in later goes before them.
    given: Option<Value>,
    streamed: bool,
}

/// Follows one reply. Parts arrive one after another; a piece of another part than the open one is refused.
#[derive(Default)]
struct MessageReader {
    open: Option<OpenCall>,
    fresh: u64,
    usage: Totals,
}

/// The latest of each count: later events repeat or correct earlier ones.
#[derive(Default)]
struct Totals {
    plain: u64,
    cached: u64,
    written: u64,
    output: u64,
}

impl Totals {
    fn take(&mut self, usage: &RawUsage) -> Option<Counts> {
        self.plain = usage.input_tokens.unwrap_or(self.plain);
        self.cached = usage.cache_read_input_tokens.unwrap_or(self.cached);
        self.written = usage.cache_creation_input_tokens.unwrap_or(self.written);
        self.output = usage.output_tokens.unwrap_or(self.output);
        let input = self
            .plain
            .saturating_add(self.cached)
            .saturating_add(self.written);
        let counts = Counts {
            input,
            cached: self.cached,
            written: self.written,
            output: self.output,
        };
        (input > 0 || self.output > 0).then_some(counts)
    }
}

impl MessageReader {
    fn count(&mut self, usage: Option<&RawUsage>, into: &mut Assembly<'_>) {
        if let Some(counts) = usage.and_then(|usage| self.usage.take(usage)) {
            into.counts = Some(counts);
        }
    }

    fn begin(&mut self, index: u64, block: Begun, into: &mut Assembly<'_>) -> Result<(), Flaw> {
        if self.open.is_some() {
            return Err(Flaw::Stray);
        }
        self.fresh = index;
        match block {
            Begun::Text { text } => into.text(&text.unwrap_or_default()),
            Begun::Thinking {
                thinking,
                signature,
            } => {
                into.begin_reasoning()?;
                into.reasoning(&thinking.unwrap_or_default())?;
                into.signature(&signature.unwrap_or_default())
            }
            Begun::RedactedThinking { data } => into.sealed(&data),
            Begun::ToolUse { id, name, input } => {
                let given = input
                    .filter(|input| input.as_object().is_some_and(|fields| !fields.is_empty()));
                let place = into.begin_call(&id, &name)?;
                self.open = Some(OpenCall {
                    index,
                    place,
                    given,
                    streamed: false,
                });
                Ok(())
            }
            Begun::Unknown => Ok(()),
        }
    }

    fn more(&mut self, index: u64, more: More, into: &mut Assembly<'_>) -> Result<(), Flaw> {
        if index != self.fresh {
            return Err(Flaw::Stray);
        }
        match more {
            More::TextDelta { text } => into.text(&text),
            More::ThinkingDelta { thinking } => into.reasoning(&thinking),
            More::SignatureDelta { signature } => into.signature(&signature),
            More::InputJsonDelta { partial_json } => match &mut self.open {
                Some(call) if call.index == index => {
                    call.streamed = call.streamed || !partial_json.is_empty();
                    into.arguments(call.place, &partial_json)
                }
                _ => Err(Flaw::Stray),
            },
            More::Unknown => Ok(()),
        }
    }

    fn end(&mut self, index: u64, into: &mut Assembly<'_>) -> Result<(), Flaw> {
        let Some(call) = self.open.take_if(|call| call.index == index) else {
            return Ok(());
        };
        if let (Some(given), false) = (&call.given, call.streamed) {
            into.arguments(call.place, &given.to_string())?;
        }
        into.end_call(call.place);
        Ok(())
    }
}

fn stop(reason: &str) -> Result<Stop, Flaw> {
    Ok(match reason {
        "end_turn" | "stop_sequence" | "pause_turn" => Stop::EndTurn,
        "tool_use" => Stop::ToolUse,
        "max_tokens" | "model_context_window_exceeded" => Stop::OutputLimit,
        "refusal" => Stop::Refusal,
        other => return Err(Flaw::UnknownStop(crate::fault::short(other))),
    })
}

impl Reader for MessageReader {
    fn read(&mut self, data: &str, into: &mut Assembly<'_>) -> Result<Progress, Fault> {
        let event: Event = serde_json::from_str(data).map_err(|error| {
            Fault::bad_reply(format!(
                "an event of the reply is not what was expected: {error}"
            ))
        })?;
        let done = match event {
            Event::MessageStart { message } => {
                into.named(&message.model.unwrap_or_default());
                self.count(message.usage.as_ref(), into);
                Ok(())
            }
            Event::ContentBlockStart {
                index,
                content_block,
            } => self.begin(index, content_block, into),
            Event::ContentBlockDelta { index, delta } => self.more(index, delta, into),
            Event::ContentBlockStop { index } => self.end(index, into),
            Event::MessageDelta { delta, usage } => {
                self.count(usage.as_ref(), into);
                match delta.stop_reason.as_deref().map(stop).transpose() {
                    Ok(reason) => {
                        into.stop = reason.or(into.stop);
                        Ok(())
                    }
                    Err(flaw) => Err(flaw),
                }
            }
            Event::MessageStop => return Ok(Progress::Done),
            Event::Error { error } => return Err(Fault::in_stream(&error)),
            Event::Unknown => Ok(()),
        };
        done.map(|()| Progress::More).map_err(Fault::bad_reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_schema_that_lists_everything_is_sent() {
        let closed = json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false});
        assert!(is_closed(&closed));
        let open = json!({"type": "object", "properties": {"a": {"type": "object"}}, "additionalProperties": false});
        assert!(!is_closed(&open));
        assert!(!is_closed(&json!({"type": "object", "properties": {}})));
    }
}
