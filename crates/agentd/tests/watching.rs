//! A run belongs to the daemon, not to who watches it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::{Done, Peer, Place};
use serde_json::json;
use std::{
    io::{BufRead, BufReader, ErrorKind},
    net::TcpListener,
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
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
        Self {
            place,
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
        }
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
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let run = lines
            .next()
            .unwrap()
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .to_owned();
        // Read to its end, so that the command does not find its reader gone.
        std::thread::spawn(move || lines.count());
        std::thread::sleep(Duration::from_millis(500));
        (child, run)
    }

    fn state(&self, run: &str) -> String {
        self.run(&["status", "--json", run]).json()["view"]["state"]
            .as_str()
            .unwrap()
            .to_owned()
    }
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
    let (child, run) = hanging.submit();
    interrupt(&child);
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    interrupt(&child);
    let done = Done::from(child.wait_with_output().unwrap());
    assert_eq!(done.code, 4, "{done:?}");
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_ne!(hanging.state(&run), "failed");
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
    std::thread::sleep(Duration::from_millis(300));
    assert_ne!(hanging.state(&run), "failed");
    let status = hanging.run(&["daemon", "status", "--json"]).json();
    assert_eq!(
        (
            status["runs_active"].as_u64(),
            status["connections"].as_u64()
        ),
        (Some(1), Some(1))
    );
}

#[test]
fn those_who_watch_when_the_daemon_ends_are_told_how_the_run_goes_on() {
    let hanging = Hanging::new();
    let (child, run) = hanging.submit();
    assert_eq!(hanging.run(&["daemon", "stop"]).code, 0);
    let done = Done::from(child.wait_with_output().unwrap());
    assert_eq!(done.code, 3, "{done:?}");
    assert!(
        done.err.contains(&format!("agentd attach {run}")),
        "{}",
        done.err
    );
    assert_eq!(
        hanging.run(&["logs", &run]).code,
        0,
        "the next daemon knows the run"
    );
    assert_ne!(hanging.state(&run), "failed", "it goes on");
    assert_eq!(hanging.run(&["stop", &run]).code, 0);
}

#[test]
fn who_is_told_that_the_daemon_ends_finds_none_and_not_one_that_hangs_up() {
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
    let (_hanging, code) = stopping.join().unwrap();
    assert_eq!(code, 0);
    assert_eq!(Done::from(child.wait_with_output().unwrap()).code, 3);
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
    peer.ask(&watch.to_string());
    std::thread::sleep(Duration::from_millis(300));
    drop(peer);
    std::thread::sleep(Duration::from_millis(1_500));
    let status = hanging.run(&["daemon", "status", "--json"]).json();
    assert_eq!(status["connections"], 2, "the submit and this: {status}");
    assert_eq!(hanging.run(&["stop", &run]).code, 0);
    assert_eq!(Done::from(child.wait_with_output().unwrap()).code, 1);
}
