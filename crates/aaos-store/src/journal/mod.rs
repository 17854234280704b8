//! The journal: one append-only, hash-chained sequence of events in SQLite, and the bodies beside it.
//!
//! One thread writes, one makes it durable, a few read. Refuses a state directory that another daemon has open, a
//! journal that is damaged at its end, and one of a newer version.

pub(crate) mod chain;
pub(crate) mod database;
pub(crate) mod fault;
mod read;
pub(crate) mod readers;
pub(crate) mod row;
mod sync;
mod tail;
mod watch;
mod writer;

use crate::{
    blobs::Files,
    limits::{
        APPEND_EVENTS_MAX, BLOB_BYTES_MAX, BLOB_INLINE_BYTES_MAX, QUEUE_MAX, READERS_MAX,
        TAIL_EVENTS_MAX,
    },
    lock::Lock,
};
use aaos_core::event::{Draft, Event, Seq};
use aaos_ports::{Digest, Durability, Filter, Journal, JournalError, Watch};
use async_trait::async_trait;
use readers::Readers;
use row::Prepared;
use std::{
    fs::{DirBuilder, File},
    num::NonZeroUsize,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    thread::{self, JoinHandle},
};
use sync::Flush;
use tail::Tail;
use tokio::sync::{mpsc, oneshot, watch as channel};
use watch::Reach;
use writer::{Append, Body, Work, Writer};

/// How a store is set up.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Recent events kept in memory for watchers. A watcher further behind reads from disk.
    pub tail_events_max: NonZeroUsize,
    /// Connections that read at the same time.
    pub readers_max: NonZeroUsize,
}

impl Options {
    /// What suits one daemon on one machine.
    #[must_use]
    pub fn standard() -> Self {
        let or_one = |number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN);
        Self {
            tail_events_max: or_one(TAIL_EVENTS_MAX),
            readers_max: or_one(READERS_MAX),
        }
    }
}

/// What the threads, the watchers and the store share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The database file, for errors.
    pub(crate) path: PathBuf,
    readers: Readers,
    tail: Mutex<Tail>,
    reach: channel::Sender<Reach>,
    failure: OnceLock<JournalError>,
}

impl Shared {
    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self, seq: u64) {
        self.reach.send_modify(|reach| reach.seq = seq);
    }

    fn close(&self) {
        self.reach.send_modify(|reach| reach.open = false);
    }

    fn reach_receiver(&self) -> channel::Receiver<Reach> {
        self.reach.subscribe()
    }

    /// Why nothing more can be recorded, if so.
    fn failure(&self) -> Option<&JournalError> {
        self.failure.get()
    }

    /// Records nothing from now on; answers with the first failure there was.
    fn fail(&self, failure: JournalError) -> JournalError {
        self.failure.get_or_init(|| failure).clone()
    }

    async fn read(
        &self,
        filter: Filter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, JournalError> {
        let work = move |from: &_, path: &Path| read::events(from, path, &filter, after, limit);
        self.readers.run(work).await
    }
}

/// The journal and blob store of one state directory.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    files: Arc<Files>,
    queue: Mutex<Option<mpsc::Sender<Work>>>,
    writing: Mutex<Option<JoinHandle<()>>>,
    head_at_open: Seq,
}

impl Store {
    /// Opens the journal of a state directory, making both if they do not exist. Blocks for some milliseconds.
    ///
    /// # Errors
    /// `InUse` if another daemon has it open; `Damaged` if the end of the journal does not hold; storage.
    pub fn open(dir: &Path, options: Options) -> Result<Self, JournalError> {
        Self::open_with(dir, options, |log| log)
    }

    fn open_with<F: Flush>(
        dir: &Path,
        options: Options,
        flush: impl FnOnce(File) -> F,
    ) -> Result<Self, JournalError> {
        let failed = |error: std::io::Error| fault::io(dir, &error);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed)?;
        let lock = Lock::take(dir)?;
        let connection = database::open_writer(dir)?;
        let path = database::file(dir);
        let head = database::check_end(&connection, &path)?;
        let files = Arc::new(Files::open(dir)?);
        let log = File::open(database::wal(dir)).map_err(failed)?;
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed)?;
        let shared = Arc::new(Shared {
            readers: Readers::new(path.clone(), options.readers_max),
            path,
            tail: Mutex::new(Tail::after_event(head.seq, options.tail_events_max.get())),
            reach: channel::Sender::new(Reach {
                seq: head.seq,
                open: true,
            }),
            failure: OnceLock::new(),
        });
        let (sync, syncing) = sync::start(flush(log), Arc::clone(&shared)).map_err(failed)?;
        let writer = Writer {
            connection,
            head,
            shared: Arc::clone(&shared),
            sync,
            syncing,
            lock,
        };
        let (send, receive) = mpsc::channel(QUEUE_MAX);
        let thread = thread::Builder::new().name("journal-write".to_owned());
        let writing = thread.spawn(move || writer.run(receive)).map_err(failed)?;
        Ok(Self {
            shared,
            files,
            queue: Mutex::new(Some(send)),
            writing: Mutex::new(Some(writing)),
            head_at_open: Seq(head.seq),
        })
    }

    /// Where the journal ended when it was opened; what a sink claims to have beyond it was lost in a power cut.
    #[must_use]
    pub const fn head_at_open(&self) -> Seq {
        self.head_at_open
    }

    /// Where the journal ends now.
    #[must_use]
    pub fn head(&self) -> Seq {
        Seq(self.shared.reach.borrow().seq)
    }

    /// Takes no more, records everything that waits, and lets go of the state directory. Watchers are given what
    /// is left and then told that the journal is closed.
    pub async fn close(&self) {
        self.stop_taking();
        if let Some(thread) = self.take_thread()
            && let Ok(Err(_)) | Err(_) = tokio::task::spawn_blocking(move || thread.join()).await
        {
            tracing::error!("the journal's writer ended early");
        }
    }

    fn stop_taking(&self) {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    fn take_thread(&self) -> Option<JoinHandle<()>> {
        self.writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    async fn send(&self, work: Work) -> Result<(), JournalError> {
        let queue = self
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let queue = queue.ok_or(JournalError::Closed)?;
        queue.send(work).await.map_err(|_| JournalError::Closed)
    }

    fn prepare(&self, drafts: Vec<Draft>) -> Result<Vec<Prepared>, JournalError> {
        let path = &self.shared.path;
        if drafts.len() > APPEND_EVENTS_MAX {
            let message = format!(
                "{} events at once are over the maximum of {APPEND_EVENTS_MAX}",
                drafts.len()
            );
            return Err(fault::storage(
                path,
                message,
                "Append them in smaller portions",
            ));
        }
        drafts
            .into_iter()
            .map(|draft| Prepared::new(draft, path))
            .collect()
    }

    async fn keep_inline(&self, digest: [u8; 32], bytes: Vec<u8>) -> Result<(), JournalError> {
        let (reply, answer) = oneshot::channel();
        self.send(Work::Body(Body {
            digest,
            bytes,
            reply,
        }))
        .await?;
        answer.await.map_err(|_| JournalError::Closed)?
    }

    /// Bounds the database, as a full disk does.
    #[cfg(test)]
    async fn pages_max(&self, pages: u32) {
        self.send(Work::PagesMax(pages)).await.ok();
    }
}

impl Drop for Store {
    /// Waits until everything that was taken is recorded.
    fn drop(&mut self) {
        self.stop_taking();
        if let Some(thread) = self.take_thread()
            && thread.join().is_err()
        {
            tracing::error!("the journal's writer ended early");
        }
    }
}

#[async_trait]
impl Journal for Store {
    async fn append(
        &self,
        drafts: Vec<Draft>,
        durability: Durability,
    ) -> Result<Seq, JournalError> {
        if drafts.is_empty() {
            return Ok(self.head());
        }
        let rows = self.prepare(drafts)?;
        let (reply, answer) = oneshot::channel();
        self.send(Work::Append(Append {
            rows,
            durability,
            reply,
        }))
        .await?;
        answer.await.map_err(|_| JournalError::Closed)?
    }

    async fn read(
        &self,
        filter: &Filter,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Event>, JournalError> {
        self.shared.read(filter.clone(), after.0, limit).await
    }

    fn watch(&self, filter: Filter, after: Seq) -> Watch {
        watch::watch(Arc::clone(&self.shared), filter, after)
    }

    async fn put(&self, body: Vec<u8>) -> Result<Digest, JournalError> {
        if body.len() > BLOB_BYTES_MAX {
            let message = format!(
                "a body of {} bytes is over the maximum of {BLOB_BYTES_MAX}",
                body.len()
            );
            return Err(fault::storage(
                &self.shared.path,
                message,
                "Hand over a file instead of its content",
            ));
        }
        if let Some(failure) = self.shared.failure() {
            return Err(failure.clone());
        }
        if body.len() <= BLOB_INLINE_BYTES_MAX {
            let digest = blake3::hash(&body);
            self.keep_inline(*digest.as_bytes(), body).await?;
            return Ok(Digest(digest.to_hex().to_string()));
        }
        let files = Arc::clone(&self.files);
        let kept = tokio::task::spawn_blocking(move || files.put(&body)).await;
        kept.map_err(|_| JournalError::Closed)?
    }

    async fn get(&self, digest: &Digest) -> Result<Vec<u8>, JournalError> {
        let files = Arc::clone(&self.files);
        let wanted = digest.clone();
        let work = move |from: &rusqlite::Connection, path: &Path| {
            let missing = || JournalError::NoBlob(wanted.clone());
            let hash = crate::blobs::parse(&wanted).ok_or_else(missing)?;
            let inline = readers::body(from, hash.as_bytes())
                .map_err(|error| fault::sqlite(path, &error))?;
            let body = match inline {
                Some(body) => body,
                None => files.get(&hash)?.ok_or_else(missing)?,
            };
            if blake3::hash(&body) == hash {
                Ok(body)
            } else {
                Err(missing())
            }
        };
        self.shared.readers.run(work).await
    }
}

#[cfg(test)]
mod tests;
