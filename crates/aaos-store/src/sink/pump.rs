//! The pump: follows the journal for each sink by itself, so that a slow or broken one holds up nobody.

use super::{Opened, Start};
use crate::limits::{SINK_BATCH_EVENTS_MAX, SINK_RETRY_MS_MAX, SINK_RETRY_MS_MIN};
use aaos_core::event::{Event, Seq};
use aaos_ports::{Filter, Journal, JournalError, WatchItem};
use futures::StreamExt;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};

/// Copies the journal to sinks until it is drained.
#[derive(Debug)]
pub struct SinkPump {
    until: watch::Sender<Option<Seq>>,
    pumping: Vec<JoinHandle<()>>,
}

impl SinkPump {
    /// Starts one task for each sink. `head_at_open` is where the journal ended when it was opened: a sink that
    /// claims more took events that a power cut then removed, and goes on from there.
    #[must_use]
    pub fn start(journal: &Arc<dyn Journal>, head_at_open: Seq, sinks: Vec<Opened>) -> Self {
        let until = watch::Sender::new(None);
        let pump = |opened: Opened| {
            let after = after(&opened, head_at_open);
            let feed = Feed {
                journal: Arc::clone(journal),
                opened,
                after,
                until: until.subscribe(),
            };
            tokio::spawn(feed.run())
        };
        let pumping = sinks.into_iter().map(pump).collect();
        Self { until, pumping }
    }

    /// Delivers everything up to `last` and ends; what a sink has not taken after `grace` it is given at the next
    /// start, if it remembers its place.
    pub async fn drain(mut self, last: Seq, grace: Duration) {
        self.until.send_replace(Some(last));
        let pumping = std::mem::take(&mut self.pumping);
        let aborts: Vec<_> = pumping.iter().map(JoinHandle::abort_handle).collect();
        if tokio::time::timeout(grace, futures::future::join_all(pumping))
            .await
            .is_err()
        {
            tracing::warn!("a sink did not take everything in time");
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }
}

impl Drop for SinkPump {
    fn drop(&mut self) {
        self.pumping.iter().for_each(JoinHandle::abort);
    }
}

fn after(opened: &Opened, head_at_open: Seq) -> Seq {
    match opened.start {
        Start::Now => head_at_open,
        Start::After(last) if last > head_at_open => {
            let (sink, claimed, has) = (opened.sink.name(), last.0, head_at_open.0);
            tracing::warn!(
                sink,
                claimed,
                has,
                "the sink holds events that the journal has lost"
            );
            head_at_open
        }
        Start::After(last) => last,
    }
}

struct Feed {
    journal: Arc<dyn Journal>,
    opened: Opened,
    after: Seq,
    until: watch::Receiver<Option<Seq>>,
}

impl Feed {
    async fn run(mut self) {
        let mut wait = Backoff::new();
        loop {
            let error = match self.follow().await {
                Ok(()) | Err(JournalError::Closed) => return,
                Err(error) => error,
            };
            let (sink, after) = (self.opened.sink.name(), self.after.0);
            tracing::error!(sink, after, %error, "a sink cannot read the journal on");
            wait.pause().await;
        }
    }

    fn is_done(&self) -> bool {
        self.until.borrow().is_some_and(|last| self.after >= last)
    }

    /// Delivers until everything is delivered or the journal cannot be read.
    async fn follow(&mut self) -> Result<(), JournalError> {
        let watch = self.journal.watch(Filter::default(), self.after);
        let mut chunks = watch.ready_chunks(SINK_BATCH_EVENTS_MAX);
        let mut until = self.until.clone();
        while !self.is_done() {
            tokio::select! {
                chunk = chunks.next() => {
                    let Some(chunk) = chunk else { return Ok(()) };
                    self.take(chunk).await?;
                }
                changed = until.changed() => {
                    if changed.is_err() { return Ok(()) }
                }
            }
        }
        Ok(())
    }

    async fn take(
        &mut self,
        chunk: Vec<Result<WatchItem, JournalError>>,
    ) -> Result<(), JournalError> {
        let mut events = Vec::with_capacity(chunk.len());
        let mut failed = None;
        for item in chunk {
            match item {
                Ok(WatchItem::Event(event)) => events.push(event),
                // What was skipped comes next; only a live display cares.
                Ok(WatchItem::Gap { .. }) => {}
                Err(error) => failed = Some(error),
            }
        }
        self.deliver(&events).await;
        failed.map_or(Ok(()), Err)
    }

    /// Delivers until it succeeds: the sink may come back.
    async fn deliver(&mut self, events: &[Event]) {
        let Some(last) = events.last().map(|event| event.seq) else {
            return;
        };
        let sink = self.opened.sink.name();
        let mut wait = Backoff::new();
        while let Err(error) = self.opened.sink.deliver(events).await {
            if wait.is_first() {
                tracing::warn!(sink, after = self.after.0, %error, "a sink fails and is tried again");
            }
            wait.pause().await;
        }
        if !wait.is_first() {
            tracing::info!(sink, last = last.0, "the sink takes events again");
        }
        self.after = last;
        if let Some(position) = &self.opened.position
            && let Err(error) = position.store(last)
        {
            tracing::warn!(sink, last = last.0, %error, "a sink's place was not remembered; it may get events twice");
        }
    }
}

struct Backoff {
    ms: u64,
}

impl Backoff {
    const fn new() -> Self {
        Self {
            ms: SINK_RETRY_MS_MIN,
        }
    }

    const fn is_first(&self) -> bool {
        self.ms == SINK_RETRY_MS_MIN
    }

    async fn pause(&mut self) {
        tokio::time::sleep(Duration::from_millis(self.ms)).await;
        self.ms = self.ms.saturating_mul(2).min(SINK_RETRY_MS_MAX);
    }
}
