//! Ending early: by the operator, with the daemon, by a journal that cannot be written.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod world;
use aaos_core::approval::Settlement;
use aaos_ports::Decisions;
use std::time::Duration;
use tokio::time::Instant;
use world::*;

/// A world whose agent makes one call and then says that it is done.
fn calling(tool: &'static str, input: serde_json::Value) -> Builder {
    planned(one_act(), move |_, before| {
        if before == 0 {
            calls(&[(tool, input.clone())])
        } else {
            says("done")
        }
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the paused clock of the test, which no port shows"
)]
async fn stopped_while(world: &World, begun: impl Fn(&Kind) -> bool) -> (Told, Duration) {
    let id = world.submit().await;
    world.until(id, |kind| begun(kind).then_some(())).await;
    let asked = Instant::now();
    world.runtime.stop(id, 1000).await.unwrap();
    let told = world.end_of(id).await;
    (told, asked.elapsed())
}

fn invoked(kind: &Kind) -> bool {
    matches!(kind, Kind::ToolInvoked { .. })
}

#[tokio::test(start_paused = true)]
async fn a_call_that_only_looks_is_dropped_at_once() {
    let world = calling("wait", json!({ "secs": 60 })).start().await;
    let (told, took) = stopped_while(&world, invoked).await;
    assert_eq!(told.failure(), &Failure::Stopped);
    assert!(took < Duration::from_millis(100), "{took:?}");
    assert!(told.has(|kind| matches!(kind, Kind::RunStopRequested { operator: 1000 })));
    assert_eq!(world.acts.all(), ["wait begins"]);
    assert!(!told.has(|kind| matches!(kind, Kind::ToolResult { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_changes_something_is_given_the_grace_period_and_its_receipt() {
    let world = calling("change", json!({ "secs": 3 })).start().await;
    let (told, took) = stopped_while(&world, invoked).await;
    assert_eq!(told.failure(), &Failure::Stopped);
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(4),
        "{took:?}"
    );
    assert_eq!(world.acts.all(), ["change begins", "change ends"]);
    assert!(
        told.has(|kind| matches!(kind, Kind::ToolResult { success: true, .. })),
        "{:#?}",
        told.tags()
    );
    assert!(!told.has(|kind| matches!(kind, Kind::CapabilityRevoked { .. })));
    assert_eq!(world.requests().len(), 2, "no further request");
}

#[tokio::test(start_paused = true)]
async fn after_the_grace_period_authority_is_withdrawn_and_the_call_dropped() {
    let world = calling("change", json!({ "secs": 60 })).start().await;
    let (told, took) = stopped_while(&world, invoked).await;
    assert_eq!(told.failure(), &Failure::Stopped);
    assert!(
        took >= Duration::from_secs(5) && took < Duration::from_secs(6),
        "{took:?}"
    );
    assert_eq!(world.acts.all(), ["change begins"]);
    assert!(told.has(|kind| matches!(kind, Kind::CapabilityRevoked { descendants: 0, .. })));
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_the_model_thinks_or_plans_is_at_once() {
    let thinking = calling("echo", json!({ "message": "x" }))
        .delay(|_| Duration::from_secs(600))
        .start()
        .await;
    let (told, took) = stopped_while(&thinking, |kind| {
        matches!(kind, Kind::ModelRequested { .. })
    })
    .await;
    assert_eq!(told.failure(), &Failure::Stopped);
    assert!(took < Duration::from_millis(100), "{took:?}");
    assert!(!told.has(|kind| matches!(kind, Kind::PlanProduced { .. })));
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_launched_after_a_stop() {
    let subtasks: Vec<_> = (0..50)
        .map(|number| talk(&format!("s{number}"), &[]))
        .collect();
    let world = planned(plan(&subtasks), |name, _| says(name))
        .workers(2)
        .delay(|_| Duration::from_secs(1))
        .start()
        .await;
    let (told, _) =
        stopped_while(&world, |kind| matches!(kind, Kind::SubtaskCompleted { .. })).await;
    assert_eq!(told.failure(), &Failure::Stopped);
    assert!(told.count(|kind| matches!(kind, Kind::SubtaskStarted { .. })) <= 4);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stopped_says_so() {
    let world = planned(plan(&[talk("a", &[])]), |name, _| says(name))
        .start()
        .await;
    let told = world.run().await;
    assert_eq!(
        world.runtime.stop(told.id, 1000).await,
        Err(GoalError::Ended(told.id))
    );
    let nobody = RunId::from_drawn(999_999);
    assert_eq!(
        world.runtime.stop(nobody, 1000).await,
        Err(GoalError::Unknown(nobody))
    );
    assert_eq!(
        world.runtime.view(Some(nobody), 1).await,
        Err(GoalError::Unknown(nobody))
    );
}

#[tokio::test(start_paused = true)]
async fn draining_suspends_every_run_and_the_daemons_end_is_last() {
    let world = planned(plan(&[talk("a", &[])]), |name, _| says(name))
        .delay(|_| Duration::from_secs(600))
        .start()
        .await;
    let (first, second) = (world.submit().await, world.submit().await);
    world.until(second, requested).await;
    let before = [first, second].map(|id| world.kinds(id));
    world.runtime.drain(Span::from_secs(10), "SIGTERM").await;
    assert_eq!(
        [first, second].map(|id| world.kinds(id)),
        before,
        "nothing ended"
    );
    let events = world.journal.events();
    assert_eq!(
        events.last().map(|event| &event.kind),
        Some(&Kind::DaemonStopped {
            reason: "SIGTERM".to_owned()
        })
    );
    let late = world.runtime.submit(world.goal("too late")).await;
    assert!(matches!(late, Err(GoalError::Unavailable { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_goal_taken_while_the_daemon_goes_away_is_durable_and_left_to_the_next_one() {
    let world = planned(plan(&[talk("a", &[])]), |name, _| says(name))
        .delay(|_| Duration::from_secs(600))
        .start()
        .await;
    let submit = world.runtime.submit(world.goal("just in time"));
    let drain = async {
        tokio::task::yield_now().await;
        world.runtime.drain(Span::from_secs(10), "SIGTERM").await;
    };
    let (id, ()) = tokio::join!(submit, drain);
    let kinds = world.kinds(id.unwrap());
    assert!(
        matches!(kinds.as_slice(), [Kind::RunSubmitted { .. }]),
        "{kinds:?}"
    );
    assert!(world.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn draining_waits_for_what_is_in_flight_and_for_nothing_else() {
    let world = planned(one_act(), |_, before| match before {
        0 => calls(&[("change", json!({ "secs": 3 }))]),
        _ => says("done"),
    })
    .start()
    .await;
    let id = world.submit().await;
    world
        .until(id, |kind| {
            matches!(kind, Kind::ToolInvoked { .. }).then_some(())
        })
        .await;
    let drain = world.runtime.drain(Span::from_secs(60), "SIGTERM");
    let in_time = tokio::time::timeout(Duration::from_secs(10), drain).await;
    assert!(
        in_time.is_ok(),
        "no longer than the call that was in flight"
    );
    assert!(matches!(
        world.kinds(id).last(),
        Some(Kind::ToolResult { success: true, .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn an_act_whose_intent_cannot_be_recorded_is_performed_when_it_can_be() {
    let world = calling("change", json!({ "secs": 0 })).start().await;
    world.journal.break_at("tool_invoked", true);
    let id = world.submit().await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(world.acts.all().is_empty() && world.runtime.runs_open() == 1);
    world.journal.heal();
    let told = world.end_of(id).await;
    assert_eq!(told.text(), "done");
    assert_eq!(world.acts.all(), ["change begins", "change ends"]);
}

#[tokio::test(start_paused = true)]
async fn a_model_is_asked_once_that_can_be_recorded() {
    let world = calling("echo", json!({ "message": "x" })).start().await;
    world.journal.break_at("model_requested", true);
    let id = world.submit().await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(world.requests().is_empty());
    world.journal.heal();
    assert_eq!(world.end_of(id).await.text(), "done");
}

#[tokio::test(start_paused = true)]
async fn an_act_whose_receipt_cannot_be_recorded_is_asked_about_and_not_repeated() {
    let world = calling("change", json!({ "secs": 0 })).start().await;
    world.journal.break_at("tool_result", false);
    let id = world.submit().await;
    let doubted = |kind: &Kind| matches!(kind, Kind::EffectInDoubt { .. }).then_some(());
    world.until(id, doubted).await;
    let waiting = world.view(id).await.waiting;
    let settled = world
        .runtime
        .settle(id, waiting[0].call, Settlement::Done, 1000);
    settled.await.unwrap();
    assert_eq!(world.end_of(id).await.text(), "done");
    assert_eq!(world.acts.all(), ["change begins", "change ends"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_holds_the_run_up_and_loses_nothing_of_it() {
    let subtasks: Vec<_> = (0..20)
        .map(|number| talk(&format!("s{number}"), &[]))
        .collect();
    let slow = |request: &Request| {
        Duration::from_secs(if matches!(request.purpose, Purpose::Turn { .. }) {
            30
        } else {
            0
        })
    };
    let world = planned(plan(&subtasks), |name, _| says(name))
        .workers(4)
        .delay(slow)
        .start()
        .await;
    world.journal.break_at("subtask_completed", true);
    let id = world.submit().await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    let listed = world.runtime.view(None, 9).await.unwrap();
    assert_eq!(listed[0].state, RunState::Recovering);
    let ended = |kind: &Kind| matches!(kind, Kind::RunFinished { .. });
    assert!(!world.kinds(id).iter().any(ended));
    world.journal.heal();
    let told = world.end_of(id).await;
    assert!(matches!(told.outcome, Outcome::Succeeded { .. }));
    let asked = world.requests().len();
    assert!(
        asked < 20 + 1 + 2 * 4,
        "only what was under way is asked again: {asked}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_submission_that_cannot_be_recorded_is_no_run() {
    let world = planned(plan(&[talk("a", &[])]), |name, _| says(name))
        .start()
        .await;
    world.journal.break_at("run_submitted", false);
    let refused = world.runtime.submit(world.goal("anything")).await;
    assert!(
        matches!(&refused, Err(GoalError::Unavailable { reason }) if reason.contains("no space left")),
        "{refused:?}"
    );
    assert_eq!(world.runtime.runs_open(), 0);
    assert!(world.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_the_journal_holds_up_again_and_again_is_tried_ever_less_and_never_given_up() {
    let world = calling("echo", json!({ "message": "x" })).start().await;
    world.journal.refuse(Some("agent_spawned"));
    let id = world.submit().await;
    tokio::time::sleep(Duration::from_secs(2 * 3_600)).await;
    let taken_up = |kind: &&Kind| matches!(kind, Kind::RunRecovering { .. });
    let tried = world.kinds(id).iter().filter(taken_up).count();
    assert!((101..=250).contains(&tried), "{tried}");
    world.journal.refuse(None);
    assert_eq!(world.end_of(id).await.text(), "done");
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_sure_before_it_is_acknowledged_and_holds_without_whoever_asked() {
    let world = planned(plan(&[talk("a", &[])]), |name, _| says(name))
        .delay(|_| Duration::from_secs(600))
        .start()
        .await;
    let id = world.submit().await;
    world.until(id, requested).await;
    world.journal.hold_at("run_stop_requested");
    tokio::select! {
        biased;
        asked = world.runtime.stop(id, 1000) => panic!("it is not recorded: {asked:?}"),
        () = world.journal.holding() => {}
    }
    world.journal.release();
    let told = world.end_of(id).await;
    assert_eq!(told.failure(), &Failure::Stopped);
    let asked = told.at(|kind| matches!(kind, Kind::RunStopRequested { .. }));
    let sure = world.journal.sure(told.events[asked].seq);
    assert_eq!(sure, Durability::Durable);
}
