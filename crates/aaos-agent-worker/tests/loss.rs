//! What is said of a call whose worker, launcher or egress broker is killed: what certainly did not happen is told from
//! what may have, and the next call works again.
//!
//! Everything is real: the kills, the processes, and a server that counts what reaches it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod support;

use aaos_core::id::CallId;
use aaos_ports::{Act, Happened, Question, ToolError, ToolOutput, WorkerCall};
use aaos_sandbox::backend::namespaced::{Namespaced, NamespacedConfig};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};
use support::{Agent, call, config, descendants, kill, launch, losses, run, starts, until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_aaos-agent-worker"))
}

fn backend() -> Namespaced {
    let config = NamespacedConfig {
        egress: program().with_file_name("aaos-egress"),
        ..config(program(), 0)
    };
    Namespaced::new(config, aaos_tools::builtin())
}

/// A server that notes the key of every request that reached it whole, and answers those whose path is not `/silent`.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Vec<String>>>);

impl Server {
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = Self::default();
        let serving = server.clone();
        tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                tokio::spawn(serving.clone().serve(connection));
            }
        });
        (server, base)
    }

    async fn serve(self, mut connection: TcpStream) {
        let mut request = Vec::new();
        while !request.ends_with(b"words") {
            let mut room = [0; 4096];
            match connection.read(&mut room).await {
                Ok(0) | Err(_) => return,
                Ok(came) => request.extend_from_slice(&room[..came]),
            }
        }
        let text = String::from_utf8(request).unwrap().to_lowercase();
        let key = text
            .lines()
            .find_map(|line| line.strip_prefix("idempotency-key: "));
        self.0.lock().unwrap().push(key.unwrap().to_owned());
        if text.starts_with("post /silent") {
            let _ = connection.read(&mut [0; 1]).await;
            return;
        }
        let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone";
        connection.write_all(answer).await.unwrap();
    }

    fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn post(base: &str, path: &str) -> WorkerCall {
    let input = json!({"method": "POST", "url": format!("{base}{path}"), "body": "words"});
    call("http_send", input)
}

async fn agent(backend: &Namespaced, base: &str) -> Agent {
    launch(backend, &[&format!("http: POST {base}/*")]).await
}

fn created(outcome: &Result<ToolOutput, ToolError>) -> bool {
    outcome
        .as_ref()
        .is_ok_and(|output| output.json["status"] == 201)
}

#[test]
fn a_broker_that_is_killed_while_idle_costs_no_call() {
    run(async {
        let (server, base) = Server::start().await;
        let backend = backend();
        let agent = agent(&backend, &base).await;
        for round in 1..=3 {
            assert!(created(&agent.worker.call(post(&base, "/")).await));
            kill(backend.egress_pid().unwrap());
            let next = agent.worker.call(post(&base, "/")).await;
            assert!(created(&next), "{next:?}");
            assert_eq!(server.keys().len(), 2 * round, "each was sent once");
        }
    });
}

/// Sends a request the server does not answer, and has a process killed once it was received.
async fn cut_off(
    server: &Server,
    agent: &Agent,
    call: WorkerCall,
    victim: impl FnOnce() -> u32,
) -> ToolError {
    let before = server.keys().len();
    let killing = async {
        until("the request is received", || server.keys().len() > before).await;
        kill(victim());
    };
    let (outcome, ()) = tokio::join!(agent.worker.call(call), killing);
    outcome.unwrap_err()
}

#[test]
fn a_request_whose_broker_is_killed_is_in_doubt_and_goes_out_again_under_the_same_key() {
    run(async {
        let (server, base) = Server::start().await;
        let backend = backend();
        let agent = agent(&backend, &base).await;
        let first = post(&base, "/silent");
        let again = WorkerCall {
            call: first.call,
            ..post(&base, "/")
        };
        let identity: CallId = first.call;
        let lost = cut_off(&server, &agent, first, || backend.egress_pid().unwrap()).await;
        assert!(!lost.is_certain(), "{lost:?}");
        assert!(matches!(lost, ToolError::InDoubt { .. }), "{lost:?}");
        assert!(created(&agent.worker.call(again).await));
        let key = identity.to_string();
        assert_eq!(server.keys(), [key.clone(), key]);
        assert_eq!(starts(&agent.notes), 2);
    });
}

#[test]
fn a_request_whose_worker_or_launcher_is_killed_is_in_doubt_and_the_next_call_works() {
    run(async {
        let (server, base) = Server::start().await;
        let backend = backend();
        let agent = agent(&backend, &base).await;
        let worker = || {
            let others = [backend.launcher_pid(), backend.egress_pid()].map(Option::unwrap);
            let mut workers = descendants(std::process::id());
            workers.retain(|pid| !others.contains(pid));
            *workers.iter().next().unwrap()
        };
        let lost = cut_off(&server, &agent, post(&base, "/silent"), worker).await;
        assert!(matches!(lost, ToolError::WorkerLost { .. }), "{lost:?}");
        assert!(created(&agent.worker.call(post(&base, "/")).await));
        let launcher = backend.launcher_pid().unwrap();
        let lost = cut_off(&server, &agent, post(&base, "/silent"), || launcher).await;
        assert!(matches!(lost, ToolError::WorkerLost { .. }), "{lost:?}");
        assert!(created(&agent.worker.call(post(&base, "/")).await));
        assert_ne!(backend.launcher_pid(), Some(launcher));
    });
}

#[test]
fn a_request_that_cannot_be_made_is_certain_and_one_that_is_not_answered_in_time_is_not() {
    run(async {
        let (server, base) = Server::start().await;
        let backend = backend();
        let nobody = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            format!("http://{}", listener.local_addr().unwrap())
        };
        let grants = [&base, &nobody].map(|base| format!("http: POST {base}/*"));
        let agent = launch(&backend, &[&grants[0], &grants[1]]).await;
        let refused = agent.worker.call(post(&nobody, "/")).await.unwrap_err();
        assert!(refused.is_certain(), "{refused:?}");
        let late = WorkerCall {
            deadline: aaos_core::time::Span::from_millis(300),
            ..post(&base, "/silent")
        };
        let late = agent.worker.call(late).await.unwrap_err();
        assert!(!late.is_certain(), "{late:?}");
        assert_eq!(server.keys().len(), 1);
    });
}

/// What a tool in a worker answers to a question about a call.
async fn ask(agent: &Agent, tool: &str, input: &Value, question: Question) -> Value {
    let asked = WorkerCall {
        act: Act::Consider(question),
        ..call(tool, input.clone())
    };
    agent.worker.call(asked).await.unwrap().json
}

#[test]
fn whether_a_write_happened_is_told_by_the_worker_that_takes_the_place_of_the_one_that_was_lost() {
    run(async {
        let room = tempfile::tempdir().unwrap();
        let place = room.path().canonicalize().unwrap().display().to_string();
        let path = format!("{place}/file.txt");
        fs::write(&path, "old words\n").unwrap();
        let grants = [
            format!("file_read: {place}/**"),
            format!("file_write: {place}/**"),
        ];
        let backend = backend();
        let agent = launch(&backend, &[&grants[0], &grants[1]]).await;
        let edit = json!({"path": path, "old_string": "old", "new_string": "new"});
        for (tool, input) in [
            ("file_edit", edit),
            (
                "file_write",
                json!({"path": path, "content": "x\n", "append": true}),
            ),
        ] {
            let evidence = ask(&agent, tool, &input, Question::Evidence).await;
            let happened = || {
                let evidence = evidence.clone();
                ask(&agent, tool, &input, Question::Happened { evidence })
            };
            let answered: Happened = serde_json::from_value(happened().await).unwrap();
            assert_eq!(answered, Happened::No, "{tool}");
            let done = agent.worker.call(call(tool, input.clone())).await.unwrap();
            let noted = losses(&agent.notes).len();
            for pid in descendants(std::process::id()) {
                if Some(pid) != backend.launcher_pid() {
                    kill(pid);
                }
            }
            until("the loss is noted", || losses(&agent.notes).len() > noted).await;
            let answered: Happened = serde_json::from_value(happened().await).unwrap();
            assert_eq!(answered, Happened::Yes { output: done.json }, "{tool}");
            fs::write(&path, format!("old words of somebody else's, {tool}\n")).unwrap();
            let answered: Happened = serde_json::from_value(happened().await).unwrap();
            assert!(
                matches!(answered, Happened::Unknown { .. }),
                "{tool}: {answered:?}"
            );
        }
    });
}
