//! Authority taken back while it is being used: what ends at once, what goes on, what is told to whom.
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

const OPERATOR: u32 = 1000;
const READ: &str = "file_read: /home/op/*";
const WRITE: &str = "file_write: /home/op/*";

/// A world whose one agent makes these calls, one after another, and then says what it was told each time.
fn making(made: Vec<(&'static str, serde_json::Value)>) -> Builder {
    let one = one_act();
    world(move |request, before| {
        Ok(answer(
            request,
            &one,
            &|_, request| match made.get(before) {
                Some(call) => calls(std::slice::from_ref(call)),
                None => says(&all_results(request).join("\n")),
            },
        ))
    })
}

fn all_results(request: &Request) -> Vec<String> {
    let told = request.messages.iter().filter_map(|message| match message {
        Message::Tools { results } => Some(results.iter().map(|result| result.text.clone())),
        _ => None,
    });
    told.flatten().collect()
}

fn invoked(tool: &'static str) -> impl Fn(&Kind) -> Option<()> {
    move |kind| matches!(kind, Kind::ToolInvoked { tool: name, .. } if name == tool).then_some(())
}

/// Waits until a tool is at it: its intent is recorded before that.
async fn begun(world: &World, act: &str) {
    while !world.acts.all().iter().any(|done| done == act) {
        tokio::task::yield_now().await;
    }
}

/// A run whose agent is in a call that takes a minute, and would make another after it.
async fn waiting() -> (World, RunId) {
    let world = making(vec![
        ("wait", json!({ "secs": 60 })),
        ("echo", json!({ "message": "x" })),
    ])
    .start()
    .await;
    let id = world.submit().await;
    world.until(id, invoked("wait")).await;
    begun(&world, "wait begins").await;
    (world, id)
}

fn written(capabilities: &[aaos_core::capability::Capability]) -> Vec<String> {
    capabilities.iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
#[expect(
    clippy::disallowed_methods,
    reason = "the paused clock of the test, which no port shows"
)]
async fn a_call_in_flight_ends_with_the_grant_it_rests_on_and_the_next_is_denied() {
    let (world, id) = waiting().await;
    let (grant, asked) = (world.grant(id, "tool: *").await, Instant::now());
    let revoked = world.runtime.revoke(id, grant, OPERATOR).await.unwrap();
    assert_eq!((revoked.descendants, revoked.calls), (1, 1));
    assert!(asked.elapsed() < Duration::from_secs(1), "{asked:?}");
    let told = world.end_of(id).await;
    assert_eq!(world.acts.all(), ["wait begins"], "and it never ends");
    // In whichever order: what is taken back does not wait for a disk.
    told.at(|kind| {
        matches!(kind, Kind::CapabilityRevoked { grant: named, descendants: 1, operator: Some(OPERATOR) } if *named == grant)
    });
    told.at(|kind| matches!(kind, Kind::ToolResult { success: false, result_preview, .. } if result_preview.contains("the capability this rests on was revoked")));
    assert!(told.has(|kind| matches!(kind, Kind::CapabilityDenied { tool, axis, .. } if tool == "echo" && axis == "revoked")));
    assert!(
        told.text()
            .contains("the capability this rests on was revoked; finish"),
        "{}",
        told.text()
    );
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_told_exactly_what_is_left_and_other_calls_go_on() {
    let world = making(vec![
        ("wait", json!({ "secs": 60 })),
        ("file_read", json!({ "path": "a.md" })),
        ("file_write", json!({ "path": "b.md", "content": "kept" })),
    ])
    .start()
    .await;
    world
        .tree
        .put("/home/op/a.md", Node::File(b"secret".to_vec()));
    let id = world.submit().await;
    world.until(id, invoked("wait")).await;
    begun(&world, "wait begins").await;
    let revoked = world
        .runtime
        .revoke(id, world.grant(id, READ).await, OPERATOR)
        .await
        .unwrap();
    assert_eq!((revoked.descendants, revoked.calls), (1, 0));
    let launched = world.backend.launched().remove(0);
    let mut left = written(&launched.capabilities);
    left.retain(|capability| capability != READ);
    let narrowed = world.backend.narrowed();
    assert_eq!(narrowed.len(), 1);
    assert_eq!(
        (narrowed[0].0, written(&narrowed[0].1)),
        (launched.agent, left)
    );
    let told = world.end_of(id).await;
    assert_eq!(
        world.acts.all(),
        ["wait begins", "wait ends", "write b.md"],
        "what rests on other grants goes on"
    );
    assert!(told.has(|kind| matches!(kind, Kind::CapabilityDenied { tool, axis, .. } if tool == "file_read" && axis == "revoked")));
}

#[tokio::test(start_paused = true)]
async fn a_call_authorised_before_and_begun_after_does_not_begin() {
    let world = making(vec![("wait", json!({ "secs": 60 }))]).start().await;
    world.journal.hold_at("tool_invoked");
    let id = world.submit().await;
    world.journal.holding().await;
    let grant = world.grant(id, "tool: *").await;
    let revoking = world.runtime.revoke(id, grant, OPERATOR);
    let released = async {
        let live = || async {
            let live = world.runtime.grants(id).await.unwrap();
            live.iter().any(|live| live.grant == grant)
        };
        while live().await {
            tokio::task::yield_now().await;
        }
        world.journal.release();
    };
    let (revoked, ()) = futures::join!(revoking, released);
    assert_eq!(revoked.unwrap().calls, 1);
    let told = world.end_of(id).await;
    assert_eq!(world.acts.all(), Vec::<String>::new());
    assert!(told.has(|kind| matches!(kind, Kind::ToolResult { success: false, .. })));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_was_being_started_is_told_before_its_first_call() {
    let world = making(vec![("file_read", json!({ "path": "a.md" }))])
        .slow_launches(Duration::from_secs(10))
        .start()
        .await;
    let id = world.submit().await;
    world
        .until(id, |kind| {
            matches!(kind, Kind::SubtaskStarted { .. }).then_some(())
        })
        .await;
    // Half way through the launch, on a clock that moves only when all wait.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(world.backend.launched().is_empty());
    world
        .runtime
        .revoke(id, world.grant(id, READ).await, OPERATOR)
        .await
        .unwrap();
    let told = world.end_of(id).await;
    let launched = world.backend.launched().remove(0);
    assert!(written(&launched.capabilities).contains(&READ.to_owned()));
    let narrowed = world.backend.narrowed();
    assert_eq!(narrowed.len(), 1);
    assert!(!written(&narrowed[0].1).contains(&READ.to_owned()));
    assert_eq!(narrowed[0].1.len(), launched.capabilities.len() - 1);
    assert!(
        told.has(|kind| matches!(kind, Kind::CapabilityDenied { axis, .. } if axis == "revoked"))
    );
}

/// A world whose agent starts a child, which waits.
fn parent() -> Builder {
    let one = one_act();
    world(move |request, before| {
        Ok(answer(
            request,
            &one,
            &|name, request| match (name, before) {
                ("a", 0) => calls(&[(
                    "spawn_agent",
                    json!({ "role": "generalist", "task": "work", "params": {} }),
                )]),
                ("work", 0) => calls(&[("wait", json!({ "secs": 60 }))]),
                _ => says(&all_results(request).join("\n")),
            },
        ))
    })
}

#[tokio::test(start_paused = true)]
async fn a_grant_passed_on_ends_for_the_child_and_its_worker_too() {
    let world = parent().start().await;
    let id = world.submit().await;
    world.until(id, invoked("wait")).await;
    begun(&world, "wait begins").await;
    let live = world.runtime.grants(id).await.unwrap();
    let parents = live
        .iter()
        .find(|live| live.agent.is_some() && live.capability.to_string() == READ)
        .unwrap();
    let childs = live
        .iter()
        .find(|live| live.parent == Some(parents.grant))
        .unwrap();
    let revoked = world
        .runtime
        .revoke(id, parents.grant, OPERATOR)
        .await
        .unwrap();
    assert_eq!((revoked.descendants, revoked.calls), (1, 0));
    let mut told_workers: Vec<AgentId> = world
        .backend
        .narrowed()
        .iter()
        .map(|(agent, _)| *agent)
        .collect();
    told_workers.sort();
    let mut concerned = [parents.agent.unwrap(), childs.agent.unwrap()];
    concerned.sort();
    assert_eq!(told_workers, concerned);
    for (_, left) in world.backend.narrowed() {
        assert!(!written(&left).contains(&READ.to_owned()));
    }
    let own = world.runtime.grants(id).await.unwrap();
    assert!(
        own.iter()
            .any(|live| live.agent.is_none() && live.capability.to_string() == READ),
        "the run keeps what it had"
    );
    world.end_of(id).await;
}

#[tokio::test(start_paused = true)]
async fn a_child_ends_with_the_authority_to_start_it() {
    let world = parent().start().await;
    let id = world.submit().await;
    world.until(id, invoked("wait")).await;
    begun(&world, "wait begins").await;
    let revoked = world
        .runtime
        .revoke(id, world.grant(id, "spawn: *").await, OPERATOR)
        .await
        .unwrap();
    assert_eq!(
        (revoked.descendants, revoked.calls),
        (2, 1),
        "the parent's call alone rests on it"
    );
    let told = world.end_of(id).await;
    assert_eq!(world.acts.all(), ["wait begins"]);
    let child_ended = told.count(|kind| matches!(kind, Kind::AgentStopped { stop: StopReason::Failed { failure: Failure::Refused { axis, .. } } } if axis == "revoked"));
    assert_eq!(child_ended, 1, "{:#?}", told.events);
    assert!(
        told.text()
            .contains("the capability this rests on was revoked"),
        "the parent is told and goes on: {}",
        told.text()
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_a_worker_is_told_of_several_revocations_is_what_is_left_of_all() {
    let world = making(vec![("wait", json!({ "secs": 60 }))]).start().await;
    let id = world.submit().await;
    world.until(id, invoked("wait")).await;
    begun(&world, "wait begins").await;
    let mut revoking = Vec::new();
    for grant in [READ, WRITE, "http: GET *", "spawn: *"] {
        revoking.push(
            world
                .runtime
                .revoke(id, world.grant(id, grant).await, OPERATOR),
        );
    }
    for revoked in futures::future::join_all(revoking).await {
        assert_eq!(revoked.unwrap().descendants, 1);
    }
    let narrowed = world.backend.narrowed();
    let last = written(&narrowed.last().unwrap().1);
    let left = world.runtime.grants(id).await.unwrap();
    let held: Vec<String> = left
        .iter()
        .filter(|live| live.agent.is_some())
        .map(|live| live.capability.to_string())
        .collect();
    assert_eq!(last, held);
    assert!(last.contains(&"tool: *".to_owned()) && !last.contains(&WRITE.to_owned()));
    for (earlier, later) in narrowed.iter().zip(narrowed.iter().skip(1)) {
        assert!(later.1.len() <= earlier.1.len(), "{narrowed:#?}");
    }
    world.end_of(id).await;
}

#[tokio::test(start_paused = true)]
async fn a_revocation_that_cannot_be_recorded_takes_back_all_the_same() {
    let world = making(vec![("wait", json!({ "secs": 60 }))]).start().await;
    let id = world.submit().await;
    world.until(id, invoked("wait")).await;
    begun(&world, "wait begins").await;
    let grant = world.grant(id, "tool: *").await;
    world.journal.break_at("capability_revoked", false);
    let refused = world.runtime.revoke(id, grant, OPERATOR).await;
    assert!(
        matches!(refused, Err(GoalError::Unavailable { .. })),
        "{refused:?}"
    );
    assert_eq!(world.backend.narrowed().len(), 1);
    world.end_of(id).await;
    assert_eq!(world.acts.all(), ["wait begins"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_revoked_says_what_can() {
    let world = making(vec![("wait", json!({ "secs": 60 }))]).start().await;
    let id = world.submit().await;
    world.until(id, invoked("wait")).await;
    begun(&world, "wait begins").await;
    let (known, unknown) = (world.grant(id, READ).await, GrantId::from_drawn(77));
    world.runtime.revoke(id, known, OPERATOR).await.unwrap();
    for (grant, why) in [(unknown, "unknown"), (known, "revoked already")] {
        let Err(GoalError::Invalid { problem, next_step }) =
            world.runtime.revoke(id, grant, OPERATOR).await
        else {
            panic!("{why}")
        };
        assert!(problem.contains(&grant.to_string()), "{problem}");
        assert!(next_step.contains("agentd status"), "{next_step}");
    }
    let told = world.end_of(id).await;
    assert_eq!(
        told.count(|kind| matches!(kind, Kind::CapabilityRevoked { .. })),
        1
    );
    assert_eq!(
        world.runtime.revoke(id, known, OPERATOR).await,
        Err(GoalError::Ended(id))
    );
    let nobody = RunId::from_drawn(999);
    assert_eq!(
        world.runtime.revoke(nobody, known, OPERATOR).await,
        Err(GoalError::Unknown(nobody))
    );
    assert_eq!(world.runtime.grants(id).await, Err(GoalError::Ended(id)));
}

#[tokio::test(start_paused = true)]
async fn the_runs_own_grants_come_first_and_each_agents_name_what_they_came_from() {
    let world = making(vec![("wait", json!({ "secs": 60 }))]).start().await;
    let id = world.submit().await;
    world.until(id, invoked("wait")).await;
    begun(&world, "wait begins").await;
    let live = world.runtime.grants(id).await.unwrap();
    let own = live.iter().take_while(|live| live.agent.is_none()).count();
    assert_eq!(own, 7, "five that were asked for, two for the run's folder");
    let ids: Vec<GrantId> = live.iter().take(own).map(|live| live.grant).collect();
    for of_agent in &live[own..] {
        assert!(of_agent.agent.is_some());
        assert!(ids.contains(&of_agent.parent.unwrap()));
    }
    world.end_of(id).await;
}

/// A role that goes on for long.
fn tireless() -> serde_json::Value {
    json!({ "name": "generalist", "summary": "s", "prompt": "p", "capabilities": ["inherit: tool"],
        "limits": { "turns_max": 10_000 } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_begins_after_a_revocation_has_returned_whenever_it_comes() {
    for round in 0..40 {
        let one = one_act();
        // Its agent goes on until it is refused.
        let world = world(move |request, before| {
            Ok(answer(request, &one, &|_, request| {
                let refused = before > 0 && last_results(request).iter().all(|told| told.is_error);
                if refused {
                    return says("done");
                }
                calls(&[
                    ("echo", json!({ "message": format!("{before}a") })),
                    ("echo", json!({ "message": format!("{before}b") })),
                ])
            }))
        })
        .role(tireless())
        .start()
        .await;
        let id = world.submit().await;
        world.until(id, invoked("echo")).await;
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        let grant = world.grant(id, "tool: *").await;
        world.runtime.revoke(id, grant, OPERATOR).await.unwrap();
        let done = world.acts.all();
        let told = world.end_of(id).await;
        assert_eq!(world.acts.all(), done, "round {round}");
        assert_eq!(told.text(), "done");
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_that_could_not_be_recorded_holds_when_the_run_goes_on() {
    let (world, id) = waiting().await;
    let grant = world.grant(id, "tool: *").await;
    world.journal.break_at("capability_revoked", false);
    let refused = world.runtime.revoke(id, grant, OPERATOR).await;
    assert!(matches!(refused, Err(GoalError::Unavailable { .. })));
    let told = world.end_of(id).await;
    assert_eq!(world.acts.all(), ["wait begins"]);
    assert!(told.has(|kind| matches!(kind, Kind::RunRecovering { .. })));
    assert!(told.has(|kind| matches!(kind, Kind::CapabilityDenied { tool, axis, .. } if tool == "echo" && axis == "revoked")));
    assert!(told.has(|kind| matches!(kind, Kind::CapabilityRevoked { grant: named, operator: Some(OPERATOR), .. } if *named == grant)));
}
