//! A plan of a thousand subtasks: it finishes; ended in the middle it goes on from a journal that verifies; and a byte that
//! was changed afterwards is found and named.
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
use stage::{Foreground, copy, files, flip, flip_all, objects, of_kind};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
};

const SUBTASKS: usize = 1_000;

fn name(number: usize) -> String {
    format!("part-{number:04}")
}

/// A plan of independent subtasks and one more that answers the goal; each subtask says its own name.
fn script(place: &Place, delay_ms: u64) {
    let part = |number: usize| json!({ "id": name(number), "role": "generalist", "task": format!("say {}", name(number)) });
    let mut subtasks: Vec<Value> = (0..SUBTASKS - 1).map(part).collect();
    let all: Vec<String> = (0..SUBTASKS - 1).map(name).collect();
    subtasks.push(json!({ "id": "last", "role": "generalist", "task": "end", "depends_on": all }));
    let plan = json!({ "subtasks": subtasks, "result": "last" });
    place.script(&[
        json!({ "match": { "purpose": "plan" }, "reply": { "json": plan } }),
        json!({ "match": { "subtask": "last" }, "reply": { "text": "all of them are done" } }),
        json!({ "match": { "purpose": "turn" }, "times": "many", "reply": { "text": "done", "delay_ms": delay_ms } }),
    ]);
}

const GOAL: [&str; 4] = ["submit", "--orchestration", "plan", "do a thousand things"];

#[test]
fn a_plan_of_a_thousand_subtasks_finishes() {
    let place = Place::new();
    script(&place, 0);
    let done = place.run(&[&GOAL[..], &["--json"]].concat());
    assert_eq!(done.code, 0, "{}", done.err);
    let events = objects(&done.out);
    let completed = of_kind(&events, "subtask_completed");
    assert_eq!(completed.len(), SUBTASKS);
    assert!(
        completed
            .iter()
            .all(|event| event["outcome"]["result"] == "succeeded")
    );
    assert_eq!(completed.last().unwrap()["subtask"], "last");
    assert_eq!(
        stage::outcome(&done)["output"]["text"],
        "all of them are done"
    );
    let (code, report) = place.audit(&place.path("state/aaos"));
    assert!(code == 0 && report["whole"] == true, "{report}");
}

/// Submits, reads events until some subtasks have completed, and leaves.
fn until_some_are_done(place: &Place) -> String {
    let mut command = place.command(&[&GOAL[..], &["--json"]].concat());
    let mut reading = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut run, mut completed) = (String::new(), 0);
    for line in BufReader::new(reading.stdout.take().unwrap()).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert!(event["seq"].is_u64(), "it ended too early: {event}");
        run = event["run"].as_str().unwrap_or(&run).to_owned();
        completed += usize::from(event["kind"] == "subtask_completed");
        if completed == 50 {
            break;
        }
    }
    let _ = reading.kill();
    let _ = reading.wait();
    run
}

#[test]
fn ended_in_the_middle_it_goes_on_from_a_journal_that_verifies_and_a_flipped_byte_is_found() {
    let place = Place::new();
    script(&place, 40);
    let mut daemon = Foreground::start(place.command(&["run"]), &place.socket());
    let run = until_some_are_done(&place);
    let ended = daemon.terminate();
    assert_eq!(ended.code(), Some(0), "{}", daemon.said());
    assert!(!place.socket().exists());

    let state = place.path("state/aaos");
    let (code, report) = place.audit(&state);
    assert!(code == 0 && report["whole"] == true, "{report}");
    let events = goes_on(&place, &run);
    place.run(&["daemon", "stop"]);
    flipped_event_is_named(&place, &state, &events);
    flipped_bodies_are_found(&place, &state);
    let (code, _) = place.audit(&state);
    assert_eq!(code, 0, "the copies were changed, not the journal");
}

/// The next daemon takes the run up, and what had been done is not done again.
fn goes_on(place: &Place, run: &str) -> Vec<Value> {
    let attached = place.run(&["attach", run]);
    assert_eq!(attached.code, 0, "{}", attached.err);
    let events = place.events(run);
    let completed = of_kind(&events, "subtask_completed");
    let names: BTreeSet<&str> = completed
        .iter()
        .map(|event| event["subtask"].as_str().unwrap())
        .collect();
    assert_eq!((completed.len(), names.len()), (SUBTASKS, SUBTASKS));
    let resumed = of_kind(&events, "run_resumed");
    assert_eq!(resumed.len(), 1, "{resumed:?}");
    let kept = resumed[0]["subtasks_kept"].as_u64().unwrap();
    assert!((50..SUBTASKS as u64).contains(&kept), "{kept}");
    assert_eq!(of_kind(&events, "run_finished").len(), 1);
    events
}

/// Changes one byte of an event's body in a copy of the journal: verifying names that event.
fn flipped_event_is_named(place: &Place, state: &Path, events: &[Value]) {
    let copied = place.path("copy");
    copy(state, &copied);
    let event = of_kind(events, "subtask_completed")[20];
    let text = format!(
        "{{\"kind\":\"subtask_completed\",\"subtask\":\"{}\"",
        event["subtask"].as_str().unwrap()
    );
    flip(&copied.join("journal.db"), &text);
    let (code, report) = place.audit(&copied);
    assert_eq!(code, 1, "{report}");
    assert_eq!(report["whole"], false);
    assert_eq!(
        report["report"]["first_broken"]["seq"], event["seq"],
        "{report}"
    );
    let told = place.run(&["audit", "verify", copied.to_str().unwrap()]);
    assert!(
        told.out
            .contains(&format!("event {} does not hold", event["seq"])),
        "{}",
        told.out
    );
}

/// Changes one byte of a stored body in a copy: one that is a file, and one in the database.
fn flipped_bodies_are_found(place: &Place, state: &Path) {
    let bodies = files(&state.join("blobs"));
    let (file, _) = bodies
        .iter()
        .next()
        .expect("the plan is large enough to be a file");
    let copied = place.path("copy-of-bodies");
    copy(state, &copied);
    let path = copied.join("blobs").join(file);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let (code, report) = place.audit(&copied);
    assert_eq!(code, 1, "{report}");
    assert_eq!(report["report"]["blobs_damaged"], 1, "{report}");
    let digest: String = file.chars().filter(char::is_ascii_hexdigit).collect();
    assert!(
        report["report"]["blob_problems"]
            .to_string()
            .contains(&digest),
        "{report}"
    );
    flip_all(
        &copied.join("journal.db"),
        "You carry out a task by yourself, with the tools you have.",
    );
    let (code, report) = place.audit(&copied);
    assert_eq!(code, 1, "{report}");
    let damaged = report["report"]["blobs_damaged"].as_u64().unwrap();
    assert!(damaged >= 2, "{report}");
}
