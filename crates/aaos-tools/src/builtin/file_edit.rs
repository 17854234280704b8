//! `file_edit`: one text in a file replaced by another, in one step, with the difference as proof.
//!
//! Refuses: creating files, text that occurs several times unless all are meant, and files that are not UTF-8, which
//! a round trip would damage.

use super::{
    change::{self, State},
    read,
};
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

/// Most bytes of either text.
const SIDE_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of the file, before and after.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Replaces text in a file.
pub(super) struct FileEdit;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// File to change: an absolute path, or one relative to the base directory. It must exist.
    path: String,
    /// Text to replace, exactly as it stands in the file, without line numbers. Must occur once unless replace_all is set.
    old_string: String,
    /// Text to put in its place; may be empty.
    new_string: String,
    /// Replace every occurrence.
    #[serde(default)]
    replace_all: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Output {
    path: String,
    replacements: usize,
    bytes_before: usize,
    bytes_after: usize,
    diff: String,
}

/// What is recorded before the change: enough to tell later which of the two the file is, and to answer as if it had
/// just been made.
#[derive(Serialize, Deserialize)]
struct Evidence {
    before: String,
    after: String,
    output: Output,
}

/// A change that has been worked out and not made.
struct Planned {
    before: String,
    after: String,
    path: String,
    replacements: usize,
}

impl Planned {
    fn output(self) -> Output {
        Output {
            replacements: self.replacements,
            bytes_before: self.before.len(),
            bytes_after: self.after.len(),
            diff: change::diff(&self.before, &self.after, &self.path),
            path: self.path,
        }
    }
}

#[async_trait]
impl Tool for FileEdit {
    type Input = Input;
    type Output = Output;
    const ABOUT: About = About {
        name: "file_edit",
        summary: "Replace a text in an existing file by another; answers with the difference.",
        powers: &[Power::Files],
        effect: Effect::Reversible,
        recovery: Recovery::Looks,
        deadline: aaos_ports::tool::DEADLINE,
    };

    fn needs(&self, input: &Input) -> Vec<Need> {
        vec![Need::read(&input.path), Need::write(&input.path)]
    }

    async fn run(&self, input: Input, powers: &Powers) -> Result<Output, ToolError> {
        let files = powers.files()?;
        let planned = plan(&input, files)?;
        files.write(&planned.path, planned.after.as_bytes(), WriteMode::Replace)?;
        Ok(planned.output())
    }

    async fn evidence(&self, input: &Input, powers: &Powers) -> Result<Option<Value>, ToolError> {
        let planned = plan(input, powers.files()?)?;
        let digest = |text: &str| State::of(text.as_bytes()).digest.unwrap_or_default();
        let evidence = Evidence {
            before: digest(&planned.before),
            after: digest(&planned.after),
            output: planned.output(),
        };
        let json = serde_json::to_value(&evidence);
        json.map(Some)
            .map_err(|error| ToolError::Failed(error.to_string()))
    }

    async fn happened(
        &self,
        _input: &Input,
        evidence: &Value,
        powers: &Powers,
    ) -> Result<Happened, ToolError> {
        let unknown = |why: String| Ok(Happened::Unknown { why });
        let Ok(seen) = Evidence::deserialize(evidence) else {
            return unknown("what was seen before the edit is not on record".to_owned());
        };
        let (now, _) = change::seen(powers.files()?, &seen.output.path, &[])?;
        let digest = now.as_ref().and_then(|now| now.digest.as_deref());
        if digest == Some(&seen.after) {
            let output = serde_json::to_value(&seen.output);
            let output = output.map_err(|error| ToolError::Failed(error.to_string()))?;
            return Ok(Happened::Yes { output });
        }
        if digest == Some(&seen.before) {
            return Ok(Happened::No);
        }
        unknown(format!(
            "{} is neither what it was before the edit (digest {}) nor what the edit makes of it (digest {}); it is {}",
            text::preview(&seen.output.path, 512),
            seen.before,
            seen.after,
            State::words(now.as_ref())
        ))
    }

    async fn preview(&self, input: &Input, powers: &Powers) -> Result<Option<Preview>, ToolError> {
        let Planned {
            before,
            after,
            path,
            ..
        } = plan(input, powers.files()?)?;
        Ok(Some(change::preview(path, &before, &after)))
    }
}

/// Works out what an edit makes of its file.
fn plan(input: &Input, files: &dyn Files) -> Result<Planned, ToolError> {
    check(input)?;
    let file = files.open(&input.path)?;
    let path = file.path.clone();
    let before = String::from_utf8(read::whole(file, FILE_BYTES_MAX)?).map_err(|_| {
        ToolError::Failed(format!(
            "{} is not UTF-8 text; editing would damage it",
            text::preview(&path, 512)
        ))
    })?;
    let replacements = count(&before, input, &path)?;
    check_size(&before, input, replacements)?;
    let after = before.replace(&input.old_string, &input.new_string);
    Ok(Planned {
        before,
        after,
        path,
        replacements,
    })
}

fn check(input: &Input) -> Result<(), ToolError> {
    let wrong = |problem: String| {
        Err(ToolError::Input {
            tool: FileEdit::ABOUT.name.to_owned(),
            problem,
        })
    };
    if input.old_string.is_empty() {
        return wrong(
            "old_string is empty; name the text to replace, or write a new file with file_write"
                .to_owned(),
        );
    }
    for (name, side) in [
        ("old_string", &input.old_string),
        ("new_string", &input.new_string),
    ] {
        if side.len() > SIDE_BYTES_MAX {
            return wrong(format!(
                "{name} has {} bytes, at most {SIDE_BYTES_MAX} are taken",
                side.len()
            ));
        }
    }
    if input.old_string == input.new_string {
        return wrong("old_string and new_string are the same; nothing would change".to_owned());
    }
    Ok(())
}

/// How often the text occurs; refused if that is not what was meant.
fn count(before: &str, input: &Input, path: &str) -> Result<usize, ToolError> {
    let path = text::preview(path, 512);
    match before.matches(&input.old_string).count() {
        0 => Err(ToolError::Failed(format!(
            "old_string does not occur in {path}; read the file and copy the text exactly, white space and line ends included"
        ))),
        found if found > 1 && !input.replace_all => Err(ToolError::Failed(format!(
            "old_string occurs {found} times in {path}; set replace_all, or include more of the text around the one you mean"
        ))),
        found => Ok(found),
    }
}

/// Refuses a change that makes the file too large, before anything is built.
fn check_size(before: &str, input: &Input, replacements: usize) -> Result<(), ToolError> {
    let removed = replacements.saturating_mul(input.old_string.len());
    let added = replacements.saturating_mul(input.new_string.len());
    let after = before.len().saturating_sub(removed).saturating_add(added);
    if u64::try_from(after).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        let what = format!("the file after {replacements} replacements ({after} bytes)");
        return Err(PowerError::TooLarge {
            what,
            limit: FILE_BYTES_MAX,
        }
        .into());
    }
    Ok(())
}
