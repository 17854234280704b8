//! Agents that start agents: no child holds more than its parent, outlives it, or escapes its budget.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod world;
use std::time::Duration;
use world::*;

fn start(role: &str, task: &str, params: serde_json::Value) -> Reply {
    calls(&[(
        "spawn_agent",
        json!({ "role": role, "task": task, "params": params }),
    )])
}

/// A world whose agent `a` starts one child and then says what came of it, and whose child does `child`.
fn parent(
    spawning: Reply,
    child: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
) -> Builder {
    let one = one_act();
    world(move |request, before| {
        Ok(answer(
            request,
            &one,
            &|name, request| match (name, before) {
                ("a", 0) => spawning.clone(),
                ("a", _) => says(&last_results(request)[0].text),
                _ => child(request, before),
            },
        ))
    })
}

fn child_of(told: &Told) -> (AgentId, AgentId) {
    let found = told.events.iter().find_map(|event| match &event.kind {
        Kind::AgentSpawned {
            parent: Some(parent),
            ..
        } => Some((event.subject.agent.unwrap(), *parent)),
        _ => None,
    });
    found.expect("a child")
}

#[tokio::test(start_paused = true)]
async fn a_childs_output_comes_back_to_its_parent() {
    let (_, told) = parent(start("talker", "greet", json!({})), |_, _| says("hello"))
        .run()
        .await;
    assert_eq!(told.text(), r#"{"text":"hello","type":"text"}"#);
    let (child, parent) = child_of(&told);
    let spawned = told.at(|kind| {
        matches!(
            kind,
            Kind::AgentSpawned {
                parent: Some(_),
                ..
            }
        )
    });
    let call =
        told.at(|kind| matches!(kind, Kind::ToolInvoked { tool, .. } if tool == "spawn_agent"));
    assert_eq!(told.events[call].subject.agent, Some(parent));
    let cause = told.events[spawned].subject.cause;
    assert_eq!(
        cause,
        Some(told.events[call].seq),
        "the call is the cause of the child"
    );
    assert!(
        told.events
            .iter()
            .any(|event| event.subject.agent == Some(child)
                && matches!(
                    event.kind,
                    Kind::AgentStopped {
                        stop: StopReason::Complete
                    }
                ))
    );
}

#[tokio::test(start_paused = true)]
async fn a_child_holds_no_more_than_its_parent() {
    let greedy = json!({ "name": "greedy", "summary": "s", "prompt": "p", "capabilities": ["tool: change", "file_read: /home/op/**"] });
    let modest = json!({ "name": "generalist", "summary": "s", "prompt": "p", "capabilities": ["tool: spawn_agent", "tool: echo", "spawn: greedy"] });
    let (world, told) = parent(start("greedy", "take all", json!({})), |_, _| {
        calls(&[("change", json!({ "secs": 0 }))])
    })
    .role(greedy)
    .role(modest)
    .run()
    .await;
    assert!(told.text().contains("was refused"), "{}", told.text());
    assert!(told.has(
        |kind| matches!(kind, Kind::CapabilityRefused { wanted, .. } if wanted.contains("change"))
    ));
    assert!(!told.has(|kind| matches!(
        kind,
        Kind::AgentSpawned {
            parent: Some(_),
            ..
        }
    )));
    assert!(world.acts.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn every_grant_of_a_child_comes_from_one_of_its_parents() {
    let (_, told) = parent(start("generalist", "help", json!({})), |_, _| {
        says("helped")
    })
    .run()
    .await;
    let (child, parent) = child_of(&told);
    let grants = |agent| -> Vec<_> {
        told.events
            .iter()
            .filter(|event| event.subject.agent == Some(agent))
            .filter_map(|event| match &event.kind {
                Kind::CapabilityGranted {
                    grant,
                    parent,
                    capability,
                } => Some((*grant, *parent, capability.clone())),
                _ => None,
            })
            .collect()
    };
    let (of_parent, of_child) = (grants(parent), grants(child));
    assert_eq!(of_child.len(), of_parent.len());
    for (_, from, capability) in of_child {
        assert!(
            of_parent
                .iter()
                .any(|(grant, _, held)| Some(*grant) == from && held.covers(&capability))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_that_may_not_be_started_is_denied() {
    let (_, told) = parent(
        start("writer", "write", json!({ "output": "x" })),
        |_, _| says("no"),
    )
    .grants(&["tool: *", "spawn: talker"])
    .run()
    .await;
    assert!(told.text().starts_with("refused (name)"), "{}", told.text());
    assert!(
        told.has(
            |kind| matches!(kind, Kind::CapabilityDenied { tool, .. } if tool == "spawn_agent")
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_child_that_cannot_be_made_ready_says_why() {
    let cases = [
        (start("nobody", "x", json!({})), "there is no role `nobody`"),
        (start("writer", "x", json!({})), "`output` is missing"),
        (
            start("talker", "x", json!({ "colour": "red" })),
            "no parameter `colour`",
        ),
        (
            start("fetcher", "x", json!({ "url": "https://a.example" })),
            "fixed procedure",
        ),
    ];
    for (spawning, told_of) in cases {
        let (_, told) = parent(spawning, |_, _| says("no")).run().await;
        assert!(told.text().contains(told_of), "{}", told.text());
    }
}

#[tokio::test(start_paused = true)]
async fn a_childs_failure_is_told_to_its_parent_who_goes_on() {
    let (_, told) = parent(start("talker", "greet", json!({})), |_, _| {
        says("CANNOT: I am shy")
    })
    .run()
    .await;
    assert!(
        told.text()
            .contains("starting talker: the agent gave up: I am shy"),
        "{}",
        told.text()
    );
}

#[tokio::test(start_paused = true)]
async fn a_childs_cost_counts_on_its_parents_subtask_and_run() {
    let (world, told) = parent(start("talker", "greet", json!({})), |_, _| says("hello"))
        .run()
        .await;
    let view = world.view(told.id).await;
    assert_eq!(
        view.usage.cost.0,
        4 * USAGE.cost.0,
        "plan, two turns, one of the child"
    );
    assert_eq!(view.subtasks[0].usage.cost.0, 3 * USAGE.cost.0);
}

#[tokio::test(start_paused = true)]
async fn a_limit_on_money_of_starting_agents_is_spent_by_the_children() {
    let one = one_act();
    let (_, told) = world(move |request, before| {
        Ok(answer(
            request,
            &one,
            &|name, request| match (name, before) {
                ("a", 0..3) => start("talker", &format!("greet {before}"), json!({})),
                ("a", _) => says(&last_results(request)[0].text),
                _ => says("hello"),
            },
        ))
    })
    .grants(&["tool: *", "spawn: talker {money=0.00001usd}"])
    .run()
    .await;
    // Ten micro-dollars; each child costs seven.
    assert!(
        told.text().starts_with("refused (money)"),
        "{}",
        told.text()
    );
    assert_eq!(
        told.count(|kind| matches!(
            kind,
            Kind::AgentSpawned {
                parent: Some(_),
                ..
            }
        )),
        2
    );
    assert!(
        told.has(|kind| matches!(kind, Kind::CapabilityDenied { axis, .. } if axis == "money"))
    );
}

#[tokio::test(start_paused = true)]
#[expect(
    clippy::disallowed_methods,
    reason = "the paused clock of the test, which no port shows"
)]
async fn a_stopped_run_stops_parent_and_child() {
    let slow = |request: &Request| {
        Duration::from_secs(
            if matches!(&request.purpose, Purpose::Turn { subtask: None, .. }) {
                1_000
            } else {
                0
            },
        )
    };
    let world = parent(start("talker", "greet", json!({})), |_, _| says("hello"))
        .delay(slow)
        .start()
        .await;
    let id = world.submit().await;
    world
        .until(id, |kind| {
            matches!(
                kind,
                Kind::AgentSpawned {
                    parent: Some(_),
                    ..
                }
            )
            .then_some(())
        })
        .await;
    let begun = tokio::time::Instant::now();
    world.runtime.stop(id, 1000).await.unwrap();
    let told = world.end_of(id).await;
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "a child that only thinks ends at once"
    );
    assert_eq!(told.failure(), &Failure::Stopped);
    let stopped = |kind: &Kind| {
        matches!(
            kind,
            Kind::AgentStopped {
                stop: StopReason::Failed {
                    failure: Failure::Stopped
                }
            }
        )
    };
    assert_eq!(told.count(stopped), 2);
}

#[tokio::test(start_paused = true)]
async fn a_parent_out_of_time_takes_its_child_with_it() {
    let hasty = json!({ "name": "generalist", "summary": "s", "prompt": "p", "capabilities": ["inherit: tool", "inherit: spawn"],
        "limits": { "wall_clock_s": 60 } });
    let slow = |request: &Request| {
        Duration::from_secs(
            if matches!(&request.purpose, Purpose::Turn { subtask: None, .. }) {
                500
            } else {
                0
            },
        )
    };
    let (_, told) = parent(start("talker", "greet", json!({})), |_, _| says("hello"))
        .role(hasty)
        .delay(slow)
        .run()
        .await;
    let expected = Failure::Limit {
        kind: LimitKind::WallClock,
        limit: 60_000,
    };
    assert_eq!(told.failure(), &expected);
    let ended = |kind: &Kind| matches!(kind, Kind::AgentStopped { stop: StopReason::Failed { failure } } if *failure == expected);
    assert_eq!(
        told.count(ended),
        2,
        "the child ends, for its parent's reason"
    );
}

#[tokio::test(start_paused = true)]
async fn a_child_that_will_not_end_loses_its_grants() {
    let world = parent(
        start("generalist", "work", json!({})),
        |_, before| match before {
            0 => calls(&[("change", json!({ "secs": 100 }))]),
            _ => says("done"),
        },
    )
    .start()
    .await;
    let id = world.submit().await;
    world
        .until(id, |kind| {
            matches!(kind, Kind::ToolInvoked { tool, .. } if tool == "change").then_some(())
        })
        .await;
    world.runtime.stop(id, 1000).await.unwrap();
    let told = world.end_of(id).await;
    assert_eq!(told.failure(), &Failure::Stopped);
    assert!(
        told.has(|kind| matches!(kind, Kind::CapabilityRevoked { descendants: 1, .. })),
        "its parent's, and with them its own"
    );
    assert_eq!(world.acts.all(), ["change begins"]);
}
