//! Directory handles that paths are resolved from.
//!
//! Only on the way to an anchor are links followed, once, when the handle is opened: these links are the operator's,
//! because the operator named the anchor. Everything below is resolved without links, and so is a named path that lies
//! within what was granted: an agent that may write there could have put a link in its place.

use super::{DIRECTORY_FLAGS, fault, is_beneath, join};
use aaos_ports::LaunchError;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{CWD, Mode, OFlags, ResolveFlags},
    io::Errno,
};
use std::{fs, io::ErrorKind, path::Path};

/// Most anchors of one agent; more are resolved from the nearest one above.
pub(super) const ANCHORS_MAX: usize = 64;
/// Most attempts at an open that the kernel breaks off because names change meanwhile.
const OPEN_ATTEMPTS_MAX: usize = 32;
/// Resolution that never leaves the handle and never follows anything.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// A directory handle and the path it stands for.
pub(crate) struct Anchor {
    /// As the operator wrote it, absolute and normal.
    spelled: String,
    /// The handle's own path, without links.
    real: String,
    /// The nearest existing directory on the way.
    pub(crate) handle: OwnedFd,
    /// What of `spelled` lies below the handle; empty if the handle is the anchor itself.
    below: String,
}

impl Anchor {
    /// A normal path relative to the handle, or `None` if it is not beneath this anchor.
    pub(crate) fn inside(&self, path: &str) -> Option<String> {
        if !is_beneath(path, &self.spelled) {
            return None;
        }
        let rest = path
            .get(self.spelled.trim_end_matches('/').len()..)?
            .trim_start_matches('/');
        Some(match (self.below.as_str(), rest) {
            ("", "") => ".".to_owned(),
            ("", rest) => rest.to_owned(),
            (below, "") => below.to_owned(),
            (below, rest) => join(below, rest),
        })
    }

    /// The path, without links, of what is `inside` the handle.
    pub(crate) fn real_of(&self, inside: &str) -> String {
        if inside == "." {
            self.real.clone()
        } else {
            join(&self.real, inside)
        }
    }

    /// Opens the nearest existing directory on the way to a path, following the links up to it.
    fn open(spelled: &str) -> Option<Self> {
        let mut existing = spelled;
        let mut missing: Vec<&str> = Vec::new();
        loop {
            match fs::canonicalize(existing) {
                Ok(real) => return Self::at(spelled, &real, &missing),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let (above, name) = existing.rsplit_once('/')?;
                    missing.push(name);
                    existing = if above.is_empty() { "/" } else { above };
                }
                Err(_) => return None,
            }
        }
    }

    fn at(spelled: &str, real: &Path, missing: &[&str]) -> Option<Self> {
        let mut below: Vec<&str> = missing.iter().rev().copied().collect();
        let directory = if fs::symlink_metadata(real).ok()?.is_dir() {
            real
        } else if missing.is_empty() {
            below.push(real.file_name()?.to_str()?);
            real.parent()?
        } else {
            return None;
        };
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = DIRECTORY_FLAGS | OFlags::CLOEXEC;
        let handle = rustix::fs::openat2(CWD, directory, flags, Mode::empty(), resolve).ok()?;
        let real = directory.to_str()?.to_owned();
        Some(Self {
            spelled: spelled.to_owned(),
            real,
            handle,
            below: below.join("/"),
        })
    }
}

/// Opens the root, the directory that relative paths start from, and what was granted by name, longest first. One that
/// cannot be opened is left out, and so is one that lies within what was granted, where an agent may have put a link:
/// its paths are then resolved from further up, where no link is followed.
///
/// # Errors
/// The kernel has no `openat2`, or the root cannot be opened.
pub(crate) fn open_all<'a>(
    base: &str,
    granted: impl Iterator<Item = &'a str>,
) -> Result<Vec<Anchor>, LaunchError> {
    let flags = DIRECTORY_FLAGS | OFlags::CLOEXEC;
    let root = rustix::fs::openat2(CWD, "/", flags, Mode::empty(), ResolveFlags::empty())
        .map_err(refused)?;
    let normal = |path: &str| {
        let path = aaos_core::capability::normalise(path).ok();
        path.filter(|path| path != "/")
    };
    let granted: Vec<String> = granted.filter_map(normal).collect();
    let within = |path: &String| {
        let mut granted = granted.iter();
        granted.any(|outer| outer != path && is_beneath(path, outer))
    };
    let mut spelled: Vec<String> = granted.iter().cloned().chain(normal(base)).collect();
    spelled.retain(|path| !within(path));
    spelled.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    spelled.dedup();
    let mut anchors: Vec<Anchor> = spelled
        .iter()
        .take(ANCHORS_MAX)
        .filter_map(|path| Anchor::open(path))
        .collect();
    anchors.push(Anchor {
        spelled: "/".to_owned(),
        real: "/".to_owned(),
        handle: root,
        below: String::new(),
    });
    Ok(anchors)
}

fn refused(errno: Errno) -> LaunchError {
    if errno == Errno::NOSYS {
        return LaunchError {
            layer: None,
            missing: fault::NO_OPENAT2.to_owned(),
            next_step: "run a newer kernel, or let the container's filter pass openat2".to_owned(),
        };
    }
    LaunchError {
        layer: None,
        missing: format!("the root directory cannot be opened: {errno}"),
        next_step: "see what keeps the daemon's account from it".to_owned(),
    }
}

/// Opens a relative path beneath a handle; no link on the way, the last name included, is followed.
pub(crate) fn open_beneath(
    handle: impl AsFd,
    inside: &str,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let mut attempts = 0;
    loop {
        match rustix::fs::openat2(&handle, inside, flags | OFlags::CLOEXEC, mode, BENEATH) {
            Err(Errno::AGAIN | Errno::INTR) if attempts < OPEN_ATTEMPTS_MAX => attempts += 1,
            result => return result,
        }
    }
}
