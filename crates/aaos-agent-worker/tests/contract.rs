//! The backends' contract, run by the namespaced backend through real confined workers.
//!
//! A worker runs the tools its program was built with, and the contract has tools of its own. So this program is both:
//! started with a packet socket as its standard input it is the launcher and its workers, with the contract's tools;
//! else it runs the tests, and has the backend start this very program. Hence no harness: a launcher has one thread.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests"
)]

use aaos_core::{id::CallId, proof::Layer, time::Span};
use aaos_ports::{Backend, ToolError, WorkerCall};
use aaos_sandbox::{
    backend::namespaced::{Namespaced, NamespacedConfig},
    launcher,
    programs::Toolchain,
    protocol::Mask,
};
use aaos_testkit::contract::{backend, exec};
use rustix::net::{SocketType, sockopt::socket_type};
use std::{env, fs, future::Future, os::fd::AsFd, path::PathBuf, pin::Pin, process::ExitCode};

type Test = fn() -> Pin<Box<dyn Future<Output = ()>>>;

/// Every test, by name.
const TESTS: [(&str, Test); 4] = [
    ("the_contract_holds", || Box::pin(the_contract_holds())),
    ("the_contract_holds_for_programs", || {
        Box::pin(the_contract_holds_for_programs())
    }),
    (
        "a_tree_that_comes_later_is_reached_through_the_daemon",
        || Box::pin(a_tree_that_comes_later_is_reached_through_the_daemon()),
    ),
    ("an_answer_too_long_for_the_line_is_its_calls_error", || {
        Box::pin(an_answer_too_long_for_the_line_is_its_calls_error())
    }),
];

fn main() -> ExitCode {
    let stdin = std::io::stdin();
    if socket_type(stdin.as_fd()) == Ok(SocketType::SEQPACKET) {
        return inside();
    }
    let args: Vec<String> = env::args().skip(1).collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    if has("--list") {
        for (name, _) in TESTS.iter().filter(|_| !has("--ignored")) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    for (name, test) in TESTS {
        let named = |wanted: &&String| {
            wanted.as_str() == name || !has("--exact") && name.contains(wanted.as_str())
        };
        if wanted.is_empty() || wanted.iter().any(named) {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(test());
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

/// The launcher, and each worker it clones.
fn inside() -> ExitCode {
    let control = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let Ok(worker) = launcher::serve(control) else {
        return ExitCode::SUCCESS;
    };
    let confined = worker.stage().and_then(|staged| staged.confine());
    match confined.map(|confined| confined.serve(&backend::tools())) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn namespaced() -> Namespaced {
    let config = NamespacedConfig {
        worker: env::current_exe().unwrap(),
        egress: PathBuf::from("/nonexistent"),
        require: Layer::required_by_default(),
        pool: 1,
        omit: None,
        lock: None,
        mask: Mask::default(),
        toolchain: Toolchain::default(),
    };
    Namespaced::new(config, backend::tools())
}

/// An empty directory, by its real path.
fn directory() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap();
    (directory, path.to_str().unwrap().to_owned())
}

async fn the_contract_holds() {
    let (_directory, path) = directory();
    let file = format!("{path}/file.txt");
    fs::write(&file, "words").unwrap();
    backend::check(&namespaced(), &file).await;
}

async fn the_contract_holds_for_programs() {
    let (_directory, path) = directory();
    exec::check(&namespaced(), &path).await;
}

fn call(tool: &str, input: serde_json::Value) -> WorkerCall {
    WorkerCall {
        act: aaos_ports::Act::Perform,
        call: CallId::from_drawn(1),
        tool: tool.parse().unwrap(),
        input,
        gate: std::sync::Arc::new(aaos_testkit::backend::OpenGate::default()),
        deadline: Span::from_secs(30),
    }
}

async fn a_tree_that_comes_later_is_reached_through_the_daemon() {
    let (_directory, path) = directory();
    let later = format!("{path}/later");
    let grants = [
        format!("file_read: {later}/**"),
        format!("file_write: {later}/**"),
    ];
    let spec = aaos_ports::LaunchSpec {
        agent: aaos_core::id::AgentId::from_drawn(1),
        run: aaos_core::id::RunId::from_drawn(1),
        capabilities: grants.iter().map(|text| text.parse().unwrap()).collect(),
        base: path.clone(),
        folder: path.clone(),
        anchors: vec![later.clone()],
        witness: std::sync::Arc::new(aaos_testkit::backend::Notes::default()),
    };
    let worker = namespaced().launch(spec).await.unwrap();
    let file = format!("{later}/a/file");
    let write = serde_json::json!({"path": file, "text": "words"});
    let wrote = worker.call(call("write", write)).await.unwrap();
    assert_eq!(wrote.json, 5);
    assert_eq!(fs::read_to_string(&file).unwrap(), "words");
    let hidden = format!("{later}/.hidden");
    fs::write(&hidden, "").unwrap();
    let walk = serde_json::json!({ "path": later });
    let walked = worker.call(call("walk", walk)).await.unwrap();
    assert_eq!(walked.json, serde_json::json!([file]));
    let read = serde_json::json!({ "path": file });
    let read = worker.call(call("read", read)).await.unwrap();
    assert_eq!(read.json, "words");
    let hook = serde_json::json!({"path": format!("{later}/.git/hooks/x"), "text": "#!"});
    let refused = worker.call(call("write", hook)).await;
    assert!(matches!(refused, Err(ToolError::Power(_))), "{refused:?}");
    assert!(!fs::exists(format!("{later}/.git")).unwrap());
    worker.stop().await;
}

async fn an_answer_too_long_for_the_line_is_its_calls_error() {
    let (_directory, path) = directory();
    let spec = aaos_ports::LaunchSpec {
        agent: aaos_core::id::AgentId::from_drawn(1),
        run: aaos_core::id::RunId::from_drawn(1),
        capabilities: Vec::new(),
        base: path.clone(),
        folder: path,
        anchors: Vec::new(),
        witness: std::sync::Arc::new(aaos_testkit::backend::Notes::default()),
    };
    let worker = namespaced().launch(spec).await.unwrap();
    let long = worker.call(call("shout", serde_json::json!({}))).await;
    assert!(
        matches!(&long, Err(ToolError::Failed(text)) if text.contains("ask for less")),
        "{long:?}"
    );
    let said = worker.call(call("say", serde_json::json!(1))).await;
    assert!(said.is_ok(), "{said:?}");
    worker.stop().await;
}
