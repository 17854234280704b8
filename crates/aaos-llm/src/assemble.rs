//! A reply in the making: parts as they stream in, bounded, and checked for wholeness at the end.
//!
//! Both dialects build their replies here, so that what a reply may be is decided once. It refuses more parts,
//! calls or bytes than `limits` allow, a call that never got its name or its end, and a reply that never ended.

use crate::{
    limits::{NAME_BYTES_MAX, PARTS_MAX, REPLY_BYTES_MAX, TOOL_CALLS_MAX},
    names::Names,
    price::Counts,
};
use aaos_core::{
    model::{Arguments, Block, Stop, ToolCall},
    text::head,
};
use aaos_ports::provider::{Delta, DeltaSink};
use serde_json::Value;
use std::collections::BTreeSet;

/// Marks, in a block's signature, thought that the provider sent sealed. A real signature is base64, which has
/// neither character at its end.
pub(crate) const SEALED: &str = "sealed_thought:";

/// Why a reply is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    /// Too much of something.
    #[error("the reply holds more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// A tool call stopped in its middle.
    #[error("the reply ended in the middle of a call of the tool `{0}`")]
    HalfACall(String),
    /// A tool call without a name.
    #[error("the reply calls a tool without naming it")]
    Nameless,
    /// A piece for a part that was never begun.
    #[error("the reply continues a part it never began")]
    Stray,
    /// The stream ended, the reply had not.
    #[error("the reply ended before it was finished")]
    Unfinished,
    /// It stopped for a reason this program does not know.
    #[error("the reply stopped for an unknown reason: {0}")]
    UnknownStop(String),
}

#[derive(Debug)]
enum Part {
    Text(String),
    Reasoning {
        text: String,
        signature: String,
    },
    Sealed(String),
    Call {
        id: String,
        name: String,
        arguments: String,
        whole: bool,
    },
}

/// What a finished reply consists of, before it is priced.
#[derive(Debug)]
pub(crate) struct Assembled {
    /// The parts.
    pub(crate) blocks: Vec<Block>,
    /// Why it stopped.
    pub(crate) stop: Stop,
    /// What the provider counted; none if it did not say.
    pub(crate) counts: Option<Counts>,
    /// The model, as the provider named it.
    pub(crate) model: Option<String>,
    /// Bytes of its parts.
    pub(crate) bytes: usize,
}

/// A reply in the making.
pub(crate) struct Assembly<'a> {
    pieces: &'a dyn DeltaSink,
    parts: Vec<Part>,
    bytes: usize,
    calls: usize,
    /// What the provider counted so far.
    pub(crate) counts: Option<Counts>,
    /// Why it stopped, once it has.
    pub(crate) stop: Option<Stop>,
    model: Option<String>,
}

impl<'a> Assembly<'a> {
    /// Nothing yet. Pieces are passed on as they come.
    pub(crate) fn new(pieces: &'a dyn DeltaSink) -> Self {
        Self {
            pieces,
            parts: Vec::new(),
            bytes: 0,
            calls: 0,
            counts: None,
            stop: None,
            model: None,
        }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Flaw> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > REPLY_BYTES_MAX {
            return Err(Flaw::TooMany {
                what: "bytes",
                max: REPLY_BYTES_MAX,
            });
        }
        Ok(())
    }

    fn begin(&mut self, part: Part) -> Result<usize, Flaw> {
        if self.parts.len() >= PARTS_MAX {
            return Err(Flaw::TooMany {
                what: "parts",
                max: PARTS_MAX,
            });
        }
        self.parts.push(part);
        Ok(self.parts.len() - 1)
    }

    /// The provider's name for the model.
    pub(crate) fn named(&mut self, model: &str) {
        if !model.is_empty() {
            self.model = Some(head(model, NAME_BYTES_MAX).to_owned());
        }
    }

    /// More words: at the end of the last part if that is text.
    pub(crate) fn text(&mut self, more: &str) -> Result<(), Flaw> {
        if more.is_empty() {
            return Ok(());
        }
        self.grow(more.len())?;
        match self.parts.last_mut() {
            Some(Part::Text(text)) => text.push_str(more),
            _ => {
                self.begin(Part::Text(more.to_owned()))?;
            }
        }
        self.pieces.delta(Delta::Text(more.to_owned()));
        Ok(())
    }

    /// Begins a new thought, even after another.
    pub(crate) fn begin_reasoning(&mut self) -> Result<(), Flaw> {
        self.begin(Part::Reasoning {
            text: String::new(),
            signature: String::new(),
        })
        .map(|_| ())
    }

    /// More thought: at the end of the last part if that is thought.
    pub(crate) fn reasoning(&mut self, more: &str) -> Result<(), Flaw> {
        if more.is_empty() {
            return Ok(());
        }
        self.grow(more.len())?;
        if !matches!(self.parts.last(), Some(Part::Reasoning { .. })) {
            self.begin_reasoning()?;
        }
        if let Some(Part::Reasoning { text, .. }) = self.parts.last_mut() {
            text.push_str(more);
        }
        self.pieces.delta(Delta::Reasoning(more.to_owned()));
        Ok(())
    }

    /// More of the signature over the last thought.
    pub(crate) fn signature(&mut self, more: &str) -> Result<(), Flaw> {
        self.grow(more.len())?;
        match self.parts.last_mut() {
            Some(Part::Reasoning { signature, .. }) => signature.push_str(more),
            _ => return Err(Flaw::Stray),
        }
        Ok(())
    }

    /// Thought that only the provider can read.
    pub(crate) fn sealed(&mut self, data: &str) -> Result<(), Flaw> {
        self.grow(data.len())?;
        self.begin(Part::Sealed(data.to_owned())).map(|_| ())
    }

    /// Begins a tool call and answers with its place.
    pub(crate) fn begin_call(&mut self, id: &str, name: &str) -> Result<usize, Flaw> {
        self.calls += 1;
        if self.calls > TOOL_CALLS_MAX {
            return Err(Flaw::TooMany {
                what: "tool calls",
                max: TOOL_CALLS_MAX,
            });
        }
        self.grow(id.len() + name.len())?;
        let id = head(id, NAME_BYTES_MAX).to_owned();
        let place = self.begin(Part::Call {
            id,
            name: String::new(),
            arguments: String::new(),
            whole: false,
        })?;
        self.name_call(place, name)?;
        Ok(place)
    }

    /// Names a call whose name came after its beginning; a second name is ignored.
    pub(crate) fn name_call(&mut self, place: usize, more: &str) -> Result<(), Flaw> {
        let Some(Part::Call { name, .. }) = self.parts.get_mut(place) else {
            return Err(Flaw::Stray);
        };
        if name.is_empty() && !more.is_empty() {
            head(more, NAME_BYTES_MAX).clone_into(name);
            self.pieces.delta(Delta::ToolCall(name.clone()));
        }
        Ok(())
    }

    /// More of a call's arguments.
    pub(crate) fn arguments(&mut self, place: usize, more: &str) -> Result<(), Flaw> {
        self.grow(more.len())?;
        match self.parts.get_mut(place) {
            Some(Part::Call {
                arguments,
                whole: false,
                ..
            }) => arguments.push_str(more),
            _ => return Err(Flaw::Stray),
        }
        Ok(())
    }

    /// The call at this place has all its arguments.
    pub(crate) fn end_call(&mut self, place: usize) {
        if let Some(Part::Call { whole, .. }) = self.parts.get_mut(place) {
            *whole = true;
        }
    }

    /// Every call begun so far has all its arguments.
    pub(crate) fn end_calls(&mut self) {
        (0..self.parts.len()).for_each(|place| self.end_call(place));
    }

    /// The reply, if it is whole. A call cut short by the output limit is kept as it came: it is never run.
    pub(crate) fn finish(self, names: &Names) -> Result<Assembled, Flaw> {
        if let Some(name) = self.half_a_call() {
            return Err(Flaw::HalfACall(name));
        }
        let stop = self.stop.ok_or(Flaw::Unfinished)?;
        let mut ids = BTreeSet::new();
        let mut blocks = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            blocks.extend(block(part, names, &mut ids)?);
        }
        let calls = blocks
            .iter()
            .any(|block| matches!(block, Block::ToolCall(_)));
        let stop = match (stop, calls) {
            (Stop::EndTurn, true) => Stop::ToolUse,
            (Stop::ToolUse, false) => Stop::EndTurn,
            (stop, _) => stop,
        };
        Ok(Assembled {
            blocks,
            stop,
            counts: self.counts,
            model: self.model,
            bytes: self.bytes,
        })
    }

    fn half_a_call(&self) -> Option<String> {
        let may_be_cut = self.stop == Some(Stop::OutputLimit) || self.stop == Some(Stop::Refusal);
        self.parts.iter().find_map(|part| match part {
            Part::Call {
                name, whole: false, ..
            } if !may_be_cut => Some(name.clone()),
            _ => None,
        })
    }
}

fn block(part: Part, names: &Names, ids: &mut BTreeSet<String>) -> Result<Option<Block>, Flaw> {
    Ok(Some(match part {
        Part::Text(text) => Block::Text { text },
        Part::Reasoning { text, signature } if text.is_empty() && signature.is_empty() => {
            return Ok(None);
        }
        Part::Reasoning { text, signature } => Block::Reasoning {
            text,
            signature: (!signature.is_empty()).then_some(signature),
        },
        Part::Sealed(data) => Block::Reasoning {
            text: String::new(),
            signature: Some(format!("{SEALED}{data}")),
        },
        Part::Call { name, .. } if name.is_empty() => return Err(Flaw::Nameless),
        Part::Call {
            id,
            name,
            arguments,
            ..
        } => Block::ToolCall(ToolCall {
            id: unique(id, ids),
            name: names.own(&name),
            input: parse(arguments),
        }),
    }))
}

/// Each call's own identity: what the provider gave, or a made-up one where that is missing or given twice.
fn unique(id: String, ids: &mut BTreeSet<String>) -> String {
    let mut own = id;
    let mut number = ids.len();
    while own.is_empty() || ids.contains(&own) {
        own = format!("call_{number}");
        number += 1;
    }
    ids.insert(own.clone());
    own
}

/// Arguments as JSON, or as the text they are. No text at all means a call without arguments.
fn parse(text: String) -> Arguments {
    if text.trim().is_empty() {
        return Arguments::Json(Value::Object(serde_json::Map::new()));
    }
    match serde_json::from_str(&text) {
        Ok(json) => Arguments::Json(json),
        Err(_) => Arguments::Malformed(text),
    }
}

/// What a tool call's arguments look like when they are sent back: always a JSON object, since both dialects
/// refuse a history with anything else.
pub(crate) fn arguments_object(input: &Arguments) -> Value {
    match input {
        Arguments::Json(json @ Value::Object(_)) => json.clone(),
        Arguments::Json(json) => serde_json::json!({ "value": json }),
        Arguments::Malformed(text) => serde_json::json!({ "malformed_arguments": text }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    struct Deaf;
    #[async_trait::async_trait]
    impl DeltaSink for Deaf {
        fn delta(&self, _: Delta) {}

        async fn again(&self, _: aaos_ports::Retry) {}
    }

    fn call(arguments: &[&str]) -> Result<Assembled, Flaw> {
        let mut assembly = Assembly::new(&Deaf);
        let place = assembly.begin_call("1", "grep")?;
        arguments
            .iter()
            .try_for_each(|piece| assembly.arguments(place, piece))?;
        assembly.end_call(place);
        assembly.stop = Some(Stop::ToolUse);
        assembly.finish(&Names::default())
    }

    fn input(arguments: &[&str]) -> Arguments {
        match call(arguments).unwrap().blocks.remove(0) {
            Block::ToolCall(call) => call.input,
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn arguments_that_are_no_json_are_kept_as_they_came() {
        assert_eq!(
            input(&["{\"a\"", ":1}"]),
            Arguments::Json(serde_json::json!({"a": 1}))
        );
        assert_eq!(input(&["{\"a\""]), Arguments::Malformed("{\"a\"".into()));
        assert_eq!(
            input(&["plain words"]),
            Arguments::Malformed("plain words".into())
        );
        assert_eq!(input(&[]), Arguments::Json(serde_json::json!({})));
    }

    #[test]
    fn half_a_call_is_no_reply_unless_the_output_limit_cut_it() {
        let half = |stop| {
            let mut assembly = Assembly::new(&Deaf);
            let place = assembly.begin_call("1", "grep").unwrap();
            assembly.arguments(place, "{\"pat").unwrap();
            assembly.stop = stop;
            assembly.finish(&Names::default())
        };
        assert_eq!(
            half(Some(Stop::ToolUse)).unwrap_err(),
            Flaw::HalfACall("grep".into())
        );
        assert_eq!(half(None).unwrap_err(), Flaw::HalfACall("grep".into()));
        let cut = half(Some(Stop::OutputLimit)).unwrap();
        assert_eq!(cut.stop, Stop::OutputLimit);
    }

    #[test]
    fn two_calls_with_one_identity_get_two() {
        let mut assembly = Assembly::new(&Deaf);
        for id in ["a", "a", "", ""] {
            assembly.begin_call(id, "echo").unwrap();
        }
        assembly.end_calls();
        assembly.stop = Some(Stop::ToolUse);
        let whole = assembly.finish(&Names::default()).unwrap();
        let ids: BTreeSet<String> = whole
            .blocks
            .iter()
            .filter_map(|block| {
                if let Block::ToolCall(call) = block {
                    Some(call.id.clone())
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(ids.len(), 4);
    }

    #[test]
    fn a_reply_that_never_stops_growing_is_refused() {
        let mut assembly = Assembly::new(&Deaf);
        let words = "x".repeat(64 << 10);
        let refused = (0..1000).find_map(|_| assembly.text(&words).err());
        assert_eq!(
            refused,
            Some(Flaw::TooMany {
                what: "bytes",
                max: REPLY_BYTES_MAX
            })
        );
        let mut assembly = Assembly::new(&Deaf);
        let refused = (0..1000).find_map(|_| assembly.begin_call("", "echo").err());
        assert_eq!(
            refused,
            Some(Flaw::TooMany {
                what: "tool calls",
                max: TOOL_CALLS_MAX
            })
        );
        let mut assembly = Assembly::new(&Deaf);
        let refused = (0..10_000).find_map(|_| assembly.sealed("").err());
        assert_eq!(
            refused,
            Some(Flaw::TooMany {
                what: "parts",
                max: PARTS_MAX
            })
        );
    }

    #[test]
    fn a_reply_without_an_end_is_none() {
        let mut assembly = Assembly::new(&Deaf);
        assembly.text("so far so").unwrap();
        assert_eq!(
            assembly.finish(&Names::default()).unwrap_err(),
            Flaw::Unfinished
        );
    }

    #[test]
    fn calls_make_it_a_wish_for_tools_whatever_the_stop_says() {
        let mut assembly = Assembly::new(&Deaf);
        assembly.begin_call("1", "echo").unwrap();
        assembly.end_calls();
        assembly.stop = Some(Stop::EndTurn);
        assert_eq!(
            assembly.finish(&Names::default()).unwrap().stop,
            Stop::ToolUse
        );
    }
}
