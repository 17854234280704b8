//! `file_write`: a file's whole content, or more at its end, in one step.

use aaos_core::{
    capability::Need,
    tool::{Effect, Power},
};
use aaos_ports::{PowerError, Powers, Tool, ToolError, power::WriteMode, tool::About};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

#[async_trait]
impl Tool for FileWrite {
    type Input = Input;
    type Output = Output;
    const ABOUT: About = About {
        name: "file_write",
        summary: "Write a text file: replace its whole content in one step, or add to its end.",
        powers: &[Power::Files],
        effect: Effect::Reversible,
        deadline: aaos_ports::tool::DEADLINE,
    };

    fn needs(&self, input: &Input) -> Vec<Need> {
        vec![Need::write(&input.path)]
    }

    async fn run(&self, input: Input, powers: &Powers) -> Result<Output, ToolError> {
        let files = powers.files()?;
        if input.content.len() > CONTENT_BYTES_MAX {
            let limit = u64::try_from(CONTENT_BYTES_MAX).unwrap_or(u64::MAX);
            let what = format!("the content ({} bytes)", input.content.len());
            return Err(PowerError::TooLarge { what, limit }.into());
        }
        let mode = if input.append {
            WriteMode::Append
        } else {
            WriteMode::Replace
        };
        let size_bytes = files.write(&input.path, input.content.as_bytes(), mode)?;
        let path = files
            .stat(&input.path)
            .map_or(input.path, |entry| entry.path);
        Ok(Output {
            path,
            bytes_written: input.content.len(),
            size_bytes,
        })
    }
}
