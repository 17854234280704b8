//! What an agent's tools have given so far, read from its conversation.
//!
//! Results are JSON documents, perhaps followed by a remark of the runtime, perhaps cut short. A document that was cut
//! is as if it had not come: the same is asked for again in smaller parts.

use super::Next;
use aaos_core::model::{Arguments, Block, Message};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Files read by one call, as the tool allows.
const PATHS_PER_CALL: usize = 16;
/// Bytes of files read by one call: what is shown of a result is bounded, and JSON makes text longer.
const BYTES_PER_CALL: u64 = 128 * 1024;
/// Lines of a part, and of the parts that are asked for when such a part is cut: fewer each time.
const PART_LINES: [u64; 3] = [1_000, 100, 5];
/// Most parts of one file.
const PARTS_MAX: usize = 500;

/// One call and its outcome.
pub(super) struct Call<'a> {
    pub(super) name: &'a str,
    pub(super) input: &'a Value,
    /// The document, or why there is none.
    pub(super) outcome: Result<Value, Lost<'a>>,
}

/// Why a call gave no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost<'a> {
    /// The tool said so.
    Failed(&'a str),
    /// The document was cut.
    Cut,
}

/// All calls, in order.
pub(super) struct Seen<'a> {
    calls: Vec<Call<'a>>,
}

/// A file to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Its path, for the tool.
    pub(super) path: String,
    /// Its size, if it is known.
    pub(super) bytes: u64,
}

/// Where the reading of some files stands.
pub(super) enum Texts {
    /// Each was read, or cannot be: its text or the reason, in the order asked.
    Ready(Vec<Result<String, String>>),
    /// These calls come next.
    Ask(Next),
}

/// Where the reading of one file stands.
enum One {
    Ready(Result<String, String>),
    First,
    Part { offset: u64, lines: u64 },
}

impl<'a> Seen<'a> {
    /// Reads a conversation.
    pub(super) fn of(messages: &'a [Message]) -> Self {
        let mut asked: BTreeMap<&str, (&str, &Value)> = BTreeMap::new();
        let mut calls = Vec::new();
        for message in messages {
            match message {
                Message::Assistant { blocks } => {
                    for block in blocks {
                        if let Block::ToolCall(call) = block
                            && let Arguments::Json(input) = &call.input
                        {
                            asked.insert(&call.id, (&call.name, input));
                        }
                    }
                }
                Message::Tools { results } => {
                    for result in results {
                        let Some((name, input)) = asked.get(result.id.as_str()).copied() else {
                            continue;
                        };
                        let outcome = if result.is_error {
                            Err(Lost::Failed(&result.text))
                        } else {
                            document(&result.text)
                        };
                        calls.push(Call {
                            name,
                            input,
                            outcome,
                        });
                    }
                }
                Message::User { .. } => {}
            }
        }
        Self { calls }
    }

    /// The last call of a tool with such arguments.
    pub(super) fn last(&self, name: &str, fits: impl Fn(&Value) -> bool) -> Option<&Call<'a>> {
        self.calls
            .iter()
            .rev()
            .find(|call| call.name == name && fits(call.input))
    }

    /// The document of the last call of a tool with such arguments; none if it was not called.
    ///
    /// # Errors
    /// The call failed, or its document was cut.
    pub(super) fn document(
        &self,
        name: &str,
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Option<&Value>, String> {
        match self.last(name, fits).map(|call| &call.outcome) {
            None => Ok(None),
            Some(Ok(document)) => Ok(Some(document)),
            Some(Err(Lost::Failed(reason))) => Err(reason.trim().to_owned()),
            Some(Err(Lost::Cut)) => Err(format!("{name} gave more than can be read at once")),
        }
    }

    /// The texts of files, or the calls that read them.
    pub(super) fn texts(&self, wanted: &[Wanted]) -> Texts {
        let stands: Vec<One> = wanted.iter().map(|file| self.one(&file.path)).collect();
        let mut calls = Vec::new();
        let mut fresh: Vec<&Wanted> = Vec::new();
        for (file, stand) in wanted.iter().zip(&stands) {
            match stand {
                One::Ready(_) => {}
                One::First => fresh.push(file),
                One::Part { offset, lines } => {
                    calls.push((
                        "file_read",
                        json!({ "path": file.path, "offset": offset, "limit": lines }),
                    ));
                }
            }
        }
        calls.extend(
            batches(&fresh)
                .into_iter()
                .map(|paths| ("file_read_many", json!({ "paths": paths }))),
        );
        if !calls.is_empty() {
            return Texts::Ask(Next::Call(calls));
        }
        let ready = stands.into_iter().filter_map(|stand| match stand {
            One::Ready(text) => Some(text),
            _ => None,
        });
        Texts::Ready(ready.collect())
    }

    fn one(&self, path: &str) -> One {
        let Some((call, place)) = self
            .calls
            .iter()
            .rev()
            .find_map(|call| place_of(call, path).map(|place| (call, place)))
        else {
            return One::First;
        };
        match &call.outcome {
            Err(Lost::Failed(reason)) => One::Ready(Err(reason.trim().to_owned())),
            Err(Lost::Cut) => self.parts(path),
            Ok(document) => {
                let file = document.get("files").and_then(|files| files.get(place));
                let content = file
                    .and_then(|file| file.get("content"))
                    .and_then(Value::as_str);
                let cut = file
                    .and_then(|file| file.get("truncated"))
                    .and_then(Value::as_bool)
                    .unwrap_or(false);
                match content {
                    Some(_) if cut => self.parts(path),
                    Some(content) => One::Ready(Ok(content.to_owned())),
                    None => One::Ready(Err(refusal(file))),
                }
            }
        }
    }

    /// A file read in parts: what has come, or the next part.
    fn parts(&self, path: &str) -> One {
        let (mut text, mut offset, mut size, mut parts) = (String::new(), 1_u64, 0, 0);
        for call in self.calls.iter().filter(|call| {
            call.name == "file_read" && call.input.get("path").and_then(Value::as_str) == Some(path)
        }) {
            parts += 1;
            match &call.outcome {
                Err(Lost::Failed(reason)) => return One::Ready(Err(reason.trim().to_owned())),
                Err(Lost::Cut) => size += 1,
                Ok(part) => {
                    let Some(content) = part.get("content").and_then(Value::as_str) else {
                        return One::Ready(Err("file_read gave no content".to_owned()));
                    };
                    if let Some(note) = part.get("note").and_then(Value::as_str) {
                        return One::Ready(Err(format!("it cannot be read whole: {note}")));
                    }
                    unnumbered(content, &mut text);
                    offset += part
                        .get("returned_lines")
                        .and_then(Value::as_u64)
                        .unwrap_or(0);
                    let more = part
                        .get("truncated")
                        .and_then(Value::as_bool)
                        .unwrap_or(false);
                    let moved = part
                        .get("returned_lines")
                        .and_then(Value::as_u64)
                        .unwrap_or(0)
                        > 0;
                    if !more {
                        return One::Ready(Ok(text));
                    }
                    if !moved {
                        return One::Ready(Err("file_read gave no further lines".to_owned()));
                    }
                }
            }
        }
        match PART_LINES.get(size) {
            Some(lines) if parts < PARTS_MAX => One::Part {
                offset,
                lines: *lines,
            },
            _ => One::Ready(Err(
                "its lines are too long, or too many, to be read in parts".to_owned(),
            )),
        }
    }
}

/// The first JSON document of a text.
fn document<'a>(text: &'a str) -> Result<Value, Lost<'a>> {
    match serde_json::Deserializer::from_str(text)
        .into_iter::<Value>()
        .next()
    {
        Some(Ok(document)) => Ok(document),
        _ => Err(Lost::Cut),
    }
}

fn place_of(call: &Call<'_>, path: &str) -> Option<usize> {
    if call.name != "file_read_many" {
        return None;
    }
    call.input
        .get("paths")?
        .as_array()?
        .iter()
        .position(|asked| asked.as_str() == Some(path))
}

fn refusal(file: Option<&Value>) -> String {
    let said = |name: &str| {
        file.and_then(|file| file.get(name))
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let words = [said("error"), said("reason")].into_iter().flatten();
    words
        .max_by_key(String::len)
        .unwrap_or_else(|| "it was not given".to_owned())
}

/// Takes the line numbers off, as `cat -n` writes them.
fn unnumbered(content: &str, text: &mut String) {
    for line in content.lines() {
        let bare = line
            .split_once('\t')
            .filter(|(number, _)| number.trim().chars().all(|c| c.is_ascii_digit()))
            .map_or(line, |(_, bare)| bare);
        text.push_str(bare);
        text.push('\n');
    }
}

/// Files in calls that are small enough.
fn batches(files: &[&Wanted]) -> Vec<Vec<String>> {
    let mut calls: Vec<Vec<String>> = Vec::new();
    let mut bytes = 0;
    for file in files {
        match calls.last_mut() {
            Some(call) if call.len() < PATHS_PER_CALL && bytes + file.bytes <= BYTES_PER_CALL => {
                call.push(file.path.clone())
            }
            _ => {
                calls.push(vec![file.path.clone()]);
                bytes = 0;
            }
        }
        bytes += file.bytes;
    }
    calls
}
