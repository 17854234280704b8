//! What every backend promises, run by the fake and by the real ones.

use crate::backend::{ClosedGate, Notes, OpenGate};
use aaos_core::{
    capability::Capability,
    id::{AgentId, CallId, RunId},
    time::Span,
    tool::Power,
};
use aaos_ports::{
    Act, Backend, Gate, LaunchSpec, PowerError, Question, ToolError, ToolOutput, Worker, WorkerCall,
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use super::probe::tools;

/// Runs the whole suite. `readable` is a regular file that holds `words`, in a directory with nothing else granted.
///
/// # Panics
/// A promise is broken.
pub async fn check(backend: &dyn Backend, readable: &str) {
    let only = format!("file_read: {readable}");
    let worker = launch(backend, spec(&[&only], "/", readable)).await;
    calls_reach_their_tool(&*worker).await;
    powers_are_cut_to_the_grants(&*worker, readable).await;
    inspection_tells_only_of_granted_files(&*worker, readable).await;
    a_defect_stays_in_its_call(&*worker).await;
    a_call_keeps_its_identity(&*worker).await;
    a_question_reaches_the_tool_and_changes_nothing(backend, readable).await;
    the_deadline_ends_a_call(&*worker).await;
    a_call_that_is_not_wanted_any_longer_gives_its_place_free(&*worker).await;
    many_calls_run_at_once_or_wait(&*worker).await;
    no_program_is_started_without_a_grant(&*worker).await;
    a_stopped_worker_takes_no_calls(&*worker).await;
    what_is_taken_away_is_out_of_reach(backend, readable).await;
}

pub(super) fn grant(text: &str) -> Capability {
    text.parse().unwrap_or_else(|error| unreachable!("{error}"))
}

/// An agent with these grants, which were given for `anchor`.
pub(super) fn spec(grants: &[&str], base: &str, anchor: &str) -> LaunchSpec {
    LaunchSpec {
        agent: AgentId::from_drawn(1),
        run: RunId::from_drawn(1),
        capabilities: grants.iter().map(|text| grant(text)).collect(),
        base: base.to_owned(),
        folder: base.to_owned(),
        anchors: vec![anchor.to_owned()],
        witness: Arc::new(Notes::default()),
    }
}

pub(super) async fn launch(backend: &dyn Backend, spec: LaunchSpec) -> Box<dyn Worker> {
    backend
        .launch(spec)
        .await
        .unwrap_or_else(|error| unreachable!("{error}"))
}

pub(super) fn call(tool: &str, input: Value) -> WorkerCall {
    static DRAWN: AtomicU64 = AtomicU64::new(1);
    let gate: Arc<dyn Gate> = Arc::new(OpenGate::default());
    WorkerCall {
        act: Act::Perform,
        call: CallId::from_drawn(DRAWN.fetch_add(1, Ordering::Relaxed)),
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
    let wrecked = worker.call(call("wreck", json!({}))).await;
    assert!(
        matches!(&wrecked, Err(error) if !error.is_certain()),
        "what changes something and breaks off is in doubt: {wrecked:?}"
    );
    assert!(worker.call(call("say", json!(2))).await.is_ok());
}

async fn a_call_keeps_its_identity(worker: &dyn Worker) {
    let call = call("who", json!({}));
    let identity = call.call.to_string();
    let told = worker.call(call).await;
    assert_eq!(
        told,
        Ok(ToolOutput {
            json: json!(identity)
        })
    );
}

/// A question about a call.
fn question(tool: &str, input: Value, question: Question) -> WorkerCall {
    WorkerCall {
        act: Act::Consider(question),
        ..call(tool, input)
    }
}

async fn a_question_reaches_the_tool_and_changes_nothing(backend: &dyn Backend, readable: &str) {
    let (directory, _) = readable.rsplit_once('/').unwrap_or(("", readable));
    let write = format!("file_write: {directory}/*");
    let read = format!("file_read: {directory}/*");
    let input = json!({"path": readable, "text": "other words"});
    let worker = launch(backend, spec(&[&write, &read], directory, directory)).await;
    let evidence = json!({"head": [1, null]});
    for (asked, word) in [
        (Question::Evidence, "evidence"),
        (Question::Preview, "preview"),
        (
            Question::Happened {
                evidence: evidence.clone(),
            },
            "happened",
        ),
    ] {
        let told = worker.call(question("write", input.clone(), asked)).await;
        let told = told
            .unwrap_or_else(|error| unreachable!("{word}: {error}"))
            .json;
        assert_eq!(told["asked"]["question"], word);
        assert_eq!(
            told["now"], "words",
            "what would be written may be looked at"
        );
        if word == "happened" {
            assert_eq!(told["asked"]["evidence"], evidence);
        }
    }
    let broken = worker
        .call(question("wreck", json!({}), Question::Preview))
        .await;
    assert!(
        matches!(&broken, Err(error) if error.is_certain()),
        "a question changes nothing: {broken:?}"
    );
    let late = WorkerCall {
        deadline: Span::from_millis(50),
        ..question("sleep", json!({}), Question::Evidence)
    };
    let late = worker.call(late).await;
    assert!(matches!(late, Err(ToolError::TimedOut { .. })), "{late:?}");
    worker.stop().await;
    let blind = launch(backend, spec(&[&write], directory, directory)).await;
    let asked = blind
        .call(question("write", input, Question::Evidence))
        .await;
    assert!(
        matches!(asked, Err(ToolError::Power(PowerError::Denied { .. }))),
        "to look takes a grant to read: {asked:?}"
    );
    blind.stop().await;
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

async fn a_call_that_is_not_wanted_any_longer_gives_its_place_free(worker: &dyn Worker) {
    // More than any worker runs at once, each a minute long.
    let calls = (0..16).map(|_| {
        worker.call(WorkerCall {
            deadline: Span::from_secs(60),
            ..call("sleep", json!({}))
        })
    });
    let all = futures::future::join_all(calls);
    let waited = tokio::time::timeout(Duration::from_millis(50), all).await;
    assert!(waited.is_err(), "{waited:?}");
    let said = worker.call(call("say", json!(3))).await;
    assert_eq!(said, Ok(ToolOutput { json: json!(3) }));
}

async fn no_program_is_started_without_a_grant(worker: &dyn Worker) {
    let start = json!({"program": "sh", "args": ["-c", "exit 0"], "directory": "/"});
    assert_eq!(
        worker.call(call("start", start)).await,
        Err(ToolError::Power(PowerError::NotHeld(Power::Exec)))
    );
}

async fn what_is_taken_away_is_out_of_reach(backend: &dyn Backend, readable: &str) {
    let (directory, _) = readable.rsplit_once('/').unwrap_or(("", readable));
    let (tree, only) = (
        format!("file_read: {directory}/*"),
        format!("file_read: {readable}"),
    );
    let worker = launch(backend, spec(&[&tree], directory, directory)).await;
    let read = || worker.call(call("read", json!({ "path": readable })));
    let walk = || worker.call(call("walk", json!({ "path": directory })));
    let words = Ok(ToolOutput {
        json: json!("words"),
    });
    let found = Ok(ToolOutput {
        json: json!([readable]),
    });
    let denied = |outcome: Result<ToolOutput, ToolError>| {
        let is = matches!(outcome, Err(ToolError::Power(PowerError::Denied { .. })));
        assert!(is, "{outcome:?}");
    };
    assert_eq!(read().await, words);
    assert_eq!(walk().await, found);

    worker.narrow(vec![grant(&only)]).await;
    assert_eq!(read().await, words, "what is left is still held");
    denied(walk().await);

    worker.narrow(Vec::new()).await;
    denied(read().await);
    let inspected = worker.inspect(readable).await;
    assert!(
        matches!(inspected, Err(ToolError::Power(PowerError::Denied { .. }))),
        "{inspected:?}"
    );
    let said = worker.call(call("say", json!(4))).await;
    assert_eq!(said, Ok(ToolOutput { json: json!(4) }));
    worker.stop().await;
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
