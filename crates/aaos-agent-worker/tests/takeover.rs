//! One daemon after another: what a daemon that was killed had started is gone before the next one's first worker.
//!
//! Everything is real, the killed daemon too: this program is both, started with a directory it is a daemon that works
//! in it until it is killed. Hence no harness.
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

use aaos_ports::Backend;
use aaos_sandbox::{
    backend::namespaced::{Namespaced, NamespacedConfig},
    programs::Toolchain,
};
use aaos_testkit::backend::Notes;
use harness::Test;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde_json::json;
use std::{
    env, fs,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::Arc,
    time::Instant,
};
use support::{call_within, descendants, kill, run, spec, until};

const TESTS: [Test; 2] = [
    (
        "nothing_of_a_killed_daemon_lives_when_the_next_has_its_first_worker",
        nothing_of_a_killed_daemon_lives_when_the_next_has_its_first_worker,
    ),
    (
        "beside_a_daemon_that_lives_another_starts_no_worker",
        beside_a_daemon_that_lives_another_starts_no_worker,
    ),
];
/// What tells this program to be a daemon, before the directory it works in.
const ROLE: &str = "daemon";
/// Agents of the daemon that is killed. Each writes without end, and one more is being launched all the time.
const AGENTS: usize = 4;
/// Daemons that are killed, one after the other.
const ROUNDS: usize = 8;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if let [role, directory] = &args[..]
        && role == ROLE
    {
        daemon(Path::new(directory));
        return ExitCode::FAILURE;
    }
    harness::main(&TESTS, &args)
}

fn config(directory: &Path) -> NamespacedConfig {
    NamespacedConfig {
        lock: Some(directory.join("workers.lock")),
        toolchain: Toolchain {
            path: vec!["/usr/bin".into(), "/bin".into()],
            ..Toolchain::default()
        },
        ..support::config(Path::new(env!("CARGO_BIN_EXE_aaos-agent-worker")), 2)
    }
}

fn namespaced(directory: &Path) -> Namespaced {
    Namespaced::new(config(directory), aaos_tools::builtin())
}

/// Runs agents that write and others that come and go, until it is killed.
fn daemon(directory: &Path) {
    run(async {
        let backend = namespaced(directory);
        let place = directory.display().to_string();
        let grants = [
            format!("file_write: {place}/**"),
            format!("file_read: {place}/**"),
            format!("exec: sh in {place}/**"),
        ];
        let grants: Vec<&str> = grants.iter().map(String::as_str).collect();
        let writing = (0..AGENTS).map(|number| {
            let mut spec = spec(&grants, &Arc::new(Notes::default()));
            spec.base = place.clone();
            spec.anchors = vec![place.clone()];
            let backend = &backend;
            async move {
                let line = format!("while :; do echo line >> ticks{number}; done");
                let worker = backend.launch(spec).await.unwrap();
                let input = json!({ "command": line });
                worker.call(call_within("shell", input, 600_000)).await
            }
        });
        let coming_and_going = async {
            loop {
                let notes = Arc::new(Notes::default());
                drop(backend.launch(spec(&[], &notes)).await);
            }
        };
        tokio::select! {
            ended = futures::future::join_all(writing) => panic!("{ended:?}"),
            () = coming_and_going => {}
        }
    });
}

/// A daemon at work in a directory.
fn started(directory: &Path) -> Child {
    let daemon = Command::new(env::current_exe().unwrap())
        .arg(ROLE)
        .arg(directory)
        .stdin(Stdio::null())
        .spawn();
    daemon.unwrap()
}

async fn at_work(directory: &Path) {
    let ticks = |number| fs::metadata(directory.join(format!("ticks{number}")));
    until("every agent writes", || {
        (0..AGENTS).all(|number| ticks(number).is_ok_and(|ticks| ticks.len() > 0))
    })
    .await;
}

/// Handles of every process beneath one: a number may be another's later.
fn handles(ancestor: u32) -> Vec<(u32, OwnedFd)> {
    let open = |pid: u32| {
        let number = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        Some((pid, pidfd_open(number, PidfdFlags::empty()).ok()?))
    };
    descendants(ancestor).into_iter().filter_map(open).collect()
}

fn has_ended(handle: &OwnedFd) -> bool {
    let mut ended = [PollFd::new(handle, PollFlags::IN)];
    poll(&mut ended, Some(&Timespec::default())) == Ok(1)
}

fn nothing_of_a_killed_daemon_lives_when_the_next_has_its_first_worker() {
    run(async {
        for round in 0..ROUNDS {
            let room = tempfile::tempdir().unwrap();
            let directory = room.path().canonicalize().unwrap();
            let mut daemon = started(&directory);
            at_work(&directory).await;
            let old = handles(daemon.id());
            assert!(old.len() > AGENTS, "{old:?}");
            let killed = Instant::now();
            kill(daemon.id());
            let next = namespaced(&directory);
            let notes = Arc::new(Notes::default());
            let worker = next.launch(spec(&[], &notes)).await.unwrap();
            let took = killed.elapsed();
            let living: Vec<u32> = old
                .iter()
                .filter(|(_, handle)| !has_ended(handle))
                .map(|(pid, _)| *pid)
                .collect();
            assert!(
                living.is_empty(),
                "round {round}: {living:?} of {} live",
                old.len()
            );
            let sizes = || -> Vec<u64> {
                let size = |n| {
                    fs::metadata(directory.join(format!("ticks{n}")))
                        .unwrap()
                        .len()
                };
                (0..AGENTS).map(size).collect()
            };
            let written = sizes();
            println!(
                "round {round}: {} processes, {took:?} from the kill to the next worker",
                old.len()
            );
            worker.stop().await;
            drop(next);
            assert_eq!(sizes(), written, "somebody goes on writing");
            daemon.wait().unwrap();
        }
    });
}

fn beside_a_daemon_that_lives_another_starts_no_worker() {
    run(async {
        let room = tempfile::tempdir().unwrap();
        let directory = room.path().canonicalize().unwrap();
        let mut daemon = started(&directory);
        at_work(&directory).await;
        let second = namespaced(&directory);
        let notes = Arc::new(Notes::default());
        let refused = second.launch(spec(&[], &notes)).await.err().unwrap();
        assert!(refused.missing.contains("workers.lock"), "{refused}");
        assert!(
            refused.next_step.contains("stop the other daemon"),
            "{refused}"
        );
        assert_eq!(second.launcher_pid(), None, "nothing was started");
        kill(daemon.id());
        daemon.wait().unwrap();
        assert!(
            second.launch(spec(&[], &notes)).await.is_ok(),
            "once it is gone it may"
        );
    });
}
