//! `file_read_many`: several text files in one call, each with its content or its own error.

use super::read;
use aaos_core::{
    capability::Need,
    tool::{Effect, Power, Recovery},
};
use aaos_ports::{Files, PowerError, Powers, Tool, ToolError, power::EntryKind, tool::About};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most files of one call.
const PATHS_MAX: usize = 16;
/// Most bytes of one file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Most bytes of all files together; those that do not fit are refused one by one.
const TOTAL_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads several text files whole.
pub(super) struct FileReadMany;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// Files to read, 1 to 16: absolute paths, or ones relative to the base directory.
    #[schemars(length(min = 1, max = 16))]
    paths: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Output {
    files: Vec<One>,
    count: usize,
}

/// One file's outcome.
#[derive(Serialize)]
#[serde(untagged)]
enum One {
    Read {
        path: String,
        canonical: String,
        content: String,
        size_bytes: u64,
    },
    Failed {
        path: String,
        error: String,
        reason: &'static str,
    },
}

#[async_trait]
impl Tool for FileReadMany {
    type Input = Input;
    type Output = Output;
    const ABOUT: About = About {
        name: "file_read_many",
        summary: "Read up to 16 text files at once, whole, each up to 1 MiB; a file that fails does not affect the others.",
        powers: &[Power::Files],
        effect: Effect::Read,
        recovery: Recovery::ByEffect,
        deadline: aaos_ports::tool::DEADLINE,
    };

    fn needs(&self, input: &Input) -> Vec<Need> {
        input.paths.iter().take(PATHS_MAX).map(Need::read).collect()
    }

    async fn run(&self, input: Input, powers: &Powers) -> Result<Output, ToolError> {
        if input.paths.is_empty() || input.paths.len() > PATHS_MAX {
            let problem = format!(
                "paths holds 1 to {PATHS_MAX} files, not {}",
                input.paths.len()
            );
            return Err(ToolError::Input {
                tool: Self::ABOUT.name.to_owned(),
                problem,
            });
        }
        let files = powers.files()?;
        let mut room = TOTAL_BYTES_MAX;
        let read: Vec<One> = input
            .paths
            .into_iter()
            .map(|path| one(files, path, &mut room))
            .collect();
        Ok(Output {
            count: read.len(),
            files: read,
        })
    }
}

fn one(files: &dyn Files, path: String, room: &mut u64) -> One {
    match content(files, &path, *room) {
        Ok((canonical, content)) => {
            let size_bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
            *room = room.saturating_sub(size_bytes);
            One::Read {
                path,
                canonical,
                content: String::from_utf8_lossy(&content).into_owned(),
                size_bytes,
            }
        }
        Err((reason, error)) => One::Failed {
            path,
            error,
            reason,
        },
    }
}

type Failed = (&'static str, String);

fn content(files: &dyn Files, path: &str, room: u64) -> Result<(String, Vec<u8>), Failed> {
    let file = files
        .open(path)
        .map_err(|error| (reason(files, path, &error), error.to_string()))?;
    let (canonical, size) = (file.path.clone(), file.size);
    let content = read::whole(file, FILE_BYTES_MAX.min(room)).map_err(|error| match error {
        PowerError::TooLarge { .. } => (
            "too_large",
            format!("{error}; read it in parts with file_read"),
        ),
        _ => ("read_failed", error.to_string()),
    })?;
    if read::is_binary(&content) {
        return Err(("read_failed", read::binary(path, size).to_string()));
    }
    Ok((canonical, content))
}

/// The stable word for why a file could not be opened.
fn reason(files: &dyn Files, path: &str, error: &PowerError) -> &'static str {
    match error {
        PowerError::Denied { .. } | PowerError::NotHeld(_) => "capability_denied",
        PowerError::NotFound(_) => "not_found",
        PowerError::WrongKind { .. } => match files.stat(path).map(|entry| entry.kind) {
            Ok(EntryKind::Directory | EntryKind::Other | EntryKind::File) => "not_a_file",
            // The path is a link, or one stands on the way to it.
            Ok(EntryKind::Symlink) | Err(_) => "symlink_rejected",
        },
        PowerError::TooLarge { .. } => "too_large",
        PowerError::Io { .. } | PowerError::Lost { .. } | PowerError::Unserved { .. } => {
            "open_failed"
        }
    }
}
