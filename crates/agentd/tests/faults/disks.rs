//! Disks that fail beneath a daemon at work and are well again: it stays, answers, takes no goals and says why, and its
//! runs go on by themselves. And bodies that somebody took out of the record while no daemon ran.

use crate::{
    check::Tally,
    common::PROGRAM,
    effects::Effects,
    lane::{Given, Lane},
    stage::of_kind,
    storage::{Disk, PATIENCE, is_whole, preloaded, service, under_way, until_refused},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::Instant,
};

/// Waits until the daemon knows of its trouble, and gives the problem and the next step.
fn until_troubled(lane: &Lane) -> (String, String) {
    let since = Instant::now();
    loop {
        let trouble = &lane.must("daemon.status", &json!({}))["trouble"];
        let text = |name: &str| trouble[name].as_str().unwrap_or("").to_lowercase();
        // That there is little room is known from the disk itself, before anything was refused.
        if trouble.is_object() && text("problem").contains("journal.db") {
            return (text("problem"), text("next_step"));
        }
        assert!(since.elapsed() < PATIENCE, "{trouble}: {}", lane.said());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn process(lane: &Lane) -> Value {
    lane.must("daemon.status", &json!({}))["pid"].clone()
}

/// That a goal is refused with the next step, and what is known can still be asked for.
fn refuses_and_answers(lane: &Lane, run: &Given) {
    let why = until_refused(lane);
    let next = why["data"]["next_step"].as_str().unwrap_or("");
    assert!(!next.is_empty(), "{why}");
    let list = lane.must("run.list", &json!({}));
    let is_listed = |shown: &Value| shown["run"] == run.id.as_str();
    assert!(list.as_array().unwrap().iter().any(is_listed), "{list}");
    assert!(!lane.events(&run.id).is_empty());
    let status = lane.must("run.status", &json!({ "run": run.id }));
    assert_eq!(status["view"]["run"], run.id.as_str());
}

/// That the run went on in the daemon that it began in.
fn went_on_by_itself(lane: &mut Lane, run: &Given, effects: &Effects, daemon: &Value) {
    lane.finish();
    assert_eq!(process(lane), *daemon, "{}", lane.said());
    is_whole(lane, run, effects);
    let events = lane.events(&run.id);
    assert!(!of_kind(&events, "run_recovering").is_empty());
}

#[test]
fn a_disk_that_is_full_for_a_while_takes_no_goals_and_its_run_goes_on_by_itself() {
    let (effects, seed) = service(46);
    let mut lane = Lane::new(0, &effects, &seed);
    let disk = Disk::make(&lane.place.path("state"));
    lane.through = disk.enter.clone();
    let run = under_way(&mut lane, &effects);
    let daemon = process(&lane);
    disk.fill();
    effects.release();
    let (problem, next) = until_troubled(&lane);
    assert!(problem.contains("full"), "{problem}");
    assert!(next.contains("make room"), "{next}");
    refuses_and_answers(&lane, &run);
    std::fs::remove_file(disk.seen("filler")).unwrap();
    went_on_by_itself(&mut lane, &run, &effects, &daemon);
    lane.end(Signal::TERM);
    lane.nothing_left();
    let state = lane.place.path("state/aaos");
    disk.run(&[PROGRAM, "audit", "verify", state.to_str().unwrap()]);
}

#[test]
fn a_disk_that_is_full_at_the_start_is_named_with_the_next_step_and_loses_no_run() {
    let (effects, seed) = service(47);
    let mut lane = Lane::new(0, &effects, &seed);
    let disk = Disk::make(&lane.place.path("state"));
    lane.through = disk.enter.clone();
    let run = under_way(&mut lane, &effects);
    lane.end(Signal::KILL);
    effects.release();
    disk.fill();
    let words = lane.refused().to_lowercase();
    assert!(words.contains("make room"), "{words}");
    assert!(!words.contains("panicked"), "{words}");
    std::fs::remove_file(disk.seen("filler")).unwrap();
    lane.start();
    lane.finish();
    is_whole(&lane, &run, &effects);
}

/// A disk that can be told to refuse what the daemon does to the files in its state directory.
struct Sick {
    now: PathBuf,
    enter: Vec<String>,
}

impl Sick {
    fn make(lane: &Lane) -> Self {
        let now = lane.place.path("sick");
        let enter = vec![
            "/usr/bin/env".to_owned(),
            preloaded(lane, "sick_disk"),
            format!("SICK_DIR={}", lane.place.path("state/aaos").display()),
            format!("SICK_NOW={}", now.display()),
        ];
        Self { now, enter }
    }

    /// Refuses to write.
    fn is_read_only(&self) {
        std::fs::write(&self.now, "r").unwrap();
    }

    /// Refuses to sync.
    fn does_not_sync(&self) {
        std::fs::write(&self.now, "s").unwrap();
    }

    fn is_well(&self) {
        std::fs::remove_file(&self.now).unwrap();
    }
}

#[test]
fn a_disk_that_becomes_read_only_takes_no_goals_and_its_run_goes_on_by_itself() {
    let (effects, seed) = service(48);
    let mut lane = Lane::new(0, &effects, &seed);
    let disk = Sick::make(&lane);
    lane.through = disk.enter.clone();
    let run = under_way(&mut lane, &effects);
    let daemon = process(&lane);
    disk.is_read_only();
    effects.release();
    let (_, next) = until_troubled(&lane);
    assert!(!next.is_empty());
    refuses_and_answers(&lane, &run);
    disk.is_well();
    went_on_by_itself(&mut lane, &run, &effects, &daemon);
    lane.close();
}

#[test]
fn after_a_sync_that_failed_nothing_is_begun_until_the_next_start() {
    let (effects, seed) = service(49);
    let mut lane = Lane::new(0, &effects, &seed);
    let disk = Sick::make(&lane);
    lane.through = disk.enter.clone();
    let run = under_way(&mut lane, &effects);
    disk.does_not_sync();
    effects.release();
    let (_, next) = until_troubled(&lane);
    assert!(next.contains("start the daemon again"), "{next}");
    disk.is_well();
    // What the kernel dropped is not there, however well the disk is now.
    refuses_and_answers(&lane, &run);
    let record = effects.settled();
    let acts = record.done.len() + record.set.len();
    drop(record);
    assert_eq!(acts, 0, "something was done without its intent");
    lane.end(Signal::TERM);
    lane.start();
    lane.finish();
    is_whole(&lane, &run, &effects);
    lane.close();
}

#[test]
fn a_record_that_is_cut_at_its_end_starts_no_daemon_and_goes_on_when_it_is_put_back() {
    let (effects, seed) = service(51);
    let mut lane = Lane::new(0, &effects, &seed);
    let run = under_way(&mut lane, &effects);
    // A clean end leaves the whole record in one file.
    lane.end(Signal::TERM);
    effects.release();
    let state = lane.place.path("state/aaos");
    let whole = std::fs::read(state.join("journal.db")).unwrap();
    for left in [whole.len() - 1, whole.len() - 4_096, whole.len() / 2] {
        std::fs::write(state.join("journal.db"), &whole[..left]).unwrap();
        let words = lane.refused();
        assert!(words.contains("audit verify"), "{left} bytes: {words}");
        assert!(!words.contains("panicked"), "{left} bytes: {words}");
        let (code, report) = lane.place.audit(&state);
        assert_eq!((code, &report["whole"]), (1, &json!(false)), "{report}");
    }
    std::fs::write(state.join("journal.db"), &whole).unwrap();
    lane.start();
    lane.finish();
    is_whole(&lane, &run, &effects);
    lane.close();
}

/// Takes every body with these words out of the record.
fn take_out(state: &Path, words: &str) {
    let database = rusqlite::Connection::open(state.join("journal.db")).unwrap();
    let gone = database
        .execute(
            "DELETE FROM blobs WHERE instr(body, CAST(?1 AS BLOB)) > 0",
            [words],
        )
        .unwrap();
    assert!(gone > 0, "no body holds {words}");
}

#[test]
fn a_body_that_was_taken_out_is_named_and_ends_only_the_run_that_needs_it() {
    let (effects, seed) = service(50);
    let mut lane = Lane::new(0, &effects, &seed);
    let goal = |name: &str| format!("do as {name} says");
    let script = |delay: u64| {
        let at = |name: &str, turn: u64| json!({ "purpose": "turn", "turn": turn, "contains": goal(name) });
        let echo = |name: &str| {
            let text = format!("{} words of {name}", "thinking it over, ".repeat(60));
            json!({ "text": text, "tool_calls": [{ "name": "echo", "input": { "message": "x" } }] })
        };
        let first = ["anna", "berta", "carla"]
            .map(|name| json!({ "match": at(name, 1), "times": "many", "reply": echo(name) }));
        let mut script = first.to_vec();
        for (name, delay) in [("anna", delay), ("berta", delay), ("carla", 0)] {
            let reply = json!({ "text": "done", "delay_ms": delay });
            script.push(json!({ "match": at(name, 2), "times": "many", "reply": reply }));
        }
        script
    };
    lane.scripted(&script(600_000));
    let run = |name: &str| {
        let params = json!({ "goal": goal(name), "base": lane.place.path("work"), "orchestration": "direct" });
        let run = lane.must("run.submit", &params)["run"].clone();
        let run = run.as_str().unwrap().to_owned();
        lane.wait_for(&run, "tool_result");
        run
    };
    let (anna, berta, carla) = (run("anna"), run("berta"), run("carla"));
    assert_eq!(lane.outcome(&carla)["result"], "succeeded");
    lane.end(Signal::TERM);
    let state = lane.place.path("state/aaos");
    take_out(&state, "words of anna");
    take_out(&state, "words of carla");

    let (code, report) = lane.place.audit(&state);
    assert_eq!((code, &report["whole"]), (1, &json!(false)), "{report}");
    let named: Vec<&str> = report["report"]["blob_problems"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|problem| problem["run"].as_str())
        .collect();
    assert!(
        named.contains(&anna.as_str()) && named.contains(&carla.as_str()),
        "{report}"
    );
    assert!(!named.contains(&berta.as_str()), "{report}");

    lane.scripted(&script(0));
    let (lost, kept) = (lane.outcome(&anna), lane.outcome(&berta));
    assert_eq!(lost["failure"]["why"], "unrecoverable", "{lost}");
    assert_eq!(kept["result"], "succeeded", "{kept}");
    let status = lane.place.run(&["status", &anna]);
    assert!(
        status.out.contains("cannot go on from its record"),
        "{status:?}"
    );
    let attached = lane.place.run(&["attach", &anna]);
    assert!(attached.code != 0, "{attached:?}");
    let shown = lane.place.run(&["status", "--json", &carla]).json();
    assert_eq!(shown["view"]["outcome"]["result"], "succeeded", "{shown}");
    let replayed = lane.place.run(&["replay", &carla]);
    assert!(replayed.code != 0, "{replayed:?}");
    let said = format!("{}{}", replayed.out, replayed.err);
    assert!(
        said.contains("body") && !said.contains("panicked"),
        "{said}"
    );
    let wrong = Tally::default().read(&lane.events(&berta));
    assert!(wrong.is_empty(), "{wrong:#?}");
}
