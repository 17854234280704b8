//! Walking a tree: every granted regular file, one open directory at a time, never through a link.
//!
//! A directory is opened again by its path beneath the anchor when its turn comes, so that renames and swaps during
//! the walk lead nowhere the grants do not reach. What cannot be read further down is skipped.

use super::{
    BeneathFiles, LIST_FLAGS, Near, Place,
    anchor::{Anchor, open_beneath},
    check_regular, entry,
    ignored::{self, Ignored, is_ignored},
    join, kind_of, open_regular,
};
use aaos_core::capability::{FileRight, PathScope};
use aaos_ports::{
    PowerError,
    power::{EntryKind, Flow, Tidy},
};
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, Dir, FileType, Mode},
};
use std::{fs::File, sync::Arc};

/// Deepest directory below the root that is entered.
const DEPTH_MAX: usize = 128;
/// Most directories that wait their turn.
const WAITING_MAX: usize = 100_000;
/// Most names of one directory that are visited.
const NAMES_MAX: usize = 1_000_000;

/// Visits every granted regular file beneath a place, or the file that is the place.
pub(super) fn walk(
    files: &BeneathFiles,
    root: &Place<'_>,
    tidy: Tidy,
    visit: &mut dyn FnMut(&aaos_ports::power::Entry) -> Flow,
) -> Result<(), PowerError> {
    let found = root.look()?;
    if kind_of(&found) != EntryKind::Directory {
        check_regular(&found, &root.path)?;
        visit(&entry(root.path.clone(), &found));
        return Ok(());
    }
    // The root must open; its subdirectories may fail to.
    root.open(LIST_FLAGS)?;
    let mut walk = Walk {
        files,
        anchor: root.anchor,
        tidy,
        all_granted: all_granted(files, &root.path),
        waiting: Vec::new(),
    };
    walk.waiting.push(Waiting {
        path: root.path.clone(),
        inside: root.inside.clone(),
        depth: 0,
        ignored: None,
    });
    while let Some(directory) = walk.waiting.pop() {
        if let Err(stopped) = files.check_stop(&root.path) {
            files.set_near(None);
            return Err(stopped);
        }
        if walk.visit(&directory, visit) == Flow::Stop {
            break;
        }
    }
    files.set_near(None);
    Ok(())
}

/// Whether every path beneath the root is granted and declared, so that each need not be compared again.
fn all_granted(files: &BeneathFiles, root: &str) -> bool {
    let Ok(tree) = PathScope::tree(root) else {
        return false;
    };
    let held = files
        .held
        .grants
        .iter()
        .any(|(right, scope)| *right == FileRight::Read && scope.covers(&tree));
    let declared = files.needs.as_ref().is_none_or(|needs| {
        needs.iter().any(|need| matches!(need, aaos_core::capability::Need::FileTree { right: FileRight::Read, path } if super::is_beneath(root, path)))
    });
    held && declared
}

/// A directory whose turn has not come.
struct Waiting {
    path: String,
    inside: String,
    depth: usize,
    ignored: Option<Arc<Ignored>>,
}

struct Walk<'a> {
    files: &'a BeneathFiles,
    anchor: &'a Anchor,
    tidy: Tidy,
    all_granted: bool,
    waiting: Vec<Waiting>,
}

impl Walk<'_> {
    fn visit(
        &mut self,
        at: &Waiting,
        visit: &mut dyn FnMut(&aaos_ports::power::Entry) -> Flow,
    ) -> Flow {
        let real = self.anchor.real_of(&at.inside);
        if self.files.own.keeps(&real) {
            return Flow::Continue;
        }
        let Ok(directory) =
            open_beneath(&self.anchor.handle, &at.inside, LIST_FLAGS, Mode::empty())
        else {
            return Flow::Continue;
        };
        let directory = Arc::new(directory);
        self.files.set_near(Some(Near {
            path: at.path.clone(),
            handle: Arc::clone(&directory),
        }));
        let names = names(&directory);
        let ignored = self.ignored(&directory, at, &names);
        let mut below = Vec::new();
        for (name, kind) in &names {
            let path = join(&at.path, name);
            match self.kind(&directory, name, *kind) {
                FileType::Directory
                    if at.depth < DEPTH_MAX && !self.skips(name, &path, true, ignored.as_ref()) =>
                {
                    let inside = if at.inside == "." {
                        name.clone()
                    } else {
                        join(&at.inside, name)
                    };
                    below.push(Waiting {
                        path,
                        inside,
                        depth: at.depth + 1,
                        ignored: ignored.clone(),
                    });
                }
                FileType::RegularFile
                    if !self.skips(name, &path, false, ignored.as_ref())
                        && !self.files.own.keeps(&join(&real, name))
                        && self.offer(&directory, name, path, visit) == Flow::Stop =>
                {
                    return Flow::Stop;
                }
                _ => {}
            }
        }
        let room = WAITING_MAX.saturating_sub(self.waiting.len());
        self.waiting.extend(below.into_iter().take(room).rev());
        Flow::Continue
    }

    /// Shows a regular file to the visitor if it is granted and still there.
    fn offer(
        &self,
        directory: &OwnedFd,
        name: &str,
        path: String,
        visit: &mut dyn FnMut(&aaos_ports::power::Entry) -> Flow,
    ) -> Flow {
        if self.files.stop.is_stopped() {
            return Flow::Stop;
        }
        if !self.all_granted && self.files.allows(FileRight::Read, &path).is_err() {
            return Flow::Continue;
        }
        match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if kind_of(&found) == EntryKind::File => visit(&entry(path, &found)),
            _ => Flow::Continue,
        }
    }

    /// A name's kind, asked for where the file system does not tell it with the name.
    fn kind(&self, directory: &OwnedFd, name: &str, told: FileType) -> FileType {
        if told != FileType::Unknown {
            return told;
        }
        let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        found.map_or(FileType::Unknown, |found| {
            FileType::from_raw_mode(found.st_mode)
        })
    }

    fn skips(
        &self,
        name: &str,
        path: &str,
        directory: bool,
        ignored: Option<&Arc<Ignored>>,
    ) -> bool {
        if self.tidy == Tidy::All {
            return false;
        }
        name.starts_with('.') || is_ignored(path, directory, ignored)
    }

    /// The rules that hold in a directory: its own ignore files, then those above.
    fn ignored(
        &self,
        directory: &OwnedFd,
        at: &Waiting,
        names: &[(String, FileType)],
    ) -> Option<Arc<Ignored>> {
        let above = at.ignored.clone();
        if self.tidy == Tidy::All {
            return above;
        }
        let present = ignored::NAMES
            .iter()
            .filter(|wanted| names.iter().any(|(name, _)| name == *wanted));
        let files = present.filter_map(|name| self.rules(directory, name, &join(&at.path, name)));
        Ignored::within(&at.path, files, above)
    }

    /// An ignore file, if it is granted and can be read.
    fn rules(&self, directory: &OwnedFd, name: &str, path: &str) -> Option<File> {
        if !self.all_granted && self.files.allows(FileRight::Read, path).is_err() {
            return None;
        }
        let (file, _) = open_regular(directory, name, path).ok()?;
        Some(File::from(file))
    }
}

/// The names of a directory, sorted. Names that are not UTF-8 cannot be asked for and are left out.
fn names(directory: &OwnedFd) -> Vec<(String, FileType)> {
    let Ok(items) = Dir::read_from(directory) else {
        return Vec::new();
    };
    let read = items.map_while(Result::ok).filter_map(|item| {
        let name = item.file_name().to_str().ok()?;
        (!matches!(name, "." | "..")).then(|| (name.to_owned(), item.file_type()))
    });
    let mut all: Vec<(String, FileType)> = read.take(NAMES_MAX).collect();
    all.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    all
}
