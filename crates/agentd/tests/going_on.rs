//! Runs go on: over the daemon's death, over a wait for a person, over a limit of the budget.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;
mod stage;

use common::{Done, Place};
use serde_json::{Value, json};
use stage::{kill, of_kind, turns, wait_for};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    process::{Child, Stdio},
};

const DIRECT: [&str; 2] = ["--orchestration", "direct"];

/// Two files, with what is written to them.
const BOTH: [(&str, &str); 2] = [("one.txt", "1"), ("two.txt", "2")];

/// What the README's first command reads, and the command.
fn bridge(place: &Place) -> String {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/bridge");
    stage::copy(examples.as_ref(), &place.path("work/examples/bridge"));
    "read examples/bridge/minutes.md, examples/bridge/letters.txt and examples/bridge/costs.csv, summarise each and write a report to bridge-report.md".to_owned()
}

/// A run that writes these files, one after the other, and waits where these rules say.
fn writing(place: &Place, files: &[(&str, &str)], ask: &[&str]) -> String {
    let call = |(path, content): &(&str, &str)| {
        ("file_write", json!({ "path": path, "content": content }))
    };
    place.script(&turns(&files.iter().map(call).collect::<Vec<_>>()));
    let rules = ask.iter().flat_map(|rule| ["--ask", rule]);
    let flags: Vec<&str> = DIRECT.into_iter().chain(rules).collect();
    place.submit(&flags, "write it")
}

/// Submits with `--json` and reads events until one of this kind. Answers with the command, its lines and the run.
fn until_event(
    place: &Place,
    goal: &str,
    kind: &str,
) -> (Child, impl Iterator<Item = Value>, String) {
    let mut command = place.command(&["submit", "--json", goal]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut events = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let event = events.by_ref().find(|event| event["kind"] == kind).unwrap();
    let run = event["run"].as_str().unwrap().to_owned();
    (child, events, run)
}

#[test]
fn killed_in_the_middle_of_the_first_command_of_the_readme_attach_finishes_the_goal() {
    let place = Place::new();
    let goal = bridge(&place);
    let daemon = place.daemon();
    let (mut child, _, run) = until_event(&place, &goal, "tool_invoked");
    kill(daemon);
    let _ = child.kill();
    let _ = child.wait();
    let attached = place.run(&["attach"]);
    assert_eq!(attached.code, 0, "{attached:?}");
    assert!(
        attached.out.contains(&run) && attached.out.contains("goes on"),
        "{}",
        attached.out
    );
    let report = std::fs::read_to_string(place.path("work/bridge-report.md")).unwrap();
    assert!(report.contains("Made by rules"), "{report}");
    let events = place.events(&run);
    assert_eq!(of_kind(&events, "run_finished").len(), 1);
    assert_eq!(of_kind(&events, "run_recovering").len(), 1);
    let (code, audit) = place.audit(&place.path("state/aaos"));
    assert_eq!(code, 0, "{audit}");
}

#[test]
fn who_watches_when_the_daemon_dies_is_told_and_sees_the_run_to_its_end() {
    let place = Place::new();
    let goal = bridge(&place);
    let daemon = place.daemon();
    let (mut child, events, _) = until_event(&place, &goal, "tool_invoked");
    kill(daemon);
    let rest: Vec<Value> = events.collect();
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    assert!(said.contains("the daemon is gone"), "{said}");
    let places: Vec<u64> = rest
        .iter()
        .filter_map(|event| event["seq"].as_u64())
        .collect();
    assert!(
        places.is_sorted_by(|one, next| one < next),
        "each event once: {places:?}"
    );
    assert_eq!(of_kind(&rest, "run_finished").len(), 1);
    assert!(place.path("work/bridge-report.md").exists());
}

#[test]
fn an_orderly_end_of_the_daemon_is_told_and_attach_goes_on() {
    let place = Place::new();
    let run = writing(&place, &[("out.txt", "new\n")], &["tool: file_write"]);
    let call = place.waits(&run);
    let mut command = place.command(&["attach", &run]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the watcher", || {
        let status = place.run(&["daemon", "status", "--json"]).json();
        status["connections"] == 2
    });
    assert_eq!(place.run(&["daemon", "stop"]).code, 0);
    let done = Done::from(child.wait_with_output().unwrap());
    assert_eq!(done.code, 3, "{done:?}");
    assert!(
        done.err.contains(&format!("agentd attach {run}")),
        "{}",
        done.err
    );
    assert!(!place.socket().exists(), "nobody started it again");
    assert_eq!(place.waits(&run), call);
    assert_eq!(place.run(&["approvals", "approve", &call]).code, 0);
    assert_eq!(place.run(&["attach", &run]).code, 0);
}

#[test]
fn an_approval_asked_before_a_kill_is_answered_after_the_restart_and_the_run_finishes() {
    let place = Place::new();
    place.work("out.txt", "old line\n");
    let run = writing(&place, &[("out.txt", "new line\n")], &["tool: file_write"]);
    let call = place.waits(&run);
    let before = place.view(&run)["waiting"][0].clone();
    place.kill_daemon();

    let listed = place.run(&["approvals", "list"]);
    assert!(
        listed.out.contains(&call) && listed.out.contains("file_write"),
        "{listed:?}"
    );
    assert_eq!(place.view(&run)["waiting"][0]["expires"], before["expires"]);
    assert!(place.run(&["list"]).out.contains("waiting for you (1)"));
    let shown = place.run(&["approvals", "show", &call]);
    assert!(
        shown.out.contains("-old line") && shown.out.contains("+new line"),
        "{shown:?}"
    );
    assert!(shown.out.contains("tool: file_write"), "{shown:?}");
    let untouched = std::fs::read_to_string(place.path("work/out.txt")).unwrap();
    assert_eq!(untouched, "old line\n");

    let approved = place.run(&["approvals", "approve", &call[..12]]);
    assert_eq!(approved.code, 0, "{approved:?}");
    let again = place.run(&["approvals", "deny", &call]);
    assert_eq!(again.code, 2, "the first answer stands: {again:?}");
    let attached = place.run(&["attach", &run]);
    assert_eq!(attached.code, 0, "{attached:?}");
    let written = std::fs::read_to_string(place.path("work/out.txt")).unwrap();
    assert_eq!(written, "new line\n");
    assert_eq!(of_kind(&place.events(&run), "approval_requested").len(), 1);
}

#[test]
fn an_answer_given_before_a_kill_holds_after_it() {
    let place = Place::new();
    let rules = ["effect: idempotent", "effect: reversible"];
    let run = writing(&place, &BOTH, &rules);
    let first = place.waits(&run);
    assert_eq!(place.run(&["approvals", "approve", &first]).code, 0);
    place.until(&run, |view| {
        view["waiting"][0]["call"]
            .as_str()
            .is_some_and(|call| call != first)
    });
    place.kill_daemon();
    let second = place.waits(&run);
    assert_ne!(first, second);
    let denied = place.run(&["approvals", "deny", &second, "--reason", "one is enough"]);
    assert_eq!(denied.code, 0, "{denied:?}");
    assert_eq!(place.run(&["attach", &run]).code, 0);
    assert!(place.path("work/one.txt").exists() && !place.path("work/two.txt").exists());
    let events = place.events(&run);
    let told = of_kind(&events, "approval_answered");
    assert_eq!(told.len(), 2, "{told:#?}");
    assert_eq!(told[1]["reason"], "one is enough");
}

#[test]
fn what_was_approved_ahead_is_not_asked_again() {
    let place = Place::new();
    let run = writing(&place, &BOTH, &["tool: file_write"]);
    let call = place.waits(&run);
    assert_eq!(
        place
            .run(&["approvals", "approve", "--always", "1h", &call])
            .code,
        0
    );
    assert_eq!(place.run(&["attach", &run]).code, 0);
    assert!(place.path("work/two.txt").exists());
    assert_eq!(of_kind(&place.events(&run), "approval_requested").len(), 1);
}

#[test]
fn the_operators_command_is_told_of_what_waits() {
    let place = Place::new();
    let program = place.path("told.sh");
    std::fs::write(&program, "#!/bin/sh\ncat > \"$1.json.part\"\nprintf '%s' \"$2\" > \"$1.line\"\nmv \"$1.json.part\" \"$1.json\"\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    place.script(&turns(&[(
        "file_write",
        json!({ "path": "out.txt", "content": "new\n" }),
    )]));
    let config = std::fs::read_to_string(place.path("config/aaos/config.toml")).unwrap();
    let told = place.path("told");
    let notify = json!([program.to_str().unwrap(), told.to_str().unwrap()]);
    place.config(&format!(
        "{config}[approvals]\nask = [\"tool: file_write\"]\nnotify = {notify}\n"
    ));
    let run = place.submit(&DIRECT, "write it");
    let call = place.waits(&run);
    wait_for("the command", || told.with_extension("json").exists());
    let act: Value =
        serde_json::from_slice(&std::fs::read(told.with_extension("json")).unwrap()).unwrap();
    assert_eq!(
        (act["for"].as_str(), act["call"].as_str()),
        (Some("approval"), Some(call.as_str()))
    );
    let line = std::fs::read_to_string(told.with_extension("line")).unwrap();
    assert!(
        line.starts_with("Approve file_write?") && line.ends_with(&format!(" show {call}")),
        "{line}"
    );
    assert_eq!(place.run(&["approvals", "deny", &call]).code, 0);
}

#[test]
fn a_run_that_parks_at_its_limit_goes_on_when_the_limit_is_raised() {
    let place = Place::new();
    place.script(&turns(&[]));
    let run = place.submit(
        &[&DIRECT[..], &["--park", "--budget", "100tokens"]].concat(),
        "think",
    );
    let view = place.until(&run, |view| view["state"] == "parked");
    assert_eq!(view["parked"]["limit"], "tokens", "{view:#}");
    assert!(place.run(&["list"]).out.contains("parked at tokens"));
    place.kill_daemon();
    place.until(&run, |view| view["state"] == "parked");
    let status = place.run(&["status", &run]);
    assert!(
        status
            .out
            .contains(&format!("agentd resume {run} --budget +")),
        "{}",
        status.out
    );
    let resumed = place.run(&["resume", &run, "--budget", "+1mtokens"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    let attached = place.run(&["attach", &run]);
    assert_eq!(attached.code, 0, "{attached:?}");
    assert!(attached.out.contains("all done"), "{}", attached.out);
    let late = place.run(&["resume", &run, "--budget", "+1usd"]);
    assert_eq!(late.code, 1, "{late:?}");
}

#[test]
fn a_runaway_stops_at_the_reserved_limit_and_says_where_it_went() {
    let place = Place::new();
    let usage = json!({ "input_tokens": 700, "output_tokens": 300, "cost": 1_234 });
    let spawn = json!({ "role": "generalist", "task": "go on and on" });
    let entry = |turn: u64, name: &str, input: &Value| {
        json!({
            "match": { "purpose": "turn", "turn": turn }, "times": "many",
            "reply": { "usage": usage, "tool_calls": [{ "name": name, "input": input }] },
        })
    };
    let echo = json!({ "text": "again" });
    let mut script = vec![entry(1, "spawn_agent", &spawn)];
    script.extend((2..100).map(|turn| entry(turn, "echo", &echo)));
    place.script(&script);
    let limit = 20_000_u64;
    let flags = [&DIRECT[..], &["--json", "--budget", "0.02usd"]].concat();
    let done = place.run(&[&["submit"], &flags[..], &["run away"]].concat());
    assert_eq!(done.code, 1, "{done:?}");
    let view = done.json()["result"]["view"].clone();
    let failure = &view["outcome"]["failure"];
    assert_eq!(
        (failure["why"].as_str(), failure["kind"].as_str()),
        (Some("limit"), Some("cost")),
        "{failure}"
    );
    let cost = view["usage"]["cost"].as_u64().unwrap();
    assert!(cost > 0 && cost <= limit, "{cost}");

    let run = view["run"].as_str().unwrap();
    let spent = place.run(&["budget", "--json", run]).json();
    assert_eq!(spent["total"]["cost"], cost, "{spent:#}");
    let parts = spent["spending"].as_array().unwrap();
    let sum: u64 = parts
        .iter()
        .map(|part| part["usage"]["cost"].as_u64().unwrap())
        .sum();
    assert_eq!(sum, cost);
    assert!(parts.len() > 1, "several agents: {spent:#}");
    let told = place.run(&["budget", run]);
    assert!(
        told.out.contains("of $0.02") && told.out.contains("generalist"),
        "{}",
        told.out
    );
    let all = place.run(&["budget", "--since", "1h", "--json"]).json();
    assert_eq!(all["total"]["cost"], cost);
}

/// A service that takes requests, and answers none by itself, as one that is cut off does.
struct Mute(TcpListener);

/// A request that has come in whole, on its open connection.
struct Taken {
    stream: TcpStream,
    head: Vec<String>,
    body: String,
}

impl Taken {
    fn header(&self, name: &str) -> String {
        let named = |line: &String| {
            let (known, value) = line.split_once(':')?;
            known
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        };
        self.head.iter().find_map(named).unwrap()
    }

    /// Answers that it was done.
    fn answer(mut self) {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\nordered";
        self.stream.write_all(answer.as_bytes()).unwrap();
    }
}

impl Mute {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn url(&self) -> String {
        format!("http://{}/orders", self.0.local_addr().unwrap())
    }

    /// Waits until a request has come in whole, and keeps the connection open.
    fn taken(&self) -> Taken {
        let (stream, _) = self.0.accept().unwrap();
        let mut read = BufReader::new(stream.try_clone().unwrap());
        let lines = read.by_ref().lines().map(Result::unwrap);
        let head = lines.take_while(|line| !line.is_empty()).collect();
        let mut taken = Taken {
            stream,
            head,
            body: String::new(),
        };
        let length = taken.header("content-length").parse().unwrap();
        let mut body = read.take(length);
        body.read_to_string(&mut taken.body).unwrap();
        taken
    }
}

/// A run whose order was cut off by the daemon's death, the order's call, and the key it was sent with.
fn in_doubt(place: &Place, mute: &Mute) -> (String, String, String) {
    let order = json!({ "method": "POST", "url": mute.url(), "body": "{\"chairs\": 40}" });
    place.script(&turns(&[("http_send", order)]));
    let grant = format!("http: POST {}", mute.url());
    let run = place.submit(
        &[&DIRECT[..], &["--grant", &grant]].concat(),
        "order forty chairs",
    );
    let taken = mute.taken();
    let key = taken.header("idempotency-key");
    place.kill_daemon();
    drop(taken);
    let call = place.waits(&run);
    (run, call, key)
}

#[test]
fn an_act_that_is_to_be_repeated_is_sent_again_once_under_the_same_key() {
    let (place, mute) = (Place::new(), Mute::new());
    let (run, call, key) = in_doubt(&place, &mute);
    let settled = place.run(&["settle", &run, &call[..12], "--repeat"]);
    assert!(
        settled.code == 0 && settled.out.contains("is done again"),
        "{settled:?}"
    );
    let again = mute.taken();
    assert_eq!(
        (again.header("idempotency-key"), again.body.as_str()),
        (key, "{\"chairs\": 40}")
    );
    again.answer();
    assert_eq!(place.run(&["attach", &run]).code, 0);
    let events = place.events(&run);
    let settled = of_kind(&events, "effect_settled");
    assert_eq!(settled.len(), 1);
    assert_eq!(settled[0]["settlement"], "repeat");
    assert!(settled[0]["operator"].is_number());
    assert_eq!(of_kind(&events, "tool_invoked").len(), 1);
    assert_eq!(of_kind(&events, "tool_repeated").len(), 1);
    let receipts = of_kind(&events, "tool_result");
    assert!(
        receipts.len() == 1 && receipts[0]["success"] == true,
        "{receipts:#?}"
    );
    mute.0.set_nonblocking(true).unwrap();
    assert!(mute.0.accept().is_err(), "it was sent again once");
}

#[test]
fn an_act_that_may_have_happened_waits_and_is_settled_once() {
    let (place, mute) = (Place::new(), Mute::new());
    let (run, call, _) = in_doubt(&place, &mute);
    let status = place.run(&["status", &run]);
    for told in [
        "effect in doubt: http_send",
        "--done",
        "--repeat",
        "--give-up",
    ] {
        assert!(status.out.contains(told), "{told}: {}", status.out);
    }
    let none = place.run(&["settle", &run, &call]);
    assert_eq!(none.code, 2, "{none:?}");
    let settled = place.run(&["settle", &run, &call, "--done"]);
    assert_eq!(settled.code, 0, "{settled:?}");
    let again = place.run(&["settle", &run, &call, "--repeat"]);
    assert_eq!(again.code, 2, "{again:?}");
    assert_eq!(place.run(&["attach", &run]).code, 0);
    mute.0.set_nonblocking(true).unwrap();
    assert!(mute.0.accept().is_err(), "it was not sent again");
}

#[test]
fn an_act_that_is_given_up_is_told_to_its_agent_as_failed() {
    let (place, mute) = (Place::new(), Mute::new());
    let (run, call, _) = in_doubt(&place, &mute);
    assert_eq!(place.run(&["settle", &run, &call, "--give-up"]).code, 0);
    assert_eq!(place.run(&["attach", &run]).code, 0);
    let events = place.events(&run);
    assert_eq!(
        of_kind(&events, "effect_settled")[0]["settlement"],
        "give_up"
    );
    mute.0.set_nonblocking(true).unwrap();
    assert!(mute.0.accept().is_err(), "it was not sent again");
}

/// Turns that cost a thousandth of a dollar each, under these limits.
fn costly(place: &Place, limits: &str) {
    let reply = json!({ "text": "all done", "usage": { "input_tokens": 10, "output_tokens": 10, "cost": 1_000 } });
    place.script(&[json!({ "match": { "purpose": "turn" }, "times": "many", "reply": reply })]);
    let config = std::fs::read_to_string(place.path("config/aaos/config.toml")).unwrap();
    place.config(&format!("{config}{limits}"));
}

#[test]
fn what_an_operator_spends_on_a_day_is_limited_over_all_runs_and_daemons() {
    let place = Place::new();
    costly(&place, "[budget.operator]\ncost = \"0.0025usd\"\n");
    let submit = || {
        let done = place.run(&[&["submit", "--json"], &DIRECT[..], &["think"]].concat());
        (done.code, stage::outcome(&done))
    };
    assert_eq!(submit().0, 0);
    // What was said goes, what it cost does not.
    let run = place.run(&["list", "--json"]).json()[0]["run"].clone();
    let erased = place.run(&["audit", "erase", "--yes", run.as_str().unwrap()]);
    assert_eq!(erased.code, 0, "{erased:?}");
    place.kill_daemon();
    assert_eq!(submit().0, 0);
    place.kill_daemon();
    let (code, outcome) = submit();
    assert_eq!(code, 1, "{outcome:#}");
    let failure = &outcome["failure"];
    assert_eq!(
        (failure["why"].as_str(), failure["kind"].as_str()),
        (Some("limit"), Some("operator_day_cost")),
        "{outcome:#}"
    );
    let told = place.run(&[&["submit"], &DIRECT[..], &["think again"]].concat());
    assert!(
        told.code == 1 && told.err.contains("[budget.operator]"),
        "{told:?}"
    );
    let spent = place.run(&["budget", "--json"]).json();
    assert_eq!(spent["total"]["cost"], 2_000, "{spent:#}");
    let today = &spent["today"][0];
    assert_eq!(
        (today["used"]["cost"].as_u64(), today["cost"].as_u64()),
        (Some(2_000), Some(2_500)),
        "{spent:#}"
    );
}

#[test]
fn a_run_that_waits_at_the_limit_of_the_day_goes_on_when_the_configuration_allows_more() {
    let place = Place::new();
    let limits =
        |cost: &str| format!("[budget]\nat_limit = \"park\"\n[budget.day]\ncost = \"{cost}\"\n");
    costly(&place, &limits("0.0015usd"));
    let first = place.run(&[&["submit"], &DIRECT[..], &["think"]].concat());
    assert_eq!(first.code, 0, "{first:?}");
    let run = place.submit(&DIRECT, "think again");
    let view = place.until(&run, |view| view["state"] == "parked");
    assert_eq!(view["parked"]["limit"], "day_cost", "{view:#}");
    place.kill_daemon();
    let view = place.until(&run, |view| view["state"] == "parked");
    assert_eq!(view["usage"]["cost"], 0, "{view:#}");
    assert_eq!(place.run(&["daemon", "stop"]).code, 0);
    costly(&place, &limits("0.5usd"));
    let attached = place.run(&["attach", &run]);
    assert_eq!(attached.code, 0, "{attached:?}");
    assert!(attached.out.contains("all done"), "{}", attached.out);
}
