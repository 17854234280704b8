//! The writer thread: the only one that writes, one transaction for everything that waits.

use super::{
    Shared,
    chain::Head,
    confirmed::Confirmed,
    database,
    erase::{self, Erased, Plan},
    fault, log,
    pending::Kept,
    row::Prepared,
    sync::Waiter,
    tail::Recent,
};
use crate::{
    blobs::Files,
    limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, WAL_PAGES},
    lock::Lock,
};
use aaos_core::{event::Seq, id::RunId};
use aaos_ports::{Durability, JournalError};
use rusqlite::{Connection, TransactionBehavior};
use std::{
    sync::{Arc, mpsc::SyncSender},
    thread::{self, JoinHandle},
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
    /// What was erased is to go from the log too; answers whether it is gone.
    Fold(oneshot::Sender<Result<bool, JournalError>>),
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
            Self::Erase(_) | Self::Fold(_) => 0,
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
            Self::Erase(_) | Self::Fold(_) => {}
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
            Self::Fold(reply) => drop(reply.send(Err(error))),
            #[cfg(test)]
            Self::PagesMax(_) => {}
        }
    }
}

fn keep(to: &Connection, body: &Kept) -> rusqlite::Result<()> {
    let kept = rusqlite::params![body.digest, &*body.bytes];
    to.prepare_cached(KEEP_BODY)?.execute(kept).map(drop)
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
    /// Runs whose content is erased and may still be in the log.
    pub(crate) unfolded: Vec<RunId>,
    /// To the sync thread.
    pub(crate) sync: SyncSender<Vec<Waiter>>,
    /// The sync thread, which ends when `sync` is gone.
    pub(crate) syncing: JoinHandle<Confirmed>,
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
            self.tidy();
        }
        self.keep_unnamed();
        let lock = self.end();
        drop(closing);
        drop(lock);
    }

    /// Waits for the last sync, and leaves a journal at rest in one file: connections that only read may outlive this
    /// one, and the last to close could not. Whoever reads at this moment is not waited for.
    fn end(mut self) -> Lock {
        let erased = self.shared.failure().is_none().then(|| self.fold_erased());
        if let Some(Err(error)) = erased {
            tracing::warn!(%error, "erased text may be in the journal's log; the next start takes it out");
        }
        let Self {
            connection,
            shared,
            head,
            sync,
            syncing,
            lock,
            ..
        } = self;
        drop(sync);
        let confirmed = syncing.join();
        let folded = match shared.failure() {
            None => log::fold(&connection).map_err(|error| fault::sqlite(&shared.path, &error)),
            Some(failure) => Err(failure.clone()),
        };
        match (folded, confirmed) {
            (_, Err(_)) => tracing::error!("the journal's sync thread ended early"),
            (Ok(true), Ok(confirmed)) => {
                confirmed.settle(head.seq);
                log::let_go(&connection);
            }
            (Ok(false), Ok(_)) => {}
            (Err(error), Ok(_)) => {
                tracing::warn!(%error, "the journal's log stays as it is; the next start finds out what of it is whole");
            }
        }
        if let Err((_, error)) = connection.close() {
            tracing::warn!(%error, "the journal's database did not close cleanly");
        }
        lock
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
            Err(error) => {
                let error = self.told(&error);
                if batch.len() > 1 {
                    return batch.into_iter().for_each(|work| self.record(vec![work]));
                }
                self.shared.trips(&error);
                batch
                    .into_iter()
                    .for_each(|work| work.refuse(error.clone()));
            }
        }
    }

    /// What SQLite said; a sync that failed is final, whoever asked for it.
    fn told(&self, error: &rusqlite::Error) -> JournalError {
        let path = &self.shared.path;
        if fault::is_unsynced(error) {
            return self.shared.fail(fault::unsynced(path, error));
        }
        fault::sqlite(path, error)
    }

    /// Moves the log into the database when it has become long. It goes on growing while that cannot be done; an append
    /// that has no room says so.
    fn tidy(&self) {
        if self.shared.failure().is_some() {
            return;
        }
        let done = log::pages(&self.connection).and_then(|pages| {
            if pages < WAL_PAGES {
                return Ok(());
            }
            log::move_some(&self.connection)
        });
        if let Err(error) = done {
            let error = self.told(&error);
            tracing::debug!(%error, "the journal's log was not moved into its database");
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
            self.check_head();
        }
        written
    }

    /// A commit that failed has left the journal's end where it was. If it has not, somebody else writes here, or what
    /// was told as failed took effect: what is known of the record is not what is in it.
    fn check_head(&self) {
        match database::head(&self.connection) {
            Ok(head) if head == self.head => {}
            Ok(head) => {
                let message = format!(
                    "it ends at event {}, and this daemon had left it at {}",
                    head.seq, self.head.seq
                );
                let step = "End whatever else writes to it, then start the daemon again";
                self.shared
                    .fail(fault::storage(&self.shared.path, message, step));
            }
            Err(error) => {
                tracing::warn!(%error, "the journal's end could not be read after a failure")
            }
        }
    }

    /// Erases, and takes what was erased out of memory as well.
    fn erase(&mut self, plan: Plan, seq: u64) -> Result<Erased, JournalError> {
        let path = &self.shared.path;
        let puts = &self.shared.puts;
        let erased = erase::carry_out(&mut self.connection, path, plan, seq, &self.files, puts)?;
        self.unfolded.extend(&erased.runs);
        self.shared.tail().restart(self.head.seq);
        Ok(erased)
    }

    /// Takes what was erased out of the log, and only then strikes its runs off those whose erasure is begun; answers
    /// whether nothing is left.
    fn fold_erased(&mut self) -> Result<bool, JournalError> {
        let folded = self.unfolded.is_empty()
            || log::fold(&self.connection).map_err(|error| self.told(&error))?;
        if folded {
            let runs = std::mem::take(&mut self.unfolded);
            erase::strike(&mut self.connection, &runs).map_err(|error| self.told(&error))?;
        }
        Ok(folded)
    }

    fn acknowledge(&mut self, batch: Vec<Work>, head: Head) {
        let mut seq = self.head.seq;
        self.head = head;
        let mut ordered = Vec::new();
        let mut durable = Vec::new();
        let mut bodies = Vec::new();
        let mut erasures = Vec::new();
        let mut folds = Vec::new();
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
                    Work::Fold(reply) => folds.push(reply),
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
        for reply in folds {
            let done = self.fold_erased();
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
