//! Acts that the daemon's end cut off: what is done again, what is looked at, what waits for the operator, and that
//! nothing that may not be happens twice.
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
    capability::Need,
    event::{Waiting, WaitsFor},
    tool::{Effect, Recovery},
};
use aaos_ports::{Decisions, Question};
use effects::*;
use world::*;

const OPERATOR: u32 = 1000;

fn repeated(kind: &Kind) -> bool {
    matches!(kind, Kind::ToolRepeated { .. })
}

fn doubted(kind: &Kind) -> bool {
    matches!(kind, Kind::EffectInDoubt { .. })
}

fn settled(wanted: Settlement) -> impl Fn(&Kind) -> bool {
    move |kind| matches!(kind, Kind::EffectSettled { settlement, .. } if *settlement == wanted)
}

fn invoked(kind: &Kind) -> bool {
    matches!(kind, Kind::ToolInvoked { .. })
}

/// Starts a run, kills its daemon in the middle of the act, and starts another one.
async fn killed(act: &Act, change: impl Fn(Builder) -> Builder) -> (World, RunId) {
    let world = change(acting(act, &["one"])).start().await;
    let id = world.submit().await;
    while act.begun() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let next = change(acting(act, &["one"])).journal(world.journal.killed());
    (next.start().await, id)
}

fn hanging(effect: Effect, recovery: Recovery, done: bool) -> Act {
    Act::new(effect, recovery).going(&[Turn::Hangs { done }])
}

async fn settle(world: &World, run: RunId, waiting: &Waiting, settlement: Settlement) {
    let settled = world
        .runtime
        .settle(run, waiting.call, settlement, OPERATOR);
    settled.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_may_be_done_twice_is_done_again_and_charged_once() {
    for effect in [Effect::Pure, Effect::Read, Effect::Idempotent] {
        let act = hanging(effect, Recovery::ByEffect, true);
        let once = |builder: Builder| builder.grants(&["tool: act {uses=1}"]);
        let (world, id) = killed(&act, once).await;
        let told = world.end_of(id).await;
        assert_eq!((told.text(), act.begun()), ("\"done\"", 2), "{effect:?}");
        assert_eq!((told.count(repeated), told.count(invoked)), (1, 1));
        assert!(!told.has(doubted));
        let took = told.kinds().find_map(|kind| match kind {
            Kind::ToolResult { took, .. } => Some(took.clone()),
            _ => None,
        });
        assert_eq!(took.unwrap()[0].uses, 1);
        assert_eq!(world.view(id).await.tool_calls, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_can_look_is_asked_and_its_act_happens_exactly_once() {
    for (effect, done) in [
        (Effect::Reversible, true),
        (Effect::Reversible, false),
        (Effect::Irreversible, true),
        (Effect::Irreversible, false),
    ] {
        let act = hanging(effect, Recovery::Looks, done);
        let (world, id) = killed(&act, |builder| builder).await;
        let told = world.end_of(id).await;
        assert_eq!(act.done(), 1, "{effect:?} {done}");
        assert_eq!(told.text(), if done { "\"seen\"" } else { "\"done\"" });
        let how = if done {
            Settlement::Done
        } else {
            Settlement::Repeat
        };
        assert_eq!(
            (told.count(settled(how)), told.count(repeated)),
            (1, usize::from(!done))
        );
        assert!(!told.has(doubted));
        let evidence = Question::Happened {
            evidence: json!({ "before": 0 }),
        };
        assert_eq!(act.questions(), [Question::Evidence, evidence]);
        assert!(told.has(|kind| matches!(kind, Kind::ToolInvoked { evidence: Some(seen), .. } if *seen == json!({ "before": 0 }))));
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_tell_waits_for_the_operator_who_may_decide_each_way() {
    let looks = [Look::Unknown, Look::Error];
    let blind = looks.map(|look| (Recovery::Looks, look));
    let others = [Recovery::ByEffect, Recovery::Keyed].map(|recovery| (recovery, Look::Truth));
    for (recovery, look) in blind.into_iter().chain(others) {
        for effect in [Effect::Reversible, Effect::Irreversible] {
            for (settlement, done_after, words) in [
                (Settlement::Done, 1, "it happened"),
                (Settlement::Repeat, 2, "\"done\""),
                (Settlement::GiveUp, 1, "do not try it again"),
            ] {
                let act = hanging(effect, recovery, true).looking(look);
                let (world, id) = killed(&act, |builder| builder).await;
                let doubt = waiting(&world, id).await;
                let WaitsFor::Doubt { why, .. } = &doubt.what else {
                    panic!("{doubt:?}")
                };
                assert!(
                    why.contains("the daemon ended while it was under way"),
                    "{why}"
                );
                assert_eq!(act.done(), 1);
                settle(&world, id, &doubt, settlement).await;
                let told = world.end_of(id).await;
                assert!(told.text().contains(words), "{}", told.text());
                assert_eq!(act.done(), done_after, "{recovery:?} {settlement:?}");
                assert_eq!(
                    (told.count(doubted), told.count(settled(settlement))),
                    (1, 1)
                );
                assert!(told.at(doubted) < told.at(settled(settlement)));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_with_a_key_is_sent_again_only_where_the_operator_says_keys_are_kept() {
    let post = Need::Http {
        method: "POST".to_owned(),
        url: "https://pay.example/charge".parse().unwrap(),
    };
    for (keyed, again) in [
        ("http: POST https://pay.example/", true),
        ("http: POST https://other.example/", false),
    ] {
        let act = hanging(Effect::Irreversible, Recovery::Keyed, true).needing(post.clone());
        let role = json!({ "name": "generalist", "summary": "s", "prompt": "p",
            "capabilities": ["inherit: tool", "inherit: http"] });
        let (world, id) = killed(&act, |builder| {
            let keyed = keyed.parse().unwrap();
            builder
                .role(role.clone())
                .grants(&["tool: *", "http: POST https://pay.example/"])
                .configure(move |config| config.effects_keyed = vec![keyed])
        })
        .await;
        if !again {
            let doubt = waiting(&world, id).await;
            settle(&world, id, &doubt, Settlement::GiveUp).await;
        }
        let told = world.end_of(id).await;
        assert_eq!(
            (act.begun() == 2, told.count(doubted)),
            (again, usize::from(!again))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_act_in_doubt_stays_in_doubt_over_any_number_of_restarts() {
    let act = hanging(Effect::Irreversible, Recovery::ByEffect, true);
    let (mut world, id) = killed(&act, |builder| builder).await;
    let first = waiting(&world, id).await;
    for _ in 0..3 {
        world = acting(&act, &["one"])
            .journal(world.journal.killed())
            .start()
            .await;
        assert_eq!(waiting(&world, id).await, first);
    }
    settle(&world, id, &first, Settlement::Done).await;
    let told = world.end_of(id).await;
    assert_eq!((act.begun(), told.count(doubted)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_word_given_before_a_kill_holds_after_it() {
    for (settlement, done) in [
        (Settlement::Done, 1),
        (Settlement::Repeat, 2),
        (Settlement::GiveUp, 1),
    ] {
        let act = hanging(Effect::Irreversible, Recovery::ByEffect, true);
        let (world, id) = killed(&act, |builder| builder).await;
        let doubt = waiting(&world, id).await;
        let next = if settlement == Settlement::Repeat {
            "tool_repeated"
        } else {
            "tool_result"
        };
        world.journal.hold_at(next);
        settle(&world, id, &doubt, settlement).await;
        world.journal.holding().await;
        let last = acting(&act, &["one"])
            .journal(world.journal.killed())
            .start()
            .await;
        let told = last.end_of(id).await;
        assert_eq!(
            (act.done(), told.count(doubted)),
            (done, 1),
            "{settlement:?}"
        );
        assert_eq!(told.count(settled(settlement)), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_repetition_that_is_cut_off_too_is_in_doubt_anew() {
    let hang = Turn::Hangs { done: true };
    let act = Act::new(Effect::Irreversible, Recovery::ByEffect).going(&[hang, hang]);
    let (world, id) = killed(&act, |builder| builder).await;
    settle(&world, id, &waiting(&world, id).await, Settlement::Repeat).await;
    while act.begun() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let last = acting(&act, &["one"])
        .journal(world.journal.killed())
        .start()
        .await;
    settle(&last, id, &waiting(&last, id).await, Settlement::Done).await;
    let told = last.end_of(id).await;
    assert_eq!((act.done(), told.count(doubted)), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_call_with_a_receipt_is_told_from_it_and_not_made_again() {
    let act = Act::new(Effect::Irreversible, Recovery::Looks).going(&[]);
    let two = &["one", "two"];
    let world = acting(&act, two).start().await;
    let id = world.submit().await;
    // In the middle of the second one's evidence, so to speak: its intent is not recorded.
    world
        .until(id, |kind| {
            matches!(kind, Kind::ToolResult { .. }).then_some(())
        })
        .await;
    let journal = world.journal.killed();
    let begun = act.begun();
    let next = acting(&act, two).journal(journal).start().await;
    let told = next.end_of(id).await;
    assert_eq!(told.text(), "\"done\"\n\"done\"");
    assert_eq!((act.done(), begun), (2, 1));
    assert_eq!(told.count(invoked), 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_call_rested_on_ended_without_a_daemon_and_it_is_not_done_again() {
    // Expired meanwhile: what may be repeated is told as refused, what may not is given up and says so.
    for (effect, words) in [
        (Effect::Idempotent, "revoked"),
        (Effect::Irreversible, "not known"),
    ] {
        let act = hanging(effect, Recovery::ByEffect, true);
        let change = |builder: Builder| builder.grants(&["tool: act {until=1970-01-01T00:10:00Z}"]);
        let world = change(acting(&act, &["one"])).start().await;
        let id = world.submit().await;
        while act.begun() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        let next = change(acting(&act, &["one"])).journal(world.journal.killed());
        let next = next.later(Span::from_secs(700)).start().await;
        let told = next.end_of(id).await;
        assert_eq!(act.begun(), 1, "{effect:?}");
        assert!(told.text().contains(words), "{}", told.text());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_an_act_is_in_doubt_ends_the_run_and_leaves_the_doubt_in_sight() {
    let act = hanging(Effect::Irreversible, Recovery::ByEffect, true);
    let (world, id) = killed(&act, |builder| builder).await;
    let doubt = waiting(&world, id).await;
    world.runtime.stop(id, OPERATOR).await.unwrap();
    let outcome = world
        .until(id, |kind| match kind {
            Kind::RunFinished { outcome, .. } => Some(outcome.clone()),
            _ => None,
        })
        .await;
    assert_eq!(
        outcome,
        Outcome::Failed {
            failure: Failure::Stopped
        }
    );
    let view = world.view(id).await;
    assert!(view.waiting.is_empty());
    assert_eq!(view.unsettled, [doubt]);
}

#[tokio::test(start_paused = true)]
async fn an_act_cut_off_in_a_run_that_is_stopped_before_anybody_sees_to_it_is_left_in_sight() {
    let act = hanging(Effect::Irreversible, Recovery::ByEffect, true);
    let world = acting(&act, &["one"]).start().await;
    let id = world.submit().await;
    while act.begun() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    world.runtime.stop(id, OPERATOR).await.unwrap();
    let next = acting(&act, &["one"]).journal(world.journal.killed());
    let next = next.start().await;
    let outcome = next
        .until(id, |kind| match kind {
            Kind::RunFinished { outcome, .. } => Some(outcome.clone()),
            _ => None,
        })
        .await;
    let failure = Failure::Stopped;
    assert_eq!(outcome, Outcome::Failed { failure });
    let view = next.view(id).await;
    assert_eq!((view.unsettled.len(), act.begun()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_act_cut_off_in_a_run_that_cannot_be_put_together_is_left_in_sight() {
    let act = hanging(Effect::Irreversible, Recovery::ByEffect, true);
    let world = acting(&act, &["one"]).start().await;
    let id = world.submit().await;
    while act.begun() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let journal = world.journal.killed();
    journal.lose_body_of(id, "run_submitted");
    let next = acting(&act, &["one"]).journal(journal).start().await;
    let outcome = next
        .until(id, |kind| match kind {
            Kind::RunFinished { outcome, .. } => Some(outcome.clone()),
            _ => None,
        })
        .await;
    assert!(
        matches!(
            outcome,
            Outcome::Failed {
                failure: Failure::Unrecoverable { .. }
            }
        ),
        "{outcome:?}"
    );
    assert_eq!(next.view(id).await.unsettled.len(), 1);
}

/// That the second plan was asked for with word of the act in doubt.
fn planner_is_told(world: &World) {
    let second = format!("{:?}", world.plan_requests()[1].messages);
    assert!(
        second.contains("act with") && second.contains("do not do it again"),
        "{second}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_planner_is_told_what_may_have_happened_before_it_plans_again() {
    let act = hanging(Effect::Irreversible, Recovery::ByEffect, true);
    let one = one_act();
    let hasty = json!({ "name": "generalist", "summary": "s", "prompt": "p",
        "capabilities": ["inherit: tool"], "limits": { "wall_clock_s": 20 } });
    let world = world(move |request, _| {
        Ok(answer(
            request,
            &one,
            &|_, request| match told(request).len() {
                0 => calls(&[("act", json!({ "word": "one" }))]),
                _ => says("done"),
            },
        ))
    });
    let world = world.tool(act.tool()).role(hasty).start().await;
    world.run().await;
    planner_is_told(&world);
}

fn post() -> Need {
    Need::Http {
        method: "POST".to_owned(),
        url: "https://pay.example/charge".parse().unwrap(),
    }
}

/// Where requests to one address are sent again under their key, by an agent that may send them for so long.
fn paying(until: &'static str) -> impl Fn(Builder) -> Builder {
    move |builder| {
        let role = json!({ "name": "generalist", "summary": "s", "prompt": "p",
            "capabilities": ["inherit: tool", "inherit: http"] });
        builder
            .role(role)
            .grants(&[
                "tool: *",
                &format!("http: POST https://pay.example/{until}"),
            ])
            .configure(|config| {
                config.effects_keyed = vec!["http: POST https://pay.example/".parse().unwrap()];
            })
    }
}

#[tokio::test(start_paused = true)]
async fn a_repetition_that_does_not_come_about_says_nothing_of_the_act_before_it() {
    for first in [Turn::Hangs { done: true }, Turn::Lost { done: true }] {
        let turns = [&[first][..], &[Turn::NoWorker; 4]].concat();
        let act = Act::new(Effect::Irreversible, Recovery::Keyed)
            .going(&turns)
            .needing(post());
        let (world, id) = if matches!(first, Turn::Hangs { .. }) {
            killed(&act, paying("")).await
        } else {
            let world = paying("")(acting(&act, &["one"])).start().await;
            let id = world.submit().await;
            (world, id)
        };
        let doubt = waiting(&world, id).await;
        let WaitsFor::Doubt { why, .. } = &doubt.what else {
            panic!("{doubt:?}")
        };
        assert!(why.contains("no worker took the call"), "{why}");
        settle(&world, id, &doubt, Settlement::Done).await;
        let told = world.end_of(id).await;
        assert!(told.text().contains("it happened"), "{}", told.text());
        assert_eq!((act.done(), told.count(repeated)), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_repetition_whose_right_has_ended_says_nothing_of_the_act_before_it() {
    let act = hanging(Effect::Irreversible, Recovery::Keyed, true).needing(post());
    let short = paying(" {until=1970-01-01T00:10:00Z}");
    let world = short(acting(&act, &["one"])).start().await;
    let id = world.submit().await;
    while act.begun() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let next = short(acting(&act, &["one"])).journal(world.journal.killed());
    let next = next.later(Span::from_secs(700)).start().await;
    let told = next.end_of(id).await;
    assert!(told.text().contains("not known"), "{}", told.text());
    assert_eq!(act.begun(), 1);
}

/// A world whose agent lets a child act, and says what it was told.
fn helped(act: &Act) -> Builder {
    let one = one_act();
    let helper = json!({ "name": "helper", "summary": "s", "prompt": "p", "capabilities": ["inherit: tool"] });
    let start = json!({ "role": "helper", "task": "help", "params": {} });
    world(move |request, _| {
        Ok(answer(
            request,
            &one,
            &|name, request| match (name, told(request).len()) {
                ("help", 0) => calls(&[("act", json!({ "word": "one" }))]),
                ("help", _) => says("helped"),
                (_, 0) => calls(&[("spawn_agent", start.clone())]),
                _ => says(&told(request).join("\n")),
            },
        ))
    })
    .role(helper)
    .tool(act.tool())
}

#[tokio::test(start_paused = true)]
async fn a_planner_is_told_what_a_child_may_have_done_however_long_that_takes_to_record() {
    let act = hanging(Effect::Irreversible, Recovery::ByEffect, true);
    let hasty = json!({ "name": "generalist", "summary": "s", "prompt": "p",
        "capabilities": ["inherit: tool", "inherit: spawn"], "limits": { "wall_clock_s": 20 } });
    let world = helped(&act).role(hasty).start().await;
    world.journal.hold_at("effect_in_doubt");
    let id = world.submit().await;
    world.journal.holding().await;
    tokio::time::sleep(std::time::Duration::from_secs(100)).await;
    world.journal.release();
    world.end_of(id).await;
    planner_is_told(&world);
}

#[tokio::test(start_paused = true)]
async fn what_a_child_was_cut_off_in_is_in_doubt_before_a_parent_goes_on_without_it() {
    let act = hanging(Effect::Irreversible, Recovery::ByEffect, true);
    let short = ["tool: *", "spawn: * {until=1970-01-01T00:10:00Z}"];
    let world = helped(&act).grants(&short).start().await;
    let id = world.submit().await;
    while act.begun() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let next = helped(&act).grants(&short).journal(world.journal.killed());
    let next = next.later(Span::from_secs(700)).start().await;
    let told = next.end_of(id).await;
    assert!(
        told.text().contains("do not do it again"),
        "{}",
        told.text()
    );
    let asked = |kind: &Kind| matches!(kind, Kind::ModelRequested { .. });
    let last = told
        .kinds()
        .collect::<Vec<_>>()
        .iter()
        .rposition(|kind| asked(kind));
    assert!(Some(told.at(doubted)) < last);
    assert_eq!((act.begun(), told.count(doubted)), (1, 1));
    assert_eq!(next.view(id).await.unsettled.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_repeated_act_takes_every_daemon_down_is_given_up() {
    let act =
        Act::new(Effect::Idempotent, Recovery::ByEffect).going(&[Turn::Hangs { done: false }; 300]);
    let mut world = acting(&act, &["one"]).start().await;
    let id = world.submit().await;
    for life in 1..200 {
        while act.begun() < life && !world.view(id).await.state.is_final() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        if act.begun() < life {
            break;
        }
        let next = acting(&act, &["one"]).journal(world.journal.killed());
        world = next.start().await;
    }
    let told = world.end_of(id).await;
    assert!(
        matches!(told.failure(), Failure::Unrecoverable { next_step, .. } if next_step.contains("fork")),
        "{:?}",
        told.outcome
    );
    assert_eq!(act.begun(), 101);
}

#[tokio::test(start_paused = true)]
async fn a_parent_is_told_what_anybody_below_it_may_have_done() {
    let act = hanging(Effect::Irreversible, Recovery::ByEffect, true);
    let one = one_act();
    let start = |role: &str, task: &str| {
        let child = json!({ "role": role, "task": task, "params": {} });
        calls(&[("spawn_agent", child)])
    };
    let world = world(move |request, _| {
        Ok(answer(
            request,
            &one,
            &|name, request| match (name, told(request).len()) {
                ("below", 0) => calls(&[("act", json!({ "word": "one" }))]),
                ("between", 0) => start("generalist", "below"),
                (_, 0) => start("hasty", "between"),
                _ => says(&told(request).join("\n")),
            },
        ))
    });
    let hasty = json!({ "name": "hasty", "summary": "s", "prompt": "p",
        "capabilities": ["inherit: tool", "inherit: spawn", "inherit: file_read", "inherit: file_write", "inherit: http"],
        "limits": { "wall_clock_s": 20 } });
    let (_, told) = world.tool(act.tool()).role(hasty).run().await;
    assert!(
        told.text().contains("do not do it again"),
        "{}",
        told.text()
    );
}

#[tokio::test(start_paused = true)]
async fn a_parent_whose_right_to_start_a_child_is_taken_back_is_told_what_it_may_have_done() {
    let act = hanging(Effect::Irreversible, Recovery::ByEffect, true);
    let world = helped(&act).start().await;
    let id = world.submit().await;
    while act.begun() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let grant = world.grant(id, "spawn: *").await;
    let revoking = world.runtime.revoke(id, grant, OPERATOR);
    let in_time = tokio::time::timeout(std::time::Duration::from_secs(1), revoking).await;
    in_time.unwrap().unwrap();
    let told = world.end_of(id).await;
    assert!(
        told.text().contains("do not do it again"),
        "{}",
        told.text()
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_the_operator_is_not_given_up_however_often_the_daemon_ends() {
    let act = hanging(Effect::Irreversible, Recovery::ByEffect, true);
    let (mut world, id) = killed(&act, |builder| builder).await;
    for _ in 0..110 {
        waiting(&world, id).await;
        let next = acting(&act, &["one"]).journal(world.journal.killed());
        world = next.start().await;
    }
    settle(&world, id, &waiting(&world, id).await, Settlement::Done).await;
    assert!(world.end_of(id).await.text().contains("it happened"));
}
