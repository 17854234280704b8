//! Money, tokens and time above single requests: never over, told to the micro-dollar, waited for where that is wanted,
//! and the same after the daemon was killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod world;
use aaos_core::{
    budget::Budget,
    event::{Draft, Subject},
    model::Usage,
    time::Timestamp,
};
use aaos_ports::{Decisions, History, Journal, Spending, decisions::Raise};
use aaos_runtime::DayLimit;
use std::{collections::BTreeMap, time::Duration};
use world::*;

const DAY: Span = Span::from_secs(24 * 3_600);

/// A role that does anything, for ever if it likes, and may cost this much with each request.
fn tireless(price: u32) -> serde_json::Value {
    json!({ "name": "generalist", "summary": "s", "prompt": "p", "capabilities": ["inherit: tool", "inherit: spawn"],
        "limits": { "turns_max": 10_000, "output_tokens_max": price } })
}

fn talker(price: u32) -> serde_json::Value {
    json!({ "name": "talker", "summary": "s", "prompt": "p", "limits": { "output_tokens_max": price } })
}

/// One agent, no planner: every request of the run is this agent's, or one's that it starts.
fn alone(turn: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Builder {
    planned(one_act(), turn).mode(Some(Mode::Direct))
}

/// An agent that calls this often and then says that it is done.
fn busy(calls_made: usize) -> impl Fn(&str, usize) -> Reply {
    move |_, before| {
        if before < calls_made {
            calls(&[("echo", json!({ "message": format!("{before}") }))])
        } else {
            says("done")
        }
    }
}

/// `turn` by how often its agent has been answered in this conversation.
fn by_turns(turn: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Builder {
    world(move |request, _| {
        let before = request.messages.len() / 2;
        Ok(answer(request, &one_act(), &|name, _| turn(name, before)))
    })
    .mode(Some(Mode::Direct))
}

fn cost(limit: u64) -> impl FnOnce(&mut Budget) {
    move |budget| budget.cost = MicroDollars(limit)
}

fn dollars(cost: u64) -> Raise {
    Raise {
        cost: MicroDollars(cost),
        ..Raise::default()
    }
}

async fn spending(world: &World, run: Option<RunId>) -> Vec<Spending> {
    let since = Timestamp::default();
    world.runtime.spending(run, since).await.unwrap()
}

fn sum(rows: &[Spending]) -> Usage {
    rows.iter().map(|row| row.usage).sum()
}

/// The most that was spent and in flight at one time, as the record tells it.
fn most_committed(events: &[Event]) -> u64 {
    let (mut spent, mut flying, mut most) = (0, BTreeMap::new(), 0);
    for event in events {
        match &event.kind {
            Kind::ModelRequested { cost_reserved, .. } => {
                flying.insert(event.subject.agent, cost_reserved.0);
            }
            Kind::UsageReported { usage, .. } => {
                flying.remove(&event.subject.agent);
                spent += usage.cost.0;
            }
            Kind::ModelAbandoned { cost, .. } => {
                flying.remove(&event.subject.agent);
                spent += cost.0;
            }
            _ => {}
        }
        most = most.max(spent + flying.values().sum::<u64>());
    }
    most
}

/// What each abandoned request counts as.
fn costs(told: &Told) -> Vec<u64> {
    abandoned(told).into_iter().map(|(_, cost)| cost).collect()
}

async fn parked(world: &World, id: RunId) -> LimitKind {
    let limit = world
        .until(id, |kind| match kind {
            Kind::RunParked { limit, .. } => Some(*limit),
            _ => None,
        })
        .await;
    // The event is in the journal a moment before it is in the view.
    while world.view(id).await.state != RunState::Parked {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    limit
}

fn parkings(told: &Told) -> usize {
    told.count(|kind| matches!(kind, Kind::RunParked { .. }))
}

fn abandoned(told: &Told) -> Vec<(u64, u64)> {
    let found = told.kinds().filter_map(|kind| match kind {
        Kind::ModelAbandoned { tokens, cost, .. } => Some((*tokens, cost.0)),
        _ => None,
    });
    found.collect()
}

#[tokio::test(start_paused = true)]
async fn a_runaway_stops_at_the_reserved_limit_to_the_micro_dollar_and_says_where_it_went() {
    const LIMIT: u64 = 500;
    let runaway = |name: &str, before: usize| {
        let task = format!("{name} and on {before}");
        calls(&[
            ("spawn_agent", json!({ "role": "generalist", "task": task })),
            ("echo", json!({ "message": format!("{before}") })),
        ])
    };
    let (world, told) = alone(runaway)
        .role(tireless(10))
        .budget(cost(LIMIT))
        .run()
        .await;
    assert_eq!(
        told.failure(),
        &Failure::Limit {
            kind: LimitKind::Cost,
            limit: LIMIT
        }
    );
    let spent = RunView::fold(&told.events).unwrap().usage;
    let (allowed, used, wanted) = told.refused(LimitKind::Cost);
    assert_eq!((allowed, wanted), (LIMIT, 10));
    assert!(
        spent.cost.0 <= LIMIT && spent.cost.0 + wanted > LIMIT,
        "{spent:?}"
    );
    assert_eq!(used, spent.cost.0);
    assert_eq!(spent.cost.0, world.requests().len() as u64 * USAGE.cost.0);
    let rows = spending(&world, Some(told.id)).await;
    assert_eq!(sum(&rows), spent, "what went by agent adds up to all of it");
    let agents = told.count(|kind| matches!(kind, Kind::AgentSpawned { .. }));
    let askers: usize = rows.iter().map(|row| usize::from(row.requests > 0)).sum();
    assert!(
        rows.len() == askers && askers <= agents && agents > 3,
        "{rows:#?}"
    );
    assert!(rows.iter().all(|row| {
        row.operator == 1000
            && row
                .role
                .as_ref()
                .is_some_and(|role| role.as_str() == "generalist")
            && row.subtask.is_some()
            && row.stop.is_some()
    }));
    assert!(rows.is_sorted_by_key(|row| std::cmp::Reverse(row.usage.cost)));
    let by_role = spending(&world, None).await;
    assert_eq!((by_role.len(), sum(&by_role)), (1, spent));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_agents_racing_for_the_last_dollar_never_go_over() {
    const LIMIT: u64 = 16_384 + 2_500;
    let subtasks: Vec<_> = (0..100).map(|n| talk(&format!("s{n}"), &[])).collect();
    let racing = plan(&subtasks);
    let builder = world(move |request, _| {
        let mut reply = answer(request, &racing, &|name, _| says(name));
        if matches!(request.purpose, Purpose::Turn { .. }) {
            // As dear as it can be.
            reply.usage.cost = MicroDollars(1_000);
        }
        Ok(reply)
    });
    let slow = |request: &Request| match &request.purpose {
        Purpose::Turn { task, .. } => Duration::from_millis(task.len() as u64 % 5),
        _ => Duration::ZERO,
    };
    let (_, told) = builder
        .role(talker(1_000))
        .budget(cost(LIMIT))
        .workers(100)
        .delay(slow)
        .run()
        .await;
    assert!(matches!(
        told.failure(),
        Failure::Limit {
            kind: LimitKind::Cost,
            ..
        }
    ));
    let spent = RunView::fold(&told.events).unwrap().usage.cost.0;
    assert!(spent <= LIMIT && spent + 1_000 > LIMIT, "{spent}");
    assert!(most_committed(&told.events) <= LIMIT);
}

#[tokio::test(start_paused = true)]
async fn what_others_only_hold_is_waited_for_and_refuses_nobody() {
    let subtasks: Vec<_> = (0..100).map(|n| talk(&format!("s{n}"), &[])).collect();
    let (world, told) = planned(plan(&subtasks), |name, _| says(name))
        .role(talker(1_000))
        .budget(cost(16_384 + 1_000))
        .workers(100)
        .delay(|_| Duration::from_millis(3))
        .run()
        .await;
    assert_eq!(told.text(), "s99");
    assert_eq!(world.requests().len(), 101);
    assert!(most_committed(&told.events) <= 17_384);
    assert!(!told.has(|kind| matches!(kind, Kind::BudgetRefused { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_run_parks_at_its_limit_and_goes_on_when_the_operator_raises_it() {
    let world = alone(busy(9))
        .role(tireless(10))
        .budget(cost(30))
        .budget(|budget| budget.wall_clock = Span::from_secs(100))
        .ask(|submit| submit.park = true)
        .start()
        .await;
    let id = world.submit().await;
    assert_eq!(parked(&world, id).await, LimitKind::Cost);
    // Longer than the run may last: waiting for the operator is no time at work.
    tokio::time::sleep(Duration::from_secs(5_000)).await;
    assert_eq!(world.requests().len(), 3);
    let budget = world.runtime.resume(id, dollars(1_000), 7).await.unwrap();
    assert_eq!(budget.cost, MicroDollars(1_030));
    let told = world.end_of(id).await;
    assert_eq!((told.text(), parkings(&told)), ("done", 1));
    let raised = told
        .events
        .iter()
        .find(|event| matches!(event.kind, Kind::BudgetRaised { operator: 7, .. }));
    assert_eq!(world.journal.sure(raised.unwrap().seq), Durability::Durable);
    let view = RunView::fold(&told.events).unwrap();
    assert_eq!((view.budget, view.parked), (budget, None));
}

#[tokio::test(start_paused = true)]
async fn a_raise_that_is_too_small_parks_again_and_raises_add_up() {
    let world = alone(busy(9))
        .role(tireless(10))
        .budget(cost(30))
        .ask(|submit| submit.park = true)
        .start()
        .await;
    let id = world.submit().await;
    parked(&world, id).await;
    let (one, other) = (dollars(1), dollars(2));
    let raises = futures::join!(
        world.runtime.resume(id, one, 7),
        world.runtime.resume(id, other, 7)
    );
    let most = raises.0.unwrap().cost.max(raises.1.unwrap().cost);
    assert_eq!(most, MicroDollars(33));
    let nothing = world.runtime.resume(id, Raise::default(), 7).await;
    assert!(matches!(nothing, Err(GoalError::Invalid { .. })));
    world.runtime.resume(id, dollars(1_000), 7).await.unwrap();
    let told = world.end_of(id).await;
    assert_eq!(told.text(), "done");
    let late = world.runtime.resume(id, dollars(1), 7).await;
    assert!(matches!(late, Err(GoalError::Ended(ended)) if ended == id));
}

#[tokio::test(start_paused = true)]
async fn calls_agents_and_time_park_too() {
    let children = |name: &str, before: usize| match (name, before) {
        ("goal", 0..4) => calls(&[
            ("echo", json!({ "message": format!("{before}") })),
            (
                "spawn_agent",
                json!({ "role": "talker", "task": format!("t{before}") }),
            ),
        ]),
        _ => says("done"),
    };
    let world = alone(children)
        .delay(|_| Duration::from_secs(10))
        .budget(|budget| {
            (budget.calls, budget.agents) = (5, 3);
            budget.wall_clock = Span::from_secs(65);
        })
        .ask(|submit| submit.park = true)
        .start()
        .await;
    let id = world.submit().await;
    let mut limits = Vec::new();
    let end = loop {
        let after = limits.len();
        let mut seen = 0;
        let next = world.until(id, |kind| match kind {
            Kind::RunParked { limit, .. } => {
                seen += 1;
                (seen > after).then_some(Ok(*limit))
            }
            Kind::RunFinished { .. } => Some(Err(())),
            _ => None,
        });
        let Ok(limit) = next.await else { break after };
        limits.push(limit);
        let raise = match limit {
            LimitKind::Calls => Raise {
                calls: 100,
                ..Raise::default()
            },
            LimitKind::Agents => Raise {
                agents: 100,
                ..Raise::default()
            },
            LimitKind::WallClock => Raise {
                wall_clock: Span::from_secs(1_000),
                ..Raise::default()
            },
            other => panic!("parked at {other:?}"),
        };
        tokio::time::sleep(Duration::from_secs(10_000)).await;
        world.runtime.resume(id, raise, 7).await.unwrap();
    };
    let told = world.end_of(id).await;
    assert_eq!((told.text(), end), ("done", 3));
    for limit in [LimitKind::Calls, LimitKind::Agents, LimitKind::WallClock] {
        assert!(limits.contains(&limit), "{limits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_parked_run_can_be_stopped() {
    let world = alone(busy(9))
        .role(tireless(10))
        .budget(cost(30))
        .ask(|submit| submit.park = true)
        .start()
        .await;
    let id = world.submit().await;
    parked(&world, id).await;
    world.runtime.stop(id, 7).await.unwrap();
    assert_eq!(world.end_of(id).await.failure(), &Failure::Stopped);
}

#[tokio::test(start_paused = true)]
async fn depth_is_not_waited_for() {
    let deeper = |_: &str, before: usize| match before {
        0 => calls(&[(
            "spawn_agent",
            json!({ "role": "generalist", "task": "go deeper" }),
        )]),
        _ => says("done"),
    };
    let (_, told) = by_turns(deeper)
        .budget(|budget| budget.depth = 1)
        .ask(|submit| submit.park = true)
        .run()
        .await;
    assert_eq!((told.text(), parkings(&told)), ("done", 0));
    assert_eq!(told.refused(LimitKind::Depth), (1, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_killed_daemon_changes_nothing_about_a_parked_run() {
    let builder = || {
        by_turns(busy(9))
            .role(tireless(10))
            .budget(cost(30))
            .ask(|submit| submit.park = true)
    };
    let first = builder().start().await;
    let id = first.submit().await;
    parked(&first, id).await;
    let journal = first.journal.killed();
    let second = builder()
        .journal(journal)
        .amid(&first.tree, &first.acts)
        .start()
        .await;
    second
        .until(id, |kind| {
            matches!(kind, Kind::RunResumed { .. }).then_some(())
        })
        .await;
    tokio::time::sleep(Duration::from_secs(5_000)).await;
    assert_eq!(second.view(id).await.state, RunState::Parked);
    assert_eq!(
        second.requests().len(),
        0,
        "nothing is asked or charged again"
    );
    second.runtime.resume(id, dollars(1_000), 7).await.unwrap();
    let told = second.end_of(id).await;
    assert_eq!((told.text(), parkings(&told)), ("done", 1));
    let view = RunView::fold(&told.events).unwrap();
    assert_eq!(view.usage.cost.0, 10 * USAGE.cost.0);
    assert_eq!(sum(&spending(&second, Some(id)).await), view.usage);
}

#[tokio::test(start_paused = true)]
async fn a_request_in_flight_at_a_kill_counts_at_its_worst_and_is_asked_again() {
    let builder = || by_turns(busy(2)).role(tireless(10)).budget(cost(40));
    let first = builder().delay(|_| Duration::from_secs(50)).start().await;
    let id = first.submit().await;
    let mut asked = 0;
    first
        .until(id, |kind| {
            asked += usize::from(matches!(kind, Kind::ModelRequested { .. }));
            (asked == 2).then_some(())
        })
        .await;
    let journal = first.journal.killed();
    let second = builder()
        .journal(journal)
        .amid(&first.tree, &first.acts)
        .start()
        .await;
    let told = second.end_of(id).await;
    assert_eq!(told.text(), "done");
    assert_eq!(
        second.requests().len(),
        2,
        "the first answer came from the record"
    );
    let worst = told.kinds().find_map(|kind| match kind {
        Kind::ModelRequested {
            tokens_reserved,
            cost_reserved,
            ..
        } => Some((*tokens_reserved, cost_reserved.0)),
        _ => None,
    });
    assert_eq!(abandoned(&told).len(), 1);
    assert_eq!(abandoned(&told)[0].1, worst.unwrap().1);
    let rows = spending(&second, Some(id)).await;
    assert_eq!(sum(&rows), RunView::fold(&told.events).unwrap().usage);
    assert_eq!(sum(&rows).cost.0, 3 * USAGE.cost.0 + 10);
    assert_eq!((rows[0].requests, rows[0].abandoned), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_nobody_waits_for_any_more_counts_at_its_worst() {
    let world = alone(busy(9))
        .role(tireless(10))
        .delay(|_| Duration::from_secs(50))
        .start()
        .await;
    let id = world.submit().await;
    world.until(id, requested).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.runtime.stop(id, 7).await.unwrap();
    let told = world.end_of(id).await;
    let lost = abandoned(&told);
    assert_eq!((lost.len(), lost[0].1), (1, 10));
    let at = |wanted: fn(&Kind) -> bool| told.at(wanted);
    assert!(
        at(|kind| matches!(kind, Kind::ModelAbandoned { .. }))
            < at(|kind| matches!(kind, Kind::AgentStopped { .. }))
    );
    let view = RunView::fold(&told.events).unwrap();
    assert_eq!((view.usage.cost.0, view.subtasks[0].usage.cost.0), (10, 10));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_a_slot_costs_nothing_when_it_is_given_up() {
    let subtasks = plan(&[talk("a", &[]), talk("b", &["a"]), talk("c", &[])]);
    let slow = |request: &Request| {
        Duration::from_secs(if matches!(request.purpose, Purpose::Turn { .. }) {
            50
        } else {
            0
        })
    };
    let world = planned(subtasks, |name, _| says(name))
        .slots(1)
        .delay(slow)
        .start()
        .await;
    let id = world.submit().await;
    world
        .until(id, |kind| {
            matches!(kind, Kind::ModelRequested { request, .. } if !request.is_empty())
                .then_some(())
        })
        .await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    world.runtime.stop(id, 7).await.unwrap();
    let told = world.end_of(id).await;
    assert_eq!(abandoned(&told).len(), 1, "only the one that was sent");
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_is_free_and_one_that_may_be_billed_is_not() {
    for billed in [false, true] {
        let failed = move || match billed {
            true => fault(ProviderFault::BadReply).billed(),
            false => fault(ProviderFault::BadReply),
        };
        let (_, told) = world(move |_, _| Err(failed()))
            .mode(Some(Mode::Direct))
            .role(tireless(10))
            .run()
            .await;
        assert!(matches!(told.failure(), Failure::Provider { .. }));
        assert_eq!(costs(&told), if billed { vec![10] } else { vec![] });
    }
}

#[tokio::test(start_paused = true)]
async fn every_attempt_that_may_be_billed_is_a_request_of_its_own() {
    let (world, told) = alone(busy(0)).role(tireless(10)).broken_off(2).run().await;
    assert_eq!((told.text(), costs(&told)), ("done", vec![10, 10]));
    let asked = |kind: &&Kind| matches!(kind, Kind::ModelRequested { .. });
    assert_eq!(told.kinds().filter(asked).count(), 3);
    let view = RunView::fold(&told.events).unwrap();
    assert_eq!(view.usage.cost.0, 20 + USAGE.cost.0);
    assert_eq!(sum(&spending(&world, Some(told.id)).await), view.usage);
    let replayed = world.runtime.replay(told.id).await.unwrap();
    assert_eq!(replayed.divergence, None);
}

#[tokio::test(start_paused = true)]
async fn answers_that_break_off_again_and_again_stop_at_the_limit() {
    let (_, told) = alone(busy(0))
        .role(tireless(10))
        .budget(cost(55))
        .broken_off(1_000)
        .run()
        .await;
    assert_eq!(costs(&told), [10; 5]);
    assert_eq!(told.refused(LimitKind::Cost), (55, 50, 10));
    assert!(most_committed(&told.events) <= 55);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_cannot_pay_for_another_attempt_parks_and_makes_it_when_it_can() {
    let world = alone(busy(0))
        .role(tireless(10))
        .budget(cost(15))
        .broken_off(1)
        .ask(|submit| submit.park = true)
        .start()
        .await;
    let id = world.submit().await;
    assert_eq!(parked(&world, id).await, LimitKind::Cost);
    world.runtime.resume(id, dollars(100), 7).await.unwrap();
    let told = world.end_of(id).await;
    assert_eq!((told.text(), costs(&told)), ("done", vec![10, 10]));
}

#[tokio::test(start_paused = true)]
async fn attempts_at_an_answer_are_counted_whenever_the_daemon_is_killed() {
    let broken = || by_turns(busy(2)).role(tireless(10)).broken_off(2);
    let whole = broken().run().await.1.events.len();
    for cut in 3..whole {
        let journal = WorldJournal::default();
        let first = broken().journal(journal.clone()).start().await;
        journal.freeze_after(cut);
        let id = first.submit().await;
        journal.frozen().await;
        let second = broken().journal(journal.killed()).start().await;
        let told = second.end_of(id).await;
        let requests = told
            .kinds()
            .filter(|kind| matches!(kind, Kind::ModelRequested { .. }))
            .count();
        let (lost, answered) = (costs(&told).len(), 3);
        assert_eq!((told.text(), requests), ("done", lost + answered), "{cut}");
        let view = RunView::fold(&told.events).unwrap();
        let spent = 10 * lost as u64 + 3 * USAGE.cost.0;
        assert_eq!(view.usage.cost.0, spent, "{cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_costs_money_is_durable_before_it_is_sent() {
    let (world, told) = alone(busy(2)).role(tireless(10)).run().await;
    for event in &told.events {
        if matches!(event.kind, Kind::ModelRequested { .. }) {
            assert_eq!(world.journal.sure(event.seq), Durability::Durable);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_has_a_budget_of_its_own_and_another_role_goes_on() {
    let limit = |submit: &mut Submit| {
        let own = Budget {
            cost: MicroDollars(30),
            ..submit.budget
        };
        submit
            .role_budgets
            .insert("generalist".parse().unwrap(), own);
    };
    let subtasks = plan(&[act("a"), talk("b", &[])]);
    let (_, told) = planned(subtasks, |name, before| match name {
        "a" => busy(99)(name, before),
        _ => says("b"),
    })
    .role(tireless(10))
    .ask(limit)
    .run()
    .await;
    let expected = Failure::Limit {
        kind: LimitKind::RoleCost,
        limit: 30,
    };
    assert_eq!(told.subtask_failure("a"), &expected);
    assert!(told.has(|kind| matches!(kind, Kind::SubtaskCompleted { subtask, outcome: Outcome::Succeeded { .. } } if subtask.as_str() == "b")));
    assert_eq!(told.refused(LimitKind::RoleCost), (30, 21, 10));
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_at_work_no_longer_than_its_roles_budget_allows() {
    let limit = |submit: &mut Submit| {
        let own = Budget {
            wall_clock: Span::from_secs(100),
            ..submit.budget
        };
        let role = "generalist".parse().unwrap();
        submit.role_budgets.insert(role, own);
    };
    let (_, told) = alone(busy(99))
        .role(tireless(10))
        .delay(|_| Duration::from_secs(30))
        .ask(limit)
        .run()
        .await;
    let expected = Failure::Limit {
        kind: LimitKind::WallClock,
        limit: 100_000,
    };
    assert_eq!(told.failure(), &expected);
    assert_eq!(abandoned(&told).len(), 1);
}

fn day(limit: u64) -> impl FnOnce(&mut aaos_runtime::Config) + Send + 'static {
    move |config| {
        config.budget_operator_day = DayLimit {
            tokens: None,
            cost: Some(MicroDollars(limit)),
        };
    }
}

#[tokio::test(start_paused = true)]
async fn an_operators_runs_share_a_day_and_the_next_day_is_another() {
    let builder = || by_turns(busy(2)).role(tireless(10)).configure(day(40));
    let first = builder().start().await;
    assert_eq!(first.run().await.text(), "done");
    let told = first.run().await;
    let expected = Failure::Limit {
        kind: LimitKind::OperatorDayCost,
        limit: 40,
    };
    assert_eq!(told.failure(), &expected);
    assert_eq!(told.refused(LimitKind::OperatorDayCost), (40, 35, 10));
    let other = Submit {
        operator: 2000,
        ..first.goal("the same, for somebody else")
    };
    let other = first.runtime.submit(other).await.unwrap();
    assert_eq!(first.end_of(other).await.text(), "done");
    // A daemon that starts anew knows what was spent today.
    let second = builder().journal(first.journal.killed()).start().await;
    assert_eq!(second.run().await.failure(), &expected);
    second.clock.advance(DAY);
    assert_eq!(second.run().await.text(), "done");
}

/// Erases a run as a store does, all but what was spent, on behalf of an operator or of nobody, with or without a record
/// of whose it was.
async fn erase(journal: &WorldJournal, run: RunId, operator: Option<u32>, whose: Option<u32>) {
    let erased = Draft {
        time: Timestamp::default(),
        subject: Subject {
            run: Some(run),
            ..Subject::default()
        },
        kind: Kind::ContentErased {
            erased: run,
            events: 1,
            bodies: 0,
            reason: "asked for".to_owned(),
            operator,
            whose,
        },
    };
    journal
        .append(vec![erased], Durability::Durable)
        .await
        .unwrap();
    journal.tell_otherwise(move |event| {
        let kept = matches!(
            event.kind,
            Kind::ContentErased { .. } | Kind::UsageReported { .. } | Kind::ModelAbandoned { .. }
        );
        if event.subject.run == Some(run) && !kept {
            event.kind = Kind::Erased { was: String::new() };
        }
    });
}

#[tokio::test(start_paused = true)]
async fn what_an_erased_run_spent_counts_for_whose_it_was_and_for_who_erased_it_if_that_is_not_recorded()
 {
    let builder = || by_turns(busy(2)).role(tireless(10)).configure(day(40));
    for (operator, whose, counted) in [
        (None, Some(1000), true),
        (Some(2000), Some(1000), true),
        (Some(1000), Some(2000), false),
        (Some(1000), None, true),
        (Some(2000), None, false),
        (None, None, false),
    ] {
        let first = builder().start().await;
        let told = first.run().await;
        let journal = first.journal.killed();
        erase(&journal, told.id, operator, whose).await;
        let second = builder().journal(journal).start().await;
        let over = matches!(second.run().await.outcome, Outcome::Failed { .. });
        assert_eq!(over, counted, "erased by {operator:?}, {whose:?}'s");
        let spent = spending(&second, None).await;
        let row = spent.iter().find(|row| row.run == told.id).unwrap();
        assert_eq!(row.operator, whose.or(operator).unwrap_or(u32::MAX));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_in_flight_at_a_kill_is_held_for_the_day_until_it_is_counted() {
    let builder = || by_turns(busy(0)).role(tireless(10)).configure(day(15));
    let first = builder().delay(|_| Duration::from_secs(50)).start().await;
    let id = first.submit().await;
    first.until(id, requested).await;
    let second = builder().journal(first.journal.killed()).start().await;
    let told = second.run().await;
    let limit = Failure::Limit {
        kind: LimitKind::OperatorDayCost,
        limit: 15,
    };
    assert_eq!(told.failure(), &limit);
    assert_eq!(second.end_of(id).await.failure(), &limit);
    let rows = spending(&second, None).await;
    assert_eq!(sum(&rows).cost, MicroDollars(10));
}

#[tokio::test(start_paused = true)]
async fn a_run_parked_at_the_days_limit_goes_on_when_the_day_is_over() {
    let world = alone(busy(9))
        .role(tireless(10))
        .configure(day(30))
        .ask(|submit| submit.park = true)
        .start()
        .await;
    let id = world.submit().await;
    assert_eq!(parked(&world, id).await, LimitKind::OperatorDayCost);
    world.clock.advance(DAY);
    let mut days = 0;
    let told = loop {
        let view = world.view(id).await;
        if view.state.is_final() {
            break world.end_of(id).await;
        }
        if view.state == RunState::Parked {
            world.clock.advance(DAY);
            days += 1;
            assert!(days < 20, "it never goes on");
        }
        tokio::time::sleep(Duration::from_secs(300)).await;
    };
    assert_eq!(told.text(), "done");
    let view = RunView::fold(&told.events).unwrap();
    assert!(parkings(&told) >= 2 && view.usage.cost.0 == 10 * USAGE.cost.0);
}

#[tokio::test(start_paused = true)]
async fn a_raise_of_something_else_leaves_a_run_that_is_out_of_time_parked() {
    let world = alone(|_, before| match before {
        0..9 => calls(&[("echo", json!({ "message": format!("{before}") }))]),
        _ => says("done"),
    })
    .delay(|_| Duration::from_secs(10))
    .budget(|budget| budget.wall_clock = Span::from_secs(35))
    .ask(|submit| submit.park = true)
    .start()
    .await;
    let id = world.submit().await;
    assert_eq!(parked(&world, id).await, LimitKind::WallClock);
    world.runtime.resume(id, dollars(1), 7).await.unwrap();
    for _ in 0..1_000 {
        if world.view(id).await.state == RunState::Parked {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(world.view(id).await.state, RunState::Parked);
    let more = Raise {
        wall_clock: Span::from_secs(1_000),
        ..Raise::default()
    };
    world.runtime.resume(id, more, 7).await.unwrap();
    let told = world.end_of(id).await;
    assert_eq!((told.text(), parkings(&told)), ("done", 2));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_could_not_be_recorded_holds_nothing_of_the_day() {
    let builder = by_turns(busy(0)).role(tireless(10)).configure(day(15));
    let world = builder.start().await;
    world.journal.break_at("model_requested", false);
    assert_eq!(world.run().await.text(), "done");
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_recorded_at_once_counts_once_for_the_day() {
    let builder = || by_turns(busy(0)).role(tireless(10));
    // What was in flight counts at its worst, then it is asked again.
    let world = builder().configure(day(20)).start().await;
    world.journal.break_at("model_replied", false);
    assert_eq!(world.run().await.text(), "done");
    // Each answer breaks off once, which has to be paid for.
    let world = builder().broken_off(1).configure(day(30)).start().await;
    world.journal.break_at("model_abandoned", false);
    let told = world.run().await;
    assert_eq!((told.text(), costs(&told)), ("done", vec![10, 10]));
}
