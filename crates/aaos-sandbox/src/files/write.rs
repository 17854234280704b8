//! Writing: a new file takes the name's place in one step, or nothing has changed.
//!
//! The content goes to a fresh file in the same directory, is flushed to the disk, and is renamed over the name; the
//! directory is flushed too. A reader sees the old content or the new, never a part. The other names of a file with
//! several hard links keep the old content. New files get mode 0644 less the process's umask, so that the operator can
//! read them; a file that is replaced keeps its mode but not an owner other than the daemon's account. A file on
//! which no one has the write bit is refused, although a rename could replace it.

use super::{DIRECTORY_FLAGS, LIST_FLAGS, Place, anchor::open_beneath, check_regular, fault};
use crate::stop::Stop;
use aaos_ports::{PowerError, power::WriteMode};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags, Stat, flock},
    io::Errno,
};
use std::{
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
};

/// Mode of a new file, before the umask.
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);
/// Mode of a new directory, before the umask.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);
/// The bits of a mode that a replacement keeps; the set-id bits and the sticky bit are not among them.
const MODE_KEPT: u32 = 0o777;
/// Most bytes of a file that an append copies to a new file; a larger one is added to in place, in one write.
const APPEND_COPY_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Most bytes a single write accepts, existing content not counted.
const WRITE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most names tried for the fresh file.
const NAME_ATTEMPTS_MAX: usize = 64;

/// How a fresh file is locked.
const LOCK: FlockOperation = FlockOperation::NonBlockingLockExclusive;

/// Writes a file at an allowed place and answers with its size afterwards.
pub(super) fn write(
    place: &Place<'_>,
    content: &[u8],
    mode: WriteMode,
    stop: &Stop,
) -> Result<u64, PowerError> {
    if content.len() > WRITE_BYTES_MAX {
        let limit = u64::try_from(WRITE_BYTES_MAX).unwrap_or(u64::MAX);
        return Err(PowerError::TooLarge {
            what: format!("the content for {}", fault::shown(&place.path)),
            limit,
        });
    }
    if place.inside == "." {
        return Err(fault::of(Errno::ISDIR, "writing", &place.path));
    }
    let (above, name) = place
        .inside
        .rsplit_once('/')
        .unwrap_or((".", &place.inside));
    let parent = Parent::open(&place.anchor.handle, above)
        .map_err(|errno| fault::of(errno, "writing", &place.path))?;
    let target = Target {
        parent: &parent.directory,
        name,
        path: &place.path,
        stop,
    };
    let result = target.write(content, mode);
    if result.is_err() {
        parent.undo();
    }
    result
}

/// The directory of a file to be written, and what had to be made for it.
struct Parent {
    directory: OwnedFd,
    /// Directories made on the way, outermost first: the handle above and the name.
    made: Vec<(OwnedFd, String)>,
}

impl Parent {
    /// Opens a directory beneath a handle, making what is missing on the way.
    fn open(handle: &OwnedFd, above: &str) -> Result<Self, Errno> {
        match open_beneath(handle, above, DIRECTORY_FLAGS, Mode::empty()) {
            Ok(directory) => {
                return Ok(Self {
                    directory,
                    made: Vec::new(),
                });
            }
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        let directory = open_beneath(handle, ".", DIRECTORY_FLAGS, Mode::empty())?;
        let mut parent = Self {
            directory,
            made: Vec::new(),
        };
        for name in above.split('/') {
            if let Err(errno) = parent.descend(name) {
                parent.undo();
                return Err(errno);
            }
        }
        Ok(parent)
    }

    fn descend(&mut self, name: &str) -> Result<(), Errno> {
        let made = match rustix::fs::mkdirat(&self.directory, name, DIRECTORY_MODE) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno),
        };
        let next = open_beneath(&self.directory, name, DIRECTORY_FLAGS, Mode::empty());
        match next {
            Ok(next) => {
                let above = std::mem::replace(&mut self.directory, next);
                if made {
                    self.made.push((above, name.to_owned()));
                }
                Ok(())
            }
            Err(errno) => {
                if made {
                    remove(&self.directory, name, AtFlags::REMOVEDIR);
                }
                Err(errno)
            }
        }
    }

    /// Removes the directories that were made, innermost first, as far as they are empty.
    fn undo(&self) {
        for (above, name) in self.made.iter().rev() {
            remove(above, name, AtFlags::REMOVEDIR);
        }
    }
}

/// Removes a name that was made a moment ago. What cannot be removed any more is someone else's by now.
fn remove(directory: impl AsFd, name: &str, flags: AtFlags) {
    let _gone = rustix::fs::unlinkat(directory, name, flags);
}

/// A name in an open directory.
struct Target<'a> {
    parent: &'a OwnedFd,
    name: &'a str,
    path: &'a str,
    stop: &'a Stop,
}

impl Target<'_> {
    fn fault(&self, errno: Errno) -> PowerError {
        fault::of(errno, "writing", self.path)
    }

    fn fault_io(&self, error: &io::Error) -> PowerError {
        Errno::from_io_error(error).map_or_else(
            || PowerError::Io {
                what: format!("writing {}", fault::shown(self.path)),
                message: error.to_string(),
            },
            |errno| self.fault(errno),
        )
    }

    /// What a write comes to that was begun and neither finished nor taken back.
    fn lost(&self, error: &PowerError) -> PowerError {
        PowerError::Lost {
            what: format!("writing {}", fault::shown(self.path)),
            message: error.to_string(),
        }
    }

    fn wrong(&self, problem: &str) -> PowerError {
        PowerError::WrongKind {
            path: fault::shown(self.path),
            problem: problem.to_owned(),
        }
    }

    fn write(&self, content: &[u8], mode: WriteMode) -> Result<u64, PowerError> {
        let existing = self.existing()?;
        match (mode, &existing) {
            (WriteMode::CreateNew, Some(_)) => Err(self.wrong("it already exists")),
            (WriteMode::CreateNew, None) => {
                self.replace(&[], content, None, RenameFlags::NOREPLACE)
            }
            (WriteMode::Append, Some(found)) => self.append(content, found),
            (WriteMode::Replace, _) | (WriteMode::Append, None) => {
                self.replace(&[], content, existing.as_ref(), RenameFlags::empty())
            }
        }
    }

    /// What is at the name: nothing, or a regular file that may be written.
    fn existing(&self) -> Result<Option<Stat>, PowerError> {
        let found = match rustix::fs::statat(self.parent, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.fault(errno)),
        };
        check_regular(&found, self.path)?;
        if found.st_mode & 0o222 == 0 {
            return Err(self.wrong("it is marked read-only"));
        }
        Ok(Some(found))
    }

    fn append(&self, content: &[u8], found: &Stat) -> Result<u64, PowerError> {
        let size = u64::try_from(found.st_size).unwrap_or(0);
        if size > APPEND_COPY_BYTES_MAX {
            return self.append_in_place(content);
        }
        let old = open_beneath(self.parent, self.name, super::READ_FLAGS, Mode::empty())
            .map_err(|e| self.fault(e))?;
        let found = rustix::fs::fstat(&old).map_err(|errno| self.fault(errno))?;
        check_regular(&found, self.path)?;
        let mut before = Vec::new();
        File::from(old)
            .take(APPEND_COPY_BYTES_MAX.saturating_add(1))
            .read_to_end(&mut before)
            .map_err(|error| self.fault_io(&error))?;
        if u64::try_from(before.len()).unwrap_or(u64::MAX) > APPEND_COPY_BYTES_MAX {
            return self.append_in_place(content);
        }
        self.replace(&before, content, Some(&found), RenameFlags::empty())
    }

    /// Adds to a large file itself, in one write; taken back if it does not fit. Refused if the file has other names.
    fn append_in_place(&self, content: &[u8]) -> Result<u64, PowerError> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = open_beneath(self.parent, self.name, flags, Mode::empty())
            .map_err(|errno| self.fault(errno))?;
        let found = rustix::fs::fstat(&file).map_err(|errno| self.fault(errno))?;
        check_regular(&found, self.path)?;
        if found.st_nlink > 1 {
            return Err(self.wrong(
                "it has several names (hard links) and is too large to be copied; write a new file",
            ));
        }
        let before = u64::try_from(found.st_size).unwrap_or(0);
        let mut file = File::from(file);
        let done = file.write_all(content).and_then(|()| file.sync_data());
        if let Err(error) = done {
            let fault = self.fault_io(&error);
            return match file.set_len(before) {
                Ok(()) => Err(fault),
                Err(_) => Err(self.lost(&fault)),
            };
        }
        let size = file
            .metadata()
            .map_err(|error| self.fault_io(&error))?
            .len();
        Ok(size)
    }

    /// Puts a fresh file with these two pieces in the name's place.
    fn replace(
        &self,
        before: &[u8],
        content: &[u8],
        old: Option<&Stat>,
        how: RenameFlags,
    ) -> Result<u64, PowerError> {
        let (file, fresh) = self.fresh().map_err(|errno| self.fault(errno))?;
        let result = self.fill(&file, before, content, old).and_then(|size| {
            if self.stop.is_stopped() {
                return Err(PowerError::Io {
                    what: format!("writing {}", self.path),
                    message: "the call was stopped".to_owned(),
                });
            }
            match rustix::fs::renameat_with(self.parent, &fresh, self.parent, self.name, how) {
                Ok(()) => Ok(size),
                Err(Errno::EXIST) => Err(self.wrong("it already exists")),
                Err(errno) => Err(self.fault(errno)),
            }
        });
        match result {
            Ok(size) => match self.flush_directory() {
                Ok(()) => Ok(size),
                // It is in place, and may not be any more after a power failure.
                Err(error) => Err(self.lost(&error)),
            },
            Err(error) => {
                remove(self.parent, &fresh, AtFlags::empty());
                Err(error)
            }
        }
    }

    /// A fresh, empty file in the same directory, and its name. What a write of the same name left behind that was killed
    /// in the middle is taken away.
    fn fresh(&self) -> Result<(File, String), Errno> {
        // The same in every process, so that the write that is made again finds what the first one left.
        let mut hasher = DefaultHasher::new();
        self.name.hash(&mut hasher);
        let named = hasher.finish();
        for number in 0..NAME_ATTEMPTS_MAX {
            let name = format!(".aaos-{named:016x}-{number}.tmp");
            if let Some(file) = self.make(&name)? {
                return Ok((file, name));
            }
        }
        Err(Errno::EXIST)
    }

    /// Makes a file of this name, locked as long as it is open; none if the name is in use.
    fn make(&self, name: &str) -> Result<Option<File>, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        match open_beneath(self.parent, name, flags, FILE_MODE) {
            Err(Errno::EXIST) if self.clear(name) => {}
            Err(Errno::EXIST) => return Ok(None),
            made => return self.locked(made?),
        }
        match open_beneath(self.parent, name, flags, FILE_MODE) {
            Err(Errno::EXIST) => Ok(None),
            made => self.locked(made?),
        }
    }

    /// The lock says that its writer lives. Where the file system has no locks, nobody finds a file unlocked either.
    fn locked(&self, made: OwnedFd) -> Result<Option<File>, Errno> {
        let taken = matches!(flock(&made, LOCK), Err(Errno::WOULDBLOCK));
        // Another write may have found it in the moment before, and taken it away.
        let gone = rustix::fs::fstat(&made)?.st_nlink == 0;
        Ok((!taken && !gone).then(|| File::from(made)))
    }

    /// Takes away what a write left behind whose process is gone. False if its writer lives, or it is something else.
    fn clear(&self, name: &str) -> bool {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let Ok(left) = open_beneath(self.parent, name, flags, Mode::empty()) else {
            return false;
        };
        if flock(&left, LOCK).is_err() {
            return false;
        }
        // Looked at once it is locked: before that its writer may have put it in its place.
        let named = rustix::fs::statat(self.parent, name, AtFlags::SYMLINK_NOFOLLOW);
        let (Ok(found), Ok(named)) = (rustix::fs::fstat(&left), named) else {
            return false;
        };
        let same = (found.st_dev, found.st_ino) == (named.st_dev, named.st_ino);
        if same && check_regular(&found, self.path).is_ok() {
            remove(self.parent, name, AtFlags::empty());
            return true;
        }
        false
    }

    fn fill(
        &self,
        mut file: &File,
        before: &[u8],
        content: &[u8],
        old: Option<&Stat>,
    ) -> Result<u64, PowerError> {
        let done = file
            .write_all(before)
            .and_then(|()| file.write_all(content));
        done.map_err(|error| self.fault_io(&error))?;
        if let Some(old) = old {
            let mode = Mode::from_raw_mode(old.st_mode & MODE_KEPT);
            rustix::fs::fchmod(file, mode).map_err(|errno| self.fault(errno))?;
        }
        file.sync_all().map_err(|error| self.fault_io(&error))?;
        Ok(u64::try_from(before.len().saturating_add(content.len())).unwrap_or(u64::MAX))
    }

    /// Makes the new name outlast a power failure. A directory that may be written but not read cannot be flushed.
    fn flush_directory(&self) -> Result<(), PowerError> {
        match open_beneath(self.parent, ".", LIST_FLAGS, Mode::empty()).and_then(rustix::fs::fsync)
        {
            // Some file systems flush no directories.
            Ok(()) | Err(Errno::ACCESS | Errno::INVAL) => Ok(()),
            Err(errno) => Err(self.fault(errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &tempfile::TempDir) -> Vec<String> {
        let all = std::fs::read_dir(directory.path()).unwrap();
        let name = |entry: io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<String> = all
            .map(|entry| name(entry).into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_write_left_is_taken_away_by_the_next_and_what_a_living_one_makes_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let parent = OwnedFd::from(File::open(directory.path()).unwrap());
        let stop = Stop::default();
        let target = Target {
            parent: &parent,
            name: "file.txt",
            path: "/file.txt",
            stop: &stop,
        };
        let (left, name) = target.fresh().unwrap();
        drop(left);
        assert_eq!(names(&directory), std::slice::from_ref(&name));
        target.write(b"words", WriteMode::Replace).unwrap();
        assert_eq!(names(&directory), ["file.txt"]);
        let (living, name) = target.fresh().unwrap();
        target.write(b"others", WriteMode::Replace).unwrap();
        assert_eq!(names(&directory), [name, "file.txt".to_owned()]);
        drop(living);
    }
}
