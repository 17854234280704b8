//! The budget: a runaway stops exactly at the limit, and the run says which.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod world;
use aaos_core::budget::Budget;
use std::time::Duration;
use world::*;

/// An agent that never has enough.
fn runaway(_: &str, before: usize) -> Reply {
    calls(&[("echo", json!({ "message": format!("{before}") }))])
}

fn tireless() -> serde_json::Value {
    json!({ "name": "generalist", "summary": "s", "prompt": "p", "capabilities": ["inherit: tool", "inherit: spawn"],
        "limits": { "turns_max": 10_000, "output_tokens_max": 10 } })
}

/// The failure of a run that reached this limit.
fn over(kind: LimitKind, limit: u64) -> Failure {
    Failure::Limit { kind, limit }
}

/// A model that thinks so many seconds about a turn, and about nothing else.
fn turns_take(seconds: u64) -> impl Fn(&Request) -> Duration {
    move |request| match request.purpose {
        Purpose::Turn { .. } => Duration::from_secs(seconds),
        _ => Duration::ZERO,
    }
}

#[tokio::test(start_paused = true)]
async fn tool_calls_stop_exactly_at_the_limit() {
    let (world, told) = planned(one_act(), runaway)
        .role(tireless())
        .budget(|budget| budget.calls = 7)
        .run()
        .await;
    assert_eq!(told.failure(), &over(LimitKind::Calls, 7));
    assert_eq!(world.acts.all().len(), 7);
    assert_eq!(told.refused(LimitKind::Calls), (7, 7, 1));
}

#[tokio::test(start_paused = true)]
async fn tokens_stop_before_the_request_that_might_go_over() {
    let limit = |budget: &mut Budget| budget.tokens = 20_000;
    let mut wordy = tireless();
    wordy["limits"]["output_tokens_max"] = json!(16_300);
    let (world, told) = planned(one_act(), runaway)
        .role(wordy)
        .budget(limit)
        .run()
        .await;
    assert_eq!(told.failure(), &over(LimitKind::Tokens, 20_000));
    let (allowed, used, wanted) = told.refused(LimitKind::Tokens);
    assert!(used <= allowed && used + wanted > allowed);
    assert_eq!(
        used,
        world.requests().len() as u64 * USAGE.tokens(),
        "what was reserved and not used is free again"
    );
    let spent = RunView::fold(&told.events).unwrap().usage;
    assert!(spent.tokens() <= 20_000);
}

#[tokio::test(start_paused = true)]
async fn money_stops_before_the_request_that_might_go_over() {
    let limit = |budget: &mut Budget| budget.cost = MicroDollars(16_384 + 100);
    let mut dear = tireless();
    dear["limits"]["output_tokens_max"] = json!(16_300);
    let (world, told) = planned(one_act(), runaway)
        .role(dear)
        .budget(limit)
        .run()
        .await;
    assert_eq!(told.failure(), &over(LimitKind::Cost, 16_484));
    let (allowed, used, wanted) = told.refused(LimitKind::Cost);
    assert!(used <= allowed && used + wanted > allowed && wanted == 16_300);
    assert_eq!(used, world.requests().len() as u64 * USAGE.cost.0);
}

#[tokio::test(start_paused = true)]
async fn a_budget_too_small_for_a_plan_asks_no_model() {
    let (world, told) = planned(one_act(), runaway)
        .budget(|budget| budget.tokens = 100)
        .run()
        .await;
    assert_eq!(told.failure(), &over(LimitKind::Tokens, 100));
    assert!(world.requests().is_empty());
    assert!(!told.has(|kind| matches!(kind, Kind::ModelRequested { .. })));
}

#[tokio::test(start_paused = true)]
async fn agents_stop_exactly_at_the_limit() {
    let subtasks: Vec<_> = (0..9)
        .map(|number| talk(&format!("s{number}"), &[]))
        .collect();
    let (_, told) = planned(plan(&subtasks), |name, _| says(name))
        .workers(1)
        .budget(|budget| budget.agents = 4)
        .run()
        .await;
    assert_eq!(told.failure(), &over(LimitKind::Agents, 4));
    assert_eq!(
        told.count(|kind| matches!(kind, Kind::AgentSpawned { .. })),
        4
    );
    assert_eq!(told.refused(LimitKind::Agents), (4, 4, 1));
}

#[tokio::test(start_paused = true)]
async fn children_stop_exactly_at_the_fan_out() {
    let spawn = |before: usize| {
        calls(&[(
            "spawn_agent",
            json!({ "role": "talker", "task": format!("child {before}") }),
        )])
    };
    let (_, told) = planned(one_act(), move |name, before| match name {
        "a" if before < 5 => spawn(before),
        "a" => says("done"),
        _ => says("hello"),
    })
    .budget(|budget| budget.fan_out = 3)
    .run()
    .await;
    assert_eq!(told.text(), "done", "the agent is told and can go on");
    assert_eq!(
        told.count(|kind| matches!(
            kind,
            Kind::AgentSpawned {
                parent: Some(_),
                ..
            }
        )),
        3
    );
    assert_eq!(told.refused(LimitKind::FanOut), (3, 3, 1));
    assert!(told.has(|kind| matches!(kind, Kind::ToolResult { success: false, result_preview, .. } if result_preview.contains("all the children"))));
}

#[tokio::test(start_paused = true)]
async fn children_of_children_stop_exactly_at_the_depth() {
    let deeper = |before: usize| match before {
        0 => calls(&[(
            "spawn_agent",
            json!({ "role": "generalist", "task": "go deeper" }),
        )]),
        _ => says("done"),
    };
    // Each child's name is its task, so its turns are told apart by what it was last told.
    let one = one_act();
    let (_, told) = world(move |request, _| {
        Ok(answer(request, &one, &|_, request| {
            deeper(request.messages.len() - 1)
        }))
    })
    .budget(|budget| budget.depth = 2)
    .run()
    .await;
    assert_eq!(told.text(), "done");
    assert_eq!(
        told.count(|kind| matches!(kind, Kind::AgentSpawned { .. })),
        3
    );
    assert_eq!(told.refused(LimitKind::Depth).0, 2);
}

#[tokio::test(start_paused = true)]
async fn the_runs_time_ends_everything_in_order() {
    let subtasks = plan(&[talk("a", &[]), talk("b", &["a"]), talk("c", &["b"])]);
    let limit = |budget: &mut Budget| budget.wall_clock = Span::from_secs(70);
    let (world, told) = planned(subtasks, |name, _| says(name))
        .delay(turns_take(50))
        .budget(limit)
        .run()
        .await;
    let expected = over(LimitKind::WallClock, 70_000);
    assert_eq!(told.failure(), &expected);
    assert_eq!(told.subtask_failure("b"), &expected);
    assert_eq!((told.starts("b"), told.starts("c")), (1, 0));
    assert!(
        !told.has(|kind| matches!(kind, Kind::SubtaskTtlExpired { .. })),
        "it was the run's time, not the subtask's"
    );
    assert_eq!(world.runtime.runs_open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_planner_that_hangs_ends_with_the_runs_time() {
    let (_, told) = planned(one_act(), runaway)
        .delay(|_| Duration::from_secs(1 << 40))
        .run()
        .await;
    assert_eq!(told.failure(), &over(LimitKind::WallClock, 3_600_000));
}

#[tokio::test(start_paused = true)]
async fn the_earliest_deadline_goes_first_when_models_are_few() {
    let mut hurried = talk("hurried", &[]);
    hurried["ttl"] = json!({ "wall_clock_s": 200 });
    let subtasks = plan(&[talk("a", &[]), talk("b", &[]), talk("c", &[]), hurried]);
    let (_, told) = planned(subtasks, |name, _| says(name))
        .slots(1)
        .delay(turns_take(60))
        .run()
        .await;
    assert_eq!(told.text(), "hurried");
    assert!(
        told.completed("hurried") < told.completed("b")
            && told.completed("hurried") < told.completed("c")
    );
}

#[tokio::test(start_paused = true)]
async fn one_operator_leaves_room_for_the_others_and_is_told_what_takes_it() {
    let world = planned(one_act(), runaway)
        .role(tireless())
        .budget(|budget| budget.calls = 1)
        .ask(|submit| submit.park = true)
        .configure(|config| config.runs_of_one_max = 3)
        .start()
        .await;
    let submit = async |operator| {
        let submit = Submit {
            operator,
            ..world.goal("do it")
        };
        world.runtime.submit(submit).await
    };
    let mut own = Vec::new();
    for _ in 0..3 {
        own.push(submit(1000).await.unwrap());
    }
    for run in &own {
        while world.view(*run).await.state != RunState::Parked {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let Err(GoalError::Invalid { problem, next_step }) = submit(1000).await else {
        panic!("a fourth was taken")
    };
    assert!(
        problem.contains("3 of your runs are open") && problem.contains("3 are parked"),
        "{problem}"
    );
    assert!(next_step.contains("agentd stop RUN"), "{next_step}");
    submit(2000).await.unwrap();
    for _ in 0..5 {
        submit(0).await.unwrap();
    }
    world.runtime.stop(own[0], 1000).await.unwrap();
    world.end_of(own[0]).await;
    submit(1000).await.unwrap();
}
