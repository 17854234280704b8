//! The in-process backend: tools run inside the daemon, on threads that may block.
//!
//! The only walls are the algebra and the powers; nothing in the kernel stands behind them. It says so in its name.
//! Refuses: running a tool with more than the call's own declared needs, and going on after the call has ended.

use crate::{
    act, defect,
    files::{BeneathFiles, OwnFiles},
    stop::{Stop, StopOnDrop},
};
use aaos_core::{
    capability::{Capability, Need},
    event::BackendName,
    id::ToolName,
    tool::{Placement, Power, ToolSpec},
};
use aaos_ports::{
    Act, AnyTool, Backend, Files, Http, LaunchError, LaunchSpec, PowerError, Powers, ToolError,
    ToolOutput, Worker, WorkerCall, power::EntryKind,
};
use async_trait::async_trait;
use futures::FutureExt;
use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};

/// Its name.
pub const NAME: &str = "in_process";
/// Most calls of one agent that run at once; more wait.
pub const WORKER_CALLS_MAX: usize = 8;
/// Most calls of all agents that run at once; more wait. Each holds a thread.
pub const CALLS_MAX: usize = 64;
/// Longest that stopping a worker waits for its calls to notice.
const STOP_WAIT: Duration = Duration::from_secs(5);

type Tools = BTreeMap<ToolName, Arc<dyn AnyTool>>;

/// Runs tools inside the daemon.
pub struct InProcess {
    tools: Arc<Tools>,
    http: Arc<dyn Http>,
    own: Arc<OwnFiles>,
    slots: Arc<Semaphore>,
}

impl InProcess {
    /// A backend that can run these tools. Of two with one name the later is taken.
    #[must_use]
    pub fn new(tools: Vec<Arc<dyn AnyTool>>, http: Arc<dyn Http>) -> Self {
        let tools = tools
            .into_iter()
            .map(|tool| (tool.spec().name.clone(), tool))
            .collect();
        Self {
            tools: Arc::new(tools),
            http,
            own: Arc::default(),
            slots: Arc::new(Semaphore::new(CALLS_MAX)),
        }
    }

    /// The same, keeping the runtime's own files from every agent.
    #[must_use]
    pub fn without(mut self, own: OwnFiles) -> Self {
        self.own = Arc::new(own);
        self
    }
}

#[async_trait]
impl Backend for InProcess {
    fn name(&self) -> BackendName {
        BackendName(NAME.to_owned())
    }

    fn surface(&self) -> Placement {
        Placement::Daemon
    }

    async fn launch(&self, spec: LaunchSpec) -> Result<Box<dyn Worker>, LaunchError> {
        let own = Arc::clone(&self.own);
        let made = tokio::task::spawn_blocking(move || {
            let anchors = spec
                .anchors
                .iter()
                .map(String::as_str)
                .chain([spec.folder.as_str()]);
            BeneathFiles::new(&spec.capabilities, &spec.base, anchors)
                .map(|files| files.without(own))
        });
        let files = made.await.map_err(|error| LaunchError {
            layer: None,
            missing: format!("a thread to open the granted directories: {error}"),
            next_step: "see the daemon's log, and start the run again".to_owned(),
        })??;
        Ok(Box::new(InProcessWorker {
            tools: Arc::clone(&self.tools),
            http: Arc::clone(&self.http),
            files: RwLock::new(files),
            shared: Arc::clone(&self.slots),
            own: Arc::new(Semaphore::new(WORKER_CALLS_MAX)),
            over: Stop::default(),
        }))
    }
}

struct InProcessWorker {
    tools: Arc<Tools>,
    http: Arc<dyn Http>,
    files: RwLock<BeneathFiles>,
    shared: Arc<Semaphore>,
    own: Arc<Semaphore>,
    over: Stop,
}

impl InProcessWorker {
    fn files(&self) -> BeneathFiles {
        self.files
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Hands over the powers a tool asks for, cut to what this call needs.
    fn powers(
        &self,
        spec: &ToolSpec,
        needs: Vec<Need>,
        call: &WorkerCall,
        stop: &Stop,
    ) -> Result<Powers, ToolError> {
        let mut powers = Powers::none(call.call, Arc::clone(&call.gate));
        if spec.powers.contains(&Power::Files) {
            powers = powers.with_files(Arc::new(self.files().for_call(needs, stop.clone())?));
        }
        if spec.powers.contains(&Power::Http) {
            powers = powers.with_http(Arc::clone(&self.http));
        }
        Ok(powers)
    }

    /// Waits for a turn among the agent's calls and among everyone's. A call holds its turn until its thread is free.
    async fn turn(&self, tool: &ToolName) -> Result<[OwnedSemaphorePermit; 2], ToolError> {
        let turns = async {
            let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
            let shared = Arc::clone(&self.shared).acquire_owned().await.ok()?;
            Some([own, shared])
        };
        tokio::select! {
            biased;
            () = self.over.stopped() => Err(lost(tool, "it was stopped")),
            turn = turns => turn.ok_or_else(|| lost(tool, "it was stopped")),
        }
    }
}

fn lost(tool: &ToolName, reason: &str) -> ToolError {
    ToolError::WorkerLost {
        tool: tool.to_string(),
        reason: reason.to_owned(),
    }
}

#[async_trait]
impl Worker for InProcessWorker {
    async fn call(&self, call: WorkerCall) -> Result<ToolOutput, ToolError> {
        let Some(tool) = self.tools.get(&call.tool) else {
            return Err(ToolError::Unknown(call.tool.to_string()));
        };
        let stop = Stop::default();
        let _ends_with_us = StopOnDrop(stop.clone());
        let needs = act::needs(&**tool, &call.act, &call.input)?;
        let powers = self.powers(tool.spec(), needs, &call, &stop)?;
        let turn = self.turn(&call.tool).await?;
        let WorkerCall {
            tool: name,
            act,
            input,
            deadline,
            ..
        } = call;
        let running = Running {
            tool: Arc::clone(tool),
            name: name.clone(),
            act,
            input,
            powers,
            stop: stop.clone(),
        };
        let running = running.run(turn);
        tokio::select! {
            biased;
            outcome = running => outcome,
            () = self.over.stopped() => Err(lost(&name, "it was stopped")),
            () = time::sleep(deadline.as_duration()) => {
                Err(ToolError::TimedOut { tool: name.to_string(), limit_ms: deadline.millis() })
            }
        }
    }

    async fn inspect(&self, path: &str) -> Result<Option<u64>, ToolError> {
        let lost = |reason: String| ToolError::WorkerLost {
            tool: "inspect".to_owned(),
            reason,
        };
        if self.over.is_stopped() {
            return Err(lost("it was stopped".to_owned()));
        }
        let (files, path) = (self.files(), path.to_owned());
        let seen = tokio::task::spawn_blocking(move || files.stat(&path)).await;
        match seen.map_err(|error| lost(error.to_string()))? {
            Ok(entry) => Ok((entry.kind == EntryKind::File).then_some(entry.size)),
            Err(PowerError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn narrow(&self, left: Vec<Capability>) {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        *files = files.holding(&left);
    }

    async fn stop(&self) {
        self.over.stop();
        let all = u32::try_from(WORKER_CALLS_MAX).unwrap_or(u32::MAX);
        // A thread the kernel holds cannot be ended; it keeps its turn and can do nothing more with its powers.
        let _gone = time::timeout(STOP_WAIT, self.own.acquire_many(all)).await;
        self.own.close();
    }
}

/// A call that has its turn.
struct Running {
    tool: Arc<dyn AnyTool>,
    name: ToolName,
    act: Act,
    input: serde_json::Value,
    powers: Powers,
    stop: Stop,
}

impl Running {
    /// Runs it on a thread of its own until the tool answers or the call is over.
    async fn run(self, turn: [OwnedSemaphorePermit; 2]) -> Result<ToolOutput, ToolError> {
        let runtime = Handle::current();
        let called = self.name.clone();
        let thread = tokio::task::spawn_blocking(move || {
            let _held_until_the_thread_is_free = turn;
            let Self {
                tool,
                name,
                act,
                input,
                powers,
                stop,
            } = self;
            let changes = defect::changes(&*tool, &act);
            runtime.block_on(async {
                let acting = AssertUnwindSafe(act::perform(&*tool, act, input, &powers));
                tokio::select! {
                    biased;
                    () = stop.stopped() => Err(lost(&name, "the call was stopped")),
                    outcome = acting.catch_unwind() => {
                        outcome.unwrap_or_else(|panic| Err(defect::broke_off(&name, changes, &*panic)))
                    }
                }
            })
        });
        thread
            .await
            .unwrap_or_else(|error| Err(lost(&called, &error.to_string())))
    }
}
