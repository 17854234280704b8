//! Carrying a run out again from its record: the same executor decides the same, and where it does not, it is said.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod world;
use aaos_core::approval::{Answer, Settlement};
use aaos_ports::{Decisions, Digest, Divergence, History, Journal, Line, Replayed};
use std::time::Duration;
use world::*;

/// A plan with parallel subtasks, tools, a child, a file, a ladder, a replan, something repeated and a summary.
fn everything() -> Builder {
    let first = plan(&[
        talk("early", &[]),
        act("tools"),
        json!({ "id": "file", "task": "write it", "role": "writer", "params": { "output": "out.txt" } }),
        json!({ "id": "climb", "task": "climb", "role": "climber", "depends_on": ["early"] }),
        json!({ "id": "flaky", "task": "try", "role": "talker", "depends_on": ["tools", "file"] }),
        talk("last", &["flaky", "climb"]),
    ]);
    let mut second = first.clone();
    second["subtasks"][4]["task"] = json!("try otherwise");
    world(move |request, before| {
        let plan = match &request.purpose {
            Purpose::Plan { problems, .. } if problems.is_empty() => &first,
            _ => &second,
        };
        let turn = |name: &str, request: &Request| everything_said(name, request, before);
        Ok(answer(request, plan, &turn))
    })
}

fn everything_said(name: &str, request: &Request, before: usize) -> Reply {
    let task = match &request.purpose {
        Purpose::Turn { task, .. } => task.clone(),
        _ => String::new(),
    };
    match (name, before) {
        ("tools", 0) => calls(&[
            ("echo", json!({ "message": "one" })),
            ("fail", json!({})),
            ("no_such_tool", json!({})),
            ("change", json!({ "secs": 1 })),
            ("file_read", json!({ "path": "/etc/passwd" })),
        ]),
        ("tools", 1) => calls(&[(
            "spawn_agent",
            json!({ "role": "generalist", "task": "child" }),
        )]),
        ("tools", 2..=8) => calls(&[("echo", json!({ "message": "again" }))]),
        ("child", 0) => calls(&[("echo", json!({ "message": "from below" }))]),
        ("file", 0) => says("done already"),
        ("file", 1) => calls(&[(
            "file_write",
            json!({ "path": "/home/op/out.txt", "content": "text" }),
        )]),
        ("climb", 0) => reply(vec![], Stop::OutputLimit),
        ("flaky", _) if task == "try" => says("CANNOT: not like this"),
        _ => says(name),
    }
}

async fn replayed(world: &World, id: RunId) -> Replayed {
    world.runtime.replay(id).await.expect("it is replayed")
}

/// Carries a run out again and checks that nothing is asked, done or written for it.
async fn quietly(world: &World, id: RunId) -> Replayed {
    let seen = || {
        (
            world.requests().len(),
            world.acts.all(),
            world.backend.launched().len(),
            world.journal.events().len(),
        )
    };
    let before = seen();
    let replayed = replayed(world, id).await;
    assert_eq!(seen(), before, "a replay asks nobody and does nothing");
    replayed
}

fn is_reply(kind: &Kind) -> bool {
    matches!(kind, Kind::ModelReplied { .. })
}

#[tokio::test(start_paused = true)]
async fn an_undisturbed_run_is_carried_out_the_same_and_nothing_is_asked_or_done() {
    let (world, told) = everything().run().await;
    assert_eq!(told.text(), "last");
    for wanted in [
        "plan_replanned",
        "subtask_model_escalated",
        "subtask_output_missing",
        "tool_repeat",
    ] {
        assert!(
            told.tags().iter().any(|tag| tag == wanted),
            "{wanted}: {:#?}",
            told.tags()
        );
    }
    let replayed = quietly(&world, told.id).await;
    assert_eq!((&replayed.divergence, &replayed.ends_at), (&None, &None));
    assert_eq!(replayed.replies, told.count(is_reply) as u64);
    let by_workers =
        |kind: &Kind| matches!(kind, Kind::ToolResult { tool, .. } if tool != "spawn_agent");
    assert_eq!(replayed.results, told.count(by_workers) as u64);
    assert!(replayed.events > 60, "{replayed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn agents_that_race_are_carried_out_the_same() {
    let subtasks: Vec<_> = (0..100).map(|number| act(&format!("s{number}"))).collect();
    let twins = |name: &str, before: usize| match (name, before) {
        ("twin", _) => says("a twin"),
        (_, 0) => {
            let twin = json!({ "role": "talker", "task": "twin" });
            calls(&[("spawn_agent", twin.clone()), ("spawn_agent", twin)])
        }
        (_, 1) => calls(&[
            ("change", json!({ "secs": 0 })),
            ("echo", json!({ "message": "m" })),
        ]),
        _ => says(name),
    };
    let (world, told) = planned(plan(&subtasks), twins).workers(32).run().await;
    for _ in 0..3 {
        let replayed = quietly(&world, told.id).await;
        assert_eq!((replayed.divergence, replayed.ends_at), (None, None));
    }
}

#[tokio::test(start_paused = true)]
async fn agents_that_asked_the_same_and_were_told_otherwise_are_told_so_again() {
    let twins = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let one = one_act();
    let built = world(move |request, before| {
        let turn = |name: &str, _: &Request| match (name, before) {
            ("twin", _) => {
                let number = twins.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                says(&format!("twin {number}"))
            }
            (_, 0) => {
                let twin = json!({ "role": "talker", "task": "twin" });
                calls(&[("spawn_agent", twin.clone()), ("spawn_agent", twin)])
            }
            _ => says("done"),
        };
        Ok(answer(request, &one, &turn))
    });
    let (world, told) = built.run().await;
    assert_eq!(quietly(&world, told.id).await.divergence, None);
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_was_summarised_is_so_again() {
    let role = json!({ "name": "generalist", "summary": "s", "prompt": "p", "capabilities": ["tool: echo"],
        "limits": { "context_tokens_max": 700, "output_tokens_max": 100 } });
    let long = |_: &str, before: usize| match before {
        0..8 => calls(&[(
            "echo",
            json!({ "message": format!("{before} {}", "words ".repeat(60)) }),
        )]),
        _ => says("finished"),
    };
    let (world, told) = planned(one_act(), long).role(role).run().await;
    assert!(told.has(|kind| matches!(kind, Kind::ContextSummarized { .. })));
    assert_eq!(quietly(&world, told.id).await.divergence, None);
}

#[tokio::test(start_paused = true)]
async fn runs_that_failed_fail_again_for_the_same_reason() {
    let broken = world(|_, _| Err(fault(ProviderFault::Unauthorised)));
    let (world_, told) = broken.run().await;
    assert!(matches!(told.failure(), Failure::Provider { .. }));
    assert_eq!(quietly(&world_, told.id).await.divergence, None);

    let refused = world(|_, _| {
        Err(aaos_ports::ProviderError::free(Failure::GoalRefused {
            reason: "not mine".to_owned(),
            ways_on: Vec::new(),
        }))
    });
    let (world_, told) = refused.run().await;
    assert!(matches!(told.failure(), Failure::GoalRefused { .. }));
    assert_eq!(quietly(&world_, told.id).await.divergence, None);

    let nonsense = world(|_, _| Ok(says("no plan at all")));
    let (world_, told) = nonsense.run().await;
    assert!(matches!(told.failure(), Failure::PlanInvalid { .. }));
    assert_eq!(quietly(&world_, told.id).await.divergence, None);

    let launch = planned(one_act(), |name, _| says(name));
    let launch = launch.refusing_launches(None, "no user namespaces", "Allow them");
    let (world_, told) = launch.run().await;
    assert!(matches!(told.failure(), Failure::Launch { .. }));
    assert_eq!(quietly(&world_, told.id).await.divergence, None);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ran_into_its_budget_runs_into_it_again() {
    let busy = |_: &str, before| calls(&[("echo", json!({ "message": format!("{before}") }))]);
    let (world, told) = planned(one_act(), busy)
        .budget(|budget| budget.calls = 3)
        .run()
        .await;
    assert!(matches!(
        told.failure(),
        Failure::Limit {
            kind: LimitKind::Calls,
            ..
        }
    ));
    let replayed = quietly(&world, told.id).await;
    assert_eq!((replayed.divergence, replayed.ends_at), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_direct_goal_and_a_classified_one_are_carried_out_the_same() {
    for mode in [None, Some(Mode::Direct)] {
        let (world, told) = planned(one_act(), |name, _| says(name))
            .mode(mode)
            .run()
            .await;
        assert_eq!(quietly(&world, told.id).await.divergence, None);
    }
}

/// Says of every act in doubt, until the run is over, that it did not happen.
async fn settle_until_over(world: &World, id: RunId) {
    let over = world.until(id, |kind| {
        matches!(kind, Kind::RunFinished { .. }).then_some(())
    });
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => return,
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
        for pending in world
            .runtime
            .pending(Some(id))
            .await
            .expect("the run goes on")
        {
            let call = pending.waiting.call;
            let settled = world.runtime.settle(id, call, Settlement::Repeat, 1000);
            settled.await.expect("it is settled");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_cut_off_and_went_on_is_carried_out_the_same() {
    let whole = everything().run().await.1.events.len();
    for cut in (3..whole).step_by(3) {
        let journal = WorldJournal::default();
        let first = everything().journal(journal.clone()).start().await;
        journal.freeze_after(cut);
        let id = first.submit().await;
        journal.frozen().await;
        let (tree, acts) = (first.tree.clone(), first.acts.clone());
        let second = everything()
            .journal(journal.killed())
            .amid(&tree, &acts)
            .start()
            .await;
        settle_until_over(&second, id).await;
        let replayed = quietly(&second, id).await;
        assert_eq!(replayed.divergence, None, "cut off after {cut} events");
    }
}

/// Changes the record and replays it.
async fn changed(
    world: &World,
    id: RunId,
    change: impl Fn(&mut Event) + Send + Sync + 'static,
) -> Divergence {
    world.journal.tell_otherwise(change);
    let replayed = quietly(world, id).await;
    replayed.divergence.expect("what was changed is found")
}

async fn body(world: &World, digest: &str) -> Vec<u8> {
    world.journal.get(&Digest(digest.to_owned())).await.unwrap()
}

/// One agent that echoes and then says so.
async fn echoed() -> (World, Told) {
    let echo = |_: &str, before: usize| match before {
        0 => calls(&[("echo", json!({ "message": "hello" }))]),
        _ => says("done"),
    };
    planned(one_act(), echo).run().await
}

fn seq(told: &Told, wanted: impl Fn(&Kind) -> bool) -> Seq {
    told.events[told.at(wanted)].seq
}

#[tokio::test(start_paused = true)]
async fn a_changed_reply_is_found_where_it_was_given() {
    let (world, told) = echoed().await;
    let last = told
        .events
        .iter()
        .rfind(|event| is_reply(&event.kind))
        .unwrap()
        .clone();
    let other = serde_json::to_vec(&says("something else")).unwrap();
    let other = world.journal.put(other).await.unwrap().to_string();
    let at = last.seq;
    let found = changed(&world, told.id, move |event| {
        if let (true, Kind::ModelReplied { reply, .. }) = (event.seq == at, &mut event.kind) {
            reply.clone_from(&other);
        }
    })
    .await;
    assert_eq!(found.seq, Some(last.seq));
    assert!(matches!(&found.line, Line::Agent { role, .. } if role.as_str() == "generalist"));
    assert!(found.recorded.unwrap().contains("done"));
    assert!(found.replayed.unwrap().contains("something else"));
}

#[tokio::test(start_paused = true)]
async fn a_changed_prompt_of_a_role_is_found_where_the_model_was_asked() {
    let (world, told) = echoed().await;
    let Kind::RunSubmitted { terms, .. } = &told.events[0].kind else {
        panic!("no first event")
    };
    let terms = String::from_utf8(body(&world, terms).await).unwrap();
    let other = terms.replace("Do it.", "Do it twice.");
    assert_ne!(other, terms);
    let other = world
        .journal
        .put(other.into_bytes())
        .await
        .unwrap()
        .to_string();
    let found = changed(&world, told.id, move |event| {
        if let Kind::RunSubmitted { terms, .. } = &mut event.kind {
            terms.clone_from(&other);
        }
    })
    .await;
    let asked = seq(&told, |kind| matches!(kind, Kind::ModelRequested { .. }));
    assert_eq!(found.seq, Some(asked));
    let replayed = found.replayed.unwrap();
    assert!(
        replayed.contains("prompt") && replayed.contains("Do it twice."),
        "{replayed}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_changed_result_of_a_tool_is_found_where_it_came() {
    let (world, told) = echoed().await;
    let other = world
        .journal
        .put(b"\"goodbye\"".to_vec())
        .await
        .unwrap()
        .to_string();
    let found = changed(&world, told.id, move |event| {
        if let Kind::ToolResult { output, .. } = &mut event.kind {
            output.clone_from(&other);
        }
    })
    .await;
    let result = seq(&told, |kind| matches!(kind, Kind::ToolResult { .. }));
    assert_eq!(found.seq, Some(result));
    let replayed = found.replayed.unwrap();
    assert!(replayed.contains("goodbye"), "{replayed}");
}

#[tokio::test(start_paused = true)]
async fn a_changed_decision_is_found_where_it_was_made() {
    let (world, told) = everything().run().await;
    let at = told.events[told.completed("early")].seq;
    let found = changed(&world, told.id, move |event| {
        if let (true, Kind::SubtaskCompleted { outcome, .. }) = (event.seq == at, &mut event.kind) {
            *outcome = Outcome::Succeeded {
                output: Value::text("made up"),
            };
        }
    })
    .await;
    assert_eq!((found.seq, found.line), (Some(at), Line::Run));
    assert!(found.recorded.unwrap().contains("made up"));
    assert!(found.replayed.unwrap().contains("early"));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_left_out_and_one_that_is_made_up_are_found() {
    let (world, told) = echoed().await;
    let invoked = seq(&told, |kind| matches!(kind, Kind::ToolInvoked { .. }));
    let found = changed(&world, told.id, move |event| {
        if event.seq == invoked {
            event.kind = Kind::DaemonStopped {
                reason: String::new(),
            };
        }
    })
    .await;
    assert!(found.replayed.unwrap().contains("echo was called"));
    let stopped = seq(&told, |kind| matches!(kind, Kind::AgentStopped { .. }));
    let found = changed(&world, told.id, move |event| {
        if event.seq == stopped {
            event.kind = Kind::OutputFound {
                declared: "/x".to_owned(),
                bytes: 1,
            };
        }
    })
    .await;
    assert_eq!(found.seq, Some(stopped));
}

#[tokio::test(start_paused = true)]
async fn what_no_replay_repeats_is_where_it_ends() {
    let slow = |_: &str, before: usize| match before {
        0 => calls(&[("echo", json!({ "message": "hello" }))]),
        1 => calls(&[("wait", json!({ "secs": 600 }))]),
        _ => says("done"),
    };
    let world = planned(one_act(), slow).start().await;
    let id = world.submit().await;
    world
        .until(id, |kind| {
            matches!(kind, Kind::ToolInvoked { tool, .. } if tool == "wait").then_some(())
        })
        .await;
    while !world.acts.all().contains(&"wait begins".to_owned()) {
        tokio::task::yield_now().await;
    }
    let replayed = quietly(&world, id).await;
    assert_eq!(replayed.divergence, None);
    assert!(
        replayed.ends_at.unwrap().contains("has not ended"),
        "a run that goes on has a record too"
    );
    assert_eq!(
        (replayed.replies, replayed.results),
        (3, 1),
        "the plan, and two requests of the agent"
    );
    world.runtime.stop(id, 1000).await.unwrap();
    world.end_of(id).await;
    let replayed = quietly(&world, id).await;
    assert_eq!(replayed.divergence, None);
    assert!(replayed.ends_at.unwrap().contains("stopped the run"));

    let role = json!({ "name": "generalist", "summary": "s", "prompt": "p", "capabilities": ["tool: *"],
        "limits": { "wall_clock_s": 60 } });
    let (world, told) = planned(one_act(), slow).role(role).run().await;
    assert!(matches!(
        told.failure(),
        Failure::Limit {
            kind: LimitKind::WallClock,
            ..
        }
    ));
    let replayed = quietly(&world, told.id).await;
    assert_eq!(replayed.divergence, None);
    assert!(replayed.ends_at.unwrap().contains("time limit"));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_not_whole_says_what_is_missing() {
    let (world, told) = echoed().await;
    let unknown = world.runtime.replay(RunId::from_drawn(99)).await;
    assert!(matches!(unknown, Err(GoalError::Unknown(_))));
    let gone = "0".repeat(64);
    let named = gone.clone();
    world.journal.tell_otherwise(move |event| {
        if let Kind::ModelReplied { reply, .. } = &mut event.kind {
            reply.clone_from(&named);
        }
    });
    let error = world.runtime.replay(told.id).await.unwrap_err().to_string();
    assert!(error.contains(&gone), "{error}");
    world.journal.tell_otherwise(move |event| {
        event.kind = Kind::Erased {
            was: "anything".to_owned(),
        };
    });
    let error = world.runtime.replay(told.id).await.unwrap_err().to_string();
    assert!(
        error.contains("gone") && error.contains("erased"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_approved_and_what_was_denied_is_so_again() {
    let two = |_: &str, before: usize| match before {
        0 => calls(&[
            ("echo", json!({ "message": "yes" })),
            ("echo", json!({ "message": "no" })),
        ]),
        _ => says("done"),
    };
    let world = planned(one_act(), two)
        .ask(|submit| submit.approve = vec!["tool: echo".parse().unwrap()])
        .start()
        .await;
    let id = world.submit().await;
    let mut answered = 0;
    while answered < 2 {
        let waiting = world.runtime.pending(Some(id)).await.unwrap();
        for pending in waiting {
            let args = format!("{:?}", pending.waiting.what);
            let answer = match args.contains("yes") {
                true => Answer::Approve { always: None },
                false => Answer::Deny {
                    reason: "not that".to_owned(),
                },
            };
            let call = pending.waiting.call;
            world.runtime.answer(id, call, answer, 1000).await.unwrap();
            answered += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let told = world.end_of(id).await;
    assert_eq!(world.acts.all(), ["echo yes"]);
    let replayed = quietly(&world, told.id).await;
    assert_eq!((replayed.divergence, replayed.ends_at), (None, None));
    assert_eq!(replayed.results, 1);
}

#[tokio::test(start_paused = true)]
async fn uses_that_calls_took_on_their_way_are_taken_again() {
    let page = "https://example.org/";
    let one = one_act();
    let (world, told) = world(move |request, before| {
        Ok(answer(request, &one, &|_, request| match before {
            0 => calls(&[("web_crawl", json!({ "url": page, "times": 3, "secs": 0 }))]),
            1 => calls(&[("web_fetch", json!({ "url": page }))]),
            _ => says(&last_results(request)[0].text),
        }))
    })
    .grants(&["tool: *", "http: GET * {uses=3}"])
    .run()
    .await;
    assert!(told.text().contains("refused (uses)"), "{}", told.text());
    assert_eq!(quietly(&world, told.id).await.divergence, None);
}

#[tokio::test(start_paused = true)]
async fn which_of_two_failures_came_first_changes_nothing() {
    let doomed = plan(&[talk("x", &[]), talk("y", &[]), talk("z", &["x", "y"])]);
    let slow = |request: &Request| match &request.purpose {
        Purpose::Turn {
            subtask: Some(id), ..
        } if id.as_str() == "x" => Duration::from_secs(9),
        _ => Duration::ZERO,
    };
    let (world, told) = planned(doomed, |_, _| says("CANNOT: never"))
        .delay(slow)
        .run()
        .await;
    assert_eq!(world.plan_requests().len(), 2, "it was planned again");
    assert_eq!(quietly(&world, told.id).await.divergence, None);
}
