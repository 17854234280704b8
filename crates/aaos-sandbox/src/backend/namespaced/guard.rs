//! The guard: what one daemon's processes do, they do alone.
//!
//! A lock on a file, held by the daemon and by every process that starts or serves workers, and let go by the kernel when
//! the last of them is gone. A daemon that was killed leaves processes that need a moment to end; the next one waits
//! here until they have, so that nothing of the old one acts beside the new.
//!
//! Refuses: a launch while another daemon's processes live, once it has waited long enough.

use super::limits::GUARD_WITHIN;
use aaos_ports::LaunchError;
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{FlockOperation, flock},
    io::Errno,
};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    sync::OnceCell,
    time::{self, Instant},
};

/// Mode of the lock's file: the daemon's account alone.
const MODE: u32 = 0o600;
/// Time between two tries: short beside what ending a process takes under load.
const PAUSE: Duration = Duration::from_millis(5);

/// The lock of one daemon.
#[derive(Debug, Default)]
pub struct Guard {
    path: Option<PathBuf>,
    held: OnceCell<File>,
}

impl Guard {
    /// A lock on this file, which is made if it is missing; without one there is nothing to wait for.
    #[must_use]
    pub const fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            held: OnceCell::const_new(),
        }
    }

    /// Holds it from the first time on, and answers with what every process that is started is to hold too.
    ///
    /// # Errors
    /// Another daemon's processes have it, or the file cannot be locked.
    pub(super) async fn held(&self) -> Result<Option<BorrowedFd<'_>>, LaunchError> {
        let Some(path) = &self.path else {
            return Ok(None);
        };
        let held = self.held.get_or_try_init(|| take(path)).await?;
        Ok(Some(held.as_fd()))
    }
}

async fn take(path: &Path) -> Result<File, LaunchError> {
    let unusable = |error: io::Error| LaunchError {
        layer: None,
        missing: format!("the lock {} cannot be used: {error}", path.display()),
        next_step: "see whether the state directory is there and the daemon may write in it"
            .to_owned(),
    };
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(MODE).open(path).map_err(unusable)?;
    let patience = Instant::now() + GUARD_WITHIN;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < patience => {
                time::sleep(PAUSE).await;
            }
            Err(Errno::WOULDBLOCK | Errno::INTR) => return Err(beside(path)),
            Err(errno) => return Err(unusable(errno.into())),
        }
    }
}

fn beside(path: &Path) -> LaunchError {
    LaunchError {
        layer: None,
        missing: format!(
            "processes of another daemon still hold {} after {} s",
            path.display(),
            GUARD_WITHIN.as_secs()
        ),
        next_step: "stop the other daemon; if there is none, end what `fuser` shows for that file, and try again"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_holder_waits_until_the_last_of_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("workers.lock");
        let first = Guard::new(Some(path.clone()));
        let passed_on = first.held().await.unwrap().unwrap();
        let passed_on = passed_on.try_clone_to_owned().unwrap();
        drop(first);
        let second = Guard::new(Some(path));
        let waited = time::timeout(PAUSE * 10, second.held()).await;
        assert!(waited.is_err(), "a process of the first still holds it");
        drop(passed_on);
        assert!(second.held().await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_lock_that_cannot_be_had_says_what_to_do() {
        let missing = Guard::new(Some("/nonexistent/aaos/workers.lock".into()));
        let error = missing.held().await.unwrap_err();
        assert!(error.missing.contains("/nonexistent/aaos/workers.lock"));
        assert!(!error.next_step.is_empty());
        assert!(Guard::default().held().await.unwrap().is_none());
    }
}
