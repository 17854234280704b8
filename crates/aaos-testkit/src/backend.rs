//! The fakes of a gate and of a backend whose workers run tools where they are called, with the powers they were given.

use aaos_core::{capability::Need, event::BackendName, id::ToolName, tool::Power};
use aaos_ports::{
    AnyTool, Backend, Files, Gate, Http, LaunchError, LaunchSpec, PowerError, Powers, ToolError,
    ToolOutput, Worker, WorkerCall, power::EntryKind,
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
}

impl Gate for OpenGate {
    fn admit(&self, need: &Need) -> Result<(), PowerError> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(need.clone());
        Ok(())
    }
}

/// A gate that admits nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct ClosedGate;

impl Gate for ClosedGate {
    fn admit(&self, need: &Need) -> Result<(), PowerError> {
        Err(PowerError::Denied {
            need: need.to_string(),
            axis: "grant".to_owned(),
            reason: "nothing is granted".to_owned(),
        })
    }
}

/// A backend over a tree in memory. Its launches can be made to fail.
pub struct FakeBackend {
    tools: Vec<Arc<dyn AnyTool>>,
    tree: MemoryTree,
    http: Arc<dyn Http>,
    refusal: Option<LaunchError>,
    launched: Mutex<Vec<LaunchSpec>>,
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
            launched: Mutex::default(),
        }
    }

    /// The same, refusing every launch.
    #[must_use]
    pub fn refusing(mut self, refusal: LaunchError) -> Self {
        self.refusal = Some(refusal);
        self
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
            return Err(refusal.clone());
        }
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
            spec,
            stopped: AtomicBool::new(false),
        }))
    }
}

struct FakeWorker {
    tools: BTreeMap<ToolName, Arc<dyn AnyTool>>,
    tree: MemoryTree,
    http: Arc<dyn Http>,
    spec: LaunchSpec,
    stopped: AtomicBool,
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
            powers = powers.with_files(Arc::new(
                self.tree.power(&self.spec.capabilities, &self.spec.base),
            ));
        }
        if tool.spec().powers.contains(&Power::Http) {
            powers = powers.with_http(Arc::clone(&self.http));
        }
        let running = AssertUnwindSafe(tool.call(call.input, &powers)).catch_unwind();
        match tokio::time::timeout(call.deadline.as_duration(), running).await {
            Ok(Ok(outcome)) => outcome,
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
        match self
            .tree
            .power(&self.spec.capabilities, &self.spec.base)
            .stat(path)
        {
            Ok(entry) => Ok((entry.kind == EntryKind::File).then_some(entry.size)),
            Err(PowerError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }
}
