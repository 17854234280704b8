//! Workers that are lost, and time that is up, in the middle of an act: the same rules as when the daemon ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod effects;
mod world;
use aaos_core::{
    approval::Settlement,
    tool::{Effect, Recovery},
};
use aaos_ports::Decisions;
use effects::*;
use world::*;

const OPERATOR: u32 = 1000;
const LOST: Turn = Turn::Lost { done: true };
const LOST_BEFORE: Turn = Turn::Lost { done: false };

fn repeated(kind: &Kind) -> bool {
    matches!(kind, Kind::ToolRepeated { .. })
}

fn doubted(kind: &Kind) -> bool {
    matches!(kind, Kind::EffectInDoubt { .. })
}

#[tokio::test(start_paused = true)]
async fn what_may_be_done_twice_is_done_again_by_another_worker_a_few_times() {
    for effect in [Effect::Pure, Effect::Read, Effect::Idempotent] {
        let act = Act::new(effect, Recovery::ByEffect).going(&[LOST, LOST, LOST]);
        let (_, told) = acting(&act, &["one"]).run().await;
        assert_eq!(
            (told.text(), act.begun(), told.count(repeated)),
            ("\"done\"", 4, 3)
        );
        let act = Act::new(effect, Recovery::ByEffect).going(&[LOST; 9]);
        let (_, told) = acting(&act, &["one"]).run().await;
        assert!(
            told.text().contains("the worker was lost during act"),
            "{}",
            told.text()
        );
        assert_eq!(act.begun(), 4);
        assert!(!told.has(doubted));
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_can_look_is_asked_by_the_next_worker() {
    for effect in [Effect::Reversible, Effect::Irreversible] {
        for (turn, text) in [
            (LOST, "\"seen\""),
            (LOST_BEFORE, "\"done\""),
            (Turn::Late { done: true }, "\"seen\""),
            (Turn::Late { done: false }, "\"done\""),
        ] {
            let act = Act::new(effect, Recovery::Looks).going(&[turn]);
            let (_, told) = acting(&act, &["one"]).run().await;
            assert_eq!((told.text(), act.done()), (text, 1), "{turn:?}");
            assert!(!told.has(doubted));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_tell_is_never_told_as_failed_but_waits_for_the_operator() {
    for effect in [Effect::Reversible, Effect::Irreversible] {
        for recovery in [Recovery::ByEffect, Recovery::Keyed] {
            for turn in [LOST, LOST_BEFORE, Turn::Late { done: true }] {
                let act = Act::new(effect, recovery).going(&[turn]);
                let world = acting(&act, &["one"]).start().await;
                let id = world.submit().await;
                let doubt = waiting(&world, id).await;
                assert_eq!(
                    (act.begun(), world.view(id).await.state),
                    (1, RunState::Waiting)
                );
                world
                    .runtime
                    .settle(id, doubt.call, Settlement::Repeat, OPERATOR)
                    .await
                    .unwrap();
                let told = world.end_of(id).await;
                assert_eq!(
                    (told.text(), act.begun(), told.count(doubted)),
                    ("\"done\"", 2, 1)
                );
                assert_eq!(told.count(repeated), 1);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_act_that_looks_done_again_and_again_and_is_lost_each_time_comes_to_the_operator() {
    let act = Act::new(Effect::Irreversible, Recovery::Looks).going(&[LOST_BEFORE; 9]);
    let world = acting(&act, &["one"]).start().await;
    let id = world.submit().await;
    let doubt = waiting(&world, id).await;
    assert_eq!(act.begun(), 4);
    world
        .runtime
        .settle(id, doubt.call, Settlement::GiveUp, OPERATOR)
        .await
        .unwrap();
    let told = world.end_of(id).await;
    assert!(
        told.text().contains("do not try it again"),
        "{}",
        told.text()
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_too_slow_and_only_looks_is_told_so() {
    let act = Act::new(Effect::Read, Recovery::ByEffect).going(&[Turn::Late { done: true }]);
    let (_, told) = acting(&act, &["one"]).run().await;
    assert!(
        told.text().contains("did not finish within"),
        "{}",
        told.text()
    );
    assert_eq!((act.begun(), told.count(repeated)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_its_backend_gave_up_is_launched_anew_a_few_times() {
    let act = Act::new(Effect::Irreversible, Recovery::ByEffect).going(&[Turn::NoWorker; 3]);
    let (world, told) = acting(&act, &["one"]).run().await;
    assert_eq!((told.text(), act.begun()), ("\"done\"", 1));
    assert_eq!(world.backend.launched().len(), 4);
    let act = Act::new(Effect::Irreversible, Recovery::ByEffect).going(&[Turn::NoWorker; 30]);
    let (world, told) = acting(&act, &["one"]).run().await;
    assert!(
        told.text().contains("no worker took the call"),
        "{}",
        told.text()
    );
    assert_eq!((world.backend.launched().len(), act.begun()), (4, 0));
    assert!(!told.has(doubted), "nothing was begun");
}

#[tokio::test(start_paused = true)]
async fn an_act_whose_right_is_revoked_in_the_middle_is_said_to_be_unknown() {
    let act =
        Act::new(Effect::Irreversible, Recovery::ByEffect).going(&[Turn::Hangs { done: true }]);
    let world = acting(&act, &["one"]).start().await;
    let id = world.submit().await;
    while act.begun() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let grant = world.grant(id, "tool: *").await;
    world.runtime.revoke(id, grant, OPERATOR).await.unwrap();
    let told = world.end_of(id).await;
    assert!(
        told.text().contains("whether act happened is not known"),
        "{}",
        told.text()
    );
    assert!(
        told.at(doubted)
            < told.at(|kind| matches!(
                kind,
                Kind::EffectSettled {
                    settlement: Settlement::GiveUp,
                    operator: None,
                    ..
                }
            ))
    );
    assert_eq!(world.view(id).await.waiting, []);
}

#[tokio::test(start_paused = true)]
async fn an_act_that_a_stop_cuts_off_is_left_in_sight_as_in_doubt() {
    let act = Act::new(Effect::Irreversible, Recovery::Looks).going(&[Turn::Hangs { done: true }]);
    let world = acting(&act, &["one"]).start().await;
    let id = world.submit().await;
    while act.begun() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    world.runtime.stop(id, OPERATOR).await.unwrap();
    let told = world.end_of(id).await;
    assert_eq!(
        (told.failure(), told.count(doubted)),
        (&Failure::Stopped, 1)
    );
    let view = world.view(id).await;
    assert_eq!((view.waiting.len(), view.unsettled.len()), (0, 1));
    assert_eq!(view.unsettled[0].tool, "act");
}

#[tokio::test(start_paused = true)]
async fn a_receipt_says_all_that_the_call_took_of_each_grant() {
    let one = one_act();
    let page = "https://example.org/";
    let crawling = world(move |request, before| {
        Ok(answer(request, &one, &|_, request| match before {
            0 => calls(&[("web_crawl", json!({ "url": page, "times": 3, "secs": 0 }))]),
            _ => says(&told(request).join("\n")),
        }))
    });
    let world = crawling.start().await;
    let told = world.run().await;
    let (grants, took) = (
        told.kinds().find_map(|kind| match kind {
            Kind::ToolInvoked { grants, .. } => Some(grants.clone()),
            _ => None,
        }),
        told.kinds().find_map(|kind| match kind {
            Kind::ToolResult { took, .. } => Some(took.clone()),
            _ => None,
        }),
    );
    let (grants, took) = (grants.unwrap(), took.unwrap());
    assert_eq!(grants.len(), 1, "the tool alone was declared");
    let uses: Vec<u64> = took.iter().map(|took| took.uses).collect();
    assert_eq!(took.len(), 2);
    assert!(uses.contains(&1) && uses.contains(&3), "{took:?}");
    assert!(took.iter().all(|took| took.bytes > 0));
}

/// Only the stage that performs calls reaches a tool, or a worker with a call.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "reads this crate's own source, which no port shows"
)]
fn there_is_no_path_to_a_tool_around_the_stages() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut found) = (vec![root], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let shipped = text.split("#[cfg(test)]").next().unwrap();
            let reaches = ["worker().call(", "worker.call(", "tool.call(", ".consider("];
            if reaches.iter().any(|act| shipped.contains(act)) {
                found.push(
                    path.strip_prefix(env!("CARGO_MANIFEST_DIR"))
                        .unwrap()
                        .display()
                        .to_string(),
                );
            }
        }
    }
    assert_eq!(found, ["src/invoke/place.rs"]);
}
