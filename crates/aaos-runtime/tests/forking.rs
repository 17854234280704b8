//! Runs made from another's record: what was done before the step is kept and not done again, and what follows goes its
//! own way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod world;
use aaos_core::budget::Budget;
use aaos_ports::{ForkOrder, History};
use world::*;

/// `first`, then `work`, which changes the world twice, then `last`; beside them `aside`.
fn story() -> Builder {
    let subtasks = plan(&[
        talk("first", &[]),
        act("aside"),
        json!({ "id": "work", "task": "do work", "role": "generalist", "depends_on": ["first"] }),
        talk("last", &["work"]),
    ]);
    world(move |request, before| {
        let turn = |name: &str, request: &Request| said(name, request, before);
        Ok(answer(request, &subtasks, &turn))
    })
}

/// By the conversation, not by how often it was asked: a fork's agent goes on in the middle.
fn said(name: &str, request: &Request, _: usize) -> Reply {
    let answers = |message: &&Message| matches!(message, Message::Assistant { .. });
    let turn = request.messages.iter().filter(answers).count();
    match (name, turn) {
        ("aside", 0) => calls(&[("change", json!({ "secs": 0 }))]),
        ("work", 0) => calls(&[("echo", json!({ "message": "look" }))]),
        ("work", 1) => calls(&[
            ("change", json!({ "secs": 0 })),
            ("file_read", json!({ "path": "/none" })),
        ]),
        ("work", 2) => calls(&[("echo", json!({ "message": "look again" }))]),
        _ => says(&format!("{name} by {}", request.model.model)),
    }
}

fn grants(lines: &[&str]) -> Vec<aaos_core::capability::Capability> {
    lines.iter().map(|line| line.parse().unwrap()).collect()
}

fn order(run: RunId, at: &str, turns_kept: u32) -> ForkOrder {
    ForkOrder {
        run,
        at: at.parse().unwrap(),
        turns_kept,
        model: None,
        grants: grants(&[
            "tool: *",
            "file_read: /home/op/**",
            "file_write: /home/op/**",
            "spawn: *",
            "http: GET *",
        ]),
        budget: Budget::default(),
        role_budgets: Default::default(),
        approve: Vec::new(),
        operator: 1000,
    }
}

fn changes(world: &World) -> usize {
    let acts = world.acts.all();
    acts.iter().filter(|act| act.starts_with("change")).count()
}

#[tokio::test(start_paused = true)]
async fn what_is_finished_is_kept_and_only_the_step_and_what_needs_it_is_done_again() {
    let (world, told) = story().run().await;
    let (asked, done) = (world.requests().len(), changes(&world));
    let forked = world.runtime.fork(order(told.id, "last", 0)).await.unwrap();
    let fork = world.end_of(forked).await;
    assert_eq!(fork.text(), "last by quick");
    assert_eq!((world.requests().len(), changes(&world)), (asked + 1, done));
    assert_eq!(
        fork.count(|kind| matches!(kind, Kind::SubtaskKept { .. })),
        3
    );
    assert_eq!((fork.starts("work"), fork.starts("last")), (0, 1));
    let view = world.view(forked).await;
    let from = view.forked.unwrap();
    assert_eq!(
        (from.run, from.at.as_str(), from.turns_kept),
        (told.id, "last", 0)
    );
    assert_eq!(view.usage, USAGE, "what is kept costs nothing again");
    assert!(
        view.subtasks
            .iter()
            .all(|subtask| subtask.state == SubtaskState::Succeeded)
    );
}

#[tokio::test(start_paused = true)]
async fn another_model_and_another_budget_hold_from_the_step_on() {
    let (world, told) = story().run().await;
    let before = world.requests().len();
    let budget = Budget {
        calls: 77,
        ..Budget::default()
    };
    let order = ForkOrder {
        model: Some("fake/other".to_owned()),
        budget,
        ..order(told.id, "work", 0)
    };
    let forked = world.runtime.fork(order).await.unwrap();
    let fork = world.end_of(forked).await;
    assert_eq!(fork.text(), "last by other");
    let later = world.requests().split_off(before);
    assert!(later.iter().all(|request| request.model.model == "other"));
    assert_eq!(later.len(), 5, "four turns of `work`, one of `last`");
    assert_eq!(world.view(forked).await.budget, budget);
    assert_eq!(fork.starts("first") + fork.starts("aside"), 0);
}

#[tokio::test(start_paused = true)]
async fn kept_turns_are_not_asked_performed_or_paid_again() {
    let (world, told) = story().run().await;
    let (asked, acts) = (world.requests().len(), world.acts.all().len());
    let forked = world.runtime.fork(order(told.id, "work", 2)).await.unwrap();
    let fork = world.end_of(forked).await;
    assert_eq!(fork.text(), "last by quick");
    let later = world.requests().split_off(asked);
    assert_eq!(later.len(), 3, "two turns of `work`, one of `last`");
    assert_eq!(
        world.acts.all()[acts..],
        ["echo look again"],
        "the change is not made again"
    );
    assert_eq!(
        fork.count(|kind| matches!(kind, Kind::ToolInvoked { .. })),
        1
    );
    let view = world.view(forked).await;
    assert_eq!(view.usage, USAGE.plus(USAGE).plus(USAGE));
    // What the model is told of the past is what it was told then.
    let original: Vec<Request> = world.requests();
    let third = |request: &&Request| {
        matches!(&request.purpose, Purpose::Turn { subtask: Some(id), .. } if id.as_str() == "work")
            && request.messages.len() == 5
    };
    let same: Vec<&Request> = original.iter().filter(third).collect();
    assert_eq!(same.len(), 2);
    assert_eq!(same[0].messages, same[1].messages);
    assert!(
        world
            .runtime
            .replay(forked)
            .await
            .unwrap()
            .divergence
            .is_none()
    );
}

#[tokio::test(start_paused = true)]
async fn a_fork_of_a_fork_keeps_what_both_had_done() {
    let (world, told) = story().run().await;
    let first = world.runtime.fork(order(told.id, "work", 2)).await.unwrap();
    world.end_of(first).await;
    let acts = world.acts.all().len();
    let asked = world.requests().len();
    // Two exchanges are the first run's, one is the fork's own.
    let second = world.runtime.fork(order(first, "work", 3)).await.unwrap();
    let fork = world.end_of(second).await;
    assert_eq!(fork.text(), "last by quick");
    assert_eq!(world.acts.all().len(), acts, "nothing is done again");
    assert_eq!(world.requests().len(), asked + 2);
    assert!(
        world
            .runtime
            .replay(second)
            .await
            .unwrap()
            .divergence
            .is_none()
    );
    let too_many = world
        .runtime
        .fork(order(second, "work", 5))
        .await
        .unwrap_err();
    assert!(
        too_many.to_string().contains("has had 4 answers"),
        "{too_many}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_fork_that_is_cut_off_anywhere_goes_on_with_its_past() {
    let (world, told) = story().run().await;
    let before = world.journal.events().len();
    let forked = world.runtime.fork(order(told.id, "work", 2)).await.unwrap();
    let whole = world.end_of(forked).await.events.len();
    let begun = 1 + whole
        - world
            .events(forked)
            .iter()
            .skip_while(|event| !matches!(event.kind, Kind::SubtaskStarted { .. }))
            .count();
    for cut in begun..whole {
        let journal = WorldJournal::default();
        let first = story().journal(journal.clone()).start().await;
        let source = first.run().await.id;
        assert_eq!(journal.events().len(), before);
        journal.freeze_after(before + cut);
        let forked = first.runtime.fork(order(source, "work", 2)).await.unwrap();
        journal.frozen().await;
        let (tree, acts) = (first.tree.clone(), first.acts.clone());
        let done = changes(&first);
        let second = story()
            .journal(journal.killed())
            .amid(&tree, &acts)
            .start()
            .await;
        let fork = second.end_of(forked).await;
        assert_eq!(
            fork.text(),
            "last by quick",
            "cut off after {cut} events of the fork"
        );
        assert_eq!(changes(&second), done, "no change is made again");
        assert_eq!(
            fork.count(|kind| matches!(kind, Kind::SubtaskKept { .. })),
            2
        );
        let replayed = second.runtime.replay(forked).await.unwrap();
        assert_eq!(
            replayed.divergence, None,
            "cut off after {cut} events of the fork"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_can_be_forked_as_far_as_it_is() {
    let long = |name: &str, before: usize| match (name, before) {
        ("b", 0) => calls(&[("wait", json!({ "secs": 600 }))]),
        _ => says(name),
    };
    let two = plan(&[
        talk("a", &[]),
        json!({ "id": "b", "task": "do b", "role": "generalist", "depends_on": ["a"] }),
    ]);
    let world = planned(two, long).start().await;
    let id = world.submit().await;
    world
        .until(id, |kind| {
            matches!(kind, Kind::ToolInvoked { .. }).then_some(())
        })
        .await;
    let open = world.runtime.fork(order(id, "b", 1)).await.unwrap_err();
    assert!(open.to_string().contains("had not ended"), "{open}");
    let forked = world.runtime.fork(order(id, "b", 0)).await.unwrap();
    let fork = world.end_of(forked).await;
    assert_eq!((fork.text(), fork.starts("a")), ("b", 0));
    assert!(world.view(id).await.outcome.is_none(), "the other goes on");
    world.end_of(id).await;
}

#[tokio::test(start_paused = true)]
async fn an_order_that_cannot_be_followed_says_what_would_do() {
    let (world, told) = story().run().await;
    let refused = async |order: ForkOrder| world.runtime.fork(order).await.unwrap_err().to_string();
    let unknown = refused(order(RunId::from_drawn(99), "work", 0)).await;
    assert!(unknown.contains("no run"), "{unknown}");
    let step = refused(order(told.id, "nothing", 0)).await;
    assert!(
        step.contains("no subtask `nothing`") && step.contains("first, aside, work, last"),
        "{step}"
    );
    let turns = refused(order(told.id, "work", 9)).await;
    assert!(
        turns.contains("has had 4 answers, and 9 were to be kept"),
        "{turns}"
    );
    let model = refused(ForkOrder {
        model: Some("nameless".to_owned()),
        ..order(told.id, "work", 0)
    })
    .await;
    assert!(
        model.contains("`nameless` does not name a model"),
        "{model}"
    );
    let events = world.journal.events().len();
    world.journal.tell_otherwise(|event| {
        if let Kind::ModelReplied { reply, .. } = &mut event.kind {
            *reply = "0".repeat(64);
        }
    });
    let body = refused(order(told.id, "work", 1)).await;
    assert!(body.contains("gone") && body.contains("0000"), "{body}");
    world.journal.tell_otherwise(|event| {
        event.kind = Kind::Erased {
            was: "anything".to_owned(),
        };
    });
    let erased = refused(order(told.id, "work", 0)).await;
    assert!(erased.contains("gone"), "{erased}");
    assert_eq!(world.journal.events().len(), events, "nothing is begun");
}

#[tokio::test(start_paused = true)]
async fn a_fork_may_do_what_it_is_granted_and_not_what_the_other_run_was() {
    let (world, told) = story().run().await;
    let done = changes(&world);
    let granted = grants(&["tool: echo", "tool: file_*", "file_read: /home/op/**"]);
    let order = ForkOrder {
        grants: granted.clone(),
        ..order(told.id, "work", 0)
    };
    let forked = world.runtime.fork(order).await.unwrap();
    let fork = world.end_of(forked).await;
    let denied = |kind: &Kind| matches!(kind, Kind::ToolRejected { tool, .. } | Kind::CapabilityDenied { tool, .. } if tool == "change");
    assert_eq!((fork.count(denied), changes(&world)), (1, done));
    assert_eq!(
        world.runtime.terms(forked).await.unwrap().submit.grants,
        granted
    );
}

#[tokio::test(start_paused = true)]
async fn a_fork_asks_about_what_is_asked_about_by_then() {
    let (world, told) = story().run().await;
    let done = changes(&world);
    let order = ForkOrder {
        approve: vec!["tool: change".parse().unwrap()],
        ..order(told.id, "work", 0)
    };
    let forked = world.runtime.fork(order).await.unwrap();
    let asked = world.until(forked, |kind| match kind {
        Kind::ApprovalRequested { tool, .. } => Some(tool.clone()),
        _ => None,
    });
    assert_eq!((asked.await.as_str(), changes(&world)), ("change", done));
}

#[tokio::test(start_paused = true)]
async fn a_fork_that_is_recorded_and_cannot_be_read_at_once_goes_on_when_it_can() {
    let (world, told) = story().run().await;
    // The other run's record is read first, then the fork's own.
    world.journal.fail_reads(1, 1);
    let fork = world.runtime.fork(order(told.id, "last", 0)).await.unwrap();
    assert_eq!(world.end_of(fork).await.text(), told.text());
}

/// A fork that keeps two turns of `work`, cut off as soon as `so` of its record, and the next daemon's world, in which an
/// event of the other run is damaged. Answers with that world, the fork, the other run, and the damaged event.
async fn cut_off_and_damaged(so: impl Fn(&Kind) -> bool) -> (World, RunId, RunId, Seq) {
    let (world, told) = story().run().await;
    let before = world.journal.events().len();
    let whole = world.runtime.fork(order(told.id, "work", 2)).await.unwrap();
    let cut = world.end_of(whole).await.at(so) + 1;
    let journal = WorldJournal::default();
    let first = story().journal(journal.clone()).start().await;
    let source = first.run().await;
    journal.freeze_after(before + cut);
    let fork = first.runtime.fork(order(source.id, "work", 2)).await;
    journal.frozen().await;
    let damaged = source.events[source.completed("first")].seq;
    let next = journal.killed();
    next.damage(damaged);
    let (tree, acts) = (first.tree.clone(), first.acts.clone());
    let second = story().journal(next).amid(&tree, &acts).start().await;
    (second, fork.unwrap(), source.id, damaged)
}

#[tokio::test(start_paused = true)]
async fn a_fork_whose_past_is_damaged_in_the_other_runs_record_ends_and_says_where() {
    let working = |kind: &Kind| matches!(kind, Kind::AgentExecutionStarted { .. });
    let (world, fork, source, damaged) = cut_off_and_damaged(working).await;
    let told = world.end_of(fork).await;
    let Failure::Unrecoverable { problem, next_step } = told.failure() else {
        panic!("{:?}", told.failure())
    };
    let place = format!("the record of {source} is damaged at event {}", damaged.0);
    assert!(problem.contains(&place), "{problem}");
    assert!(next_step.contains("agentd audit verify"), "{next_step}");
    let refused = world.runtime.fork(order(source, "work", 2)).await;
    assert!(
        matches!(&refused, Err(GoalError::Invalid { problem, .. }) if problem.contains(&place)),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_fork_that_needs_no_more_of_the_other_run_goes_on_whatever_becomes_of_that() {
    let worked = |kind: &Kind| matches!(kind, Kind::SubtaskCompleted { subtask, .. } if subtask.as_str() == "work");
    let (world, fork, ..) = cut_off_and_damaged(worked).await;
    assert_eq!(world.end_of(fork).await.text(), "last by quick");
}
