//! What all calls of a worker share, and how one call is run.

use super::{
    ServeError,
    calls::{Calls, Over, Ticket},
    exec::{Programs, WorkerExec},
    files::WorkerFiles,
    http::Doorbell,
    line::{Line, stopped},
};
use crate::{
    act,
    confine::Trees,
    defect::{self, Changes},
    files::{BeneathFiles, OwnFiles},
    protocol::Policy,
};
use aaos_core::{
    capability::{Capability, Need},
    id::{CallId, ToolName},
    proof::Profile,
    tool::{Power, ToolSpec},
};
use aaos_ports::{
    Act, Admitted, AnyTool, Connection, Gate, PowerError, Powers, ToolError, power::at_base,
};
use async_trait::async_trait;
use rustix::fd::OwnedFd;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

/// What a worker is made from.
pub(super) struct Parts<'a> {
    /// The line, to write on.
    pub(super) out: UnixStream,
    pub(super) policy: Policy,
    pub(super) doorbell: Option<OwnedFd>,
    pub(super) proxy: Option<SocketAddr>,
    pub(super) trees: Trees,
    pub(super) tools: &'a [Arc<dyn AnyTool>],
}

/// What the agent holds, and the file power that follows from it.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) capabilities: Arc<[Capability]>,
    pub(super) files: BeneathFiles,
}

/// What all calls share.
pub(super) struct Inside {
    tools: BTreeMap<ToolName, Arc<dyn AnyTool>>,
    pub(super) line: Arc<Line>,
    pub(super) calls: Calls,
    held: Arc<RwLock<Held>>,
    trees: Arc<Trees>,
    doorbell: Option<Arc<OwnedFd>>,
    /// None under the plain profile.
    programs: Option<Arc<Programs>>,
    base: String,
}

/// A call that was read from the line and waits for its thread.
pub(super) struct Wanted {
    pub(super) ticket: Ticket,
    pub(super) identity: CallId,
    /// A JSON document; none to run the tool.
    pub(super) question: Option<String>,
    pub(super) tool: ToolName,
    /// A JSON document.
    pub(super) input: String,
    pub(super) deadline_ms: u64,
}

/// What a call is handed inside: the authority is asked outside, where each power ends.
struct Outside;

#[async_trait]
impl Gate for Outside {
    async fn admit(&self, need: &Need) -> Result<Admitted, PowerError> {
        Err(PowerError::Denied {
            need: need.to_string(),
            axis: "gate".to_owned(),
            reason: "nothing is admitted inside a worker; use the powers that were handed over"
                .to_owned(),
        })
    }

    fn note(&self, _noted_by_the_broker: Connection) {}
}

impl Inside {
    /// Makes the powers a policy amounts to.
    ///
    /// # Errors
    /// The file power cannot be made.
    pub(super) fn new(parts: Parts<'_>) -> Result<Self, ServeError> {
        let Policy {
            profile,
            capabilities,
            base,
            mask,
            programs,
            ..
        } = parts.policy;
        // In the worker's root the trees stand where the agent names them, and links lead nowhere.
        let anchors = parts.trees.0.iter().map(|tree| tree.path.as_str());
        let own = OwnFiles::new(&mask.hidden, &mask.shown);
        let files = BeneathFiles::new(&capabilities, &base, anchors)?.without(Arc::new(own));
        let programs = (profile == Profile::Exec)
            .then(|| Arc::new(Programs::new(programs, base.clone(), parts.proxy)));
        let named = parts.tools.iter();
        Ok(Self {
            tools: named
                .map(|tool| (tool.spec().name.clone(), Arc::clone(tool)))
                .collect(),
            line: Arc::new(Line::new(parts.out)),
            calls: Calls::default(),
            held: Arc::new(RwLock::new(Held {
                capabilities: capabilities.into(),
                files,
            })),
            trees: Arc::new(parts.trees),
            doorbell: parts.doorbell.map(Arc::new),
            programs,
            base,
        })
    }

    /// Runs one call to its end and answers it.
    pub(super) fn run(&self, wanted: Wanted) {
        let call = wanted.ticket.call;
        let (tool, deadline_ms) = (wanted.tool.clone(), wanted.deadline_ms);
        let changes = self.changes(&wanted);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.outcome(wanted)))
            .unwrap_or_else(|panic| Err(defect::broke_off(&tool, changes, &*panic)));
        // Out of the table before the answer goes, so that the daemon's next call finds room.
        let outcome = match (self.calls.leave(call), outcome) {
            (Some(over), Err(_)) => Err(over_error(over, &tool, deadline_ms)),
            (_, outcome) => outcome,
        };
        let too_long = |reason: String| defect::broken(&tool, changes, reason);
        self.line.done(call, outcome, too_long);
    }

    fn changes(&self, wanted: &Wanted) -> Changes {
        match self.tools.get(&wanted.tool) {
            Some(tool) if wanted.question.is_none() => defect::changes(&**tool, &Act::Perform),
            _ => Changes::No,
        }
    }

    fn outcome(&self, wanted: Wanted) -> Result<String, ToolError> {
        let Wanted {
            ticket,
            identity,
            question,
            tool: name,
            input,
            ..
        } = wanted;
        let Some(tool) = self.tools.get(&name) else {
            return Err(ToolError::Unknown(name.to_string()));
        };
        let unread = |error: serde_json::Error| ToolError::Input {
            tool: name.to_string(),
            problem: error.to_string(),
        };
        let input = serde_json::from_str(&input).map_err(unread)?;
        let act = match question {
            None => Act::Perform,
            Some(question) => Act::Consider(serde_json::from_str(&question).map_err(unread)?),
        };
        let needs = act::needs(&**tool, &act, &input)?.into_iter();
        let needs: Vec<Need> = needs
            .map(|need| at_base(need, &self.base))
            .collect::<Result<_, _>>()?;
        let powers = self.powers(tool.spec(), needs, &ticket, identity)?;
        let output = futures::executor::block_on(async {
            tokio::select! {
                biased;
                () = ticket.stop.stopped() => Err(stopped("the call").into()),
                output = act::perform(&**tool, act, input, &powers) => output,
            }
        })?;
        serde_json::to_string(&output.json).map_err(|error| ToolError::Failed(error.to_string()))
    }

    /// Hands over the powers a tool asks for, cut to what this call needs.
    fn powers(
        &self,
        spec: &ToolSpec,
        needs: Vec<Need>,
        ticket: &Ticket,
        identity: CallId,
    ) -> Result<Powers, ToolError> {
        let held = self.calls.declare(ticket.call, &needs, || self.held());
        let mut powers = Powers::none(identity, Arc::new(Outside));
        if spec.powers.contains(&Power::Files) {
            powers = powers.with_files(Arc::new(WorkerFiles {
                local: held.files.for_call(needs.clone(), ticket.stop.clone())?,
                trees: Arc::clone(&self.trees),
                line: Arc::clone(&self.line),
                ticket: ticket.clone(),
            }));
        }
        if spec.powers.contains(&Power::Http) {
            powers = powers.with_http(Arc::new(Doorbell {
                bell: self.doorbell.clone(),
                ticket: ticket.clone(),
            }));
        }
        if let Some(programs) = &self.programs
            && spec.powers.contains(&Power::Exec)
        {
            powers = powers.with_exec(Arc::new(WorkerExec {
                programs: Arc::clone(programs),
                needs,
                held: Arc::clone(&self.held),
                ticket: ticket.clone(),
            }));
        }
        Ok(powers)
    }

    fn held(&self) -> Held {
        read(&self.held).clone()
    }

    /// Ends the calls a function names, and what runs for them.
    pub(super) fn end(&self, which: impl FnOnce(&Calls) -> Vec<CallId>) {
        let ended = which(&self.calls);
        if ended.is_empty() {
            return;
        }
        self.line.wake();
        if let Some(programs) = &self.programs {
            programs.interrupt(&ended);
        }
    }

    /// Holds only this from now on. Returns when no program runs that was started before.
    pub(super) fn narrow(&self, left: Vec<Capability>) {
        {
            let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
            held.files = held.files.holding(&left);
            held.capabilities = left.clone().into();
        }
        self.end(|calls| calls.end_beyond(&left));
        if let Some(programs) = &self.programs {
            programs.end();
        }
    }

    /// Ends every call; nobody is there to hear the answers.
    pub(super) fn close(&self) {
        self.end(Calls::end_all);
        self.line.close();
    }
}

/// Looks at what is held.
pub(super) fn read(held: &RwLock<Held>) -> RwLockReadGuard<'_, Held> {
    held.read().unwrap_or_else(PoisonError::into_inner)
}

/// What a call is answered that was ended before its tool answered.
fn over_error(over: Over, tool: &ToolName, limit_ms: u64) -> ToolError {
    let tool = tool.to_string();
    let lost = |reason: &str| ToolError::WorkerLost {
        tool: tool.clone(),
        reason: reason.to_owned(),
    };
    match over {
        Over::Late => ToolError::TimedOut { tool, limit_ms },
        Over::Cancelled => lost("the call was stopped"),
        Over::Narrowed => lost("a capability the call rests on was revoked"),
        Over::Gone => lost("it was stopped"),
    }
}
