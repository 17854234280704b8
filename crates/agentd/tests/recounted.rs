//! What is made of the record: a replay, a fork, an export, an erasure, and the proof that it is whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;
mod stage;

use common::Place;
use serde_json::{Value, json};
use stage::{objects, of_kind};

/// A finished run of two subtasks: one writes a file, the other answers.
fn finished(place: &Place) -> String {
    let subtask = |id: &str, after: &[&str]| json!({ "id": id, "role": "generalist", "task": format!("do {id}"), "depends_on": after });
    let plan = json!({ "subtasks": [subtask("first", &[]), subtask("second", &["first"])], "result": "second" });
    let write =
        json!({ "name": "file_write", "input": { "path": "out.txt", "content": "kept\n" } });
    let on = |subtask: &str, turn: u64, reply: Value| json!({ "match": { "purpose": "turn", "subtask": subtask, "turn": turn }, "times": "many", "reply": reply });
    place.script(&[
        json!({ "match": { "purpose": "plan" }, "times": "many", "reply": { "json": plan } }),
        on("first", 1, json!({ "tool_calls": [write] })),
        on("first", 2, json!({ "text": "written" })),
        on(
            "second",
            1,
            json!({ "text": "the secret answer", "usage": { "input_tokens": 7, "output_tokens": 5, "cost": 1_000 } }),
        ),
    ]);
    let done = place.run(&["submit", "--json", "--orchestration", "plan", "do both"]);
    assert_eq!(done.code, 0, "{done:?}");
    objects(&done.out)[0]["run"].as_str().unwrap().to_owned()
}

#[test]
fn a_run_replays_from_its_record_and_is_the_same() {
    let place = Place::new();
    let run = finished(&place);
    std::fs::remove_file(place.path("work/out.txt")).unwrap();
    let replayed = place.run(&["replay", &run]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    assert!(replayed.out.contains("the same"), "{}", replayed.out);
    assert!(
        !place.path("work/out.txt").exists(),
        "nothing was performed"
    );
    let report = place.run(&["replay", "--json", &run]).json();
    assert!(
        report["divergence"].is_null() && report["results"] == 1,
        "{report:#}"
    );
    assert!(report["replies"].as_u64() >= Some(4), "{report:#}");
}

#[test]
fn a_fork_goes_its_own_way_from_a_step_and_repeats_nothing_before_it() {
    let place = Place::new();
    let run = finished(&place);
    std::fs::remove_file(place.path("work/out.txt")).unwrap();
    let forked = place.run(&[
        "fork", &run, "--at", "second", "--model", "script/b", "--json",
    ]);
    assert_eq!(forked.code, 0, "{forked:?}");
    let events = objects(&forked.out);
    let kept = of_kind(&events, "subtask_kept");
    assert_eq!(kept.len(), 1, "{events:#?}");
    assert_eq!(kept[0]["subtask"], "first");
    assert!(of_kind(&events, "tool_invoked").is_empty());
    assert!(
        !place.path("work/out.txt").exists(),
        "what was done is not done again"
    );
    assert_eq!(of_kind(&events, "run_submitted")[0]["forked"]["run"], run);
    let none = place.run(&["fork", &run, "--at", "third"]);
    assert!(none.code == 2 && none.err.contains("third"), "{none:?}");
}

/// A run of one agent that writes two files, one after the other, and says that it is done.
fn two_writes(place: &Place) -> String {
    let write = |name: &str| ("file_write", json!({ "path": name, "content": "kept\n" }));
    place.script(&stage::turns(&[write("one.txt"), write("two.txt")]));
    let done = place.run(&[
        "submit",
        "--json",
        "--orchestration",
        "direct",
        "write both",
    ]);
    assert_eq!(done.code, 0, "{done:?}");
    objects(&done.out)[0]["run"].as_str().unwrap().to_owned()
}

/// The only subtask of a run.
fn only_subtask(place: &Place, run: &str) -> String {
    let view = place.view(run);
    let id = view["subtasks"][0]["id"].as_str();
    id.unwrap_or_else(|| panic!("{view:#}")).to_owned()
}

#[test]
fn a_fork_within_a_subtask_keeps_the_turns_it_is_told_to_keep() {
    let place = Place::new();
    let run = two_writes(&place);
    let subtask = only_subtask(&place, &run);
    for name in ["one.txt", "two.txt"] {
        std::fs::remove_file(place.path("work").join(name)).unwrap();
    }
    let forked = place.run(&["fork", &run, "--at", &format!("{subtask}@1"), "--json"]);
    assert_eq!(forked.code, 0, "{forked:?}");
    let events = objects(&forked.out);
    let written = of_kind(&events, "tool_invoked");
    assert!(
        written.len() == 1
            && written[0]["args_preview"]
                .as_str()
                .unwrap()
                .contains("two.txt"),
        "{written:#?}"
    );
    assert_eq!(of_kind(&events, "model_requested").len(), 2);
    assert_eq!(
        of_kind(&events, "run_submitted")[0]["forked"]["turns_kept"],
        1
    );
    let there = |name: &str| place.path("work").join(name).exists();
    assert_eq!((there("one.txt"), there("two.txt")), (false, true));
    let many = place.run(&["fork", &run, "--at", &format!("{subtask}@9")]);
    assert!(many.code == 2 && many.err.contains("3 answers"), "{many:?}");
    let word = place.run(&["fork", &run, "--at", &format!("{subtask}@some")]);
    assert!(word.code == 2 && word.err.contains("SUBTASK@2"), "{word:?}");
}

/// Changes the configuration's file for the next daemon.
fn reconfigure(place: &Place, change: impl Fn(&str) -> String) {
    let file = place.path("config/aaos/config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, change(&text)).unwrap();
    assert_eq!(place.run(&["daemon", "stop"]).code, 0);
}

#[test]
fn a_fork_is_never_given_more_than_the_profile_and_the_budget_give_by_then() {
    let place = Place::new();
    place.script(&stage::turns(&[]));
    let profile = |grants: &str| format!("[profiles.p]\ngrants = [\"tool: *\", {grants}]\n");
    let (whole, less) = (
        "\"file_read: ./**\", \"http: GET *\"",
        "\"file_read: ./**\"",
    );
    let models = std::fs::read_to_string(place.path("config/aaos/config.toml")).unwrap();
    place.config(&format!("{models}{}[budget]\ncalls = 90\n", profile(whole)));
    let flags = ["--orchestration", "direct", "--profile", "p"];
    let run = place.submit(&flags, "think");
    assert_eq!(place.run(&["attach", &run]).code, 0);
    let at = only_subtask(&place, &run);
    let fork = |more: &[&str]| place.run(&[&["fork", &run, "--at", &at], more].concat());
    let id = |done: common::Done| done.out.trim().to_owned();

    reconfigure(&place, |text| {
        text.replace(&profile(whole), &profile(less))
            .replace("calls = 90", "calls = 40")
    });
    let refused = fork(&["--detach"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    for told in [
        "profile `p`",
        "--grant 'http: GET *'",
        "submit the goal anew",
    ] {
        assert!(refused.err.contains(told), "{told}: {}", refused.err);
    }
    let given = id(fork(&["--detach", "--grant", "http: GET *"]));
    let status = place.run(&["status", "--json", &given]).json();
    let envelope = status["envelope"].to_string();
    assert!(envelope.contains("http: GET *"), "{envelope}");
    assert_eq!(status["view"]["budget"]["calls"], 40);
    let raised = id(fork(&[
        "--detach",
        "--grant",
        "http: GET *",
        "--budget",
        "70calls",
    ]));
    assert_eq!(place.view(&raised)["budget"]["calls"], 70);

    reconfigure(&place, |text| text.replace("[profiles.p]", "[profiles.q]"));
    let gone = fork(&["--detach"]);
    assert!(
        gone.code == 2 && gone.err.contains("profile `p`, which is gone"),
        "{gone:?}"
    );
}

#[test]
fn a_journal_that_was_cut_off_shows_against_a_signed_head_kept_elsewhere() {
    let place = Place::new();
    finished(&place);
    assert_eq!(place.run(&["daemon", "stop"]).code, 0);
    let (state, earlier) = (place.path("state/aaos"), place.path("earlier"));
    stage::copy(&state, &earlier);
    assert_eq!(
        place
            .run(&["submit", "--orchestration", "plan", "do both again"])
            .code,
        0
    );
    assert_eq!(place.run(&["daemon", "stop"]).code, 0);
    let kept = place.path("kept.signed");
    std::fs::copy(state.join("head.signed"), &kept).unwrap();
    let (kept, earlier) = (kept.to_str().unwrap(), earlier.to_str().unwrap());
    let key = place.run(&["audit", "key"]);
    assert_eq!(key.code, 0, "{key:?}");
    let key = key.out.trim();

    let whole = place.run(&["audit", "verify", "--head", kept, "--key", key]);
    assert!(
        whole.code == 0 && whole.out.contains("the signed head kept elsewhere holds"),
        "{whole:?}"
    );
    let cut = place.run(&["audit", "verify", "--head", kept, earlier]);
    assert!(
        cut.code == 1 && cut.out.contains("cut off at the end"),
        "{cut:?}"
    );
    let other = "0".repeat(64);
    let other = place.run(&["audit", "verify", "--key", &other]);
    assert!(
        other.code == 1 && other.out.contains("another key"),
        "{other:?}"
    );
}

#[test]
fn an_export_has_the_events_that_were_asked_for_with_their_hashes() {
    let place = Place::new();
    let run = finished(&place);
    let all = objects(&place.run(&["audit", "export"]).out);
    assert_eq!(all[0]["seq"], 1);
    assert!(
        all.iter()
            .all(|event| event["chain"]["hash"].as_str().unwrap().len() == 64)
    );
    let calls = place.run(&[
        "audit",
        "export",
        "--run",
        &run[..10],
        "--kind",
        "tool_invoked",
        "--since",
        "1d",
    ]);
    let calls = objects(&calls.out);
    assert!(
        calls.len() == 1 && calls[0]["tool"] == "file_write",
        "{calls:#?}"
    );
    let none = place.run(&["audit", "export", "--until", "2026-01-01"]);
    assert_eq!((none.code, none.out.as_str()), (0, ""));
    let file = place.path("out.jsonl");
    let out = ["audit", "export", "--out", file.to_str().unwrap()];
    assert_eq!(place.run(&out).code, 0);
    assert!(objects(&std::fs::read_to_string(&file).unwrap()).len() >= all.len());
    assert_eq!(
        place.run(&out).code,
        1,
        "a file that is there stays as it is"
    );
}

#[test]
fn what_was_said_in_a_run_can_be_erased_and_the_chain_holds() {
    let place = Place::new();
    let run = finished(&place);
    assert!(
        place
            .run(&["status", &run])
            .out
            .contains("the secret answer")
    );
    let spent = || place.run(&["budget", "--json"]).json()["total"].clone();
    let before = spent();
    assert_ne!(before["output_tokens"], 0, "{before}");
    let asked = place.run(&["audit", "erase", &run]);
    assert!(asked.code == 2 && asked.err.contains("--yes"), "{asked:?}");
    let erased = place.run(&["audit", "erase", &run, "--yes", "--reason", "it is over"]);
    assert_eq!(erased.code, 0, "{erased:?}");
    let listed = place.run(&["list", "--json"]).out;
    assert!(!listed.contains("do both"), "{listed}");
    let exported = place.run(&["audit", "export"]).out;
    assert!(
        !exported.contains("the secret answer") && exported.contains("it is over"),
        "{exported}"
    );
    assert_eq!(place.run(&["daemon", "stop"]).code, 0);
    let secret = "the secret answer".as_bytes();
    let mut files = stage::files(&place.path("state/aaos"));
    files.retain(|_, bytes| bytes.windows(secret.len()).any(|window| window == secret));
    assert!(files.is_empty(), "{:?}", files.keys());
    let (code, audit) = place.audit(&place.path("state/aaos"));
    assert_eq!(code, 0, "{audit:#}");
    let replayed = place.run(&["replay", &run]);
    assert_ne!(replayed.code, 0, "{replayed:?}");
    // A daemon starts on what is left, and what was spent is.
    assert_eq!(spent(), before);
    assert_eq!(place.run(&["budget"]).code, 0);
}

#[test]
fn a_rehearsed_plan_is_told_of_where_the_money_went_and_what_was_said_in_it_can_be_erased() {
    let place = Place::new();
    let plan = json!({ "subtasks": [{ "id": "one", "role": "generalist", "task": "look" }], "result": "one" });
    let usage = json!({ "input_tokens": 7, "output_tokens": 5, "cost": 1_000 });
    place.script(&[
        json!({ "match": { "purpose": "plan" }, "reply": { "json": plan, "usage": usage } }),
    ]);
    let rehearsed = place.run(&["plan", "--orchestration", "plan", "see zanzibar"]);
    assert_eq!(rehearsed.code, 0, "{rehearsed:?}");
    // The next daemon knows as much.
    place.kill_daemon();
    let spent = place.run(&["budget", "--json"]).json();
    assert_eq!(spent["rehearsals"][0]["goal"], "see zanzibar", "{spent:#}");
    let row = &spent["spending"][0];
    assert_eq!(row["operator"], rustix::process::getuid().as_raw());
    let run = row["run"].as_str().unwrap();
    for told in [place.run(&["budget"]), place.run(&["budget", run])] {
        assert!(
            told.code == 0 && told.out.contains("see zanzibar"),
            "{told:?}"
        );
    }
    let erased = place.run(&["audit", "erase", "--yes", run]);
    assert_eq!(erased.code, 0, "{erased:?}");
    assert_eq!(place.run(&["daemon", "stop"]).code, 0);
    let mut files = stage::files(&place.path("state/aaos"));
    files.retain(|_, bytes| bytes.windows(8).any(|window| window == b"zanzibar"));
    assert!(files.is_empty(), "{:?}", files.keys());
    let left = place.run(&["budget", "--json"]).json();
    assert_eq!(left["total"], spent["total"], "what was spent stays");
    assert_eq!(left["spending"][0]["operator"], row["operator"]);
    let none = place.run(&["audit", "erase", "--yes", "run-00000000000000000000000000"]);
    assert_eq!(none.code, 2, "{none:?}");
}

#[test]
fn a_run_that_goes_on_is_not_erased() {
    let place = Place::new();
    let calls = [("file_write", json!({ "path": "out.txt", "content": "new" }))];
    place.script(&stage::turns(&calls));
    let flags = ["--orchestration", "direct", "--ask", "tool: file_write"];
    let run = place.submit(&flags, "write it");
    place.waits(&run);
    let refused = place.run(&["audit", "erase", "--yes", &run]);
    assert!(
        refused.code == 2 && refused.err.contains(&format!("agentd stop {run}")),
        "{refused:?}"
    );
    assert_eq!(place.run(&["stop", &run]).code, 0);
}

#[test]
fn what_an_open_fork_goes_on_from_is_erased_when_the_fork_is_over() {
    let place = Place::new();
    let write = |name: &str| ("file_write", json!({ "path": name, "content": "kept\n" }));
    place.script(&stage::turns(&[write("one.txt"), write("two.txt")]));
    let flags = ["--orchestration", "direct", "--ask", "tool: file_write"];
    let run = place.submit(&flags, "write both");
    let approve = |run: &str, before: &str| {
        place.until(run, |view| {
            let call = &view["waiting"][0]["call"];
            call.is_string() && call != before
        });
        let call = place.waits(run);
        assert_eq!(place.run(&["approvals", "approve", &call]).code, 0);
        call
    };
    let first = approve(&run, "");
    approve(&run, &first);
    assert_eq!(place.run(&["attach", &run]).code, 0);
    let at = format!("{}@1", only_subtask(&place, &run));
    let forked = place.run(&["fork", &run, "--at", &at, "--detach"]);
    assert_eq!(forked.code, 0, "{forked:?}");
    let fork = forked.out.trim();
    place.waits(fork);
    let erase = || place.run(&["audit", "erase", "--yes", &run]);
    let refused = erase();
    assert!(
        refused.code == 2 && refused.err.contains(fork),
        "{refused:?}"
    );
    place.kill_daemon();
    approve(fork, "");
    assert_eq!(place.run(&["attach", fork]).code, 0);
    let erased = erase();
    assert_eq!(erased.code, 0, "{erased:?}");
}
