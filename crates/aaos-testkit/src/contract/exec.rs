//! What every backend promises that starts programs.

use super::backend::{call, grant, launch, spec};
use aaos_core::time::Span;
use aaos_ports::{Backend, PowerError, ToolError, ToolOutput, Worker, WorkerCall};
use serde_json::{Value, json};
use std::time::Duration;

/// Runs the whole suite. `directory` is an empty directory that may be written, outside `/tmp` of the worker.
///
/// # Panics
/// A promise is broken.
pub async fn check(backend: &dyn Backend, directory: &str) {
    let grants = [
        format!("exec: sh in {directory}/**"),
        format!("file_read: {directory}/**"),
        format!("file_write: {directory}/**"),
    ];
    let grants: Vec<&str> = grants.iter().map(String::as_str).collect();
    let worker = launch(backend, spec(&grants, directory, directory)).await;
    let shell = Shell {
        worker: &*worker,
        directory,
    };
    a_program_tells_how_it_ended_and_what_it_said(&shell).await;
    a_program_reads_its_input_to_the_end(&shell).await;
    a_program_starts_in_its_directory_with_a_small_environment(&shell).await;
    a_long_output_is_cut_in_its_middle(&shell).await;
    what_is_not_granted_is_not_started(&shell).await;
    what_a_program_leaves_running_is_gone(&shell).await;
    the_deadline_ends_a_program(&shell).await;
    a_dropped_call_ends_its_program(&shell).await;
    programs_run_one_after_the_other(&shell).await;
    a_program_ends_when_something_is_taken_away(&shell).await;
    worker.stop().await;
}

struct Shell<'a> {
    worker: &'a dyn Worker,
    directory: &'a str,
}

impl Shell<'_> {
    fn input(&self, script: &str) -> Value {
        json!({"program": "sh", "args": ["-c", script], "directory": self.directory})
    }

    fn call(&self, input: Value) -> WorkerCall {
        WorkerCall {
            deadline: Span::from_secs(30),
            ..call("start", input)
        }
    }

    async fn run(&self, script: &str) -> Value {
        self.told(self.input(script)).await
    }

    async fn told(&self, input: Value) -> Value {
        let outcome = self.worker.call(self.call(input)).await;
        let output = outcome.unwrap_or_else(|error| unreachable!("{error}"));
        output.json
    }

    /// Waits until a script has written a file, then answers with its text.
    async fn written(&self, name: &str) -> String {
        let path = format!("{}/{name}", self.directory);
        for _ in 0..1500 {
            let read = call("read", json!({ "path": path }));
            if let Ok(ToolOutput { json }) = self.worker.call(read).await {
                return json.as_str().unwrap_or_default().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        unreachable!("{path} was never written")
    }
}

fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

async fn a_program_tells_how_it_ended_and_what_it_said(shell: &Shell<'_>) {
    let ran = shell.run("echo out; echo err >&2; exit 3").await;
    assert_eq!(at(&ran, "/ended/code"), 3, "{ran}");
    assert_eq!(at(&ran, "/stdout/head"), "out\n", "{ran}");
    assert_eq!(at(&ran, "/stderr/head"), "err\n", "{ran}");
    let ran = shell.run("kill -TERM $$").await;
    assert_eq!(at(&ran, "/ended/signal"), 15, "{ran}");
}

async fn a_program_reads_its_input_to_the_end(shell: &Shell<'_>) {
    // More than a pipe holds, so that it has to be fed while its output is read.
    let line = "0123456789abcdef".repeat(16_384);
    let mut input = shell.input("while read -r line; do echo \"${#line}\"; done");
    if let Some(input) = input.as_object_mut() {
        input.insert("stdin".to_owned(), json!(format!("{line}\nshort\n")));
    }
    let ran = shell.told(input).await;
    assert_eq!(at(&ran, "/stdout/head"), "262144\n5\n", "{ran}");
    let mut unread = shell.input("exit 0");
    if let Some(unread) = unread.as_object_mut() {
        unread.insert("stdin".to_owned(), json!(line));
    }
    let ran = shell.told(unread).await;
    assert_eq!(at(&ran, "/ended/code"), 0, "{ran}");
}

async fn a_program_starts_in_its_directory_with_a_small_environment(shell: &Shell<'_>) {
    let ran = shell
        .run("pwd; echo \"$HOME $TMPDIR $LANG $TERM $ASKED\"; cd \"$HOME\" && echo there")
        .await;
    let wanted = format!(
        "{}\n/tmp/home /tmp C.UTF-8 dumb for\nthere\n",
        shell.directory
    );
    assert_eq!(at(&ran, "/stdout/head"), wanted.as_str(), "{ran}");
}

async fn a_long_output_is_cut_in_its_middle(shell: &Shell<'_>) {
    let script = "i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i + 1)); done; printf last";
    let mut input = shell.input(script);
    if let Some(input) = input.as_object_mut() {
        input.insert("bytes".to_owned(), json!(64));
    }
    let ran = shell.told(input).await;
    let length = |pointer| at(&ran, pointer).as_str().unwrap_or_default().len();
    assert_eq!((length("/stdout/head"), length("/stdout/tail")), (32, 32));
    assert_eq!(at(&ran, "/stdout/dropped"), 20_000 * 11 + 4 - 64, "{ran}");
    let tail = at(&ran, "/stdout/tail").as_str().unwrap_or_default();
    assert!(tail.ends_with("last"), "{ran}");
}

async fn what_is_not_granted_is_not_started(shell: &Shell<'_>) {
    let denied = async |input: Value| {
        let outcome = shell.worker.call(shell.call(input)).await;
        let is = matches!(outcome, Err(ToolError::Power(PowerError::Denied { .. })));
        assert!(is, "{outcome:?}");
    };
    denied(json!({"program": "env", "directory": shell.directory})).await;
    denied(json!({"program": "/bin/sh", "args": ["-c", "exit"], "directory": shell.directory}))
        .await;
    denied(json!({"program": "sh", "args": ["-c", "exit"], "directory": "/"})).await;
    denied(json!({"program": "sh", "args": ["-c", "exit"], "directory": format!("{}/..", shell.directory)}))
        .await;
}

async fn what_a_program_leaves_running_is_gone(shell: &Shell<'_>) {
    let ran = shell
        .run("while :; do :; done & echo $! > left; kill -0 $! && echo alive")
        .await;
    assert_eq!(at(&ran, "/stdout/head"), "alive\n", "{ran}");
    let ran = shell
        .run("read -r pid < left; kill -0 \"$pid\" || echo gone")
        .await;
    assert_eq!(at(&ran, "/stdout/head"), "gone\n", "{ran}");
}

async fn the_deadline_ends_a_program(shell: &Shell<'_>) {
    let script = "trap '' TERM INT HUP; while :; do :; done";
    let late = WorkerCall {
        deadline: Span::from_millis(300),
        ..shell.call(shell.input(script))
    };
    let late = shell.worker.call(late).await;
    assert!(matches!(late, Err(ToolError::TimedOut { .. })), "{late:?}");
    let ran = shell.run("echo next").await;
    assert_eq!(at(&ran, "/stdout/head"), "next\n", "{ran}");
}

async fn a_dropped_call_ends_its_program(shell: &Shell<'_>) {
    let call = shell.call(shell.input("echo x > begun; while :; do :; done"));
    tokio::select! {
        outcome = shell.worker.call(call) => unreachable!("{outcome:?}"),
        begun = shell.written("begun") => assert_eq!(begun, "x\n"),
    }
    // A program that went on would keep the next one from its turn.
    let ran = shell.run("echo next").await;
    assert_eq!(at(&ran, "/stdout/head"), "next\n", "{ran}");
}

async fn programs_run_one_after_the_other(shell: &Shell<'_>) {
    let script =
        "echo begin >> order; i=0; while [ $i -lt 5000 ]; do i=$((i + 1)); done; echo end >> order";
    let runs = (0..4).map(|_| shell.run(script));
    futures::future::join_all(runs).await;
    assert_eq!(shell.written("order").await, "begin\nend\n".repeat(4));
}

async fn a_program_ends_when_something_is_taken_away(shell: &Shell<'_>) {
    let call = shell.call(shell.input("echo x > running; while :; do :; done"));
    let narrowed = async {
        assert_eq!(shell.written("running").await, "x\n");
        let left = format!("file_read: {}/**", shell.directory);
        shell.worker.narrow(vec![grant(&left)]).await;
    };
    let (outcome, ()) = tokio::join!(shell.worker.call(call), narrowed);
    assert!(outcome.is_err(), "{outcome:?}");
    let after = shell.worker.call(shell.call(shell.input("exit 0"))).await;
    assert!(matches!(after, Err(ToolError::Power(_))), "{after:?}");
}
