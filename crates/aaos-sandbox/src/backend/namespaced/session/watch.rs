//! The task of a session: hears the worker, and ends it when it has to be ended.
//!
//! Refuses: every word that was not asked for. One offence is enough; a worker is cheap and the next one is clean.

use super::{
    super::{
        calls::{End, Unasked},
        limits::{
            ANSWER_SLACK, ASKS_MAX, GONE_WITHIN, OUTBOX_BYTES_HIGH, WORDS_BYTES_MAX, WRITE_WITHIN,
        },
        line::Inbox,
    },
    Session,
};
use crate::protocol::{Answer, FromWorker, frame::FrameError};
use aaos_core::text;
use aaos_ports::WorkerNote;
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, OptionFuture},
    stream::FuturesUnordered,
};
use rustix::fd::OwnedFd;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time;

/// Why a worker has to be ended.
enum Offence {
    /// Its line ended, and it with it.
    Gone,
    /// It said what it may not.
    Said(String),
}

impl From<Unasked> for Offence {
    fn from(_: Unasked) -> Self {
        Self::Said("it spoke of a call that is not in flight".to_owned())
    }
}

impl From<FrameError> for Offence {
    fn from(error: FrameError) -> Self {
        Self::Said(text::preview(&error.to_string(), WORDS_BYTES_MAX))
    }
}

type Asking = BoxFuture<'static, (u64, (Answer, Option<OwnedFd>))>;

/// Reads what a worker says until it is over, and sees to it that nothing is left of it then.
pub(super) async fn watch(session: Arc<Session>, inbox: Inbox) {
    let reader = Reader {
        session,
        inbox,
        asks: FuturesUnordered::new(),
    };
    reader.run().await;
}

struct Reader {
    session: Arc<Session>,
    inbox: Inbox,
    asks: FuturesUnordered<Asking>,
}

impl Reader {
    async fn run(mut self) {
        // Whatever becomes of this task, nobody waits for it for ever.
        let closing = Closing(Arc::clone(&self.session));
        while self.session.ended().is_none() {
            match self.turn().await {
                Ok(()) => {}
                Err(Offence::Gone) => self.session.end(End::Lost("its process ended".to_owned())),
                Err(Offence::Said(what)) => {
                    self.session
                        .end(End::Lost(format!("{what}, and was killed")));
                }
            }
        }
        self.close().await;
        drop(closing);
    }

    /// Waits for the next thing to do and does it.
    async fn turn(&mut self) -> Result<(), Offence> {
        let Self {
            session,
            inbox,
            asks,
        } = self;
        if let Some(word) = inbox.take()? {
            return heed(session, asks, word);
        }
        let waiting = session.outbox.waiting();
        let stuck = waiting.since.map(|since| since + WRITE_WITHIN);
        let owed = session.calls.due();
        let due = stuck.into_iter().chain(owed).min();
        let due = OptionFuture::from(due.map(|due| time::sleep_until(due.into())));
        let line = session.outbox.line();
        tokio::select! {
            biased;
            () = session.bell.notified() => {}
            ready = line.readable(), if waiting.bytes <= OUTBOX_BYTES_HIGH => {
                let open = ready.is_ok() && inbox.fill(line).unwrap_or(false);
                if !open {
                    return Err(Offence::Gone);
                }
            }
            _ = line.writable(), if waiting.bytes > 0 => session.outbox.flush(),
            Some((ask, answer)) = asks.next(), if !asks.is_empty() => session.reply(ask, answer),
            Some(()) = due => return overdue(session),
        }
        Ok(())
    }

    /// Sees to it that nothing is left of the worker.
    async fn close(&mut self) {
        let session = &self.session;
        session.end(End::Stopped);
        let gone = session.process.gone(GONE_WITHIN).await;
        if !gone {
            tracing::warn!(pid = session.process.pid(), "a killed worker has not gone");
        }
        session.detach();
        self.asks.clear();
        session.desk.quiet().await;
        if let Some(End::Lost(reason)) = session.ended() {
            session.witness.note(WorkerNote::Lost { reason }).await;
        }
        if let Some(cgroup) = &session.cgroup {
            cgroup.remove();
        }
    }
}

/// Lets everyone go who waits for a session, when its task is over.
struct Closing(Arc<Session>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.end(End::Stopped);
        self.0.calls.clear();
        self.0.over.stop();
    }
}

/// Does what the worker's word asks for.
fn heed(
    session: &Session,
    asks: &FuturesUnordered<Asking>,
    word: FromWorker,
) -> Result<(), Offence> {
    match word {
        FromWorker::Done { call, outcome } => {
            if session.calls.done(call, outcome)? {
                session.end(End::Retired);
            }
        }
        FromWorker::Ask { ask, call, act } => {
            let asked = session.calls.asked(call)?;
            if asks.len() >= ASKS_MAX {
                return Err(Offence::Said(format!(
                    "it asked more than {ASKS_MAX} things at once"
                )));
            }
            let answer = session.desk.clone().answer(asked, act);
            asks.push(answer.map(move |answer| (ask, answer)).boxed());
        }
        FromWorker::Narrowed => session.calls.narrowed()?,
        FromWorker::Staged { .. } | FromWorker::Ready { .. } | FromWorker::Unfit { .. } => {
            return Err(Offence::Said("it began anew".to_owned()));
        }
    }
    Ok(())
}

/// What was waited for did not come.
fn overdue(session: &Session) -> Result<(), Offence> {
    let now = Instant::now();
    let passed = |due: Option<Instant>| due.is_some_and(|due| due <= now);
    if passed(
        session
            .outbox
            .waiting()
            .since
            .map(|since| since + WRITE_WITHIN),
    ) {
        return Err(Offence::Said(format!(
            "it did not read what was sent to it within {} s",
            seconds(WRITE_WITHIN)
        )));
    }
    if passed(session.calls.due()) {
        return Err(Offence::Said(format!(
            "it did not end a call within {} s of being told to",
            seconds(ANSWER_SLACK)
        )));
    }
    Ok(())
}

const fn seconds(time: Duration) -> u64 {
    time.as_secs()
}
