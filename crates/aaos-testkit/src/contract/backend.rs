//! What every backend promises, run by the fake and by the real ones.

use crate::backend::{ClosedGate, OpenGate};
use aaos_core::{
    capability::Need,
    id::{AgentId, CallId, RunId},
    time::Span,
    tool::{Effect, Power, ToolSpec},
};
use aaos_ports::{
    AnyTool, Backend, Gate, LaunchSpec, PowerError, Powers, ToolError, ToolOutput, Worker,
    WorkerCall,
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::{io::Read, sync::Arc, time::Duration};

/// The tools a backend under test has to be made with.
#[must_use]
pub fn tools() -> Vec<Arc<dyn AnyTool>> {
    [Act::Say, Act::Sleep, Act::Break, Act::Read, Act::Fetch]
        .into_iter()
        .map(|act| Arc::new(Probe::new(act)) as Arc<dyn AnyTool>)
        .collect()
}

/// What a probe does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Say,
    Sleep,
    Break,
    Read,
    Fetch,
}

/// A tool that does one thing.
struct Probe {
    act: Act,
    spec: ToolSpec,
}

impl Probe {
    fn new(act: Act) -> Self {
        let (name, powers) = match act {
            Act::Say => ("say", vec![]),
            Act::Sleep => ("sleep", vec![]),
            Act::Break => ("break", vec![]),
            Act::Read => ("read", vec![Power::Files]),
            Act::Fetch => ("fetch", vec![]),
        };
        let spec = ToolSpec {
            name: name.parse().unwrap_or_else(|error| unreachable!("{error}")),
            summary: "Probe.".to_owned(),
            input_schema: json!({"type": "object"}),
            powers,
            effect: Effect::Pure,
        };
        Self { act, spec }
    }
}

fn path(input: &Value) -> String {
    input
        .get("path")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

#[async_trait]
impl AnyTool for Probe {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn needs(&self, input: &Value) -> Result<Vec<Need>, ToolError> {
        Ok(if self.act == Act::Read {
            vec![Need::read(path(input))]
        } else {
            Vec::new()
        })
    }

    async fn call(&self, input: Value, powers: &Powers) -> Result<ToolOutput, ToolError> {
        match self.act {
            Act::Say => Ok(ToolOutput { json: input }),
            Act::Sleep => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                Ok(ToolOutput { json: Value::Null })
            }
            #[allow(clippy::panic, reason = "what a defective tool does")]
            Act::Break => panic!("a defect"),
            Act::Read => {
                let mut text = String::new();
                let read = powers
                    .files()?
                    .open(&path(&input))?
                    .bytes
                    .read_to_string(&mut text);
                read.map_err(|error| ToolError::Failed(error.to_string()))?;
                Ok(ToolOutput { json: json!(text) })
            }
            Act::Fetch => Err(powers
                .files()
                .map(|_| ())
                .err()
                .map_or(ToolError::Failed("held".to_owned()), ToolError::Power)),
        }
    }
}

/// Runs the whole suite. `readable` is a regular file that holds `words`, in a directory with nothing else granted.
///
/// # Panics
/// A promise is broken.
pub async fn check(backend: &dyn Backend, readable: &str) {
    let spec = LaunchSpec {
        agent: AgentId::from_drawn(1),
        run: RunId::from_drawn(1),
        capabilities: vec![grant(&format!("file_read: {readable}"))],
        base: "/".to_owned(),
        folder: "/".to_owned(),
        anchors: vec![readable.to_owned()],
    };
    let worker = launch(backend, spec).await;
    calls_reach_their_tool(&*worker).await;
    powers_are_cut_to_the_grants(&*worker, readable).await;
    inspection_tells_only_of_granted_files(&*worker, readable).await;
    a_defect_stays_in_its_call(&*worker).await;
    the_deadline_ends_a_call(&*worker).await;
    many_calls_run_at_once_or_wait(&*worker).await;
    a_stopped_worker_takes_no_calls(&*worker).await;
}

fn grant(text: &str) -> aaos_core::capability::Capability {
    text.parse().unwrap_or_else(|error| unreachable!("{error}"))
}

async fn launch(backend: &dyn Backend, spec: LaunchSpec) -> Box<dyn Worker> {
    backend
        .launch(spec)
        .await
        .unwrap_or_else(|error| unreachable!("{error}"))
}

fn call(tool: &str, input: Value) -> WorkerCall {
    let gate: Arc<dyn Gate> = Arc::new(OpenGate::default());
    WorkerCall {
        call: CallId::from_drawn(1),
        tool: tool.parse().unwrap_or_else(|error| unreachable!("{error}")),
        input,
        gate,
        deadline: Span::from_secs(10),
    }
}

async fn calls_reach_their_tool(worker: &dyn Worker) {
    assert_eq!(
        worker.call(call("say", json!({"a": 1}))).await,
        Ok(ToolOutput {
            json: json!({"a": 1})
        })
    );
    assert_eq!(
        worker.call(call("absent", json!({}))).await,
        Err(ToolError::Unknown("absent".to_owned()))
    );
}

async fn powers_are_cut_to_the_grants(worker: &dyn Worker, readable: &str) {
    let read = |path: &str| call("read", json!({ "path": path }));
    assert_eq!(
        worker.call(read(readable)).await,
        Ok(ToolOutput {
            json: json!("words")
        })
    );
    let denied = worker.call(read("/etc/passwd")).await;
    assert!(
        matches!(denied, Err(ToolError::Power(PowerError::Denied { .. }))),
        "{denied:?}"
    );
    let held = worker.call(call("fetch", json!({}))).await;
    assert_eq!(
        held,
        Err(ToolError::Power(PowerError::NotHeld(Power::Files)))
    );
    let gate: Arc<dyn Gate> = Arc::new(ClosedGate);
    let closed = worker
        .call(WorkerCall {
            gate,
            ..call("say", json!(1))
        })
        .await;
    assert_eq!(
        closed,
        Ok(ToolOutput { json: json!(1) }),
        "a call that needs nothing asks no gate"
    );
}

async fn inspection_tells_only_of_granted_files(worker: &dyn Worker, readable: &str) {
    assert_eq!(worker.inspect(readable).await, Ok(Some(5)));
    let outside = worker.inspect("/etc/passwd").await;
    assert!(
        matches!(outside, Err(ToolError::Power(PowerError::Denied { .. }))),
        "{outside:?}"
    );
}

async fn a_defect_stays_in_its_call(worker: &dyn Worker) {
    let broken = worker.call(call("break", json!({}))).await;
    assert!(
        matches!(&broken, Err(ToolError::Failed(text)) if text.contains("break")),
        "{broken:?}"
    );
    assert!(worker.call(call("say", json!(2))).await.is_ok());
}

async fn the_deadline_ends_a_call(worker: &dyn Worker) {
    let late = worker
        .call(WorkerCall {
            deadline: Span::from_millis(50),
            ..call("sleep", json!({}))
        })
        .await;
    assert_eq!(
        late,
        Err(ToolError::TimedOut {
            tool: "sleep".to_owned(),
            limit_ms: 50
        })
    );
}

async fn many_calls_run_at_once_or_wait(worker: &dyn Worker) {
    let calls = (0..40).map(|number| worker.call(call("say", json!(number))));
    let outcomes = futures::future::join_all(calls).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}

async fn a_stopped_worker_takes_no_calls(worker: &dyn Worker) {
    worker.stop().await;
    assert!(matches!(
        worker.inspect("/").await,
        Err(ToolError::WorkerLost { .. })
    ));
    let lost = worker.call(call("say", json!({}))).await;
    assert!(
        matches!(lost, Err(ToolError::WorkerLost { .. })),
        "{lost:?}"
    );
}
