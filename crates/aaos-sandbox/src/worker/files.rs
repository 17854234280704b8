//! The file power in a worker: trees are in its own root, everything else that was granted is at the daemon's.
//!
//! The comparison with grants and needs is made here in both cases, before anything is opened or asked. For a path
//! outside the trees the daemon makes it again, with its own eyes, and does exactly that act.

use super::{
    calls::Ticket,
    line::{Line, stopped},
    walk,
};
use crate::{
    confine::Trees,
    files::{BeneathFiles, Stoppable, repository},
    protocol::{Answer, FileAct},
};
use aaos_core::capability::FileRight;
use aaos_ports::{
    Files, PowerError,
    power::{Entry, Flow, OpenFile, Tidy, WriteMode},
};
use std::{fs::File, sync::Arc};

/// The file power of one call.
pub(super) struct WorkerFiles {
    pub(super) local: BeneathFiles,
    pub(super) trees: Arc<Trees>,
    pub(super) line: Arc<Line>,
    pub(super) ticket: Ticket,
}

impl WorkerFiles {
    /// Whether a tree in the worker's root holds a normal path, with one of these rights.
    fn is_here(&self, rights: &[FileRight], path: &str) -> bool {
        self.trees.of(path).is_some_and(|tree| {
            rights.iter().any(|right| match right {
                FileRight::Read => tree.read,
                FileRight::Write => tree.write,
            })
        })
    }

    /// Asks the daemon to look at a path.
    pub(super) fn ask_stat(&self, path: String) -> Result<Entry, PowerError> {
        match self.line.ask(&self.ticket, FileAct::Stat { path })? {
            (Answer::Found(entry), _) => Ok(entry),
            _ => Err(unfitting("looking at a file")),
        }
    }

    /// Asks the daemon for the names in a directory.
    pub(super) fn ask_list(
        &self,
        path: String,
        limit: usize,
    ) -> Result<(Vec<Entry>, bool), PowerError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        match self.line.ask(&self.ticket, FileAct::List { path, limit })? {
            (Answer::Listed(entries, more), _) => Ok((entries, more)),
            _ => Err(unfitting("listing a directory")),
        }
    }
}

/// What is answered when the daemon's answer is not one to the question.
fn unfitting(what: &str) -> PowerError {
    PowerError::Io {
        what: what.to_owned(),
        message: "the daemon answered another question; see its journal".to_owned(),
    }
}

impl Files for WorkerFiles {
    fn open(&self, path: &str) -> Result<OpenFile, PowerError> {
        let rights = [FileRight::Read];
        let path = self.local.admit(&rights, path)?;
        if self.is_here(&rights, &path) {
            return self.local.open(&path);
        }
        match self.line.ask(&self.ticket, FileAct::Open { path })? {
            (Answer::Opened { path, size }, Some(descriptor)) => {
                let handed = Stoppable {
                    file: File::from(descriptor),
                    stop: self.ticket.stop.clone(),
                };
                Ok(OpenFile {
                    bytes: Box::new(handed),
                    path,
                    size,
                })
            }
            _ => Err(unfitting("opening a file")),
        }
    }

    fn write(&self, path: &str, content: &[u8], mode: WriteMode) -> Result<u64, PowerError> {
        let rights = [FileRight::Write];
        let path = self.local.admit(&rights, path)?;
        if self.is_here(&rights, &path) {
            return self.local.write(&path, content, mode);
        }
        repository::check(&path)?;
        let act = FileAct::Write {
            path,
            mode,
            content: content.to_vec(),
        };
        match self.line.ask(&self.ticket, act)? {
            (Answer::Written(size), _) => Ok(size),
            _ => Err(unfitting("writing a file")),
        }
    }

    fn stat(&self, path: &str) -> Result<Entry, PowerError> {
        let rights = [FileRight::Read, FileRight::Write];
        let path = self.local.admit(&rights, path)?;
        if self.is_here(&rights, &path) {
            return self.local.stat(&path);
        }
        self.ask_stat(path)
    }

    fn list(&self, path: &str, limit: usize) -> Result<(Vec<Entry>, bool), PowerError> {
        let rights = [FileRight::Read];
        let path = self.local.admit(&rights, path)?;
        if self.is_here(&rights, &path) {
            return self.local.list(&path, limit);
        }
        self.ask_list(path, limit)
    }

    fn walk(
        &self,
        root: &str,
        tidy: Tidy,
        visit: &mut dyn FnMut(&Entry) -> Flow,
    ) -> Result<(), PowerError> {
        let rights = [FileRight::Read];
        let root = self.local.admit(&rights, root)?;
        if self.is_here(&rights, &root) {
            return self.local.walk(&root, tidy, visit);
        }
        walk::walk(self, root, tidy, visit)
    }
}

impl WorkerFiles {
    /// Whether a file beneath a walk's root may be shown.
    pub(super) fn may_read(&self, path: &str) -> bool {
        self.local.admit(&[FileRight::Read], path).is_ok()
    }

    /// Refuses to go on once the call is over.
    pub(super) fn check_stop(&self, what: &str) -> Result<(), PowerError> {
        if self.ticket.is_over() {
            return Err(stopped(what));
        }
        Ok(())
    }
}
