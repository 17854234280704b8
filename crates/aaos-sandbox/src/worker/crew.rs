//! The threads of a worker. They take turns at reading the line: who reads a call runs it, and somebody else reads on.
//!
//! An idle worker has one thread. A second is started with the first call, more only while more calls run at once.

use super::{
    ServeError,
    inside::{Inside, Wanted},
};
use crate::protocol::{Answer, CALLS_MAX, ToWorker, line::Frames};
use aaos_ports::ToolError;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use std::{
    io,
    os::unix::net::UnixStream,
    sync::{Mutex, MutexGuard, PoisonError},
    thread::{self, Scope},
    time::Instant,
};

use super::calls::{Calls, Over};

/// Room on a thread's stack, in bytes: what a tool has in the daemon too. Only what is touched costs memory.
const STACK_BYTES: usize = 2 * 1024 * 1024;
/// Most threads: one for each call, and one that reads.
const THREADS_MAX: usize = CALLS_MAX + 1;
/// Most threads that wait for work; more end.
const IDLE_MAX: usize = 2;

/// Serves until the line ends. Returns when every call has.
///
/// # Errors
/// The line broke, or the daemon said what makes no sense.
pub(super) fn serve(inside: &Inside, frames: Frames<UnixStream>) -> Result<(), ServeError> {
    let crew = Crew {
        inside,
        source: Mutex::new(Source { frames, end: None }),
        hands: Mutex::new(Hands { idle: 1, all: 1 }),
    };
    thread::scope(|scope| crew.work(scope));
    let source = crew.source.into_inner();
    source
        .unwrap_or_else(PoisonError::into_inner)
        .end
        .unwrap_or(Ok(()))
}

struct Crew<'a> {
    inside: &'a Inside,
    source: Mutex<Source>,
    hands: Mutex<Hands>,
}

/// The line, and how it ended if it has.
struct Source {
    frames: Frames<UnixStream>,
    end: Option<Result<(), ServeError>>,
}

/// How many threads there are, and how many of them read or wait to.
struct Hands {
    idle: usize,
    all: usize,
}

/// What came of one message.
enum Came {
    /// A call to run.
    Call(Wanted),
    /// Something that has been seen to.
    Else,
    /// The end of the line.
    End,
}

impl Crew<'_> {
    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One thread's life: reads until a call comes, runs it, and comes back if there is room.
    fn work<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        while let Some(wanted) = self.next_call() {
            match self.relieve(scope) {
                Ok(()) => self.inside.run(wanted),
                Err(error) => self.refuse(&wanted, &error),
            }
            if !self.comes_back() {
                return;
            }
        }
    }

    /// Sees to it that somebody reads while this thread runs a call.
    fn relieve<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> io::Result<()> {
        let mut hands = self.hands();
        hands.idle -= 1;
        if hands.idle > 0 || hands.all >= THREADS_MAX {
            return Ok(());
        }
        let thread = thread::Builder::new().stack_size(STACK_BYTES);
        thread.spawn_scoped(scope, || self.work(scope))?;
        hands.idle += 1;
        hands.all += 1;
        Ok(())
    }

    /// Whether this thread goes on reading; else it ends.
    fn comes_back(&self) -> bool {
        let mut hands = self.hands();
        if hands.idle >= IDLE_MAX {
            hands.all -= 1;
            return false;
        }
        hands.idle += 1;
        true
    }

    /// Answers a call that there is no thread for.
    fn refuse(&self, wanted: &Wanted, error: &io::Error) {
        let call = wanted.ticket.call;
        self.inside.calls.leave(call);
        let text = format!(
            "the worker cannot start another thread ({error}); try again when fewer calls run"
        );
        let outcome = Err(ToolError::Failed(text));
        self.inside.line.done(call, outcome, ToolError::Failed);
    }

    /// The next call; none when the line has ended.
    fn next_call(&self) -> Option<Wanted> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        while source.end.is_none() {
            match self.next_message(&mut source.frames) {
                Ok(Came::Call(wanted)) => return Some(wanted),
                Ok(Came::Else) => {}
                Ok(Came::End) => source.end = Some(Ok(())),
                Err(error) => source.end = Some(Err(error)),
            }
            if source.end.is_some() {
                self.inside.close();
            }
        }
        None
    }

    /// Reads one message, and sees to it while nobody else reads: what follows it finds it done.
    fn next_message(&self, frames: &mut Frames<UnixStream>) -> Result<Came, ServeError> {
        self.keep_deadlines(frames)?;
        let Some(message) = frames.take_next::<ToWorker>()? else {
            return Ok(Came::End);
        };
        match message {
            ToWorker::Confine(_) => return Err(ServeError::Nonsense("a second policy")),
            ToWorker::Call {
                call,
                identity,
                question,
                tool,
                input,
                deadline_ms,
            } => {
                let ticket = self.inside.calls.enter(call, deadline_ms)?;
                return Ok(Came::Call(Wanted {
                    ticket,
                    identity,
                    question,
                    tool,
                    input,
                    deadline_ms,
                }));
            }
            ToWorker::Cancel { call } => {
                self.inside.end(|calls| calls.end(call, Over::Cancelled));
            }
            ToWorker::Answer { ask, answer } => {
                let descriptor = match &answer {
                    Answer::Opened { .. } => frames.descriptor(),
                    _ => None,
                };
                self.inside.line.answer(ask, (answer, descriptor))?;
            }
            ToWorker::Narrow { left } => {
                self.inside.narrow(left);
                self.inside.line.narrowed();
            }
        }
        Ok(Came::Else)
    }

    /// Waits for the line, and ends the calls whose deadline passes meanwhile.
    fn keep_deadlines(&self, frames: &Frames<UnixStream>) -> Result<(), ServeError> {
        while let Some(due) = self.inside.calls.nearest() {
            if frames.holds_message() {
                return Ok(());
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.inside.end(Calls::end_late);
                continue;
            }
            let left = Timespec::try_from(left).ok();
            let mut line = [PollFd::new(frames.socket(), PollFlags::IN)];
            match poll(&mut line, left.as_ref()) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => {
                    return Err(ServeError::System {
                        what: "waiting for the line",
                        source: errno.into(),
                    });
                }
            }
        }
        Ok(())
    }
}
