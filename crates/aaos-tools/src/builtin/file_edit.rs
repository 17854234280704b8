//! `file_edit`: one text in a file replaced by another, in one step, with the difference as proof.
//!
//! Refuses: creating files, text that occurs several times unless all are meant, and files that are not UTF-8, which
//! a round trip would damage.

use super::read;
use aaos_core::{
    capability::Need,
    text,
    tool::{Effect, Power},
};
use aaos_ports::{PowerError, Powers, Tool, ToolError, power::WriteMode, tool::About};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use similar::TextDiff;
use std::time::Duration;

/// Most bytes of either text.
const SIDE_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of the file, before and after.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Most bytes of the difference that are shown.
const DIFF_BYTES_MAX: usize = 16 * 1024;
/// Longest that a smallest difference is looked for; after that a larger one does.
const DIFF_WAIT: Duration = Duration::from_millis(500);

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

#[derive(Serialize)]
pub(super) struct Output {
    path: String,
    replacements: usize,
    bytes_before: usize,
    bytes_after: usize,
    diff: String,
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
        deadline: aaos_ports::tool::DEADLINE,
    };

    fn needs(&self, input: &Input) -> Vec<Need> {
        vec![Need::read(&input.path), Need::write(&input.path)]
    }

    async fn run(&self, input: Input, powers: &Powers) -> Result<Output, ToolError> {
        check(&input)?;
        let files = powers.files()?;
        let file = files.open(&input.path)?;
        let path = file.path.clone();
        let before = String::from_utf8(read::whole(file, FILE_BYTES_MAX)?).map_err(|_| {
            ToolError::Failed(format!(
                "{} is not UTF-8 text; editing would damage it",
                text::preview(&path, 512)
            ))
        })?;
        let replacements = count(&before, &input, &path)?;
        let bytes_after = size_after(&before, &input, replacements)?;
        let after = before.replace(&input.old_string, &input.new_string);
        files.write(&path, after.as_bytes(), WriteMode::Replace)?;
        Ok(Output {
            replacements,
            bytes_before: before.len(),
            bytes_after,
            diff: diff(&before, &after, &path),
            path,
        })
    }
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

/// The file's size after the change; refused before anything is built if that is too much.
fn size_after(before: &str, input: &Input, replacements: usize) -> Result<usize, ToolError> {
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
    Ok(after)
}

fn diff(before: &str, after: &str, path: &str) -> String {
    let diff = TextDiff::configure()
        .timeout(DIFF_WAIT)
        .diff_lines(before, after);
    let name = text::preview(path, 512);
    let whole = diff
        .unified_diff()
        .context_radius(3)
        .header(&name, &name)
        .to_string();
    let shown = text::head(&whole, DIFF_BYTES_MAX);
    if shown.len() < whole.len() {
        format!("{shown}\n… (difference cut)\n")
    } else {
        whole
    }
}
