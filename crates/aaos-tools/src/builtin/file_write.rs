//! `file_write`: a file's whole content, or more at its end, in one step.
//!
//! A file's content replaced twice is as if replaced once; one added to twice is not. So the tool looks: at what stood
//! there before, what stands there now, and what it would have made of it. Where a file may be written and not read, its
//! size has to do.

use super::change::{self, State};
use aaos_core::{
    approval::Preview,
    capability::Need,
    text,
    tool::{Effect, Power, Recovery},
};
use aaos_ports::{
    Files, Happened, PowerError, Powers, Tool, ToolError, power::WriteMode, tool::About,
};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most bytes of content in one call.
pub const CONTENT_BYTES_MAX: usize = 1024 * 1024;

/// Writes a file.
pub(super) struct FileWrite;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// File to write: an absolute path, or one relative to the base directory. Missing directories are made.
    path: String,
    /// The content, at most 1 MiB.
    content: String,
    /// Add the content at the end instead of replacing the file.
    #[serde(default)]
    append: bool,
}

#[derive(Serialize)]
pub(super) struct Output {
    path: String,
    bytes_written: usize,
    size_bytes: u64,
}

/// What is recorded before the write.
#[derive(Serialize, Deserialize)]
struct Evidence {
    /// What stood there; none if there was nothing.
    before: Option<State>,
    /// What stands there once it is written.
    after: State,
}

#[async_trait]
impl Tool for FileWrite {
    type Input = Input;
    type Output = Output;
    const ABOUT: About = About {
        name: "file_write",
        summary: "Write a text file: replace its whole content in one step, or add to its end.",
        powers: &[Power::Files],
        effect: Effect::Reversible,
        recovery: Recovery::Looks,
        deadline: aaos_ports::tool::DEADLINE,
    };

    fn needs(&self, input: &Input) -> Vec<Need> {
        vec![Need::write(&input.path)]
    }

    async fn run(&self, input: Input, powers: &Powers) -> Result<Output, ToolError> {
        let files = powers.files()?;
        check(&input)?;
        let mode = if input.append {
            WriteMode::Append
        } else {
            WriteMode::Replace
        };
        let size_bytes = files.write(&input.path, input.content.as_bytes(), mode)?;
        Ok(output(&input, files, size_bytes))
    }

    async fn evidence(&self, input: &Input, powers: &Powers) -> Result<Option<Value>, ToolError> {
        check(input)?;
        let (before, after) = states(input, powers.files()?)?;
        let json = serde_json::to_value(Evidence { before, after });
        json.map(Some)
            .map_err(|error| ToolError::Failed(error.to_string()))
    }

    async fn happened(
        &self,
        input: &Input,
        evidence: &Value,
        powers: &Powers,
    ) -> Result<Happened, ToolError> {
        let files = powers.files()?;
        let Ok(Evidence { before, after }) = Evidence::deserialize(evidence) else {
            return Ok(Happened::Unknown {
                why: "what was seen before the write is not on record".to_owned(),
            });
        };
        let (now, _) = change::seen(files, &input.path, &[])?;
        let sizes_only =
            after.digest.is_none() || now.as_ref().is_some_and(|now| now.digest.is_none());
        // The same content once more changes nothing, and sizes do not tell whether it is the same.
        if sizes_only && !input.append {
            return Ok(Happened::No);
        }
        if is(now.as_ref(), Some(&after)) {
            let output = serde_json::to_value(output(input, files, after.size));
            let output = output.map_err(|error| ToolError::Failed(error.to_string()))?;
            return Ok(Happened::Yes { output });
        }
        if is(now.as_ref(), before.as_ref()) {
            return Ok(Happened::No);
        }
        Ok(Happened::Unknown {
            why: format!(
                "{} is neither what it was before the write ({}) nor what the write makes of it ({}); it is {}",
                text::preview(&input.path, 512),
                State::words(before.as_ref()),
                State::words(Some(&after)),
                State::words(now.as_ref())
            ),
        })
    }

    async fn preview(&self, input: &Input, powers: &Powers) -> Result<Option<Preview>, ToolError> {
        check(input)?;
        let files = powers.files()?;
        let found = match files.stat(&input.path) {
            Ok(entry) => Some(entry),
            Err(PowerError::NotFound(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let path = found
            .as_ref()
            .map_or(&input.path, |entry| &entry.path)
            .clone();
        let before = match &found {
            None => Some(String::new()),
            Some(_) => change::shown(files, &input.path),
        };
        let Some(before) = before else {
            let (before, after) = states(input, files)?;
            let (content, before) = (&input.content, before.as_ref());
            return Ok(Some(change::preview_sizes(
                path, before, after.size, content,
            )));
        };
        let after = match input.append {
            true => format!("{before}{}", input.content),
            false => input.content.clone(),
        };
        Ok(Some(change::preview(path, &before, &after)))
    }
}

fn check(input: &Input) -> Result<(), PowerError> {
    if input.content.len() <= CONTENT_BYTES_MAX {
        return Ok(());
    }
    Err(PowerError::TooLarge {
        what: format!("the content ({} bytes)", input.content.len()),
        limit: change::size(CONTENT_BYTES_MAX),
    })
}

/// What stands at the path, and what will.
fn states(input: &Input, files: &dyn Files) -> Result<(Option<State>, State), PowerError> {
    let content = input.content.as_bytes();
    let (before, grown) = change::seen(files, &input.path, content)?;
    let after = match input.append {
        true => grown,
        false => State::of(content),
    };
    Ok((before, after))
}

/// Whether two states are the same, as far as both are known.
fn is(now: Option<&State>, then: Option<&State>) -> bool {
    match (now, then) {
        (None, None) => true,
        (Some(now), Some(then)) => {
            let known = now.digest.is_some() && then.digest.is_some();
            now.size == then.size && (!known || now.digest == then.digest)
        }
        _ => false,
    }
}

fn output(input: &Input, files: &dyn Files, size_bytes: u64) -> Output {
    let path = files.stat(&input.path);
    Output {
        path: path.map_or_else(|_| input.path.clone(), |entry| entry.path),
        bytes_written: input.content.len(),
        size_bytes,
    }
}
