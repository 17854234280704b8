//! `file_list`: what a directory holds, by name, with real sizes.

use super::pattern::{Pattern, relative};
use aaos_core::{
    capability::Need,
    tool::{Effect, Power, Recovery},
};
use aaos_ports::{
    Files, Powers, Tool, ToolError,
    power::{Entry, EntryKind, Flow, Tidy},
    tool::About,
};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most entries of one answer.
const ENTRIES_MAX: usize = 500;
/// Most names of a directory that a glob is compared with, and most files that a recursive listing gathers.
const NAMES_MAX: usize = 50_000;

/// Lists a directory.
pub(super) struct FileList;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// Directory to list: an absolute path, or one relative to the base directory; `.` for that directory itself.
    path: String,
    /// Only names that fit this pattern, such as *.md; with recursive also src/**/*.rs.
    #[serde(default)]
    glob: Option<String>,
    /// List the files of all directories beneath too, leaving out hidden and ignored ones.
    #[serde(default)]
    recursive: bool,
}

#[derive(Serialize)]
pub(super) struct Output {
    path: String,
    kind: &'static str,
    entries: Vec<Item>,
    truncated: bool,
}

#[derive(Serialize)]
struct Item {
    name: String,
    kind: &'static str,
    size_bytes: u64,
}

const fn kind_word(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Directory => "dir",
        EntryKind::Symlink => "symlink",
        EntryKind::Other => "other",
    }
}

fn item(entry: &Entry, root: &str) -> Item {
    Item {
        name: relative(&entry.path, root).to_owned(),
        kind: kind_word(entry.kind),
        size_bytes: entry.size,
    }
}

#[async_trait]
impl Tool for FileList {
    type Input = Input;
    type Output = Output;
    const ABOUT: About = About {
        name: "file_list",
        summary: "List a directory: names, kinds and sizes, sorted, at most 500.",
        powers: &[Power::Files],
        effect: Effect::Read,
        recovery: Recovery::ByEffect,
        deadline: aaos_ports::tool::DEADLINE,
    };

    fn needs(&self, input: &Input) -> Vec<Need> {
        vec![if input.recursive {
            Need::read_tree(&input.path)
        } else {
            Need::read(&input.path)
        }]
    }

    async fn run(&self, input: Input, powers: &Powers) -> Result<Output, ToolError> {
        let files = powers.files()?;
        let glob = input
            .glob
            .as_deref()
            .map(|glob| Pattern::new(Self::ABOUT.name, glob))
            .transpose()?;
        let root = files.stat(&input.path)?;
        let (mut entries, more) = match root.kind {
            EntryKind::Directory if input.recursive => tree(files, &root.path, glob.as_ref())?,
            EntryKind::Directory => directory(files, &root.path, glob.as_ref())?,
            _ => (vec![item(&root, &root.path)], false),
        };
        let truncated = more || entries.len() > ENTRIES_MAX;
        entries.truncate(ENTRIES_MAX);
        Ok(Output {
            path: root.path,
            kind: kind_word(root.kind),
            entries,
            truncated,
        })
    }
}

/// The names of one directory.
fn directory(
    files: &dyn Files,
    root: &str,
    glob: Option<&Pattern>,
) -> Result<(Vec<Item>, bool), ToolError> {
    let limit = if glob.is_some() {
        NAMES_MAX
    } else {
        ENTRIES_MAX
    };
    let (found, more) = files.list(root, limit)?;
    let items = found.iter().map(|entry| item(entry, root));
    Ok((
        items
            .filter(|item| glob.is_none_or(|glob| glob.matches(&item.name)))
            .collect(),
        more,
    ))
}

/// The files of a directory and of all beneath it, sorted by path.
fn tree(
    files: &dyn Files,
    root: &str,
    glob: Option<&Pattern>,
) -> Result<(Vec<Item>, bool), ToolError> {
    let mut items: Vec<Item> = Vec::new();
    let mut more = false;
    files.walk(root, Tidy::Skip, &mut |entry| {
        let found = item(entry, root);
        if glob.is_none_or(|glob| glob.matches(&found.name)) {
            more = items.len() >= NAMES_MAX;
            if more {
                return Flow::Stop;
            }
            items.push(found);
        }
        Flow::Continue
    })?;
    items.sort_by(|one, other| one.name.cmp(&other.name));
    Ok((items, more))
}
