//! In a daemon that several people share nobody learns of another's run or rehearsed plan, and nobody has a say in it:
//! held for every method there is, so that one without the check is noticed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use super::{Caller, Fault, Front, METHODS, Method, Notifier};
use crate::{
    compose::{self, House},
    config::{self, Environment, Installation, Overrides},
};
use aaos_core::{
    id::{CallId, RunId},
    time::Span,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Who has the run, and who has nothing to do with it: numbers that no machine gives its people.
const OWNER: u32 = 4_200_001;
const OTHER: u32 = 4_200_002;
const ROOT: u32 = 0;

/// A goal of which no answer to anybody else may hold a word.
const GOAL: &str = "say zanzibar";
/// Longest wait for the run to come to its act; far over what a slow machine takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Every method with parameters, which are about a run, an act of it, or neither; in an order in which its owner finds
/// the run and the act still there.
fn methods(run: &str, call: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("daemon.status", json!({})),
        ("daemon.stop", json!({})),
        ("run.submit", submission("say hello", "direct", &[])),
        ("run.plan", submission("say hello", "direct", &[])),
        ("role.list", json!({})),
        ("role.show", json!({ "name": "writer" })),
        ("tool.list", json!({})),
        ("model.list", json!({})),
        ("config.show", json!({})),
        ("run.list", json!({})),
        ("approval.list", json!({})),
        ("budget.show", json!({})),
        ("run.status", json!({ "run": run })),
        ("run.watch", json!({ "run": run })),
        ("approval.list", json!({ "run": run })),
        ("approval.show", json!({ "call": call })),
        ("budget.show", json!({ "run": run })),
        ("run.replay", json!({ "run": run })),
        ("run.fork", json!({ "run": run, "at": "main" })),
        (
            "run.resume",
            json!({ "run": run, "budget": [{ "limit": "calls", "value": 1 }] }),
        ),
        ("run.revoke", json!({ "run": run, "grant": "grant-" })),
        (
            "run.settle",
            json!({ "run": run, "call": call, "settlement": "give_up" }),
        ),
        (
            "approval.answer",
            json!({ "call": call, "verdict": "deny" }),
        ),
        ("run.stop", json!({ "run": run })),
        ("audit.erase", json!({ "run": run })),
    ]
}

fn submission(goal: &str, orchestration: &str, ask: &[&str]) -> Value {
    json!({ "goal": goal, "base": "/", "profile": "none", "grants": ["tool: *"], "ask": ask, "orchestration": orchestration })
}

/// What says whom or what a request is about.
const ABOUT: [&str; 2] = ["run", "call"];

fn is_about_a_run(params: &Value) -> bool {
    ABOUT.iter().any(|name| params.get(name).is_some())
}

/// What a caller is told: the answer, and the notifications before it.
struct Told {
    answer: Result<Value, Fault>,
    notified: Vec<String>,
}

impl Told {
    fn text(&self) -> String {
        match &self.answer {
            Ok(answer) => format!("{answer} {:?}", self.notified),
            Err(fault) => format!("{} {:?}", fault.to_wire(), self.notified),
        }
    }

    /// The refusal with another word for what the request was about.
    fn refusal(&self, about: &[&str]) -> Option<String> {
        let fault = self.answer.as_ref().err()?;
        let text = fault.to_wire().to_string();
        Some(about.iter().fold(text, |text, id| text.replace(id, "IT")))
    }
}

async fn told(front: &Arc<Front>, uid: u32, method: &str, params: Value) -> Told {
    let (outbox, mut lines) = mpsc::channel(10_000);
    let caller = Caller {
        uid,
        notifier: Notifier {
            id: json!(1),
            outbox,
        },
        gone: CancellationToken::new(),
    };
    let answer = Method::dispatch(Arc::clone(front), caller, method, params).await;
    let mut notified = Vec::new();
    while let Ok(line) = lines.try_recv() {
        notified.push(line);
    }
    Told { answer, notified }
}

/// A daemon for the whole machine, with a scripted model whose only act is one call of `echo`.
async fn shared(place: &std::path::Path) -> House {
    let script = [
        json!({ "match": { "purpose": "turn", "turn": 1 }, "times": "many",
            "reply": { "tool_calls": [{ "name": "echo", "input": { "message": "zanzibar" } }] } }),
        json!({ "match": { "purpose": "turn" }, "times": "many", "reply": { "text": "done" } }),
        json!({ "match": { "purpose": "plan" }, "times": "many", "reply": { "text": "no plan" } }),
    ];
    let script = script.map(|entry| entry.to_string()).join("\n");
    std::fs::write(place.join("script.jsonl"), script).unwrap();
    let config = "backend = \"in_process\"\n[providers.script]\nkind = \"scripted\"\nfile = \"script.jsonl\"\n\
        [models]\nplanner = \"script/a\"\nworker = \"script/a\"\nreasoner = \"script/a\"\n";
    std::fs::write(place.join("config.toml"), config).unwrap();
    let overrides = Overrides {
        installation: Installation::System,
        config: Some(place.join("config.toml")),
        state_dir: Some(place.join("state")),
        socket: Some(place.join("agentd.sock")),
    };
    let config = config::load(&Environment::default(), &overrides).unwrap();
    compose::house(Arc::new(config)).await.unwrap()
}

/// The owner's run and its act, which waits for approval.
async fn waiting(front: &Arc<Front>) -> (String, String) {
    let goal = submission(GOAL, "direct", &["tool: echo"]);
    let submitted = told(front, OWNER, "run.submit", goal).await.answer.unwrap();
    let run = submitted["run"].as_str().unwrap().to_owned();
    let since = tokio::time::Instant::now();
    loop {
        let of_run = json!({ "run": run });
        let pending = told(front, OWNER, "approval.list", of_run).await.answer;
        if let Some(call) = pending.as_ref().unwrap()[0]["call"].as_str() {
            return (run, call.to_owned());
        }
        assert!(since.elapsed() < PATIENCE, "{pending:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A plan that the owner rehearsed.
async fn rehearsed(front: &Arc<Front>) -> String {
    let goal = submission(GOAL, "plan", &[]);
    let planned = told(front, OWNER, "run.plan", goal).await;
    assert!(planned.answer.is_err(), "what the planner says is no plan");
    let spent = told(front, OWNER, "budget.show", json!({})).await;
    let plan = &spent.answer.unwrap()["rehearsals"][0];
    assert_eq!(plan["goal"], GOAL);
    plan["run"].as_str().unwrap().to_owned()
}

/// The beginning of an id that no other has.
fn beginning(id: &str) -> String {
    id[..id.len() - 2].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_of_anothers_run_or_has_a_say_in_it() {
    let place = tempfile::tempdir().unwrap();
    let house = shared(place.path()).await;
    let front = &house.front;
    let plan = rehearsed(front).await;
    let (run, call) = waiting(front).await;
    let (no_run, no_call) = (
        RunId::from_drawn(7).to_string(),
        CallId::from_drawn(7).to_string(),
    );
    let whole = (run.clone(), call.clone(), no_run.clone(), no_call.clone());
    let short = (
        beginning(&run),
        beginning(&call),
        beginning(&no_run),
        beginning(&no_call),
    );
    let planned = (plan.clone(), call.clone(), no_run.clone(), no_call.clone());
    for (run_as, call_as, no_run, no_call) in [&whole, &short, &planned] {
        let absent = methods(no_run, no_call).into_iter();
        for ((method, params), (_, absent)) in methods(run_as, call_as).into_iter().zip(absent) {
            let about = is_about_a_run(&params);
            let there = told(front, OTHER, method, params).await;
            let text = there.text();
            if about {
                let nowhere = told(front, OTHER, method, absent).await;
                let nowhere = nowhere.refusal(&[no_run, no_call]);
                assert!(nowhere.is_some(), "{method}: nothing is there");
                assert_eq!(there.refusal(&[run_as, call_as]), nowhere, "{method}");
                assert!(there.notified.is_empty(), "{method}: {text}");
            } else {
                let found = [&run, &call, &plan, "zanzibar"];
                let found = found.into_iter().find(|word| text.contains(*word));
                assert_eq!(found, None, "{method}: {text}");
            }
        }
    }
    let kept = told(front, OWNER, "run.status", json!({ "run": run })).await;
    let waits = &kept.answer.unwrap()["view"]["waiting"][0]["call"];
    assert_eq!(waits, &json!(call), "nothing of it was done");
    let kept = told(front, OWNER, "budget.show", json!({ "run": plan })).await;
    assert!(kept.text().contains(GOAL), "nothing of it was erased");
    for uid in [ROOT, OWNER] {
        let listed = told(front, uid, "run.list", json!({})).await;
        assert!(listed.text().contains(&run), "{}", listed.text());
    }
    let absent = methods(&no_run, &no_call).into_iter();
    for ((method, params), (_, absent)) in methods(&run, &call).into_iter().zip(absent) {
        if is_about_a_run(&params) {
            let found = told(front, OWNER, method, params).await;
            let nowhere = told(front, OWNER, method, absent).await;
            let nowhere = nowhere.refusal(&[&no_run, &no_call]);
            assert_ne!(found.refusal(&[&run, &call]), nowhere, "{method} finds it");
        }
    }
    house.drain("the test is over", Span::from_secs(1)).await;
    house.close().await;
}

#[test]
fn no_method_is_left_out_and_each_that_takes_a_run_or_an_act_is_given_one() {
    let given = methods("run", "call");
    let of = |name| {
        let given = given.iter().filter(move |(method, _)| *method == name);
        given.map(|(_, params)| params).collect::<Vec<&Value>>()
    };
    for method in METHODS {
        let taken = (method.params)();
        let taken = taken.get("properties").and_then(Value::as_object);
        for about in ABOUT {
            let takes = taken.is_some_and(|taken| taken.contains_key(about));
            let gives = of(method.name)
                .iter()
                .any(|params| params.get(about).is_some());
            assert_eq!(takes, gives, "{} and `{about}`", method.name);
        }
        assert!(!of(method.name).is_empty(), "{}", method.name);
    }
    let known: BTreeSet<&str> = METHODS.iter().map(|method| method.name).collect();
    let gone: Vec<_> = given
        .iter()
        .filter(|(name, _)| !known.contains(name))
        .collect();
    assert!(gone.is_empty(), "{gone:?}");
}
