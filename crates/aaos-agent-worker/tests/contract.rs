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

#[path = "support/harness.rs"]
mod harness;
mod support;

use aaos_ports::{Backend, LaunchSpec, ToolError};
use aaos_sandbox::{backend::namespaced::Namespaced, launcher};
use aaos_testkit::contract::{backend, exec};
use harness::Test;
use rustix::net::{SocketType, sockopt::socket_type};
use std::{env, fs, os::fd::AsFd, process::ExitCode, sync::Arc};
use support::{call, run};

/// Every test, by name.
const TESTS: [Test; 4] = [
    ("the_contract_holds", || run(the_contract_holds())),
    ("the_contract_holds_for_programs", || {
        run(the_contract_holds_for_programs())
    }),
    (
        "a_tree_that_comes_later_is_reached_through_the_daemon",
        || run(a_tree_that_comes_later_is_reached_through_the_daemon()),
    ),
    ("an_answer_too_long_for_the_line_is_its_calls_error", || {
        run(an_answer_too_long_for_the_line_is_its_calls_error())
    }),
];

fn main() -> ExitCode {
    let stdin = std::io::stdin();
    if socket_type(stdin.as_fd()) == Ok(SocketType::SEQPACKET) {
        return inside();
    }
    let args: Vec<String> = env::args().skip(1).collect();
    harness::main(&TESTS, &args)
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
    let program = env::current_exe().unwrap();
    support::backend(&program, 1, backend::tools())
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

/// What an agent in a directory is launched with.
fn spec(path: &str, grants: &[&str]) -> LaunchSpec {
    LaunchSpec {
        base: path.to_owned(),
        folder: path.to_owned(),
        ..support::spec(grants, &Arc::default())
    }
}

async fn a_tree_that_comes_later_is_reached_through_the_daemon() {
    let (_directory, path) = directory();
    let later = format!("{path}/later");
    let [read, write] = ["read", "write"].map(|right| format!("file_{right}: {later}/**"));
    let spec = LaunchSpec {
        anchors: vec![later.clone()],
        ..spec(&path, &[&read, &write])
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
    let worker = namespaced().launch(spec(&path, &[])).await.unwrap();
    let long = worker.call(call("shout", serde_json::json!({}))).await;
    assert!(
        matches!(&long, Err(ToolError::Failed(text)) if text.contains("ask for less")),
        "{long:?}"
    );
    let said = worker.call(call("say", serde_json::json!(1))).await;
    assert!(said.is_ok(), "{said:?}");
    worker.stop().await;
}
