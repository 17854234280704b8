//! The in-process backend: the contract, and that a call which is over stays over.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

use aaos_core::{
    capability::Need,
    id::{AgentId, CallId, RunId},
    time::Span,
    tool::{Effect, Power, ToolSpec},
};
use aaos_ports::{
    AnyTool, Backend, LaunchSpec, Powers, ToolError, ToolOutput, Worker, WorkerCall,
    power::WriteMode,
};
use aaos_sandbox::{BACKENDS, InProcess, backend::BackendEntry};
use aaos_testkit::{
    backend::{FakeBackend, OpenGate},
    contract::backend::{check, tools},
    files::{MemoryTree, Node},
    http::Pages,
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

#[tokio::test]
async fn the_contract_holds() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file.txt");
    fs::write(&file, "words").unwrap();
    let backend = InProcess::new(tools(), Arc::new(Pages::default()));
    let mut known = BACKENDS.iter().map(BackendEntry::backend_name);
    assert!(known.any(|name| name == backend.name()));
    check(&backend, file.to_str().unwrap()).await;
}

#[tokio::test]
async fn the_contract_holds_for_the_fake() {
    let tree = MemoryTree::default();
    tree.put("/d/file.txt", Node::File(b"words".to_vec()));
    let backend = FakeBackend::new(tools(), tree, Arc::new(Pages::default()));
    check(&backend, "/d/file.txt").await;
}

/// Longest wait for anything; far over what a slow machine takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes a line to a file again and again without ever yielding; counts how often it could, and says when it ends.
struct Stubborn {
    spec: ToolSpec,
    done: Arc<Mutex<Option<u64>>>,
}

#[async_trait]
impl AnyTool for Stubborn {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }
    fn needs(&self, _input: &Value) -> Result<Vec<Need>, ToolError> {
        Ok(vec![Need::write("out.txt")])
    }
    async fn call(&self, _input: Value, powers: &Powers) -> Result<ToolOutput, ToolError> {
        let mut writes = 0;
        while powers
            .files()?
            .write("out.txt", b"x", WriteMode::Replace)
            .is_ok()
        {
            writes += 1;
        }
        *self.done.lock().unwrap() = Some(writes);
        Ok(ToolOutput {
            json: json!(writes),
        })
    }
}

struct Bench {
    directory: tempfile::TempDir,
    worker: Box<dyn Worker>,
    done: Arc<Mutex<Option<u64>>>,
}

async fn bench() -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let done = Arc::new(Mutex::new(None));
    let spec = ToolSpec {
        name: "stubborn".parse().unwrap(),
        summary: String::new(),
        input_schema: json!({}),
        powers: vec![Power::Files],
        effect: Effect::Idempotent,
        recovery: aaos_core::tool::Recovery::ByEffect,
        deadline: aaos_ports::tool::DEADLINE,
    };
    let tool: Arc<dyn AnyTool> = Arc::new(Stubborn {
        spec,
        done: Arc::clone(&done),
    });
    let root = directory.path().to_str().unwrap().to_owned();
    let worker = InProcess::new(vec![tool], Arc::new(Pages::default()))
        .launch(LaunchSpec {
            agent: AgentId::from_drawn(1),
            run: RunId::from_drawn(1),
            capabilities: vec![format!("file_write: {root}/*").parse().unwrap()],
            base: root.clone(),
            folder: root,
            anchors: Vec::new(),
            witness: Arc::new(aaos_testkit::backend::Notes::default()),
        })
        .await
        .unwrap();
    Bench {
        directory,
        worker,
        done,
    }
}

fn stubborn(deadline: Span) -> WorkerCall {
    WorkerCall {
        act: aaos_ports::Act::Perform,
        call: CallId::from_drawn(1),
        tool: "stubborn".parse().unwrap(),
        input: json!({}),
        gate: Arc::new(OpenGate::default()),
        deadline,
    }
}

impl Bench {
    /// Waits until the tool writes.
    async fn writes(&self) {
        let out = self.directory.path().join("out.txt");
        let written = async {
            while !out.exists() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, written).await.unwrap();
    }

    /// Waits until the tool has noticed, and shows that nothing is written afterwards.
    async fn quiet(&self) {
        let noticed = async {
            while self.done.lock().unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, noticed).await.unwrap();
        fs::remove_file(self.directory.path().join("out.txt")).ok();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(fs::read_dir(self.directory.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_call_past_its_deadline_loses_its_powers() {
    let bench = bench().await;
    let late = bench.worker.call(stubborn(Span::from_millis(50))).await;
    assert!(
        matches!(late, Err(ToolError::TimedOut { limit_ms: 50, .. })),
        "{late:?}"
    );
    bench.quiet().await;
}

#[tokio::test]
async fn a_call_whose_caller_goes_away_loses_its_powers() {
    let bench = bench().await;
    tokio::select! {
        ended = bench.worker.call(stubborn(Span::from_secs(60))) => panic!("{ended:?}"),
        () = bench.writes() => {}
    }
    bench.quiet().await;
}

#[tokio::test]
async fn a_stopped_worker_ends_its_calls_and_returns_when_they_are_gone() {
    let bench = bench().await;
    let (outcome, ()) = tokio::join!(bench.worker.call(stubborn(Span::from_secs(60))), async {
        bench.writes().await;
        bench.worker.stop().await;
    });
    assert!(
        matches!(outcome, Err(ToolError::WorkerLost { .. })),
        "{outcome:?}"
    );
    assert!(bench.done.lock().unwrap().is_some());
    bench.quiet().await;
}
