//! Workers come and go: they are ready when needed, end when told, are replaced when lost, and leave nothing behind.
//!
//! Everything is real: the program that is installed, the kernel's namespaces, the daemon's side of the backend.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and makes the world it acts in"
)]

mod support;

use aaos_core::proof::Layer;
use aaos_ports::{Backend, PowerError, ToolError, WorkerNote};
use aaos_sandbox::backend::namespaced::Namespaced;
use aaos_testkit::backend::Notes;
use aaos_tools::builtin;
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::Path, sync::Arc};
use support::{
    Agent, Left, call, config, descendants, kill, launch, left, losses, resident_kb, run, spec,
    starts, until,
};
use tempfile::TempDir;

/// Launches of the test that counts what is left: enough that one descriptor, mount or kilobyte per launch shows.
const LAUNCHES: usize = 10_000;
/// Launches that are under way at once in it.
const ABREAST: usize = 16;
/// Most that this process may grow in it, in kilobytes: less than five per launch.
const GROWTH_KB: u64 = 8 * 1024;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_aaos-agent-worker"))
}

fn backend(pool: usize) -> Namespaced {
    support::backend(program(), pool, builtin())
}

async fn echo(agent: &Agent, message: &str) -> Result<Value, ToolError> {
    let said = agent
        .worker
        .call(call("echo", json!({ "message": message })));
    said.await.map(|output| output.json)
}

/// The processes beneath this one but the launcher.
fn workers(backend: &Namespaced) -> BTreeSet<u32> {
    let mut workers = descendants(std::process::id());
    if let Some(launcher) = backend.launcher_pid() {
        workers.remove(&launcher);
    }
    workers
}

#[test]
fn a_call_reaches_its_tool_and_its_answer_comes_back() {
    run(async {
        let backend = backend(0);
        let agent = launch(&backend, &[]).await;
        let said = echo(&agent, "words").await.unwrap();
        assert!(said.to_string().contains("words"), "{said}");
        let notes = agent.notes.noted();
        let [
            WorkerNote::Started {
                proof,
                missing,
                pooled: false,
                elapsed_us,
            },
        ] = &notes[..]
        else {
            panic!("{notes:?}");
        };
        assert!(
            proof.missing(&Layer::required_by_default()).is_empty(),
            "{proof:?}"
        );
        assert!(
            missing.iter().all(|layer| *layer == Layer::CgroupLimits),
            "{missing:?}"
        );
        assert!(*elapsed_us > 0);
        agent.worker.stop().await;
    });
}

#[test]
fn a_worker_that_may_read_everything_is_tried_against_something_all_the_same() {
    run(async {
        let backend = backend(0);
        let agent = launch(&backend, &["file_read: /*"]).await;
        let notes = agent.notes.noted();
        let [WorkerNote::Started { proof, .. }] = &notes[..] else {
            panic!("{notes:?}");
        };
        assert!(
            proof.canaries.iter().all(|canary| canary.stopped),
            "{proof:?}"
        );
        assert!(read(&agent, "/etc/hostname").await.is_ok());
    });
}

#[test]
fn a_worker_that_was_called_is_gone_when_stop_returns_and_one_that_was_not_soon_after() {
    run(async {
        let backend = backend(0);
        let uncalled = launch(&backend, &[]).await;
        uncalled.worker.stop().await;
        assert!(matches!(
            echo(&uncalled, "x").await,
            Err(ToolError::WorkerLost { .. })
        ));
        until("it is gone", || workers(&backend).is_empty()).await;
        assert_eq!(losses(&uncalled.notes), [""; 0]);
        let agent = launch(&backend, &[]).await;
        assert_eq!(workers(&backend).len(), 1);
        assert!(echo(&agent, "words").await.is_ok());
        agent.worker.stop().await;
        assert_eq!(workers(&backend), BTreeSet::new());
        assert_eq!(losses(&agent.notes), [""; 0]);
        assert!(matches!(
            echo(&agent, "x").await,
            Err(ToolError::WorkerLost { .. })
        ));
    });
}

#[test]
fn a_worker_that_is_dropped_ends_too() {
    run(async {
        let backend = backend(0);
        drop(launch(&backend, &[]).await);
        until("the worker ends", || workers(&backend).is_empty()).await;
        let launcher = backend.launcher_pid();
        assert!(launcher.is_some());
        drop(backend);
        until("the launcher ends", || {
            descendants(std::process::id()).is_empty()
        })
        .await;
    });
}

#[test]
fn a_warm_backend_has_workers_waiting_and_gets_new_ones() {
    run(async {
        let backend = backend(3);
        backend.warm().await.unwrap();
        assert_eq!(backend.ready(), 3);
        let agent = launch(&backend, &[]).await;
        let notes = agent.notes.noted();
        assert!(
            matches!(notes[..], [WorkerNote::Started { pooled: true, .. }]),
            "{notes:?}"
        );
        until("the pool is full again", || backend.ready() == 3).await;
        assert!(echo(&agent, "words").await.is_ok());
    });
}

#[test]
fn a_worker_that_died_while_it_waited_is_not_handed_out() {
    run(async {
        let backend = backend(2);
        backend.warm().await.unwrap();
        for pid in workers(&backend) {
            kill(pid);
        }
        let agent = launch(&backend, &[]).await;
        assert!(echo(&agent, "words").await.is_ok());
    });
}

#[test]
fn thousands_of_launches_leave_no_process_mount_descriptor_or_memory_behind() {
    run(async {
        let backend = Arc::new(backend(4));
        backend.warm().await.unwrap();
        launch_many(&backend, 200).await;
        let (before, memory) = (settled(&backend).await, resident_kb());
        launch_many(&backend, LAUNCHES).await;
        let after = settled(&backend).await;
        assert_eq!(after.descriptors, before.descriptors);
        assert_eq!(after.mounts, before.mounts);
        assert_eq!(after.processes.len(), before.processes.len());
        let grown = resident_kb().saturating_sub(memory);
        assert!(
            grown < GROWTH_KB,
            "{grown} kB more after {LAUNCHES} launches"
        );
    });
}

/// Launches agents, each for one call, some at once.
async fn launch_many(backend: &Arc<Namespaced>, count: usize) {
    use futures::StreamExt;
    let agents = (0..count).map(|_| async {
        let agent = launch(backend, &[]).await;
        assert!(echo(&agent, "words").await.is_ok());
        agent.worker.stop().await;
    });
    futures::stream::iter(agents)
        .buffer_unordered(ABREAST)
        .collect::<()>()
        .await;
}

/// What is left once the pool is full and nothing is under way.
async fn settled(backend: &Namespaced) -> Left {
    until("only the pool is left", || {
        backend.ready() == 4 && workers(backend).len() == 4
    })
    .await;
    left()
}

#[test]
fn launches_beyond_what_the_machine_does_at_once_wait_their_turn() {
    run(async {
        let backend = backend(4);
        let agents = futures::future::join_all((0..300).map(|_| launch(&backend, &[]))).await;
        let said = futures::future::join_all(agents.iter().map(|agent| echo(agent, "words"))).await;
        assert!(said.iter().all(Result::is_ok));
        futures::future::join_all(agents.iter().map(|agent| agent.worker.stop())).await;
        until("only the pool is left", || workers(&backend).len() <= 4).await;
    });
}

#[test]
fn a_worker_that_is_killed_is_noted_as_lost_and_replaced_at_the_next_call() {
    run(async {
        let backend = backend(0);
        let agent = launch(&backend, &[]).await;
        assert!(echo(&agent, "words").await.is_ok());
        for round in 1..=3 {
            workers(&backend).into_iter().for_each(kill);
            until("the loss is noted", || losses(&agent.notes).len() == round).await;
            assert!(echo(&agent, "words").await.is_ok());
            assert_eq!(starts(&agent.notes), round + 1);
        }
        workers(&backend).into_iter().for_each(kill);
        until("the loss is noted", || losses(&agent.notes).len() == 4).await;
        let lost = echo(&agent, "words").await;
        assert!(matches!(lost, Err(ToolError::NoWorker { .. })), "{lost:?}");
        assert_eq!(workers(&backend), BTreeSet::new());
    });
}

#[test]
fn calls_in_flight_fail_with_the_worker_that_is_killed_and_those_after_it_do_not() {
    run(async {
        let backend = backend(0);
        let agent = launch(&backend, &["file_read: /usr/*"]).await;
        let search = json!({"pattern": "no such words anywhere", "path": "/usr"});
        let searches = (0..4).map(|_| agent.worker.call(call("grep", search.clone())));
        let killing = async {
            tokio::task::yield_now().await;
            until("the calls are under way", || {
                workers(&backend).iter().any(|pid| threads(*pid) > 2)
            })
            .await;
            workers(&backend).into_iter().for_each(kill);
        };
        let (ended, ()) = tokio::join!(futures::future::join_all(searches), killing);
        let lost =
            |outcome: &Result<_, ToolError>| matches!(outcome, Err(ToolError::WorkerLost { .. }));
        assert!(ended.iter().all(lost), "{ended:?}");
        assert_eq!(losses(&agent.notes), ["its process ended"]);
        assert!(echo(&agent, "words").await.is_ok());
    });
}

fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

#[test]
fn a_launcher_that_is_killed_is_started_again_and_its_workers_are_replaced() {
    run(async {
        let backend = backend(2);
        let agent = launch(&backend, &[]).await;
        let first = backend.launcher_pid().unwrap();
        kill(first);
        until("the worker ends with its launcher", || {
            losses(&agent.notes).len() == 1
        })
        .await;
        assert!(echo(&agent, "words").await.is_ok());
        assert_ne!(backend.launcher_pid().unwrap(), first);
    });
}

#[test]
fn launches_under_way_when_the_launcher_is_killed_succeed() {
    run(async {
        let backend = backend(0);
        drop(launch(&backend, &[]).await);
        let first = backend.launcher_pid().unwrap();
        let launches = futures::future::join_all((0..40).map(|_| launch(&backend, &[])));
        let killing = async {
            until("some are under way", || !workers(&backend).is_empty()).await;
            kill(first);
        };
        let (agents, ()) = tokio::join!(launches, killing);
        for agent in &agents {
            assert!(echo(agent, "words").await.is_ok());
        }
    });
}

/// A directory with a file in each of two trees.
fn trees() -> (TempDir, [String; 2]) {
    let directory = tempfile::tempdir().unwrap();
    let trees = ["kept", "revoked"].map(|name| {
        let tree = directory.path().join(name);
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("file.txt"), format!("the words of {name}")).unwrap();
        tree.to_string_lossy().into_owned()
    });
    (directory, trees)
}

async fn read(agent: &Agent, path: &str) -> Result<String, ToolError> {
    let read = agent
        .worker
        .call(call("file_read", json!({ "path": path })))
        .await;
    read.map(|output| output.json.to_string())
}

#[test]
fn what_is_revoked_is_out_of_reach_and_unmounted() {
    run(async {
        let (_directory, [kept, revoked]) = trees();
        let grants = [&kept, &revoked].map(|tree| format!("file_read: {tree}/*"));
        let backend = backend(0);
        let agent = launch(&backend, &[&grants[0], &grants[1]]).await;
        assert!(read(&agent, &format!("{revoked}/file.txt")).await.is_ok());
        let before = workers(&backend);
        assert!(mounted(&before, &revoked));
        agent.worker.narrow(vec![grants[0].parse().unwrap()]).await;
        let refused = read(&agent, &format!("{revoked}/file.txt")).await;
        assert!(
            matches!(refused, Err(ToolError::Power(PowerError::Denied { .. }))),
            "{refused:?}"
        );
        assert!(
            read(&agent, &format!("{kept}/file.txt"))
                .await
                .unwrap()
                .contains("kept")
        );
        let after = workers(&backend);
        assert!(mounted(&after, &kept) && !mounted(&after, &revoked));
        assert!(before.is_disjoint(&after), "the first worker is gone");
        assert_eq!(losses(&agent.notes), [""; 0], "nothing was lost");
        assert_eq!(starts(&agent.notes), 2);
    });
}

/// Whether a path is a mount of one of these processes.
fn mounted(pids: &BTreeSet<u32>, path: &str) -> bool {
    let mounts = |pid| fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    pids.iter().any(|pid| {
        mounts(pid)
            .lines()
            .any(|line| line.split(' ').nth(4) == Some(path))
    })
}

#[test]
fn revoking_what_the_kernel_never_saw_keeps_the_worker() {
    run(async {
        let backend = backend(0);
        let agent = launch(&backend, &["tool: echo"]).await;
        let before = workers(&backend);
        agent.worker.narrow(Vec::new()).await;
        assert!(echo(&agent, "words").await.is_ok());
        assert_eq!(workers(&backend), before);
    });
}

#[test]
fn a_file_granted_by_itself_is_read_and_written_through_the_daemon() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
        fs::write(path("one.txt"), "the words of one").unwrap();
        fs::write(path("two.txt"), "the words of two").unwrap();
        let grants = [
            format!("file_read: {}", path("one.txt")),
            format!("file_write: {}", path("new.txt")),
        ];
        let backend = backend(0);
        let agent = launch(&backend, &[&grants[0], &grants[1]]).await;
        assert!(
            read(&agent, &path("one.txt"))
                .await
                .unwrap()
                .contains("the words of one")
        );
        assert!(read(&agent, &path("two.txt")).await.is_err());
        let write = json!({"path": path("new.txt"), "content": "new words"});
        agent.worker.call(call("file_write", write)).await.unwrap();
        assert_eq!(fs::read_to_string(path("new.txt")).unwrap(), "new words");
        assert_eq!(agent.worker.inspect(&path("new.txt")).await, Ok(Some(9)));
    });
}

#[test]
fn a_worker_that_lacks_a_required_layer_is_refused_by_the_layers_name() {
    run(async {
        for layer in [Layer::Landlock, Layer::Seccomp, Layer::NetworkNamespace] {
            let mut lacking = config(program(), 0);
            lacking.omit = Some(layer);
            let backend = Namespaced::new(lacking.clone(), builtin());
            let notes = Arc::new(Notes::default());
            let error = backend.launch(spec(&[], &notes)).await.err().unwrap();
            assert_eq!(error.layer, Some(layer), "{error}");
            assert_eq!(notes.noted(), [WorkerNote::Refused(error)]);
            lacking.require.remove(&layer);
            let backend = Namespaced::new(lacking, builtin());
            let agent = launch(&backend, &[]).await;
            let notes = agent.notes.noted();
            assert!(
                matches!(&notes[..], [WorkerNote::Started { missing, .. }] if missing.contains(&layer)),
                "{notes:?}"
            );
        }
    });
}
