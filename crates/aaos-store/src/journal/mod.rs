//! The journal: one append-only, hash-chained sequence of events in SQLite, and the bodies beside it.
//!
//! One thread writes, one makes it durable, a few read. Refuses a state directory that another daemon has open, a
//! journal that is damaged at its end, and one of a newer version.

pub(crate) mod chain;
pub(crate) mod confirmed;
pub(crate) mod database;
mod erase;
mod erasure;
pub(crate) mod fault;
pub(crate) mod log;
mod pending;
pub(crate) mod read;
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
    notary::{self, Key, SignedHead},
    room,
};
use aaos_core::{
    event::{Draft, Event, Kind, Seq, Subject},
    id::RunId,
    time::Timestamp,
};
use aaos_ports::{Digest, Durability, Filter, Journal, JournalError, Watch};
use async_trait::async_trait;
use chain::Head;
use confirmed::Confirmed;
use erase::Puts;
pub use erase::{EraseError, Erased};
use pending::{Kept, Pending};
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
    trip: Mutex<Option<JournalError>>,
    puts: Puts,
    pending: Pending,
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

    /// A commit failed and left nothing.
    fn trips(&self, failure: &JournalError) {
        *self.trip_place() = Some(failure.clone());
    }

    /// A commit succeeded.
    fn works(&self) {
        self.trip_place().take();
    }

    fn trip_place(&self) -> MutexGuard<'_, Option<JournalError>> {
        self.trip.lock().unwrap_or_else(PoisonError::into_inner)
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
    dir: PathBuf,
    files: Arc<Files>,
    queue: Mutex<Option<mpsc::Sender<Work>>>,
    writing: Mutex<Option<JoinHandle<()>>>,
    head_at_open: Seq,
}

impl Store {
    /// Opens the journal of a state directory, making both if they do not exist. Blocks for some milliseconds.
    ///
    /// # Errors
    /// `InUse` if another daemon has it open; `Damaged` if the end of the journal does not hold, or lies before the
    /// last signed head beside it or before what the disk had confirmed; storage.
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
        let mut connection = database::open_writer(dir)?;
        let path = database::file(dir);
        let head = check(&connection, dir)?;
        let files = Arc::new(Files::open(dir)?);
        let unfolded = erase::resume(&mut connection, &path, &files)?;
        let confirmed = Confirmed::open(dir)?;
        let log = File::open(log::path(&path)).map_err(failed)?;
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
            trip: Mutex::default(),
            puts: Puts::default(),
            pending: Pending::default(),
        });
        let (sync, syncing) =
            sync::start(flush(log), confirmed, Arc::clone(&shared)).map_err(failed)?;
        let writer = Writer {
            connection,
            head,
            shared: Arc::clone(&shared),
            files: Arc::clone(&files),
            unfolded,
            sync,
            syncing,
            lock,
        };
        let (send, receive) = mpsc::channel(QUEUE_MAX);
        let thread = thread::Builder::new().name("journal-write".to_owned());
        let writing = thread.spawn(move || writer.run(receive)).map_err(failed)?;
        Ok(Self {
            shared,
            dir: dir.to_owned(),
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

    /// The state directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether what is appended is recorded: the failure after which nothing more is, or the last commit's if it
    /// failed. The error names the next step.
    ///
    /// # Errors
    /// What went wrong.
    pub fn health(&self) -> Result<(), JournalError> {
        if let Some(failure) = self.shared.failure() {
            return Err(failure.clone());
        }
        self.shared.trip_place().clone().map_or(Ok(()), Err)
    }

    /// Whether new work may be accepted: the journal is healthy and its disk has room for what is under way and more.
    /// Asked before a goal is accepted; does not block for long.
    ///
    /// # Errors
    /// What went wrong, or how much room is missing.
    pub fn headroom(&self) -> Result<(), JournalError> {
        if let Some(failure) = self.shared.failure() {
            return Err(failure.clone());
        }
        room::headroom(&self.dir)
    }

    /// Waits until the journal reaches `seq`; `false` if it is closed before.
    pub(crate) async fn reaches(&self, seq: u64) -> bool {
        let mut reach = self.shared.reach_receiver();
        let found = reach
            .wait_for(|reach| reach.seq >= seq || !reach.open)
            .await;
        found.is_ok_and(|reach| reach.seq >= seq && reach.open)
    }

    /// Signs the journal's end: records it durably as an event that covers everything before, and puts it into
    /// `head.signed` beside the database. `None` if nothing happened since the last time.
    ///
    /// # Errors
    /// Storage.
    pub async fn sign_head(
        &self,
        key: &Key,
        time: Timestamp,
    ) -> Result<Option<SignedHead>, JournalError> {
        let work = |from: &_, path: &Path| {
            notary::unsigned_head(from).map_err(|error| fault::sqlite(path, &error))
        };
        let Some(Head { seq, hash }) = self.shared.readers.run(work).await? else {
            return Ok(None);
        };
        let signed = SignedHead::new(key, seq, &hash, time);
        let draft = Draft {
            time,
            subject: Subject::default(),
            kind: Kind::HeadSigned {
                head: seq,
                hash: signed.hash.clone(),
                key: signed.key.clone(),
                signature: signed.signature.clone(),
            },
        };
        self.append(vec![draft], Durability::Durable).await?;
        let (dir, kept) = (self.dir.clone(), signed.clone());
        let stored = tokio::task::spawn_blocking(move || notary::store_head(&dir, &kept)).await;
        stored.map_err(|_| JournalError::Closed)??;
        Ok(Some(signed))
    }

    async fn enqueue(
        &self,
        rows: Vec<Prepared>,
        durability: Durability,
        erasing: Vec<RunId>,
    ) -> Result<Seq, JournalError> {
        let (reply, answer) = oneshot::channel();
        let bodies = self.shared.pending.named(&rows);
        self.send(Work::Append(Append {
            bodies,
            rows,
            durability,
            erasing,
            reply,
        }))
        .await?;
        answer.await.map_err(|_| JournalError::Closed)?
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

    /// Keeps a body among the events: with the first of them that names it, or by itself while commits fail.
    async fn keep_inline(&self, body: Kept) -> Result<(), JournalError> {
        let alone = match self.health() {
            Ok(()) => self.shared.pending.add(body),
            Err(_) => vec![body],
        };
        for body in alone {
            let (reply, answer) = oneshot::channel();
            self.send(Work::Body(Body { body, reply })).await?;
            answer.await.map_err(|_| JournalError::Closed)??;
        }
        Ok(())
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

/// Checks the journal's end before anything is built on it; answers with where it is.
fn check(connection: &rusqlite::Connection, dir: &Path) -> Result<Head, JournalError> {
    let path = database::file(dir);
    let pages = log::pages(connection).map_err(|error| fault::sqlite(&path, &error))?;
    let log = log::path(&path);
    let unfinished = log::unfinished(&log, pages).map_err(|error| fault::io(&log, &error))?;
    let head = database::check_end(connection, &path)?;
    notary::check_reach(connection, dir, head.seq)?;
    confirmed::check(dir, &path, head.seq)?;
    if let Some(bytes) = unfinished {
        tracing::warn!(
            bytes,
            events = head.seq,
            "the end of the journal's log was not written whole and is left out: what was being recorded when the daemon ended, and had not been confirmed"
        );
    }
    Ok(head)
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
        self.enqueue(rows, durability, Vec::new()).await
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
            self.shared.puts.note(*digest.as_bytes(), self.head().0);
            let kept = Kept {
                digest: *digest.as_bytes(),
                bytes: body.into(),
            };
            self.keep_inline(kept).await?;
            return Ok(Digest(digest.to_hex().to_string()));
        }
        let (files, shared) = (Arc::clone(&self.files), Arc::clone(&self.shared));
        let head = self.head().0;
        let kept = tokio::task::spawn_blocking(move || {
            let _among = files.among();
            shared.puts.note(*blake3::hash(&body).as_bytes(), head);
            files.put(&body)
        })
        .await;
        kept.map_err(|_| JournalError::Closed)?
    }

    async fn get(&self, digest: &Digest) -> Result<Vec<u8>, JournalError> {
        let hash = crate::blobs::parse(digest);
        if let Some(body) = hash.and_then(|hash| self.shared.pending.get(hash.as_bytes())) {
            return Ok(body.to_vec());
        }
        let files = Arc::clone(&self.files);
        let wanted = digest.clone();
        let work = move |from: &rusqlite::Connection, path: &Path| {
            let missing = || JournalError::NoBlob(wanted.clone());
            let hash = hash.ok_or_else(missing)?;
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
