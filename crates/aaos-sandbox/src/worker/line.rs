//! The worker's side of the line to write on, and its open questions to the daemon.
//!
//! Refuses: an answer to a question that was never asked.

use super::{ServeError, calls::Ticket};
use crate::protocol::{
    Answer, FRAME_BYTES_MAX, FileAct, FromWorker,
    frame::{self, FrameError},
    line::send_all,
};
use aaos_core::id::CallId;
use aaos_ports::{PowerError, ToolError};
use rustix::fd::OwnedFd;
use std::{
    collections::BTreeMap,
    os::unix::net::UnixStream,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// An answer, with the descriptor that came along.
pub(super) type Answered = (Answer, Option<OwnedFd>);

/// What the worker says, and what it waits to be told.
pub(super) struct Line {
    out: Mutex<UnixStream>,
    asks: Mutex<Asks>,
    bell: Condvar,
}

#[derive(Default)]
struct Asks {
    next: u64,
    open: BTreeMap<u64, Option<Answered>>,
    closed: bool,
}

impl Line {
    pub(super) fn new(out: UnixStream) -> Self {
        Self {
            out: Mutex::new(out),
            asks: Mutex::default(),
            bell: Condvar::new(),
        }
    }

    /// Says something; a line that broke is found out by whoever reads it.
    fn say(&self, what: &FromWorker) -> Result<(), FrameError> {
        let bytes = frame::encode(what, FRAME_BYTES_MAX)?;
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(send_all(&*out, &bytes, None)?)
    }

    /// Answers a call. An output no frame holds is an error of the call.
    pub(super) fn done(
        &self,
        call: CallId,
        outcome: Result<String, ToolError>,
        too_long: impl FnOnce(String) -> ToolError,
    ) {
        let said = self.say(&FromWorker::Done { call, outcome });
        if let Err(FrameError::TooLong { found, limit }) = said {
            let text = format!(
                "the answer has {found} bytes and at most {limit} can be passed on; ask for less at once"
            );
            let outcome = Err(too_long(text));
            let _found_out_by_the_reader = self.say(&FromWorker::Done { call, outcome });
        }
    }

    /// Says that what was narrowed is in force.
    pub(super) fn narrowed(&self) {
        let _found_out_by_the_reader = self.say(&FromWorker::Narrowed);
    }

    fn asks(&self) -> MutexGuard<'_, Asks> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the daemon to do a file act for a call, and waits for the answer as long as the call lasts.
    ///
    /// # Errors
    /// The act is refused or failed, does not fit a frame, or the call is over.
    pub(super) fn ask(&self, ticket: &Ticket, act: FileAct) -> Result<Answered, PowerError> {
        let what = shown(&act);
        let ask = {
            let mut asks = self.asks();
            asks.next += 1;
            let ask = asks.next;
            asks.open.insert(ask, None);
            ask
        };
        let said = self.say(&FromWorker::Ask {
            ask,
            call: ticket.call,
            act,
        });
        let answered = match said {
            Ok(()) => self.wait(ask, ticket, &what),
            Err(FrameError::TooLong { .. }) => Err(PowerError::TooLarge {
                what: what.clone(),
                limit: u64::try_from(FRAME_BYTES_MAX).unwrap_or(u64::MAX),
            }),
            Err(_) => Err(stopped(&what)),
        };
        self.asks().open.remove(&ask);
        match answered? {
            (Answer::Refused(refusal), _) => Err(refusal),
            answered => Ok(answered),
        }
    }

    fn wait(&self, ask: u64, ticket: &Ticket, what: &str) -> Result<Answered, PowerError> {
        let mut asks = self.asks();
        loop {
            if let Some(answered) = asks.open.get_mut(&ask).and_then(Option::take) {
                return Ok(answered);
            }
            if asks.closed || ticket.is_over() {
                return Err(stopped(what));
            }
            let woken = self.bell.wait_timeout(asks, ticket.left());
            asks = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes an answer to whoever asked. Who has gone meanwhile does not miss it.
    ///
    /// # Errors
    /// Nobody ever asked, or it was answered before.
    pub(super) fn answer(&self, ask: u64, answered: Answered) -> Result<(), ServeError> {
        let mut asks = self.asks();
        if ask == 0 || ask > asks.next {
            return Err(ServeError::Nonsense("an answer nobody asked for"));
        }
        match asks.open.get_mut(&ask) {
            Some(Some(_)) => return Err(ServeError::Nonsense("a second answer")),
            Some(open) => *open = Some(answered),
            None => {}
        }
        drop(asks);
        self.bell.notify_all();
        Ok(())
    }

    /// Lets everyone who waits look whether their call is still wanted.
    pub(super) fn wake(&self) {
        drop(self.asks());
        self.bell.notify_all();
    }

    /// Says that no answers come any longer.
    pub(super) fn close(&self) {
        self.asks().closed = true;
        self.bell.notify_all();
    }
}

fn shown(act: &FileAct) -> String {
    let (doing, path) = match act {
        FileAct::Open { path } => ("opening", path),
        FileAct::Write { path, .. } => ("writing", path),
        FileAct::Stat { path } => ("looking at", path),
        FileAct::List { path, .. } => ("listing", path),
    };
    format!("{doing} {}", aaos_core::text::preview(path, 512))
}

/// What a power answers that was used for a call that is over.
pub(super) fn stopped(what: &str) -> PowerError {
    PowerError::Io {
        what: what.to_owned(),
        message: "the call was stopped".to_owned(),
    }
}
