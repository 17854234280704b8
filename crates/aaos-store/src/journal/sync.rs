//! The sync thread: makes what is committed survive a power cut, many waiting appends with one call.
//!
//! The writer commits without waiting for the disk; this thread calls `fdatasync` on the write-ahead log and then
//! lets go everyone who waited for it. A log is a sequence, so one call confirms every event before it as well.
//!
//! After a failed sync the kernel may have dropped the pages it could not write and call the next sync a success.
//! So a failure is final: nothing more is recorded until the daemon starts again, when the log's own checksums
//! decide how far it is whole.

use super::{Shared, confirmed::Confirmed, fault};
use aaos_core::event::Seq;
use aaos_ports::JournalError;
use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};
use tokio::sync::oneshot;

use crate::limits::SYNC_QUEUE_MAX;

/// Makes a file's content survive a power cut.
pub(crate) trait Flush: Send + 'static {
    /// Returns when everything written so far is on disk.
    fn flush(&mut self) -> io::Result<()>;
}

impl Flush for File {
    fn flush(&mut self) -> io::Result<()> {
        self.sync_data()?;
        // What has no name any more is on disk and found by nobody.
        if self.metadata()?.nlink() == 0 {
            return Err(io::Error::other("somebody removed its log"));
        }
        Ok(())
    }
}

/// An append that is committed and waits for the disk.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// Its last event's place.
    pub(crate) seq: Seq,
    /// Who waits.
    pub(crate) reply: oneshot::Sender<Result<Seq, JournalError>>,
}

/// Starts the thread; it ends when the sender is dropped, and gives back where it noted what is confirmed.
///
/// # Errors
/// No thread could be started.
pub(crate) fn start(
    log: impl Flush,
    confirmed: Confirmed,
    shared: Arc<Shared>,
) -> io::Result<(SyncSender<Vec<Waiter>>, JoinHandle<Confirmed>)> {
    let (send, receive) = sync_channel(SYNC_QUEUE_MAX);
    let thread = thread::Builder::new()
        .name("journal-sync".to_owned())
        .spawn(move || run(log, confirmed, &receive, &shared))?;
    Ok((send, thread))
}

fn run(
    mut log: impl Flush,
    mut confirmed: Confirmed,
    receive: &Receiver<Vec<Waiter>>,
    shared: &Shared,
) -> Confirmed {
    while let Ok(mut waiting) = receive.recv() {
        while let Ok(mut more) = receive.try_recv() {
            waiting.append(&mut more);
        }
        let done = match shared.failure() {
            Some(failure) => Err(failure.clone()),
            None => log
                .flush()
                .map_err(|error| shared.fail(fault::unsynced(&shared.path, error))),
        };
        // Before anybody acts on it.
        if let (Ok(()), Some(last)) = (&done, waiting.iter().map(|waiter| waiter.seq).max()) {
            confirmed.note(last.0);
        }
        for Waiter { seq, reply } in waiting {
            // Who went away while waiting needs no answer.
            drop(reply.send(done.clone().map(|()| seq)));
        }
    }
    confirmed
}
