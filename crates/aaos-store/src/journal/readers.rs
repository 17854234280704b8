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
use tokio::sync::Semaphore;

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

    /// Does `work` with a connection. When the caller goes away the work ends by itself and its connection is kept.
    ///
    /// # Errors
    /// What `work` says; storage if no connection can be had.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &Path) -> Result<T, JournalError> + Send + 'static,
    {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.map_err(|_| JournalError::Closed)?;
        let (path, idle) = (self.path.clone(), Arc::clone(&self.idle));
        let done = tokio::task::spawn_blocking(move || {
            let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match kept {
                Some(connection) => connection,
                None => {
                    database::open_reader(&path).map_err(|error| fault::sqlite(&path, &error))?
                }
            };
            let done = work(&connection, &path);
            idle.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
            drop(slot);
            done
        });
        done.await.map_err(|_| JournalError::Closed)?
    }
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
