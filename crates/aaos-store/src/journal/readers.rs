//! A few read-only connections, each used by one blocking thread at a time.

use super::{database, fault};
use crate::limits::BLOB_BYTES_MAX;
use aaos_ports::JournalError;
use rusqlite::{Connection, OptionalExtension};
use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The pool.
#[derive(Debug)]
pub(crate) struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    slots: Arc<Semaphore>,
}

impl Readers {
    /// A pool that opens its connections when they are first needed.
    pub(crate) fn new(path: PathBuf, readers_max: NonZeroUsize) -> Self {
        let slots = Arc::new(Semaphore::new(readers_max.get()));
        Self {
            path,
            idle: Arc::default(),
            slots,
        }
    }

    /// Does `work` with a connection. When the caller goes away, work that has begun ends by itself and its connection
    /// is kept; other work is not begun.
    ///
    /// # Errors
    /// What `work` says; storage if no connection can be had.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &Path) -> Result<T, JournalError> + Send + 'static,
    {
        let (path, idle) = (self.path.clone(), Arc::clone(&self.idle));
        let (reply, answer) = oneshot::channel();
        let work = move |slot: OwnedSemaphorePermit| {
            tokio::task::spawn_blocking(move || {
                // Who went away while waiting needs no answer.
                if !reply.is_closed() {
                    let done = with_one(&idle, &path, work);
                    // Whoever closes the journal once it has this answer finds no file of it open.
                    drop((idle, slot));
                    drop(reply.send(done));
                }
            });
        };
        match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(slot) => work(slot),
            // A task of its own takes the slot: a caller that is not polled when its turn comes would keep it from
            // the others, among them one that the same caller waits for.
            Err(_) => self.queue(work),
        }
        answer.await.map_err(|_| JournalError::Closed)?
    }

    /// Does `work` when a slot is free.
    fn queue(&self, work: impl FnOnce(OwnedSemaphorePermit) + Send + 'static) {
        let slots = Arc::clone(&self.slots);
        tokio::spawn(async move {
            if let Ok(slot) = slots.acquire_owned().await {
                work(slot);
            }
        });
    }
}

/// Does `work` with a connection that is kept, or else a new one.
fn with_one<T>(
    idle: &Mutex<Vec<Connection>>,
    path: &Path,
    work: impl FnOnce(&Connection, &Path) -> Result<T, JournalError>,
) -> Result<T, JournalError> {
    let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let connection = match kept {
        Some(connection) => connection,
        None => database::open_reader(path).map_err(|error| fault::sqlite(path, &error))?,
    };
    let done = work(&connection, path);
    idle.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(connection);
    done
}

/// A body kept among the events, unchecked; `None` if there is none, or one too large to be ours.
pub(crate) fn body(from: &Connection, digest: &[u8; 32]) -> rusqlite::Result<Option<Vec<u8>>> {
    let text = "SELECT body FROM blobs WHERE digest = ?1 AND length(body) <= ?2";
    from.prepare_cached(text)?
        .query_row(rusqlite::params![digest, BLOB_BYTES_MAX as i64], |row| {
            row.get(0)
        })
        .optional()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::{sync::mpsc, time::Duration};

    #[tokio::test]
    async fn whoever_has_the_answer_and_lets_go_leaves_no_connection_open() {
        let dir = tempfile::tempdir().unwrap();
        drop(database::open_writer(dir.path()).unwrap());
        for _ in 0..200 {
            let readers = Readers::new(database::file(dir.path()), NonZeroUsize::MIN);
            let connections = Arc::downgrade(&readers.idle);
            readers.run(|_, _| Ok(())).await.unwrap();
            drop(readers);
            assert!(connections.upgrade().is_none());
        }
    }

    #[tokio::test]
    async fn a_reader_whose_turn_comes_while_nobody_polls_it_keeps_nobody_waiting() {
        let dir = tempfile::tempdir().unwrap();
        drop(database::open_writer(dir.path()).unwrap());
        let readers = Readers::new(database::file(dir.path()), NonZeroUsize::MIN);
        let (go_on, wait) = mpsc::channel::<()>();
        let mut first = Box::pin(readers.run(move |_, _| Ok(wait.recv().is_ok())));
        let mut second = Box::pin(readers.run(|_, _| Ok(())));
        assert!(futures::poll!(first.as_mut()).is_pending());
        assert!(futures::poll!(second.as_mut()).is_pending());
        let mut third = Box::pin(readers.run(|_, _| Ok(())));
        assert!(futures::poll!(third.as_mut()).is_pending());
        go_on.send(()).unwrap();
        let third = tokio::time::timeout(Duration::from_secs(30), third).await;
        third.unwrap().unwrap();
        assert!(first.await.unwrap());
    }
}
