//! Ending early: by the operator, with the daemon, by a journal that cannot be written.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod world;
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
async fn draining_closes_every_run_and_the_daemons_end_is_last() {
    let world = planned(plan(&[talk("a", &[])]), |name, _| says(name))
        .delay(|_| Duration::from_secs(600))
        .start()
        .await;
    let (first, second) = (world.submit().await, world.submit().await);
    world
        .until(second, |kind| {
            matches!(kind, Kind::ModelRequested { .. }).then_some(())
        })
        .await;
    world.runtime.drain(Span::from_secs(10), "SIGTERM").await;
    for id in [first, second] {
        assert_eq!(world.end_of(id).await.failure(), &Failure::Interrupted);
    }
    let events = world.journal.events();
    assert_eq!(
        events.last().map(|event| &event.kind),
        Some(&Kind::DaemonStopped {
            reason: "SIGTERM".to_owned()
        })
    );
    let late = world.runtime.submit(world.goal("too late")).await;
    assert!(matches!(late, Err(GoalError::Unavailable { .. })));
    assert_eq!(world.runtime.runs_open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_goal_taken_while_the_daemon_goes_away_is_closed_too() {
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
    let told = world.end_of(id.unwrap()).await;
    assert_eq!(told.failure(), &Failure::Interrupted);
}

#[tokio::test(start_paused = true)]
async fn an_act_whose_intent_cannot_be_recorded_is_not_performed() {
    let world = calling("change", json!({ "secs": 0 })).start().await;
    world.journal.break_at("tool_invoked", false);
    let told = world.run().await;
    assert!(
        matches!(told.failure(), Failure::Journal { message } if message.contains("no space left"))
    );
    assert!(world.acts.all().is_empty());
    assert!(!told.has(invoked));
}

#[tokio::test(start_paused = true)]
async fn a_model_is_not_asked_when_that_cannot_be_recorded() {
    let world = calling("echo", json!({ "message": "x" })).start().await;
    world.journal.break_at("model_requested", false);
    let told = world.run().await;
    assert!(matches!(told.failure(), Failure::Journal { .. }));
    assert!(world.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_receipt_that_cannot_be_recorded_fails_the_run() {
    let world = calling("change", json!({ "secs": 0 })).start().await;
    world.journal.break_at("tool_result", false);
    let told = world.run().await;
    assert!(matches!(told.failure(), Failure::Journal { .. }));
    assert_eq!(world.acts.all(), ["change begins", "change ends"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_ends_the_other_agents_too_and_leaves_nothing_running() {
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
    while world.runtime.runs_open() > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let view = world.view(id).await;
    assert_eq!(
        view.state,
        RunState::Failed,
        "also when its end could not be recorded"
    );
    assert!(matches!(
        view.outcome,
        Some(Outcome::Failed {
            failure: Failure::Journal { .. }
        })
    ));
    assert_eq!(
        world.runtime.view(None, 9).await.unwrap()[0].state,
        RunState::Failed
    );
    assert!(
        !world
            .kinds(id)
            .iter()
            .any(|kind| matches!(kind, Kind::RunFinished { .. }))
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
