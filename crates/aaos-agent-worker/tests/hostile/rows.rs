//! The promises, one to a row.

use crate::support::{
    Agent, call, call_within, config, descendants, launch, left, losses, run, spec, starts, until,
};
use aaos_core::proof::Layer;
use aaos_ports::{Backend, LaunchError, ToolError, ToolOutput, WorkerNote};
use aaos_sandbox::backend::namespaced::Namespaced;
use aaos_testkit::{backend::Notes, contract::backend::tools};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::symlink, sync::Arc, time::Duration};
use tempfile::TempDir;

macro_rules! rows {
    ($($name:ident),* $(,)?) => {
        /// Every row with its name.
        pub(crate) static ROWS: &[(&str, fn())] = &[$((stringify!($name), || run($name()))),*];
    };
}

rows![
    a_polite_worker_takes_calls,
    an_answer_to_a_call_that_is_not_in_flight_ends_the_worker,
    a_second_answer_to_one_call_ends_the_worker,
    a_frame_beyond_the_bound_ends_the_worker,
    a_frame_that_makes_no_sense_ends_the_worker,
    half_a_frame_is_a_lost_worker,
    a_worker_that_dies_in_a_call_is_replaced_three_times,
    an_answer_that_is_no_json_ends_the_worker,
    a_word_out_of_turn_ends_the_worker,
    a_worker_that_never_answers_is_killed_soon_after_the_deadline,
    a_call_that_is_dropped_and_never_answered_ends_the_worker,
    a_worker_that_does_not_read_is_killed_and_does_not_hold_up_the_daemon,
    a_flood_of_questions_ends_the_worker,
    a_question_for_a_call_that_is_not_in_flight_ends_the_worker,
    a_question_is_answered_only_for_what_the_call_declared_and_the_agent_holds,
    a_descriptor_from_a_worker_is_not_taken,
    a_worker_that_keeps_what_was_revoked_is_killed,
    a_worker_without_a_required_layer_is_refused_and_gone,
    a_worker_that_got_past_a_layer_is_refused,
    a_worker_of_another_profile_is_refused,
    a_layer_only_the_daemon_can_see_is_not_taken_from_a_worker,
    a_worker_that_says_it_is_unfit_is_refused_in_its_words,
    a_launcher_that_lacks_something_refuses_in_its_words,
    a_launcher_of_another_version_is_named_with_both_versions,
    a_launcher_that_ends_at_once_or_is_not_there_refuses_the_launch,
    a_launch_that_is_dropped_leaves_nothing,
];

/// A backend whose workers behave in a way.
struct World {
    backend: Namespaced,
    _directory: TempDir,
}

fn world(way: &str) -> World {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join(way);
    symlink(std::env::current_exe().unwrap(), &program).unwrap();
    World {
        backend: Namespaced::new(config(&program, 0), tools()),
        _directory: directory,
    }
}

async fn agent(way: &str) -> (World, Agent) {
    let world = world(way);
    let agent = launch(&world.backend, &[]).await;
    (world, agent)
}

async fn say(agent: &Agent, input: Value) -> Result<ToolOutput, ToolError> {
    agent.worker.call(call("say", input)).await
}

/// A call ends in the loss of the worker, for this reason, and the loss is noted before.
async fn is_lost(way: &str, reason: &str) {
    let (_world, agent) = agent(way).await;
    let lost = say(&agent, json!({"a": 1})).await;
    let Err(ToolError::WorkerLost { tool, reason: said }) = lost else {
        panic!("{way}: {lost:?}");
    };
    assert_eq!(tool, "say");
    assert!(said.contains(reason), "{way}: {said}");
    assert_eq!(losses(&agent.notes), [said], "{way}");
    agent.worker.stop().await;
}

async fn a_polite_worker_takes_calls() {
    let (_world, agent) = agent("polite").await;
    for number in 0..100 {
        let said = say(&agent, json!({ "a": number })).await;
        assert_eq!(
            said,
            Ok(ToolOutput {
                json: json!({ "a": number })
            })
        );
    }
    let absent = agent.worker.call(call("absent", json!({}))).await;
    assert_eq!(absent, Err(ToolError::Unknown("absent".to_owned())));
    agent.worker.stop().await;
    assert!(matches!(
        say(&agent, json!(1)).await,
        Err(ToolError::WorkerLost { .. })
    ));
    assert_eq!(
        losses(&agent.notes),
        [""; 0],
        "a worker that was stopped is not lost"
    );
}

async fn an_answer_to_a_call_that_is_not_in_flight_ends_the_worker() {
    is_lost("forger", "a call that is not in flight").await;
}

async fn a_second_answer_to_one_call_ends_the_worker() {
    let (_world, agent) = agent("repeater").await;
    assert!(say(&agent, json!(1)).await.is_ok());
    until("the loss is noted", || losses(&agent.notes).len() == 1).await;
    assert!(
        say(&agent, json!(2)).await.is_ok(),
        "another takes its place"
    );
    assert_eq!(starts(&agent.notes), 2);
}

async fn a_frame_beyond_the_bound_ends_the_worker() {
    is_lost("giant", "the limit is").await;
}

async fn a_frame_that_makes_no_sense_ends_the_worker() {
    is_lost("babbler", "makes no sense").await;
}

async fn half_a_frame_is_a_lost_worker() {
    is_lost("half", "its process ended").await;
}

async fn a_worker_that_dies_in_a_call_is_replaced_three_times() {
    let (_world, agent) = agent("quitter").await;
    for _ in 0..4 {
        assert!(say(&agent, json!(1)).await.is_err());
    }
    assert_eq!((starts(&agent.notes), losses(&agent.notes).len()), (4, 4));
    let Err(ToolError::NoWorker { reason, .. }) = say(&agent, json!(1)).await else {
        panic!("a fifth worker");
    };
    assert!(reason.contains("replaced 3 times"), "{reason}");
    assert_eq!(starts(&agent.notes), 4);
}

async fn an_answer_that_is_no_json_ends_the_worker() {
    is_lost("poet", "no JSON document").await;
}

async fn a_word_out_of_turn_ends_the_worker() {
    is_lost("restarter", "it began anew").await;
    is_lost("eager", "not in flight").await;
}

async fn a_worker_that_never_answers_is_killed_soon_after_the_deadline() {
    let (_world, agent) = agent("mute").await;
    let other = agent.worker.call(call("say", json!(2)));
    let late = agent.worker.call(call_within("say", json!(1), 50));
    let (late, other) = tokio::join!(late, other);
    let timed_out = ToolError::TimedOut {
        tool: "say".to_owned(),
        limit_ms: 50,
    };
    assert_eq!(late, Err(timed_out));
    assert!(
        matches!(other, Err(ToolError::WorkerLost { .. })),
        "{other:?}"
    );
    assert_eq!(losses(&agent.notes).len(), 1);
}

async fn a_call_that_is_dropped_and_never_answered_ends_the_worker() {
    let (_world, agent) = agent("mute").await;
    let dropped = agent.worker.call(call("say", json!(1)));
    let dropped = tokio::time::timeout(Duration::from_millis(50), dropped).await;
    assert!(dropped.is_err());
    until("the worker is given up", || losses(&agent.notes).len() == 1).await;
}

async fn a_worker_that_does_not_read_is_killed_and_does_not_hold_up_the_daemon() {
    let (_world, agent) = agent("deaf").await;
    let large = json!("x".repeat(4 << 20));
    let calls = (0..4).map(|_| say(&agent, large.clone()));
    let others = async {
        let (_world, polite) = self::agent("polite").await;
        assert!(say(&polite, json!(1)).await.is_ok());
    };
    let (ended, ()) = tokio::join!(futures::future::join_all(calls), others);
    assert!(ended.iter().all(Result::is_err), "{ended:?}");
    assert!(
        losses(&agent.notes)[0].contains("did not read"),
        "{:?}",
        losses(&agent.notes)
    );
}

async fn a_flood_of_questions_ends_the_worker() {
    is_lost("flooder", "things at once").await;
}

async fn a_question_for_a_call_that_is_not_in_flight_ends_the_worker() {
    is_lost("thief", "a call that is not in flight").await;
}

async fn a_question_is_answered_only_for_what_the_call_declared_and_the_agent_holds() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    for name in ["declared", "granted", "other"] {
        fs::write(path(name), format!("the words of {name}")).unwrap();
    }
    let grants = ["declared", "granted"].map(|name| format!("file_read: {}", path(name)));
    let world = world("asker");
    let agent = launch(&world.backend, &[&grants[0], &grants[1]]).await;
    let ask = [path("declared"), path("granted"), path("other")];
    let read = call("read", json!({"path": path("declared"), "ask": ask}));
    let answers = agent.worker.call(read).await.unwrap().json;
    assert_eq!(answers[0], "the words of declared");
    assert!(
        answers[1].as_str().unwrap().contains("did not declare"),
        "{answers}"
    );
    assert!(
        answers[2].as_str().unwrap().contains("no grant"),
        "{answers}"
    );
    agent.worker.narrow(vec![grants[1].parse().unwrap()]).await;
    let ask = [path("declared")];
    let read = call("read", json!({"path": path("declared"), "ask": ask}));
    let answers = agent.worker.call(read).await.unwrap().json;
    assert!(
        answers[0].as_str().unwrap().contains("no grant"),
        "{answers}"
    );
    assert_eq!(agent.worker.inspect(&path("granted")).await, Ok(Some(20)));
    assert!(agent.worker.inspect(&path("declared")).await.is_err());
}

async fn a_descriptor_from_a_worker_is_not_taken() {
    let (_world, agent) = agent("giver").await;
    assert!(say(&agent, json!(1)).await.is_ok());
    let before = left().descriptors;
    for number in 0..50 {
        assert!(say(&agent, json!(number)).await.is_ok());
    }
    assert_eq!(left().descriptors, before);
}

async fn a_worker_that_keeps_what_was_revoked_is_killed() {
    let (_world, agent) = agent("greedy").await;
    agent.worker.narrow(Vec::new()).await;
    assert!(
        losses(&agent.notes)[0].contains("did not let go"),
        "{:?}",
        losses(&agent.notes)
    );
    assert!(
        say(&agent, json!(1)).await.is_ok(),
        "another takes its place"
    );
}

async fn refused(way: &str) -> LaunchError {
    let world = world(way);
    let notes = Arc::new(Notes::default());
    let error = world.backend.launch(spec(&[], &notes)).await.err().unwrap();
    assert_eq!(notes.noted(), [WorkerNote::Refused(error.clone())], "{way}");
    drop(world);
    until("nothing is left", || {
        descendants(std::process::id()).is_empty()
    })
    .await;
    error
}

async fn a_worker_without_a_required_layer_is_refused_and_gone() {
    let error = refused("unproven").await;
    assert_eq!(error.layer, Some(Layer::Landlock));
    assert!(error.missing.contains("landlock"), "{error}");
    assert!(error.next_step.contains("confinement.require"), "{error}");
}

async fn a_worker_that_got_past_a_layer_is_refused() {
    let error = refused("escaped").await;
    assert_eq!(error.layer, Some(Layer::Root));
    assert!(error.missing.contains("open a file outside"), "{error}");
}

async fn a_worker_of_another_profile_is_refused() {
    assert_eq!(refused("lax").await.layer, Some(Layer::Seccomp));
}

async fn a_layer_only_the_daemon_can_see_is_not_taken_from_a_worker() {
    let world = world("polite");
    let agent = launch(&world.backend, &[]).await;
    let [WorkerNote::Started { proof, missing, .. }] = &agent.notes.noted()[..] else {
        panic!("{:?}", agent.notes.noted());
    };
    // The machine may have delegated control groups; then the daemon says so, and the other way round.
    let limited = proof.layers.contains(&Layer::CgroupLimits);
    assert_eq!(missing.contains(&Layer::CgroupLimits), !limited);
    let delegated = fs::read_to_string("/proc/self/cgroup")
        .unwrap()
        .contains("/daemon\n");
    assert_eq!(limited, delegated);
}

async fn a_worker_that_says_it_is_unfit_is_refused_in_its_words() {
    let error = refused("unfit").await;
    assert_eq!(
        (error.layer, error.missing.as_str()),
        (Some(Layer::Root), "a root")
    );
}

async fn a_launcher_that_lacks_something_refuses_in_its_words() {
    let error = refused("incapable").await;
    assert_eq!(error.layer, Some(Layer::UserNamespace));
    assert_eq!(error.next_step, "allow them");
}

async fn a_launcher_of_another_version_is_named_with_both_versions() {
    let error = refused("outdated").await;
    assert!(error.missing.contains("version 3"), "{error}");
    assert!(error.missing.contains("this daemon version 2"), "{error}");
    assert!(error.next_step.contains("reinstall"), "{error}");
}

async fn a_launcher_that_ends_at_once_or_is_not_there_refuses_the_launch() {
    assert!(
        refused("absent")
            .await
            .missing
            .contains("ended before its first word")
    );
    let nowhere = config("/nonexistent/worker".as_ref(), 0);
    let backend = Namespaced::new(nowhere, tools());
    let error = backend
        .launch(spec(&[], &Arc::default()))
        .await
        .err()
        .unwrap();
    assert!(error.missing.contains("/nonexistent/worker"), "{error}");
    assert!(error.next_step.contains("reinstall"), "{error}");
}

async fn a_launch_that_is_dropped_leaves_nothing() {
    let world = world("unstaged");
    let notes = Arc::new(Notes::default());
    let launching = world.backend.launch(spec(&[], &notes));
    let dropped = tokio::time::timeout(Duration::from_millis(300), launching).await;
    assert!(dropped.is_err(), "it never gets ready");
    let launcher = world.backend.launcher_pid();
    until("only the launcher is left", || {
        descendants(std::process::id()).into_iter().eq(launcher)
    })
    .await;
    assert_eq!(notes.noted(), []);
}
