//! Acts that wait for a person: who is asked, what is shown, what an answer allows, and what becomes of it when the
//! daemon ends, the time is up, or the authority is gone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod effects;
mod world;
use aaos_core::{
    approval::{Answer, Preview, Rule, Settlement},
    event::{Waiting, WaitsFor},
    tool::{Effect, Recovery},
};
use aaos_ports::{Bell, Decisions, Digest, Journal, Pending, ToolError};
use effects::*;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use world::*;

const OPERATOR: u32 = 1000;

fn rule(text: &str) -> Rule {
    text.parse().unwrap()
}

/// A world whose `act` waits for approval.
fn asking(act: &Act, words: &'static [&'static str]) -> Builder {
    acting(act, words).ask(|submit| submit.approve = vec![rule("tool: act")])
}

fn final_act() -> Act {
    Act::new(Effect::Irreversible, Recovery::ByEffect)
}

fn yes() -> Answer {
    Answer::Approve { always: None }
}

fn no(reason: &str) -> Answer {
    Answer::Deny {
        reason: reason.to_owned(),
    }
}

fn asked(kind: &Kind) -> bool {
    matches!(kind, Kind::ApprovalRequested { .. })
}

fn answered(kind: &Kind) -> bool {
    matches!(kind, Kind::ApprovalAnswered { .. })
}

fn invoked(kind: &Kind) -> bool {
    matches!(kind, Kind::ToolInvoked { .. })
}

async fn say(world: &World, run: RunId, waiting: &Waiting, answer: Answer) {
    let said = world.runtime.answer(run, waiting.call, answer, OPERATOR);
    said.await.unwrap();
}

fn expires(waiting: &Waiting) -> aaos_core::time::Timestamp {
    match &waiting.what {
        WaitsFor::Approval { expires, .. } => *expires,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_approved_act_happens_once_and_other_arguments_are_asked_about_anew() {
    let act = final_act();
    let world = asking(&act, &["one", "two"]).start().await;
    let id = world.submit().await;
    let first = waiting(&world, id).await;
    assert_eq!(
        (act.begun(), world.view(id).await.state),
        (0, RunState::Waiting)
    );
    say(&world, id, &first, yes()).await;
    let second = waiting(&world, id).await;
    assert_ne!(first.call, second.call);
    assert_eq!(act.done(), 1);
    say(&world, id, &second, yes()).await;
    let told = world.end_of(id).await;
    assert_eq!((told.text(), act.done()), ("\"done\"\n\"done\"", 2));
    assert_eq!((told.count(asked), told.count(answered)), (2, 2));
    assert!(told.at(asked) < told.at(answered) && told.at(answered) < told.at(invoked));
    for kind in [asked, answered] {
        let event = &told.events[told.at(kind)];
        assert_eq!(world.journal.sure(event.seq), Durability::Durable);
    }
    assert!(told.has(|kind| matches!(
        kind,
        Kind::ApprovalAnswered {
            operator: OPERATOR,
            ..
        }
    )));
}

#[tokio::test(start_paused = true)]
async fn a_denied_act_does_not_happen_costs_nothing_and_the_model_is_told_why() {
    let act = final_act();
    let world = asking(&act, &["one", "two"])
        .grants(&["tool: act {uses=1}"])
        .start()
        .await;
    let id = world.submit().await;
    say(&world, id, &waiting(&world, id).await, no("not today")).await;
    say(&world, id, &waiting(&world, id).await, yes()).await;
    let told = world.end_of(id).await;
    assert!(
        told.text()
            .contains("the operator does not approve this: not today"),
        "{}",
        told.text()
    );
    assert_eq!(act.done(), 1, "the one use is left for the second");
    assert_eq!(told.count(invoked), 1);
    assert!(told.has(
        |kind| matches!(kind, Kind::ToolRejected { problem, .. } if problem.contains("not today"))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_answers_expires_and_the_act_is_refused() {
    let act = final_act();
    let world = asking(&act, &["one"]).start().await;
    let id = world.submit().await;
    let request = waiting(&world, id).await;
    world.clock.advance(Span::from_secs(3_600));
    let late = world
        .runtime
        .answer(id, request.call, yes(), OPERATOR)
        .await;
    assert!(matches!(late, Err(GoalError::Invalid { .. })), "{late:?}");
    let told = world.end_of(id).await;
    assert!(
        told.text().contains("nobody approved this in time"),
        "{}",
        told.text()
    );
    assert_eq!(act.begun(), 0);
    assert!(told.has(|kind| matches!(kind, Kind::ApprovalExpired { waited, .. } if *waited >= Span::from_secs(3_600))));
    assert!(!told.has(answered));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_answers_at_once_the_first_one_stands() {
    let act = final_act();
    let world = asking(&act, &["one"]).start().await;
    let id = world.submit().await;
    let request = waiting(&world, id).await;
    let racing = (0..50).map(|number| {
        let runtime = Arc::clone(&world.runtime);
        let answer = if number % 2 == 0 { yes() } else { no("no") };
        tokio::spawn(async move {
            let said = runtime
                .answer(id, request.call, answer.clone(), number)
                .await;
            (said, answer)
        })
    });
    let racing: Vec<_> = racing.collect();
    let mut stood = Vec::new();
    for one in racing {
        match one.await.unwrap() {
            (Ok(()), answer) => stood.push(answer),
            (Err(GoalError::Invalid { .. } | GoalError::Ended(_)), _) => {}
            (Err(other), _) => panic!("{other:?}"),
        }
    }
    let told = world.end_of(id).await;
    assert_eq!((stood.len(), told.count(answered)), (1, 1));
    assert_eq!(act.done() == 1, stood[0] == yes());
}

#[tokio::test(start_paused = true)]
async fn always_is_for_one_tool_one_run_and_a_time_also_over_a_restart() {
    let act = final_act().going(&[Turn::Lost { done: true }]);
    let words = &["one", "two", "three"];
    let world = asking(&act, words).start().await;
    let id = world.submit().await;
    let hour = Answer::Approve {
        always: Some(Span::from_secs(3_600)),
    };
    say(&world, id, &waiting(&world, id).await, hour).await;
    // The first one is in doubt now.
    let doubt = loop {
        let waiting = waiting(&world, id).await;
        if matches!(waiting.what, WaitsFor::Doubt { .. }) {
            break waiting;
        }
    };
    let second = asking(&act, words)
        .journal(world.journal.killed())
        .start()
        .await;
    second
        .runtime
        .settle(id, doubt.call, Settlement::Done, OPERATOR)
        .await
        .unwrap();
    let told = second.end_of(id).await;
    assert_eq!((told.count(asked), act.done()), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_time_for_which_a_tool_was_approved_ends() {
    let act = final_act();
    let world = asking(&act, &["one", "two"]).start().await;
    let id = world.submit().await;
    world.journal.hold_at("tool_result");
    let minute = Answer::Approve {
        always: Some(Span::from_secs(60)),
    };
    say(&world, id, &waiting(&world, id).await, minute).await;
    world.journal.holding().await;
    world.clock.advance(Span::from_secs(61));
    world.journal.release();
    say(&world, id, &waiting(&world, id).await, yes()).await;
    assert_eq!(world.end_of(id).await.count(asked), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_asked_before_a_kill_is_answered_after_the_restart() {
    let act = final_act();
    let world = asking(&act, &["one"]).start().await;
    let id = world.submit().await;
    let before = waiting(&world, id).await;
    let second = asking(&act, &["one"])
        .journal(world.journal.killed())
        .start()
        .await;
    let after = waiting(&second, id).await;
    assert_eq!(
        (after.call, expires(&after)),
        (before.call, expires(&before))
    );
    // However far its agent has come again.
    say(&second, id, &after, yes()).await;
    let told = second.end_of(id).await;
    assert_eq!(
        (told.text(), act.done(), told.count(asked)),
        ("\"done\"", 1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_given_before_a_kill_holds_after_it() {
    for answer in [yes(), no("never")] {
        let act = final_act();
        let world = asking(&act, &["one"]).start().await;
        let id = world.submit().await;
        let request = waiting(&world, id).await;
        world.journal.hold_at("tool_invoked");
        if answer != yes() {
            world.journal.hold_at("tool_rejected");
        }
        say(&world, id, &request, answer.clone()).await;
        world.journal.holding().await;
        let second = asking(&act, &["one"])
            .journal(world.journal.killed())
            .start()
            .await;
        let told = second.end_of(id).await;
        assert_eq!(act.done(), u32::from(answer == yes()));
        assert_eq!((told.count(asked), told.count(answered)), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_expired_without_a_daemon_is_refused_after_the_restart() {
    let act = final_act();
    let world = asking(&act, &["one"]).start().await;
    let id = world.submit().await;
    waiting(&world, id).await;
    let later = asking(&act, &["one"]).journal(world.journal.killed());
    let second = later.later(Span::from_secs(4_000)).start().await;
    let told = second.end_of(id).await;
    assert_eq!(act.begun(), 0);
    assert!(told.text().contains("nobody approved"), "{}", told.text());
    assert_eq!(told.count(asked), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_revoked_while_it_waits_is_refused_and_not_asked_about_any_more() {
    let act = final_act();
    let world = asking(&act, &["one"]).start().await;
    let id = world.submit().await;
    let request = waiting(&world, id).await;
    let grant = world.grant(id, "tool: *").await;
    let revoked = world.runtime.revoke(id, grant, OPERATOR).await.unwrap();
    assert_eq!(revoked.calls, 1);
    let told = world.end_of(id).await;
    assert_eq!(act.begun(), 0);
    assert!(
        told.has(|kind| matches!(kind, Kind::CapabilityDenied { axis, .. } if axis == "revoked"))
    );
    let late = world
        .runtime
        .answer(id, request.call, yes(), OPERATOR)
        .await;
    assert_eq!(late, Err(GoalError::Ended(id)));
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_wait_at_once() {
    let act = final_act();
    let world = asking(&act, &["one"]).start().await;
    let id = world.submit().await;
    waiting(&world, id).await;
    world.runtime.stop(id, OPERATOR).await.unwrap();
    let told = world.end_of(id).await;
    assert_eq!(told.failure(), &Failure::Stopped);
    let view = world.view(id).await;
    assert!(view.waiting.is_empty() && view.unsettled.is_empty());
    assert_eq!(act.begun(), 0);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_person_uses_up_nobodys_time() {
    let act = final_act();
    let world = asking(&act, &["one"])
        .budget(|budget| budget.wall_clock = Span::from_secs(100))
        .start()
        .await;
    let id = world.submit().await;
    let request = waiting(&world, id).await;
    tokio::time::sleep(Duration::from_secs(5_000)).await;
    say(&world, id, &request, yes()).await;
    assert_eq!(world.end_of(id).await.text(), "\"done\"");
}

#[tokio::test(start_paused = true)]
async fn a_person_is_shown_what_would_happen_or_else_the_arguments() {
    let line = Preview::Request {
        line: "POST https://example.org/pay".to_owned(),
        headers: Vec::new(),
        body: "all of it".to_owned(),
    };
    let arguments = Preview::Arguments {
        json: r#"{"word":"one"}"#.to_owned(),
    };
    let blind = Err(ToolError::Failed("it cannot".to_owned()));
    for (preview, shown) in [
        (Ok(Some(line.clone())), &line),
        (Ok(None), &arguments),
        (blind, &arguments),
    ] {
        let act = final_act().showing(preview);
        let world = asking(&act, &["one"]).start().await;
        let id = world.submit().await;
        let request = waiting(&world, id).await;
        let WaitsFor::Approval {
            rule,
            preview,
            body,
            ..
        } = &request.what
        else {
            panic!("{request:?}")
        };
        assert_eq!((rule.as_str(), preview), ("tool: act", &shown.line()));
        let body = world.journal.get(&Digest(body.clone())).await.unwrap();
        assert_eq!(&serde_json::from_slice::<Preview>(&body).unwrap(), shown);
        assert_eq!(act.begun(), 0, "looking is not doing");
        say(&world, id, &request, yes()).await;
        world.end_of(id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn rules_come_from_roles_and_from_the_operator_and_name_tools_effects_and_capabilities() {
    let role = |approve: serde_json::Value| {
        json!({ "name": "generalist", "summary": "s", "prompt": "p", "approve": approve,
            "capabilities": ["inherit: tool", "inherit: file_write"] })
    };
    let write = aaos_core::capability::Need::File {
        right: aaos_core::capability::FileRight::Write,
        path: "kept/a.md".to_owned(),
    };
    for (rules, asks) in [
        (json!(["effect: irreversible"]), true),
        (json!(["effect: read"]), false),
        (json!([{ "tool": "a*" }]), true),
        (json!(["file_write: /home/op/kept/**"]), true),
        (json!(["file_write: /home/op/other/**"]), false),
        (json!(["file_read: /home/op/kept/**"]), false),
    ] {
        let act = final_act().needing(write.clone());
        let world = acting(&act, &["one"])
            .role(role(rules.clone()))
            .start()
            .await;
        let id = world.submit().await;
        if asks {
            say(&world, id, &waiting(&world, id).await, yes()).await;
        }
        let told = world.end_of(id).await;
        assert_eq!((told.has(asked), act.done()), (asks, 1), "{rules}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_rule_names_is_not_reached_on_the_way_of_another_call() {
    let one = one_act();
    let sneaking = world(move |request, before| {
        Ok(answer(request, &one, &|_, request| match before {
            0 => calls(&[(
                "web_crawl",
                json!({ "url": "https://kept.example/", "times": 1, "secs": 0 }),
            )]),
            _ => says(&told(request).join("\n")),
        }))
    });
    let world = sneaking
        .ask(|submit| submit.approve = vec![rule("http: GET https://kept.example/")])
        .start()
        .await;
    let told = world.run().await;
    assert!(
        told.has(|kind| matches!(kind, Kind::CapabilityDenied { axis, .. } if axis == "approval")),
        "{:#?}",
        told.kinds().collect::<Vec<_>>()
    );
    assert_eq!(told.text(), r#"{"fetched":0}"#);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_recorded_is_none_and_may_be_given_again() {
    let act = final_act();
    let world = asking(&act, &["one"]).start().await;
    let id = world.submit().await;
    let request = waiting(&world, id).await;
    world.journal.break_at("approval_answered", false);
    let lost = world
        .runtime
        .answer(id, request.call, yes(), OPERATOR)
        .await;
    assert!(
        matches!(lost, Err(GoalError::Unavailable { .. })),
        "{lost:?}"
    );
    assert_eq!(act.begun(), 0);
    say(&world, id, &request, yes()).await;
    assert_eq!(world.end_of(id).await.text(), "\"done\"");
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_what_does_not_wait_says_what_does() {
    let act = final_act();
    let world = asking(&act, &["one"]).start().await;
    let id = world.submit().await;
    let request = waiting(&world, id).await;
    let settled = world
        .runtime
        .settle(id, request.call, Settlement::Done, OPERATOR)
        .await;
    assert!(
        matches!(&settled, Err(GoalError::Invalid { problem, .. }) if problem.contains("waits for approval")),
        "{settled:?}"
    );
    let nobody = aaos_core::id::CallId::from_drawn(4);
    let unknown = world.runtime.answer(id, nobody, yes(), OPERATOR).await;
    assert!(
        matches!(&unknown, Err(GoalError::Invalid { next_step, .. }) if next_step.contains("agentd approvals list")),
        "{unknown:?}"
    );
    let other = RunId::from_drawn(99);
    let no_run = world.runtime.answer(other, nobody, yes(), OPERATOR).await;
    assert_eq!(no_run, Err(GoalError::Unknown(other)));
    assert!(
        world
            .runtime
            .pending(None)
            .await
            .unwrap()
            .iter()
            .all(|pending| pending.run == id)
    );
    say(&world, id, &request, no("")).await;
    world.end_of(id).await;
}

#[derive(Default)]
struct Rung(Mutex<Vec<Pending>>);

#[async_trait::async_trait]
impl Bell for Rung {
    async fn ring(&self, pending: &Pending) -> Result<(), String> {
        self.0.lock().unwrap().push(pending.clone());
        // One that never comes back holds nobody up.
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn the_bell_rings_once_for_what_begins_to_wait() {
    let (act, bell) = (final_act(), Arc::new(Rung::default()));
    let world = asking(&act, &["one"]).bell(bell.clone()).start().await;
    let id = world.submit().await;
    let request = waiting(&world, id).await;
    say(&world, id, &request, yes()).await;
    world.end_of(id).await;
    let rung = bell.0.lock().unwrap();
    assert_eq!(
        (rung.len(), rung[0].run, &rung[0].waiting),
        (1, id, &request)
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_came_too_often_is_refused_before_anybody_is_asked() {
    let act = final_act();
    let world = asking(&act, &["one"; 6]).start().await;
    let id = world.submit().await;
    for _ in 0..5 {
        say(&world, id, &waiting(&world, id).await, no("no")).await;
    }
    let told = world.end_of(id).await;
    assert_eq!(told.count(asked), 5);
    assert!(told.has(|kind| matches!(
        kind,
        Kind::ToolRepeatGuardFired {
            attempt_count: 6,
            ..
        }
    )));
}

/// An agent that fetches these pages, one after the other.
fn fetching(pages: &'static [&'static str]) -> Builder {
    let one = one_act();
    world(move |request, _| {
        Ok(answer(
            request,
            &one,
            &|_, request| match pages.get(told(request).len()) {
                Some(page) => calls(&[(
                    "web_fetch",
                    json!({ "url": format!("https://kept.example/{page}") }),
                )]),
                None => says(&told(request).join("\n")),
            },
        ))
    })
}

#[tokio::test(start_paused = true)]
async fn always_covers_what_later_calls_of_the_tool_declare() {
    let world = fetching(&["0", "1"])
        .ask(|submit| submit.approve = vec![rule("http: GET https://kept.example/")])
        .start()
        .await;
    let id = world.submit().await;
    let hour = Answer::Approve {
        always: Some(Span::from_secs(3_600)),
    };
    say(&world, id, &waiting(&world, id).await, hour).await;
    let told = world.end_of(id).await;
    assert_eq!(told.count(asked), 1);
    assert!(
        !told.text().contains("approval"),
        "the second one is refused: {}",
        told.text()
    );
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_has_to_ask_for_its_children_have_to_ask_for_too() {
    let act = final_act();
    let one = one_act();
    let parent = json!({ "name": "generalist", "summary": "s", "prompt": "p", "approve": ["tool: act"],
        "capabilities": ["inherit: tool", "inherit: spawn"] });
    let child = json!({ "name": "handyman", "summary": "s", "prompt": "p",
        "capabilities": ["inherit: tool"] });
    let world = world(move |request, _| {
        Ok(answer(
            request,
            &one,
            &|name, request| match (name, told(request).len()) {
                ("a", 0) => calls(&[(
                    "spawn_agent",
                    json!({ "role": "handyman", "task": "act", "params": {} }),
                )]),
                (_, 0) => calls(&[("act", json!({ "word": "one" }))]),
                _ => says(&told(request).join("\n")),
            },
        ))
    });
    let world = world
        .tool(act.tool())
        .role(parent)
        .role(child)
        .start()
        .await;
    let id = world.submit().await;
    let request = waiting(&world, id).await;
    assert_eq!((request.tool.as_str(), act.begun()), ("act", 0));
    say(&world, id, &request, yes()).await;
    world.end_of(id).await;
    assert_eq!(act.done(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_approved_and_would_do_something_else_by_now_is_asked_about_again() {
    let diff = |before: &str| {
        Ok(Some(Preview::Diff {
            path: "/home/op/a.md".to_owned(),
            diff: "-one\n+two\n".to_owned(),
            before: Some(before.to_owned()),
        }))
    };
    for (kill, last) in [(false, yes()), (true, yes()), (false, no("leave it"))] {
        let act = final_act().showing(diff("as it was"));
        let mut world = asking(&act, &["one"]).start().await;
        let id = world.submit().await;
        let first = waiting(&world, id).await;
        let changed = act.clone().showing(diff("as it is"));
        say(&world, id, &first, yes()).await;
        let second = loop {
            let waiting = waiting(&world, id).await;
            if waiting.what != first.what {
                break waiting;
            }
        };
        assert_eq!((first.call, act.begun()), (second.call, 0));
        if kill {
            let journal = world.journal.killed();
            world = asking(&changed, &["one"]).journal(journal).start().await;
        }
        say(&world, id, &second, last.clone()).await;
        let told = world.end_of(id).await;
        assert_eq!(act.done(), u32::from(last == yes()));
        assert_eq!((told.count(asked), told.count(answered)), (2, 2));
        assert!(told.has(|kind| matches!(kind, Kind::ApprovalRequested { again: Some(_), .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_approved_ahead_by_one_rule_is_still_asked_about_by_another() {
    let rules = [
        "http: GET https://kept.example/",
        "http: GET https://kept.example/secret",
    ];
    let world = fetching(&["kept/1", "kept/2", "secret"])
        .ask(move |submit| submit.approve = rules.map(rule).to_vec())
        .start()
        .await;
    let id = world.submit().await;
    let hour = Answer::Approve {
        always: Some(Span::from_secs(3_600)),
    };
    say(&world, id, &waiting(&world, id).await, hour).await;
    let secret = waiting(&world, id).await;
    let named = matches!(&secret.what, WaitsFor::Approval { rule, .. } if rule.contains("secret"));
    assert!(named, "{secret:?}");
    say(&world, id, &secret, yes()).await;
    assert_eq!(world.end_of(id).await.count(asked), 2);
}

/// A program that sends a request which its arguments do not tell.
struct Program(aaos_core::tool::ToolSpec);

#[async_trait::async_trait]
impl aaos_ports::AnyTool for Program {
    fn spec(&self) -> &aaos_core::tool::ToolSpec {
        &self.0
    }

    fn needs(&self, _: &serde_json::Value) -> Result<Vec<aaos_core::capability::Need>, ToolError> {
        Ok(Vec::new())
    }

    async fn call(
        &self,
        _: serde_json::Value,
        powers: &aaos_ports::Powers,
    ) -> Result<aaos_ports::ToolOutput, ToolError> {
        let request = aaos_ports::power::HttpRequest {
            method: "GET".to_owned(),
            url: "https://kept.example/".parse().unwrap(),
            headers: Vec::new(),
            body: Vec::new(),
            bytes_max: 9,
            deadline: Span::from_secs(9),
        };
        let refused = match powers.http(request).await {
            Err(aaos_ports::PowerError::Denied { axis, .. }) => axis,
            _ => "no".to_owned(),
        };
        Ok(aaos_ports::ToolOutput {
            json: json!({ "refused": refused }),
        })
    }
}

#[tokio::test(start_paused = true)]
async fn who_answers_for_a_program_answers_for_what_it_does_also_ahead() {
    use aaos_core::tool::Power;
    let program = || {
        let mut spec = final_act().tool().spec().clone();
        spec.powers = vec![Power::Exec, Power::Http];
        Arc::new(Program(spec))
    };
    for (rules, refused) in [
        (&["tool: act", "http: GET https://kept.example/"][..], "no"),
        (&["http: GET https://kept.example/"], "approval"),
    ] {
        let one = one_act();
        let running = world(move |request, _| {
            Ok(answer(
                request,
                &one,
                &|_, request| match told(request).len() {
                    0 | 1 => calls(&[("act", json!({ "word": "run" }))]),
                    _ => says(&told(request).join(" ")),
                },
            ))
        });
        let world = running
            .tool(program())
            .ask(move |submit| submit.approve = rules.iter().map(|text| rule(text)).collect())
            .start()
            .await;
        let id = world.submit().await;
        if rules.len() > 1 {
            let hour = Answer::Approve {
                always: Some(Span::from_secs(3_600)),
            };
            say(&world, id, &waiting(&world, id).await, hour).await;
        }
        let told = world.end_of(id).await;
        let each = format!("{{\"refused\":\"{refused}\"}}");
        assert_eq!(told.text(), format!("{each} {each}"));
    }
}
