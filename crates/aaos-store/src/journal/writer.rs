//! The writer thread: the only one that writes, one transaction for everything that waits.

use super::{
    Shared,
    chain::Head,
    database,
    erase::{self, Erased, Plan},
    fault,
    pending::Kept,
    row::Prepared,
    sync::Waiter,
    tail::Recent,
};
use crate::{
    blobs::Files,
    limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX},
    lock::Lock,
};
use aaos_core::{event::Seq, id::RunId};
use aaos_ports::{Durability, JournalError};
use rusqlite::{Connection, TransactionBehavior};
use std::{
    sync::{Arc, mpsc::SyncSender},
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

const BEGIN_ERASURE: &str = "INSERT OR REPLACE INTO erasing (run, seq) VALUES (?1, ?2)";
const MOVE_HEAD: &str = "UPDATE head SET seq = ?1, hash = ?2 WHERE id = 1";
/// A body that is there already is left alone, unless what is there is not the body.
const KEEP_BODY: &str = "INSERT INTO blobs (digest, body) VALUES (?1, ?2) \
                         ON CONFLICT (digest) DO UPDATE SET body = excluded.body WHERE body <> excluded.body";

/// Events to record together.
#[derive(Debug)]
pub(crate) struct Append {
    /// Bodies that they name and that are not committed yet.
    pub(crate) bodies: Vec<Kept>,
    /// The events, at least one.
    pub(crate) rows: Vec<Prepared>,
    /// How sure the caller wants to be.
    pub(crate) durability: Durability,
    /// The runs whose erasure begins with these.
    pub(crate) erasing: Vec<RunId>,
    /// Who waits.
    pub(crate) reply: oneshot::Sender<Result<Seq, JournalError>>,
}

/// A body to keep among the events.
#[derive(Debug)]
pub(crate) struct Body {
    /// The body.
    pub(crate) body: Kept,
    /// Who waits.
    pub(crate) reply: oneshot::Sender<Result<(), JournalError>>,
}

/// Runs' content to erase, now that its intent is durable.
#[derive(Debug)]
pub(crate) struct Erase {
    /// What to erase.
    pub(crate) plan: Plan,
    /// Where the intent is.
    pub(crate) seq: u64,
    /// Who waits.
    pub(crate) reply: oneshot::Sender<Result<Erased, JournalError>>,
}

/// Something to write.
#[derive(Debug)]
pub(crate) enum Work {
    /// Events.
    Append(Append),
    /// A body.
    Body(Body),
    /// Runs' content to erase.
    Erase(Erase),
    /// Bounds the database to so many pages, as a full disk does.
    #[cfg(test)]
    PagesMax(u32),
}

impl Work {
    fn events(&self) -> usize {
        match self {
            Self::Append(append) => append.rows.len(),
            _ => 1,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Append(append) => {
                let rows: usize = append.rows.iter().map(|row| row.body.len()).sum();
                let bodies: usize = append.bodies.iter().map(|body| body.bytes.len()).sum();
                rows.saturating_add(bodies)
            }
            Self::Body(body) => body.body.bytes.len(),
            Self::Erase(_) => 0,
            #[cfg(test)]
            Self::PagesMax(_) => 0,
        }
    }

    /// Writes it after `head` and answers with the new head.
    fn write(&self, to: &Connection, mut head: Head) -> rusqlite::Result<Head> {
        match self {
            Self::Append(append) => {
                append.bodies.iter().try_for_each(|body| keep(to, body))?;
                for row in &append.rows {
                    head = row.insert(to, &head)?;
                }
                for run in &append.erasing {
                    let place = [run.number().cast_signed(), head.seq.cast_signed()];
                    to.prepare_cached(BEGIN_ERASURE)?.execute(place)?;
                }
            }
            Self::Body(body) => keep(to, &body.body)?,
            // Done by itself, after the transaction.
            Self::Erase(_) => {}
            #[cfg(test)]
            Self::PagesMax(_) => {}
        }
        Ok(head)
    }

    fn refuse(self, error: JournalError) {
        // Who went away while waiting needs no answer.
        match self {
            Self::Append(append) => drop(append.reply.send(Err(error))),
            Self::Body(body) => drop(body.reply.send(Err(error))),
            Self::Erase(erase) => drop(erase.reply.send(Err(error))),
            #[cfg(test)]
            Self::PagesMax(_) => {}
        }
    }
}

fn keep(to: &Connection, body: &Kept) -> rusqlite::Result<()> {
    let kept = rusqlite::params![body.digest, &*body.bytes];
    to.prepare_cached(KEEP_BODY)?.execute(kept).map(drop)
}

/// Moves the write-ahead log into the database, so that a journal at rest is one file: connections that only read
/// may outlive this one, and the last to close could not. Whoever reads at this moment is not waited for.
fn fold(connection: &Connection) {
    let folded = connection
        .busy_timeout(Duration::ZERO)
        .and_then(|()| truncate_log(connection));
    if let Err(error) = folded {
        tracing::warn!(%error, "the journal's log was not folded into its database; the next start does it");
    }
}

/// Moves the log into the database and empties it; answers whether somebody who reads was in the way.
fn truncate_log(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
}

/// What the thread owns. Fields are dropped in order: the lock goes last.
pub(crate) struct Writer {
    /// The only connection that writes.
    pub(crate) connection: Connection,
    /// Where the journal ends.
    pub(crate) head: Head,
    /// What watchers and readers see.
    pub(crate) shared: Arc<Shared>,
    /// Bodies in files.
    pub(crate) files: Arc<Files>,
    /// To the sync thread.
    pub(crate) sync: SyncSender<Vec<Waiter>>,
    /// The sync thread, which ends when `sync` is gone.
    pub(crate) syncing: JoinHandle<()>,
    /// Keeps other daemons out.
    pub(crate) lock: Lock,
}

impl Writer {
    /// Writes until nobody can send any more, then closes the journal.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Work>) {
        let closing = Closing(Arc::clone(&self.shared));
        while let Some(first) = queue.blocking_recv() {
            // Whoever is about to send on this processor may: each commit costs a page or more of every index.
            thread::yield_now();
            let batch = gather(first, &mut queue);
            self.record(batch);
        }
        self.keep_unnamed();
        let Self {
            connection,
            sync,
            syncing,
            lock,
            ..
        } = self;
        drop(sync);
        if syncing.join().is_err() {
            tracing::error!("the journal's sync thread ended early");
        }
        // After a failed sync the log decides what is whole, so it is left as it is.
        if self.shared.failure().is_none() {
            fold(&connection);
        }
        if let Err((_, error)) = connection.close() {
            tracing::warn!(%error, "the journal's database did not close cleanly");
        }
        drop(closing);
        drop(lock);
    }

    /// Writes a batch in one transaction. If that fails each item is tried by itself, so that one too large for
    /// the room there is does not take the others with it.
    fn record(&mut self, batch: Vec<Work>) {
        #[cfg(test)]
        self.bound(&batch);
        if let Some(failure) = self.shared.failure() {
            batch
                .into_iter()
                .for_each(|work| work.refuse(failure.clone()));
            return;
        }
        match self.commit(&batch) {
            Ok(head) => {
                self.shared.works();
                self.acknowledge(batch, head);
            }
            Err(error) if batch.len() == 1 => {
                let error = fault::sqlite(&self.shared.path, &error);
                self.shared.trips(&error);
                batch
                    .into_iter()
                    .for_each(|work| work.refuse(error.clone()));
            }
            Err(_) => batch.into_iter().for_each(|work| self.record(vec![work])),
        }
    }

    /// Keeps the bodies that no event has named.
    fn keep_unnamed(&mut self) {
        let left = self.shared.pending.take();
        if left.is_empty() || self.shared.failure().is_some() {
            return;
        }
        let change = |to: &mut Connection| {
            let change = to.transaction_with_behavior(TransactionBehavior::Immediate)?;
            left.iter().try_for_each(|body| keep(&change, body))?;
            change.commit()
        };
        if let Err(error) = change(&mut self.connection) {
            tracing::warn!(%error, "bodies that no event names were not kept");
        }
    }

    #[cfg(test)]
    fn bound(&self, batch: &[Work]) {
        for work in batch {
            if let Work::PagesMax(pages) = work {
                drop(self.connection.pragma_update(None, "max_page_count", pages));
            }
        }
    }

    fn commit(&mut self, batch: &[Work]) -> rusqlite::Result<Head> {
        let before = self.head;
        let written = write(&mut self.connection, before, batch);
        if written.is_err() {
            self.find_head();
        }
        written
    }

    /// After a failure the database says where the journal ends. If that is not where it was, a commit took effect
    /// that was reported as failed: watchers read it from the database.
    fn find_head(&mut self) {
        match database::head(&self.connection) {
            Ok(head) if head == self.head => {}
            Ok(head) => {
                self.head = head;
                self.shared.tail().restart(head.seq);
                self.shared.reach(head.seq);
            }
            Err(error) => {
                tracing::warn!(%error, "the journal's end could not be read after a failure")
            }
        }
    }

    /// Erases, and takes what was erased out of memory and out of the log as well.
    fn erase(&mut self, plan: Plan, seq: u64) -> Result<Erased, JournalError> {
        let path = &self.shared.path;
        let puts = &self.shared.puts;
        let erased = erase::carry_out(&mut self.connection, path, plan, seq, &self.files, puts)?;
        self.shared.tail().restart(self.head.seq);
        match truncate_log(&self.connection) {
            Ok(false) => {}
            Ok(true) => tracing::warn!(
                "a reader keeps the journal's log; erased text is gone from it when the log is next folded"
            ),
            Err(error) => return Err(fault::sqlite(&self.shared.path, &error)),
        }
        Ok(erased)
    }

    fn acknowledge(&mut self, batch: Vec<Work>, head: Head) {
        let mut seq = self.head.seq;
        self.head = head;
        let mut ordered = Vec::new();
        let mut durable = Vec::new();
        let mut bodies = Vec::new();
        let mut erasures = Vec::new();
        {
            let mut tail = self.shared.tail();
            for work in batch {
                match work {
                    Work::Append(Append {
                        bodies: kept,
                        rows,
                        durability,
                        reply,
                        ..
                    }) => {
                        self.shared.pending.written(&kept);
                        for row in rows {
                            seq = seq.saturating_add(1);
                            tail.push(recent(row, seq));
                        }
                        let waiter = Waiter {
                            seq: Seq(seq),
                            reply,
                        };
                        match durability {
                            Durability::Ordered => ordered.push(waiter),
                            Durability::Durable => durable.push(waiter),
                        }
                    }
                    Work::Body(body) => {
                        self.shared.pending.written(&[body.body]);
                        bodies.push(body.reply);
                    }
                    Work::Erase(erase) => erasures.push(erase),
                    #[cfg(test)]
                    Work::PagesMax(_) => {}
                }
            }
        }
        self.shared.reach(head.seq);
        // Who went away while waiting needs no answer.
        ordered
            .into_iter()
            .for_each(|waiter| drop(waiter.reply.send(Ok(waiter.seq))));
        bodies
            .into_iter()
            .for_each(|reply| drop(reply.send(Ok(()))));
        if !durable.is_empty() {
            // Without a sync thread the waiters are dropped with the error, and learn that the journal is closed.
            drop(self.sync.send(durable));
        }
        for Erase { plan, seq, reply } in erasures {
            let done = self.erase(plan, seq);
            drop(reply.send(done));
        }
    }
}

fn recent(row: Prepared, seq: u64) -> Recent {
    let (kind, bytes) = (row.kind.clone(), row.body.len());
    Recent {
        event: row.into_event(seq),
        kind,
        bytes,
    }
}

fn gather(first: Work, queue: &mut mpsc::Receiver<Work>) -> Vec<Work> {
    let (mut events, mut bytes) = (first.events(), first.bytes());
    let mut batch = vec![first];
    while events < BATCH_EVENTS_MAX && bytes < BATCH_BYTES_MAX {
        let Ok(work) = queue.try_recv() else { break };
        events = events.saturating_add(work.events());
        bytes = bytes.saturating_add(work.bytes());
        batch.push(work);
    }
    batch
}

fn write(connection: &mut Connection, mut head: Head, batch: &[Work]) -> rusqlite::Result<Head> {
    let before = head;
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for work in batch {
        head = work.write(&change, head)?;
    }
    if head != before {
        change
            .prepare_cached(MOVE_HEAD)?
            .execute(rusqlite::params![head.seq.cast_signed(), head.hash])?;
    }
    change.commit()?;
    Ok(head)
}

/// Tells watchers that nothing more will come, however the thread ends.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}
