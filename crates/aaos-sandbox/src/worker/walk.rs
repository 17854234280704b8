//! Walking a tree that is not in the worker's root: one question to the daemon for each directory.
//!
//! What cannot be read further down is skipped, and so are the names of a directory beyond those one answer holds.

use super::files::WorkerFiles;
use crate::files::ignored::{self, Ignored, is_ignored};
use aaos_ports::{
    Files, PowerError,
    power::{Entry, EntryKind, Flow, Tidy},
};
use std::sync::Arc;

/// Deepest directory below the root that is entered, as in a walk through the worker's own trees.
const DEPTH_MAX: usize = 128;
/// Most directories that wait their turn: fewer than in a walk through the worker's own trees, because each costs a
/// question.
const WAITING_MAX: usize = 10_000;
/// Most names of one directory that are asked for: with paths of usual length they fill a quarter of a frame.
const NAMES_MAX: usize = 20_000;

/// Visits every granted regular file beneath a path, or the file that is there.
pub(super) fn walk(
    files: &WorkerFiles,
    root: String,
    tidy: Tidy,
    visit: &mut dyn FnMut(&Entry) -> Flow,
) -> Result<(), PowerError> {
    let found = files.ask_stat(root.clone())?;
    match found.kind {
        EntryKind::Directory => {}
        EntryKind::File => {
            visit(&found);
            return Ok(());
        }
        EntryKind::Symlink | EntryKind::Other => {
            return Err(PowerError::WrongKind {
                path: root,
                problem: "it is neither a file nor a directory".to_owned(),
            });
        }
    }
    // The root must be listed; its subdirectories may fail to.
    let (names, _more) = files.ask_list(root.clone(), NAMES_MAX)?;
    let mut walk = Walk {
        files,
        tidy,
        waiting: Vec::new(),
    };
    let mut flow = walk.visit(&root, names, 0, None, visit);
    while flow == Flow::Continue {
        let Some(next) = walk.waiting.pop() else {
            break;
        };
        files.check_stop(&root)?;
        if let Ok((names, _more)) = files.ask_list(next.path.clone(), NAMES_MAX) {
            flow = walk.visit(&next.path, names, next.depth, next.ignored, visit);
        }
    }
    Ok(())
}

/// A directory whose turn has not come.
struct Waiting {
    path: String,
    depth: usize,
    ignored: Option<Arc<Ignored>>,
}

struct Walk<'a> {
    files: &'a WorkerFiles,
    tidy: Tidy,
    waiting: Vec<Waiting>,
}

impl Walk<'_> {
    /// Visits the files among a directory's entries, and lets its directories wait.
    fn visit(
        &mut self,
        directory: &str,
        names: Vec<Entry>,
        depth: usize,
        above: Option<Arc<Ignored>>,
        visit: &mut dyn FnMut(&Entry) -> Flow,
    ) -> Flow {
        let ignored = match self.tidy {
            Tidy::Skip => Ignored::within(directory, self.rules(&names), above),
            Tidy::All => None,
        };
        let mut below = Vec::new();
        for entry in names {
            let is_directory = entry.kind == EntryKind::Directory;
            let skipped =
                is_hidden(&entry.path) || is_ignored(&entry.path, is_directory, ignored.as_ref());
            if self.tidy == Tidy::Skip && skipped {
                continue;
            }
            match entry.kind {
                EntryKind::Directory if depth < DEPTH_MAX => below.push(Waiting {
                    path: entry.path,
                    depth: depth + 1,
                    ignored: ignored.clone(),
                }),
                EntryKind::File if self.offer(&entry, visit) == Flow::Stop => return Flow::Stop,
                _ => {}
            }
        }
        let room = WAITING_MAX.saturating_sub(self.waiting.len());
        self.waiting.extend(below.into_iter().take(room).rev());
        Flow::Continue
    }

    /// Shows a file to the visitor if it is granted.
    fn offer(&self, entry: &Entry, visit: &mut dyn FnMut(&Entry) -> Flow) -> Flow {
        if self.files.ticket.is_over() {
            Flow::Stop
        } else if self.files.may_read(&entry.path) {
            visit(entry)
        } else {
            Flow::Continue
        }
    }

    /// The ignore files among a directory's entries that can be read.
    fn rules(&self, names: &[Entry]) -> Vec<Box<dyn std::io::Read + Send>> {
        let present = ignored::NAMES.iter().filter_map(|wanted| {
            names
                .iter()
                .find(|entry| entry.kind == EntryKind::File && last(&entry.path) == *wanted)
        });
        let opened = present.filter_map(|entry| self.files.open(&entry.path).ok());
        opened.map(|file| file.bytes).collect()
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_hidden(path: &str) -> bool {
    last(path).starts_with('.')
}
