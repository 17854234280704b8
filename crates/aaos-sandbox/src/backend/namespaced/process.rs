//! A worker's process, held by a descriptor: a number may be someone else's by the time it is used.
//!
//! The launcher reaps; the daemon kills and waits. A worker is the first process of its process namespace, so that
//! nothing it started outlives it.

use rustix::{
    fd::{AsFd, OwnedFd},
    process::{Signal, pidfd_send_signal},
};
use std::time::Duration;
use tokio::{
    io::{Interest, unix::AsyncFd},
    time,
};

/// A worker's process. Killed when this is dropped.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    handle: OwnedFd,
}

impl Process {
    /// Holds a process by its descriptor.
    pub(super) const fn new(pid: u32, handle: OwnedFd) -> Self {
        Self { pid, handle }
    }

    /// Its number, for people and for control groups.
    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Kills it and all it started. A second time does nothing.
    pub(super) fn kill(&self) {
        // It may be gone already, which is what was wanted.
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
    }

    /// Waits until it is gone; false if it is not by then.
    pub(super) async fn gone(&self, within: Duration) -> bool {
        #[expect(
            deprecated,
            reason = "the other constructor is unsafe, for types whose descriptor may change; a borrowed one does not"
        )]
        let handle = AsyncFd::with_interest(self.handle.as_fd(), Interest::READABLE);
        let Ok(handle) = handle else { return false };
        matches!(time::timeout(within, handle.readable()).await, Ok(Ok(_)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
