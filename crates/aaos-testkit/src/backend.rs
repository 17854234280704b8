//! The fakes of a gate and of a backend whose workers run tools where they are called, with the powers they were given.

use aaos_core::{
    capability::{Capability, Need},
    event::BackendName,
    id::{AgentId, ToolName},
    proof::{Layer, Profile, Proof},
    tool::Power,
};
use aaos_ports::{
    Act, Admitted, AnyTool, Backend, Connection, Files, Gate, Http, LaunchError, LaunchSpec,
    PowerError, Powers, ToolError, ToolOutput, Witness, Worker, WorkerCall, WorkerNote,
    power::EntryKind,
};
use async_trait::async_trait;
use futures::FutureExt;
use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::files::MemoryTree;

/// A gate that admits everything and remembers what it was asked.
#[derive(Debug, Default)]
pub struct OpenGate {
    asked: Mutex<Vec<Need>>,
    noted: Mutex<Vec<Connection>>,
}

impl OpenGate {
    /// What it was asked, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<Need> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The connections it was told of, in order.
    #[must_use]
    pub fn noted(&self) -> Vec<Connection> {
        self.noted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[async_trait]
impl Gate for OpenGate {
    async fn admit(&self, need: &Need) -> Result<Admitted, PowerError> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(need.clone());
        Ok(Admitted::default())
    }

    fn note(&self, connection: Connection) {
        self.noted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
    }
}

/// A gate that admits nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct ClosedGate;

#[async_trait]
impl Gate for ClosedGate {
    fn note(&self, _connection: Connection) {}

    async fn admit(&self, need: &Need) -> Result<Admitted, PowerError> {
        Err(PowerError::Denied {
            need: need.to_string(),
            axis: "grant".to_owned(),
            reason: "nothing is granted".to_owned(),
        })
    }
}

/// Whose worker was told what is left, in order.
type Narrowed = Arc<Mutex<Vec<(AgentId, Vec<Capability>)>>>;

/// A backend over a tree in memory. Its launches can be made to fail. It tells its witnesses of workers as a backend
/// with processes does.
pub struct FakeBackend {
    tools: Vec<Arc<dyn AnyTool>>,
    tree: MemoryTree,
    http: Arc<dyn Http>,
    refusal: Option<LaunchError>,
    missing: Vec<Layer>,
    launched: Mutex<Vec<LaunchSpec>>,
    narrowed: Narrowed,
}

impl FakeBackend {
    /// A backend with these tools, this tree and this HTTP.
    #[must_use]
    pub fn new(tools: Vec<Arc<dyn AnyTool>>, tree: MemoryTree, http: Arc<dyn Http>) -> Self {
        Self {
            tools,
            tree,
            http,
            refusal: None,
            missing: Vec::new(),
            launched: Mutex::default(),
            narrowed: Narrowed::default(),
        }
    }

    /// The same, refusing every launch.
    #[must_use]
    pub fn refusing(mut self, refusal: LaunchError) -> Self {
        self.refusal = Some(refusal);
        self
    }

    /// The same, whose workers go without these layers.
    #[must_use]
    pub fn missing(mut self, layers: &[Layer]) -> Self {
        self.missing = layers.to_vec();
        self
    }

    /// Whose worker was told what is left to it, in order.
    #[must_use]
    pub fn narrowed(&self) -> Vec<(AgentId, Vec<Capability>)> {
        self.narrowed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What was launched, in order.
    #[must_use]
    pub fn launched(&self) -> Vec<LaunchSpec> {
        self.launched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[async_trait]
impl Backend for FakeBackend {
    fn name(&self) -> BackendName {
        BackendName("fake".to_owned())
    }

    fn surface(&self) -> aaos_core::tool::Placement {
        aaos_core::tool::Placement::Worker
    }

    async fn launch(&self, spec: LaunchSpec) -> Result<Box<dyn Worker>, LaunchError> {
        if let Some(refusal) = &self.refusal {
            spec.witness
                .note(WorkerNote::Refused(refusal.clone()))
                .await;
            return Err(refusal.clone());
        }
        spec.witness.note(started(&self.missing)).await;
        self.launched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(spec.clone());
        Ok(Box::new(FakeWorker {
            tools: self
                .tools
                .iter()
                .map(|tool| (tool.spec().name.clone(), Arc::clone(tool)))
                .collect(),
            tree: self.tree.clone(),
            http: Arc::clone(&self.http),
            left: Mutex::new(spec.capabilities.clone()),
            narrowed: Arc::clone(&self.narrowed),
            spec,
            stopped: AtomicBool::new(false),
        }))
    }
}

/// What a worker shows that proves nothing and leaves these layers out.
fn started(missing: &[Layer]) -> WorkerNote {
    let layers = Layer::required_by_default();
    WorkerNote::Started {
        proof: Proof {
            profile: Profile::Plain,
            landlock_abi: 0,
            layers: layers
                .into_iter()
                .filter(|layer| !missing.contains(layer))
                .collect(),
            canaries: Vec::new(),
        },
        missing: missing.to_vec(),
        pooled: false,
        elapsed_us: 1,
    }
}

struct FakeWorker {
    tools: BTreeMap<ToolName, Arc<dyn AnyTool>>,
    tree: MemoryTree,
    http: Arc<dyn Http>,
    spec: LaunchSpec,
    left: Mutex<Vec<Capability>>,
    narrowed: Narrowed,
    stopped: AtomicBool,
}

impl FakeWorker {
    /// What the agent still holds.
    fn held(&self) -> Vec<Capability> {
        self.left
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A witness that remembers what it was told.
#[derive(Debug, Default)]
pub struct Notes {
    noted: Mutex<Vec<WorkerNote>>,
}

impl Notes {
    /// What it was told, in order.
    #[must_use]
    pub fn noted(&self) -> Vec<WorkerNote> {
        self.noted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[async_trait]
impl Witness for Notes {
    async fn note(&self, note: WorkerNote) {
        self.noted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(note);
    }
}

#[async_trait]
impl Worker for FakeWorker {
    async fn call(&self, call: WorkerCall) -> Result<ToolOutput, ToolError> {
        let name = call.tool.to_string();
        let Some(tool) = self.tools.get(&call.tool) else {
            return Err(ToolError::Unknown(name));
        };
        if self.stopped.load(Ordering::Acquire) {
            return Err(ToolError::WorkerLost {
                tool: name,
                reason: "it was stopped".to_owned(),
            });
        }
        let mut powers = Powers::none(call.call, Arc::clone(&call.gate));
        if tool.spec().powers.contains(&Power::Files) {
            powers = powers.with_files(Arc::new(self.tree.power(&self.held(), &self.spec.base)));
        }
        if tool.spec().powers.contains(&Power::Http) {
            powers = powers.with_http(Arc::clone(&self.http));
        }
        let changes = call.act == Act::Perform && !tool.spec().effect.may_repeat();
        let acting = async {
            match call.act {
                Act::Perform => tool.call(call.input, &powers).await,
                Act::Consider(question) => tool.consider(question, call.input, &powers).await,
            }
        };
        let running = AssertUnwindSafe(acting).catch_unwind();
        match tokio::time::timeout(call.deadline.as_duration(), running).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panic)) if changes => Err(ToolError::InDoubt {
                tool: name,
                reason: "it broke off".to_owned(),
            }),
            Ok(Err(_panic)) => Err(ToolError::Failed(format!("{name} broke off"))),
            Err(_) => Err(ToolError::TimedOut {
                tool: name,
                limit_ms: call.deadline.millis(),
            }),
        }
    }

    async fn inspect(&self, path: &str) -> Result<Option<u64>, ToolError> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(ToolError::WorkerLost {
                tool: "inspect".to_owned(),
                reason: "it was stopped".to_owned(),
            });
        }
        match self.tree.power(&self.held(), &self.spec.base).stat(path) {
            Ok(entry) => Ok((entry.kind == EntryKind::File).then_some(entry.size)),
            Err(PowerError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn narrow(&self, left: Vec<Capability>) {
        self.narrowed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((self.spec.agent, left.clone()));
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = left;
    }

    async fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }
}
