//! Runs survive the end of their daemon: whatever the last event was, the next daemon ends them as if nothing had
//! happened.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod world;
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
};
use world::*;

/// A run with everything in it: two parallel subtasks, tools that look and that write, a child agent, a subtask that
/// fails and a plan that takes its place, a file that is declared and delivered.
fn eventful() -> Builder {
    world(|request, _| Ok(mind(request)))
}

fn mind(request: &Request) -> Reply {
    let spoken = request
        .messages
        .iter()
        .filter(|message| matches!(message, Message::Assistant { .. }))
        .count();
    match &request.purpose {
        Purpose::Plan { goal, .. } if goal == "another" => {
            says(&plan(&[talk("other", &[])]).to_string())
        }
        Purpose::Plan { problems, .. } => says(&plan_of(!problems.is_empty()).to_string()),
        Purpose::Turn {
            subtask: Some(subtask),
            params,
            ..
        } => acting(subtask.as_str(), spoken, params.get("output")),
        Purpose::Turn { task, .. } => of_child(task, spoken),
        _ => says("plan"),
    }
}

fn plan_of(again: bool) -> serde_json::Value {
    let third = if again { "third" } else { "second" };
    plan(&[
        act("first"),
        json!({ "id": "paper", "task": "write it", "role": "writer", "params": { "output": "{run}/paper.md" } }),
        talk(third, &[]),
        json!({ "id": "last", "task": "say last", "role": "talker", "depends_on": ["first", third],
            "params": { "about": { "from": "paper" } } }),
    ])
}

fn acting(subtask: &str, spoken: usize, output: Option<&Vec<Value>>) -> Reply {
    let output = match output.and_then(|values| values.first()) {
        Some(Value::Text { text }) => text.clone(),
        _ => String::new(),
    };
    match (subtask, spoken) {
        ("first", 0) => calls(&[
            ("echo", json!({ "message": "one" })),
            (
                "file_write",
                json!({ "path": "/home/op/note", "content": "two" }),
            ),
            ("echo", json!({ "message": "three" })),
        ]),
        ("first", 1) => calls(&[(
            "spawn_agent",
            json!({ "role": "generalist", "task": "help", "params": {} }),
        )]),
        ("paper", 0) => calls(&[("file_write", json!({ "path": output, "content": "text" }))]),
        ("second", _) => says("CANNOT: this is beyond me"),
        (name, _) => says(&format!("done {name}")),
    }
}

fn of_child(task: &str, spoken: usize) -> Reply {
    match spoken {
        0 => calls(&[(
            "file_write",
            json!({ "path": "/home/op/help", "content": task }),
        )]),
        _ => says("helped"),
    }
}

/// What outlives a daemon.
#[derive(Default)]
struct Machine {
    journal: WorldJournal,
    tree: MemoryTree,
    acts: Acts,
}

impl Machine {
    /// The next daemon on this machine.
    async fn start(&self, world: Builder) -> World {
        let world = world.journal(self.journal.clone());
        world.amid(&self.tree, &self.acts).start().await
    }

    /// How often a file was really written.
    fn writes(&self, path: &str) -> usize {
        let wanted = format!("write {path}");
        self.acts.all().iter().filter(|act| **act == wanted).count()
    }
}

/// One life of a daemon: whatever still goes on at its end is gone with it.
fn life<T>(of: impl Future<Output = T>) -> T {
    let daemon = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    daemon.block_on(of)
}

/// A run that nothing disturbed.
fn undisturbed() -> (Machine, Told) {
    let machine = Machine::default();
    let told = life(async { machine.start(eventful()).await.run().await });
    (machine, told)
}

/// Lets a daemon live until the journal has so many more events, if the run does not end before.
fn killed_after(machine: &Machine, run: Option<RunId>, events: usize, world: Builder) -> RunId {
    life(async {
        let before = machine.journal.events().len() + usize::from(run.is_some());
        let limit = before + 1 + events;
        machine.journal.freeze_after(limit);
        let starting = async {
            let daemon = machine.start(world).await;
            let id = match run {
                Some(run) => run,
                None => daemon.submit().await,
            };
            (daemon, id)
        };
        let (daemon, id) = tokio::select! {
            biased;
            started = starting => started,
            () = machine.journal.frozen() => return run.unwrap(),
        };
        tokio::select! {
            () = machine.journal.frozen() => {}
            _ = daemon.until(id, |kind| matches!(kind, Kind::RunFinished { .. }).then_some(())) => {}
        }
        id
    })
}

fn ends(machine: &Machine, id: RunId, world: Builder) -> Told {
    machine.journal.thaw();
    life(async { machine.start(world).await.end_of(id).await })
}

/// What a kill adds: what tells of it, and what is begun again because of it.
const ADDED: [&str; 6] = [
    "run_recovering",
    "run_resumed",
    "model_requested",
    "model_abandoned",
    "tool_repeated",
    "worker_started",
];

/// How often each kind of event happened, but those that a kill adds.
fn counts(told: &Told) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for tag in told.tags() {
        *counts.entry(tag).or_default() += 1;
    }
    counts.retain(|tag, _| !ADDED.contains(&tag.as_str()));
    counts
}

/// The subtask that ends with this event.
fn ended(kind: &Kind) -> Option<String> {
    match kind {
        Kind::SubtaskCompleted { subtask, .. } => Some(subtask.to_string()),
        _ => None,
    }
}

/// What must be the same whatever happened on the way.
fn compare(reference: &(Machine, Told), machine: &Machine, told: &Told, recorded: usize) {
    let (_, calm) = reference;
    assert_eq!(
        serde_json::to_string(&told.outcome).unwrap(),
        serde_json::to_string(&calm.outcome)
            .unwrap()
            .replace(&calm.id.to_string(), &told.id.to_string()),
        "the outcome after {recorded} events"
    );
    let ended: Vec<_> = told.kinds().filter_map(ended).collect();
    let once: BTreeSet<_> = ended.iter().collect();
    assert_eq!(ended.len(), once.len(), "each ends once: {ended:?}");
    assert_eq!(
        counts(told),
        counts(calm),
        "after {recorded} events: {:#?}",
        told.tags()
    );
    let paper = format!("/runs/{}/paper.md", told.id);
    for path in ["/home/op/note", "/home/op/help", &paper] {
        let receipt = receipt_of(told, path);
        let writes = machine.writes(path);
        let most = if receipt <= recorded { 1 } else { 2 };
        assert!(
            (1..=most).contains(&writes),
            "{path} was written {writes} times after {recorded} events"
        );
    }
}

/// The place in the journal of the receipt of the call that wrote a file.
fn receipt_of(told: &Told, path: &str) -> usize {
    let intent = told.events.iter().find(|event| {
        matches!(&event.kind, Kind::ToolInvoked { args_preview, .. } if args_preview.contains(path))
    });
    let call = intent.unwrap().subject.call;
    let receipt = told
        .events
        .iter()
        .find(|event| event.subject.call == call && matches!(event.kind, Kind::ToolResult { .. }));
    receipt.unwrap().seq.0 as usize
}

#[test]
fn a_run_that_is_killed_after_any_of_its_events_ends_as_if_it_had_not_been() {
    let reference = undisturbed();
    for events in 1..reference.1.events.len() {
        let machine = Machine::default();
        let id = killed_after(&machine, None, events, eventful());
        let recorded = machine.journal.events().len();
        let told = ends(&machine, id, eventful());
        compare(&reference, &machine, &told, recorded);
        assert_eq!(
            told.count(|kind| matches!(kind, Kind::RunRecovering { attempt: 1 })),
            1
        );
        assert_eq!(
            told.count(|kind| matches!(kind, Kind::RunResumed { .. })),
            1
        );
    }
}
#[test]
fn a_run_that_is_killed_twice_ends_as_if_it_had_not_been() {
    let reference = undisturbed();
    for events in (1..reference.1.events.len()).step_by(3) {
        for more in [1, 2, 7] {
            let machine = Machine::default();
            let id = killed_after(&machine, None, events, eventful());
            let recorded = machine.journal.events().len();
            machine.journal.thaw();
            killed_after(&machine, Some(id), more, eventful());
            let told = ends(&machine, id, eventful());
            compare(&reference, &machine, &told, recorded);
        }
    }
}

#[test]
fn a_run_whose_daemon_is_told_to_go_away_ends_as_if_it_had_stayed() {
    let reference = undisturbed();
    for events in 1..reference.1.events.len() {
        let machine = Machine::default();
        let id = life(async {
            let daemon = machine.start(eventful()).await;
            let id = daemon.submit().await;
            let mut seen = 0;
            let _ = daemon
                .until(id, |_| {
                    seen += 1;
                    (seen == events).then_some(())
                })
                .await;
            daemon.runtime.drain(Span::from_secs(60), "SIGTERM").await;
            id
        });
        let so_far = machine.journal.events();
        assert!(matches!(
            so_far.last().unwrap().kind,
            Kind::DaemonStopped { .. }
        ));
        if so_far
            .iter()
            .any(|event| matches!(event.kind, Kind::RunFinished { .. }))
        {
            continue;
        }
        let told = ends(&machine, id, eventful());
        compare(&reference, &machine, &told, so_far.len());
        let lost = |kind: &Kind| {
            matches!(
                kind,
                Kind::ModelAbandoned { .. }
                    | Kind::ToolRepeated { .. }
                    | Kind::EffectInDoubt { .. }
            )
        };
        let spawning =
            |kind: &Kind| matches!(kind, Kind::ToolRepeated { tool, .. } if tool == "spawn_agent");
        assert_eq!(
            told.count(|kind| lost(kind) && !spawning(kind)),
            0,
            "what was in flight was waited for"
        );
    }
}

#[test]
fn an_upgrade_changes_nothing_for_a_run_under_way() {
    let reference = undisturbed();
    for events in (1..reference.1.events.len()).step_by(5) {
        let machine = Machine::default();
        let id = killed_after(&machine, None, events, eventful());
        let recorded = machine.journal.events().len();
        let other = json!({ "name": "other", "summary": "Is new.", "prompt": "Be new." });
        let upgraded = eventful().only_roles(vec![other]).grants(&[]).workers(1);
        let told = ends(&machine, id, upgraded);
        compare(&reference, &machine, &told, recorded);
    }
}

#[test]
fn a_run_that_was_asked_to_stop_before_it_was_cut_off_ends_as_stopped() {
    let machine = Machine::default();
    let id = life(async {
        let slow = eventful().delay(|_| std::time::Duration::from_secs(600));
        let daemon = machine.start(slow).await;
        let id = daemon.submit().await;
        daemon
            .until(id, |kind| {
                matches!(kind, Kind::AgentSpawned { .. }).then_some(())
            })
            .await;
        daemon.runtime.stop(id, 1000).await.unwrap();
        id
    });
    let told = ends(&machine, id, eventful());
    assert_eq!(told.failure(), &Failure::Stopped);
    let asked = told.count(|kind| matches!(kind, Kind::RunStopRequested { .. }));
    assert_eq!(asked, 1);
}

#[test]
fn a_run_being_put_together_is_listed_and_can_be_stopped() {
    let machine = Machine::default();
    let id = killed_after(&machine, None, 30, eventful());
    machine.journal.thaw();
    life(async {
        let daemon = machine
            .start(eventful().delay(|_| std::time::Duration::from_secs(5)))
            .await;
        let listed = daemon.runtime.view(None, 9).await.unwrap();
        assert_eq!(
            listed
                .iter()
                .map(|view| (view.run, view.state))
                .collect::<Vec<_>>(),
            [(id, RunState::Recovering)]
        );
        assert_eq!(daemon.view(id).await.state, RunState::Recovering);
        daemon.runtime.stop(id, 1000).await.unwrap();
        assert_eq!(daemon.end_of(id).await.failure(), &Failure::Stopped);
    });
}

#[test]
fn a_run_whose_record_lacks_a_body_fails_by_itself_and_says_what_to_do() {
    for tag in ["run_submitted", "model_replied"] {
        let machine = Machine::default();
        // As soon as the planner has answered: its answer is asked for again.
        let broken = killed_after(&machine, None, 12, eventful());
        machine.journal.thaw();
        machine.journal.lose_body_of(broken, tag);
        let (told, other) = life(async {
            let daemon = machine.start(eventful()).await;
            let other = daemon.runtime.submit(daemon.goal("another")).await.unwrap();
            (daemon.end_of(broken).await, daemon.end_of(other).await)
        });
        let Failure::Unrecoverable { next_step, .. } = told.failure() else {
            panic!("{tag}: {:?}", told.outcome)
        };
        assert!(!next_step.is_empty());
        assert_eq!(other.text(), "done other");
    }
}

#[test]
fn a_run_that_never_gets_further_is_given_up_in_the_end() {
    let machine = Machine::default();
    let id = killed_after(&machine, None, 20, eventful());
    for _ in 0..101 {
        machine.journal.thaw();
        life(async {
            let daemon = machine.start(eventful()).await;
            drop(daemon);
        });
    }
    let attempts: Vec<u32> = machine
        .journal
        .events()
        .iter()
        .filter_map(|event| match event.kind {
            Kind::RunRecovering { attempt } => Some(attempt),
            _ => None,
        })
        .collect();
    assert_eq!((attempts[0], attempts[100]), (1, 101));
    let told = ends(&machine, id, eventful());
    assert!(
        matches!(told.failure(), Failure::Unrecoverable { .. }),
        "{:?}",
        told.outcome
    );
}

#[test]
fn a_record_that_cannot_be_read_for_a_moment_holds_its_run_up_and_loses_nothing_of_it() {
    let reference = undisturbed();
    for events in (5..reference.1.events.len()).step_by(9) {
        for first in [0, 1, 2, 4, 7] {
            let machine = Machine::default();
            let id = killed_after(&machine, None, events, eventful());
            let recorded = machine.journal.events().len();
            machine.journal.fail_reads(0, usize::from(first == 0));
            machine.journal.fail_bodies(first, 2);
            machine.journal.thaw();
            let told = life(async {
                let daemon = machine.start(eventful()).await;
                let ended = |kind: &Kind| matches!(kind, Kind::RunFinished { .. }).then_some(());
                daemon.until(id, ended).await;
                machine.journal.fail_bodies(0, 0);
                daemon.end_of(id).await
            });
            compare(&reference, &machine, &told, recorded);
        }
    }
}

#[test]
fn a_flood_of_one_call_is_told_the_same_when_it_is_cut_off() {
    let flooding = || {
        world(|request, _| {
            let flood = vec![("echo", json!({ "message": "x" })); 7];
            Ok(answer(
                request,
                &one_act(),
                &|_, request| match request.messages.len() {
                    1 => calls(&flood),
                    _ => says(&shown(request)),
                },
            ))
        })
    };
    let machine = Machine::default();
    let reference = life(async { machine.start(flooding()).await.run().await });
    for events in 5..reference.events.len() {
        let machine = Machine::default();
        let id = killed_after(&machine, None, events, flooding());
        let told = ends(&machine, id, flooding());
        assert_eq!(told.text(), reference.text(), "after {events} events");
    }
}

#[test]
fn an_agent_that_had_ended_does_not_end_again_when_its_run_is_stopped_meanwhile() {
    let talking = || {
        world(|request, _| {
            Ok(answer(
                request,
                &one_act(),
                &|_, request| match request.messages.len() {
                    1 => calls(&[("echo", json!({ "message": "x" }))]),
                    _ => says("done"),
                },
            ))
        })
    };
    let machine = Machine::default();
    let id = life(async {
        let daemon = machine.start(talking()).await;
        machine.journal.hold_at("subtask_completed");
        let id = daemon.submit().await;
        machine.journal.holding().await;
        let events = machine.journal.events().len();
        machine.journal.freeze_after(events);
        id
    });
    machine.journal.thaw();
    machine
        .journal
        .slow_bodies(std::time::Duration::from_secs(10));
    let told = life(async {
        let daemon = machine.start(talking()).await;
        let resumed = |kind: &Kind| matches!(kind, Kind::RunResumed { .. }).then_some(());
        daemon.until(id, resumed).await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        daemon.runtime.stop(id, 1000).await.unwrap();
        machine.journal.slow_bodies(std::time::Duration::ZERO);
        daemon.end_of(id).await
    });
    assert_eq!(told.failure(), &Failure::Stopped);
}

#[test]
fn a_child_is_told_the_same_of_a_file_it_has_not_written_when_it_is_cut_off() {
    let child =
        json!({ "role": "writer", "task": "write", "params": { "output": "/home/op/o.md" } });
    let write = json!({ "path": "/home/op/o.md", "content": "text" });
    let parenting = || {
        let (child, write) = (child.clone(), write.clone());
        world(move |request, _| {
            Ok(answer(
                request,
                &one_act(),
                &|name, request| match (name, request.messages.len() / 2) {
                    ("write", 0) => says("done already"),
                    ("write", 1) => calls(&[("file_write", write.clone())]),
                    ("write", _) => says(&shown(request)),
                    (_, 0) => calls(&[("spawn_agent", child.clone())]),
                    _ => says("done"),
                },
            ))
        })
    };
    let machine = Machine::default();
    let reference = life(async { machine.start(parenting()).await.run().await });
    for events in 5..reference.events.len() {
        let machine = Machine::default();
        let id = killed_after(&machine, None, events, parenting());
        // What the child was told is in its requests, which are compared when it is carried out again.
        assert_eq!(ends(&machine, id, parenting()).text(), "done");
    }
}
