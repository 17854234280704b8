//! The calls of one worker that are in flight, and what each of them may ask for.
//!
//! Every call has a name of this worker's own, never used twice: an answer to a name that is not in flight was made up.
//! Whoever is asked for a gate or an act is asked here; a call that is over has neither.

use super::{egress::Asker, limits::ANSWER_SLACK};
use crate::{act, stop::Stop};
use aaos_core::{capability::Need, id::CallId};
use aaos_ports::{Act, AnyTool, Gate, PowerError, ToolError};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Why a worker is over, or about to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// Its agent is done with it.
    Stopped,
    /// Another has taken its place.
    Retired,
    /// It died, or was killed for what it did.
    Lost(String),
}

impl End {
    /// In words, for a call that is over with it.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Stopped => "it was stopped".to_owned(),
            Self::Retired => "another took its place".to_owned(),
            Self::Lost(reason) => reason.clone(),
        }
    }
}

/// How a call ended in the worker.
pub(super) type Outcome = Result<String, ToolError>;

/// What a call may ask the daemon for.
#[derive(Clone)]
pub(super) struct Asked {
    tool: Arc<dyn AnyTool>,
    act: Arc<Act>,
    input: Arc<serde_json::Value>,
    needs: Arc<OnceLock<Result<Vec<Need>, ToolError>>>,
    pub(super) stop: Stop,
}

impl Asked {
    pub(super) fn new(
        tool: Arc<dyn AnyTool>,
        act: Arc<Act>,
        input: Arc<serde_json::Value>,
    ) -> Self {
        Self {
            tool,
            act,
            input,
            needs: Arc::default(),
            stop: Stop::default(),
        }
    }

    /// What the call declares, worked out when it is first asked for.
    pub(super) fn needs(&self) -> Result<Vec<Need>, PowerError> {
        let declared = || act::needs(&*self.tool, &self.act, &self.input);
        let needs = self.needs.get_or_init(declared);
        needs.clone().map_err(|error| PowerError::Denied {
            need: "a file".to_owned(),
            axis: "input".to_owned(),
            reason: error.to_string(),
        })
    }
}

/// A call on its way in.
pub(super) struct Entering {
    pub(super) asked: Asked,
    pub(super) gate: Arc<dyn Gate>,
    /// Whether it may start programs.
    pub(super) programs: bool,
    /// Its turns, held until the worker is done with it.
    pub(super) _turns: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

struct InFlight {
    call: Entering,
    /// None once nobody waits for it.
    answer: Option<oneshot::Sender<Outcome>>,
    /// When a call nobody waits for has to be over.
    due: Option<Instant>,
}

#[derive(Default)]
struct State {
    drawn: u64,
    in_flight: BTreeMap<CallId, InFlight>,
    narrowing: Option<oneshot::Sender<()>>,
    retired: bool,
    end: Option<End>,
}

/// The calls of one worker.
#[derive(Default)]
pub(super) struct Calls(Mutex<State>);

/// A word of the worker that nothing asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unasked;

impl Calls {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name for a call.
    pub(super) fn draw(&self) -> CallId {
        let mut state = self.state();
        state.drawn += 1;
        CallId::from_drawn(state.drawn)
    }

    /// Whether no call was ever meant for it.
    pub(super) fn is_untouched(&self) -> bool {
        self.state().drawn == 0
    }

    /// Puts a call in flight; none if this worker takes no more.
    pub(super) fn enter(&self, id: CallId, call: Entering) -> Option<oneshot::Receiver<Outcome>> {
        let (answer, outcome) = oneshot::channel();
        let mut state = self.state();
        if state.retired || state.end.is_some() {
            return None;
        }
        let call = InFlight {
            call,
            answer: Some(answer),
            due: None,
        };
        state.in_flight.insert(id, call);
        Some(outcome)
    }

    /// Nobody waits for a call any longer; the worker still owes its answer. False if it has answered.
    pub(super) fn abandon(&self, id: CallId) -> bool {
        let mut state = self.state();
        let Some(call) = state.in_flight.get_mut(&id) else {
            return false;
        };
        call.answer = None;
        call.due = Some(Instant::now() + ANSWER_SLACK);
        call.call.asked.stop.stop();
        true
    }

    /// Passes an answer on. Answers with whether that was the last thing a retired worker had to do.
    pub(super) fn done(&self, id: CallId, outcome: Outcome) -> Result<bool, Unasked> {
        let mut state = self.state();
        let call = state.in_flight.remove(&id).ok_or(Unasked)?;
        let idle = state.retired && state.in_flight.is_empty();
        drop(state);
        call.call.asked.stop.stop();
        if let Some(answer) = call.answer {
            // Whoever gave up in this moment does not need it.
            let _ = answer.send(outcome);
        }
        Ok(idle)
    }

    /// What a call in flight may ask for.
    pub(super) fn asked(&self, id: CallId) -> Result<Asked, Unasked> {
        let state = self.state();
        let call = state.in_flight.get(&id).ok_or(Unasked)?;
        Ok(call.call.asked.clone())
    }

    /// When the first call nobody waits for has to be over.
    pub(super) fn due(&self) -> Option<Instant> {
        self.state()
            .in_flight
            .values()
            .filter_map(|call| call.due)
            .min()
    }

    /// Expects a word that the worker holds less; none if it is over.
    pub(super) fn narrowing(&self) -> Option<oneshot::Receiver<()>> {
        let (answer, narrowed) = oneshot::channel();
        let mut state = self.state();
        if state.end.is_some() {
            return None;
        }
        state.narrowing = Some(answer);
        Some(narrowed)
    }

    /// The worker says that it holds less.
    pub(super) fn narrowed(&self) -> Result<(), Unasked> {
        let answer = self.state().narrowing.take().ok_or(Unasked)?;
        // Whoever gave up has killed the worker.
        let _ = answer.send(());
        Ok(())
    }

    /// Takes no more calls; true if none is in flight.
    pub(super) fn retire(&self) -> bool {
        let mut state = self.state();
        state.retired = true;
        state.in_flight.is_empty()
    }

    /// Whether it takes calls.
    pub(super) fn is_open(&self) -> bool {
        let state = self.state();
        !state.retired && state.end.is_none()
    }

    /// Says why it is over; the first word stands. Stops what is done for its calls.
    pub(super) fn end(&self, end: End) {
        let mut state = self.state();
        if state.end.is_none() {
            state.end = Some(end);
        }
        for call in state.in_flight.values() {
            call.call.asked.stop.stop();
        }
    }

    /// Why it is over.
    pub(super) fn ended(&self) -> Option<End> {
        self.state().end.clone()
    }

    /// Lets go of every call: whoever waits for one learns that it will not come.
    pub(super) fn clear(&self) {
        let mut state = self.state();
        let gone = (std::mem::take(&mut state.in_flight), state.narrowing.take());
        drop(state);
        drop(gone);
    }
}

impl Asker for Calls {
    fn gate(&self, call: Option<CallId>) -> Option<Arc<dyn Gate>> {
        let state = self.state();
        let found = match call {
            Some(id) => state.in_flight.get(&id),
            // One call at a time may start programs; what their programs ask for is asked for it.
            None => state.in_flight.values().find(|call| call.call.programs),
        };
        found
            .filter(|call| call.answer.is_some() && state.end.is_none())
            .map(|call| Arc::clone(&call.call.gate))
    }
}
