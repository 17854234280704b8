//! A run belongs to the daemon, not to who watches it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;
mod stage;

use common::{Done, Peer, Place};
use serde_json::json;
use stage::wait_for;
use std::{
    io::{BufRead, BufReader, ErrorKind},
    net::TcpListener,
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
};

/// A place whose model takes connections and never answers.
struct Hanging {
    place: Place,
    listener: TcpListener,
}

impl Hanging {
    fn new() -> Self {
        let place = Place::new();
        place.work("a.txt", "alpha\n");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { place, listener }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(arguments);
        let address = format!("http://{}/v1", self.listener.local_addr().unwrap());
        command
            .env("OPENAI_BASE_URL", address)
            .env("OPENAI_MODEL", "slow");
        command
    }

    fn run(&self, arguments: &[&str]) -> Done {
        Done::from(self.command(arguments).output().unwrap())
    }

    /// Submits a goal and waits until it is watched. Answers with the run.
    fn submit(&self) -> (Child, String) {
        let mut command = self.command(&["submit", "read a.txt"]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines.map(Result::unwrap);
        let opening = lines.next().unwrap();
        let run = opening.split(' ').next().unwrap().to_owned();
        // Read to its end, so that the command does not find its reader gone.
        std::thread::spawn(move || lines.count());
        // It does from when it watches.
        wait_for("the command to take Ctrl-C", || takes_interrupts(&child));
        (child, run)
    }

    /// The daemon's connections; the one that asks is among them.
    fn connections(&self) -> u64 {
        let status = self.run(&["daemon", "status", "--json"]).json();
        status["connections"].as_u64().unwrap()
    }

    fn state(&self, run: &str) -> String {
        self.run(&["status", "--json", run]).json()["view"]["state"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

/// Whether a process has a handler of its own for SIGINT.
fn takes_interrupts(child: &Child) -> bool {
    let about = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let caught = about.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
    caught & (1 << (rustix::process::Signal::INT.as_raw() - 1)) != 0
}

fn interrupt(child: &Child) {
    assert!(
        Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn ctrl_c_detaches_and_the_run_goes_on() {
    let hanging = Hanging::new();
    let (child, run) = hanging.submit();
    interrupt(&child);
    let done = Done::from(child.wait_with_output().unwrap());
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.err.contains(&format!("agentd attach {run}")),
        "{}",
        done.err
    );
    assert_ne!(hanging.state(&run), "failed");
    assert_eq!(hanging.run(&["stop", &run]).code, 0);
    let followed = hanging.run(&["logs", "--follow", &run]);
    assert_eq!(followed.code, 1, "{followed:?}");
    assert!(
        followed.err.contains("stopped by the operator"),
        "{}",
        followed.err
    );
    assert_eq!(hanging.state(&run), "failed");
}

#[test]
fn ctrl_c_twice_has_an_exit_code_of_its_own() {
    let hanging = Hanging::new();
    let (mut child, run) = hanging.submit();
    interrupt(&child);
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("agentd attach")));
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(4));
    assert_ne!(hanging.state(&run), "failed");
    assert_eq!(hanging.run(&["stop", &run]).code, 0);
}

#[test]
fn a_watcher_that_vanishes_leaves_the_run_alone() {
    let hanging = Hanging::new();
    assert_eq!(hanging.run(&["tools"]).code, 0);
    let mut peer = Peer::open(&hanging.place.socket());
    let base = hanging.place.path("work").display().to_string();
    let submit = json!({ "jsonrpc": "2.0", "id": 1, "method": "run.submit", "params": { "goal": "read a.txt", "base": base } });
    let run = peer.ask(&submit.to_string())["result"]["run"]
        .as_str()
        .unwrap()
        .to_owned();
    let watch = json!({ "jsonrpc": "2.0", "id": 2, "method": "run.watch", "params": { "run": run, "follow": true } });
    let first = peer.ask(&watch.to_string());
    assert_eq!(
        (first["method"].as_str(), first["params"]["watch"].as_u64()),
        (Some("run.event"), Some(2))
    );
    drop(peer);
    wait_for("the connection to end", || hanging.connections() == 1);
    assert_ne!(hanging.state(&run), "failed");
    let status = hanging.run(&["daemon", "status", "--json"]).json();
    assert_eq!(status["runs_active"], 1, "{status}");
    assert_eq!(hanging.run(&["stop", &run]).code, 0);
}

#[test]
fn those_who_watch_when_the_daemon_ends_find_none_and_are_told_how_the_run_goes_on() {
    let hanging = Hanging::new();
    let (child, run) = hanging.submit();
    let socket = hanging.place.socket();
    let mut peer = Peer::open(&socket);
    let watch = json!({ "jsonrpc": "2.0", "id": 2, "method": "run.watch", "params": { "run": run, "follow": true } });
    let mut said = Some(peer.ask(&watch.to_string()));
    let stopping = std::thread::spawn(move || {
        let code = hanging.run(&["daemon", "stop"]).code;
        (hanging, code)
    });
    while said.as_ref().is_some_and(|said| said["id"] != 2) {
        said = peer.line();
    }
    let found = UnixStream::connect(&socket).map_err(|error| error.kind());
    assert!(
        matches!(
            found,
            Err(ErrorKind::ConnectionRefused | ErrorKind::NotFound)
        ),
        "{found:?}"
    );
    assert!(said.is_some_and(|said| said["result"]["run"] == run.as_str()));
    let (hanging, code) = stopping.join().unwrap();
    assert_eq!(code, 0);
    let done = Done::from(child.wait_with_output().unwrap());
    assert_eq!(done.code, 3, "{done:?}");
    assert!(
        done.err.contains(&format!("agentd attach {run}")),
        "{}",
        done.err
    );
    let logs = hanging.run(&["logs", &run]);
    assert_eq!(logs.code, 0, "the next daemon knows the run: {logs:?}");
    assert_ne!(hanging.state(&run), "failed", "it goes on");
    assert_eq!(hanging.run(&["stop", &run]).code, 0);
}

#[test]
fn a_busy_daemon_with_other_settings_is_not_restarted_and_says_so() {
    let hanging = Hanging::new();
    let (child, run) = hanging.submit();
    let other = hanging.place.run(&["list"]);
    assert_eq!(other.code, 0, "{other:?}");
    assert!(
        other.err.contains("other settings") && other.out.contains(&run),
        "{other:?}"
    );
    assert_eq!(hanging.run(&["stop", &run]).code, 0);
    assert_eq!(Done::from(child.wait_with_output().unwrap()).code, 1);
}

#[test]
fn a_quiet_watcher_that_vanishes_does_not_hold_its_connection() {
    let hanging = Hanging::new();
    let (child, run) = hanging.submit();
    let mut peer = Peer::open(&hanging.place.socket());
    let watch = json!({ "jsonrpc": "2.0", "id": 2, "method": "run.watch", "params": { "run": run, "follow": true } });
    let mut told = peer.ask(&watch.to_string());
    // The model never answers, so nothing follows.
    while told["params"]["piece"]["event"]["kind"] != "model_requested" {
        told = peer.line().unwrap();
    }
    assert_eq!(hanging.connections(), 3);
    drop(peer);
    wait_for("the connection to end", || hanging.connections() == 2);
    assert_eq!(hanging.run(&["stop", &run]).code, 0);
    assert_eq!(Done::from(child.wait_with_output().unwrap()).code, 1);
}
