//! A session: one confined worker that takes calls, from its proof to its end.
//!
//! Whoever calls sends for itself; one task reads what the worker says and ends it when it has to be ended. A worker
//! is killed for a word nobody asked for, for a message that makes no sense, for not answering and for not reading.
//! When its task is over its process is gone, its calls have failed and nothing is being done for it.

mod watch;

use super::{
    answer::{NoJson, Reading},
    calls::{Asked, Calls, End, Entering},
    cgroup::Cgroup,
    desk::Desk,
    egress::Attached,
    limits::{ANSWER_SLACK, NARROW_WITHIN, NOTICED_WITHIN},
    line::{Inbox, Outbox, Pushed},
    process::Process,
};
use crate::{
    defect,
    protocol::{
        Answer, CALLS_MAX, FRAME_BYTES_MAX, ToWorker,
        frame::{self, FrameError},
    },
    stop::Stop,
};
use aaos_core::{
    capability::Capability,
    confine::Confinement,
    id::{CallId, ToolName},
    time::Span,
    tool::Power,
};
use aaos_ports::{Act, AnyTool, Gate, PowerError, ToolError, ToolOutput, Witness};
use rustix::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::{
    sync::{Notify, Semaphore},
    time,
};

/// What a session is made of.
pub(super) struct Parts {
    pub(super) outbox: Outbox,
    pub(super) inbox: Inbox,
    pub(super) process: Process,
    pub(super) calls: Arc<Calls>,
    pub(super) desk: Desk,
    pub(super) reading: Reading,
    pub(super) witness: Arc<dyn Witness>,
    pub(super) confinement: Confinement,
    /// Its way out through the egress broker.
    pub(super) attached: Option<Attached>,
    /// Its control group.
    pub(super) cgroup: Option<Cgroup>,
}

/// A worker that takes calls.
pub(super) struct Session {
    calls: Arc<Calls>,
    outbox: Outbox,
    process: Process,
    desk: Desk,
    reading: Reading,
    witness: Arc<dyn Witness>,
    /// What the kernel lets through for it.
    pub(super) confinement: Confinement,
    attached: Mutex<Option<Attached>>,
    /// A call found nobody at the other end of the way out.
    unserved: Stop,
    cgroup: Option<Cgroup>,
    slots: Arc<Semaphore>,
    /// Programs of one worker run one after the other.
    programs: Arc<Semaphore>,
    bell: Notify,
    over: Stop,
}

/// A call as a session takes it.
pub(super) struct Prepared {
    /// Its identity in its run.
    pub(super) identity: CallId,
    pub(super) act: Arc<Act>,
    pub(super) tool: Arc<dyn AnyTool>,
    pub(super) name: ToolName,
    pub(super) input: Arc<serde_json::Value>,
    pub(super) gate: Arc<dyn Gate>,
    pub(super) deadline: Span,
    /// Whether it may start programs.
    pub(super) programs: bool,
}

impl Prepared {
    /// What cannot be said to a worker.
    fn unfit(&self, problem: String) -> ToolError {
        ToolError::Input {
            tool: self.name.to_string(),
            problem,
        }
    }

    /// Whether all it does is to make requests, so that one that was not made leaves nothing done.
    fn only_asks(&self) -> bool {
        self.tool.spec().powers == [Power::Http]
    }

    /// No worker took it.
    pub(super) fn untaken(&self, reason: String) -> ToolError {
        ToolError::NoWorker {
            tool: self.name.to_string(),
            reason,
        }
    }

    pub(super) fn lost(&self, reason: String) -> ToolError {
        ToolError::WorkerLost {
            tool: self.name.to_string(),
            reason,
        }
    }
}

/// The session ended, is about to, or cannot serve the call, before anything of the call happened.
pub(super) struct Elsewhere;

impl Session {
    /// Takes calls from here on.
    pub(super) fn begin(parts: Parts) -> Arc<Self> {
        let session = Arc::new(Self {
            calls: parts.calls,
            outbox: parts.outbox,
            process: parts.process,
            desk: parts.desk,
            reading: parts.reading,
            witness: parts.witness,
            confinement: parts.confinement,
            attached: Mutex::new(parts.attached),
            unserved: Stop::default(),
            cgroup: parts.cgroup,
            slots: Arc::new(Semaphore::new(CALLS_MAX)),
            programs: Arc::new(Semaphore::new(1)),
            bell: Notify::new(),
            over: Stop::default(),
        });
        // Owned by the session: every end of it is waited for through `over`, which this task says last.
        drop(tokio::spawn(watch::watch(
            Arc::clone(&session),
            parts.inbox,
        )));
        session
    }

    /// Whether it takes calls.
    pub(super) fn is_open(&self) -> bool {
        self.calls.is_open()
    }

    /// Whether its way out, if it has one, is broken.
    pub(super) fn is_cut_off(&self) -> bool {
        if self.unserved.is_stopped() {
            return true;
        }
        let attached = self.attached.lock();
        let attached = attached.unwrap_or_else(PoisonError::into_inner);
        attached.as_ref().is_some_and(|way| !way.is_served())
    }

    /// Its way out does not serve it any longer. Waits until the broker's end is noticed, if that is why: whoever is
    /// started next is to get another.
    async fn cut_off(&self) {
        let broker = {
            let attached = self.attached.lock();
            let attached = attached.unwrap_or_else(PoisonError::into_inner);
            attached.as_ref().map(Attached::end)
        };
        if let Some(broker) = broker {
            let _noticed = time::timeout(NOTICED_WITHIN, broker.stopped()).await;
        }
        self.unserved.stop();
    }

    /// Takes its way out away.
    fn detach(&self) {
        let attached = self.attached.lock();
        let attached = attached.unwrap_or_else(PoisonError::into_inner).take();
        drop(attached);
    }

    /// Why it is over, if it is.
    pub(super) fn ended(&self) -> Option<End> {
        self.calls.ended()
    }

    /// Ends it: its process is killed now, the rest follows.
    pub(super) fn end(&self, end: End) {
        self.calls.end(end);
        self.process.kill();
        self.slots.close();
        self.programs.close();
        self.bell.notify_one();
    }

    /// Waits until it is over.
    pub(super) async fn over(&self) {
        self.over.stopped().await;
    }

    /// Waits until nothing that was asked of it can still happen. A worker nobody ever called was asked nothing: it has
    /// been killed, and how long the kernel takes to put its namespaces away is nobody's time.
    pub(super) async fn harmless(&self) {
        if !self.calls.is_untouched() {
            self.over().await;
        }
    }

    /// Takes no more calls, and ends after the last one in flight.
    pub(super) fn retire(&self) {
        let idle = self.calls.retire();
        self.slots.close();
        self.programs.close();
        if idle {
            self.end(End::Retired);
        }
    }

    /// Tells the worker what is left. One that does not answer is killed.
    pub(super) async fn narrow(&self, left: Vec<Capability>) {
        let Some(narrowed) = self.calls.narrowing() else {
            return;
        };
        let told = self.send(&ToWorker::Narrow { left }, None).is_ok();
        let answered = told && matches!(time::timeout(NARROW_WITHIN, narrowed).await, Ok(Ok(())));
        if !answered {
            self.end(End::Lost(
                "it did not let go of what was revoked, and was killed".to_owned(),
            ));
            self.over().await;
        }
    }

    /// Runs one call to its end.
    pub(super) async fn call(
        &self,
        call: &Prepared,
    ) -> Result<Result<ToolOutput, ToolError>, Elsewhere> {
        let id = self.calls.draw();
        let question = match &*call.act {
            Act::Perform => Ok(None),
            Act::Consider(question) => serde_json::to_string(question).map(Some),
        };
        let question = match question {
            Ok(question) => question,
            Err(error) => return Ok(Err(call.unfit(error.to_string()))),
        };
        let words = ToWorker::Call {
            call: id,
            identity: call.identity,
            question,
            tool: call.name.clone(),
            input: call.input.to_string(),
            deadline_ms: call.deadline.millis(),
        };
        let frame = match frame::encode(&words, FRAME_BYTES_MAX) {
            Ok(frame) => frame,
            Err(error) => return Ok(Err(call.unfit(error.to_string()))),
        };
        let entering = self.turns(call).await?;
        let outcome = self.calls.enter(id, entering).ok_or(Elsewhere)?;
        let mut waiting = Waiting {
            session: self,
            id,
            answered: false,
        };
        if self.push(frame, None) == Pushed::Nowhere {
            // It died before it could hear of the call, which begins with another.
            waiting.answered = true;
            self.lose("its process ended").await;
            return Err(Elsewhere);
        }
        let limit = call.deadline.as_duration().saturating_add(ANSWER_SLACK);
        let outcome = time::timeout(limit, outcome).await;
        waiting.answered = matches!(outcome, Ok(Ok(_)));
        Ok(match outcome {
            Ok(Ok(Err(ToolError::Power(PowerError::Unserved { .. })))) if call.only_asks() => {
                self.cut_off().await;
                return Err(Elsewhere);
            }
            Ok(Ok(outcome)) => self.read_outcome(call, outcome).await,
            Ok(Err(_)) => Err(call.lost(self.reason())),
            Err(_) => {
                self.lose("it did not end a call at its deadline, and was killed")
                    .await;
                Err(ToolError::TimedOut {
                    tool: call.name.to_string(),
                    limit_ms: call.deadline.millis(),
                })
            }
        })
    }

    async fn turns(&self, call: &Prepared) -> Result<Entering, Elsewhere> {
        let acquire = |turns: &Arc<Semaphore>| Arc::clone(turns).acquire_owned();
        let program = match call.programs {
            true => Some(acquire(&self.programs).await.map_err(|_| Elsewhere)?),
            false => None,
        };
        let slot = acquire(&self.slots).await.map_err(|_| Elsewhere)?;
        Ok(Entering {
            asked: Asked::new(
                Arc::clone(&call.tool),
                Arc::clone(&call.act),
                Arc::clone(&call.input),
            ),
            gate: Arc::clone(&call.gate),
            programs: call.programs,
            _turns: (slot, program),
        })
    }

    async fn read_outcome(
        &self,
        call: &Prepared,
        outcome: Result<String, ToolError>,
    ) -> Result<ToolOutput, ToolError> {
        let changes = defect::changes(&*call.tool, &call.act);
        match self.reading.read(&call.name, changes, outcome).await {
            Ok(read) => read.map(|json| ToolOutput { json }),
            Err(NoJson(problem)) => {
                self.lose(&format!(
                    "it answered with what is no JSON document ({problem}), and was killed"
                ))
                .await;
                Err(call.lost(self.reason()))
            }
        }
    }

    /// Ends it for what it did, and waits until that is recorded.
    async fn lose(&self, reason: &str) {
        self.end(End::Lost(reason.to_owned()));
        self.over().await;
    }

    fn reason(&self) -> String {
        self.ended().unwrap_or(End::Stopped).words()
    }

    fn send(&self, words: &ToWorker, descriptor: Option<OwnedFd>) -> Result<(), FrameError> {
        self.push(frame::encode(words, FRAME_BYTES_MAX)?, descriptor);
        Ok(())
    }

    fn push(&self, frame: Vec<u8>, descriptor: Option<OwnedFd>) -> Pushed {
        let pushed = self.outbox.push(frame, descriptor);
        if pushed == Pushed::Waits {
            // What the line did not take now, the session's task sends.
            self.bell.notify_one();
        }
        pushed
    }

    /// Sends what a question came to.
    fn reply(&self, ask: u64, (answer, descriptor): (Answer, Option<OwnedFd>)) {
        let refused = |error: FrameError| {
            Answer::Refused(PowerError::Io {
                what: "the answer to a file act".to_owned(),
                message: error.to_string(),
            })
        };
        let sent = self.send(&ToWorker::Answer { ask, answer }, descriptor);
        if let Err(error) = sent {
            // A refusal is short.
            let answer = refused(error);
            let _ = self.send(&ToWorker::Answer { ask, answer }, None);
        }
    }
}

/// One who waits for a call. If it goes away first, the call is cancelled.
struct Waiting<'a> {
    session: &'a Session,
    id: CallId,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered && self.session.calls.abandon(self.id) {
            let cancel = ToWorker::Cancel { call: self.id };
            // A few bytes; they fit.
            let _ = self.session.send(&cancel, None);
            self.session.bell.notify_one();
        }
    }
}
