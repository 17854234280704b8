//! Disks and files that fail beneath a daemon at work: what it says then, and that its runs go on afterwards.

use crate::{
    check::{Left, Tally},
    effects::Effects,
    lane::{Given, Lane},
    link::NoAnswer,
    pool::Form,
    processes,
    seed::Seed,
    stage::flip_all,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

/// Longest wait for a daemon to notice.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A disk with more room than the daemon wants to keep free.
const DISK: &str = "160m";

pub(crate) fn service(number: u64) -> (Arc<Effects>, Seed) {
    processes::adopt();
    let seed = Seed::new(number);
    (Arc::new(Effects::serve(&seed)), seed)
}

/// A mount namespace in which a directory is a small disk of its own; it lasts while this does. Needs root, or a
/// kernel that lets anyone make user namespaces.
pub(crate) struct Disk {
    holder: Child,
    pub(crate) enter: Vec<String>,
    at: PathBuf,
}

impl Disk {
    pub(crate) fn make(at: &Path) -> Self {
        let script = format!(
            "mount -t tmpfs -o size={DISK},mode=700 tmpfs '{}' && echo ready && exec sleep 1000000",
            at.display()
        );
        for (unshare, enter) in [
            (&["-m"][..], &["-m"][..]),
            (&["-Urm"], &["-U", "-m", "--preserve-credentials"]),
        ] {
            let mut holder = Command::new("unshare")
                .args(unshare)
                .args(["sh", "-c", &script])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            processes::ours(holder.id());
            let mut said = String::new();
            let mut reading = BufReader::new(holder.stdout.take().unwrap());
            reading.read_line(&mut said).unwrap();
            if said.trim() != "ready" {
                let _ = holder.wait();
                continue;
            }
            let number = holder.id().to_string();
            let words = [&["/usr/bin/nsenter", "-t", number.as_str()][..], enter].concat();
            return Self {
                holder,
                enter: words.into_iter().map(str::to_owned).collect(),
                at: at.to_owned(),
            };
        }
        panic!("root, or a kernel that lets anyone make user namespaces, is needed");
    }

    /// A path on the disk, as seen from outside.
    pub(crate) fn seen(&self, name: &str) -> PathBuf {
        let root = format!("/proc/{}/root{}", self.holder.id(), self.at.display());
        Path::new(&root).join(name)
    }

    /// Runs a command where the disk is.
    pub(crate) fn run(&self, words: &[&str]) {
        let (program, rest) = self.enter.split_first().unwrap();
        let done = Command::new(program)
            .args(rest)
            .args(words)
            .output()
            .unwrap();
        assert!(done.status.success(), "{words:?}: {done:?}");
    }

    /// The same, as soon as the kernel lets it: what a killed daemon had open may take a moment to be let go.
    fn run_soon(&self, words: &[&str]) {
        let (program, rest) = self.enter.split_first().unwrap();
        let since = Instant::now();
        loop {
            let done = Command::new(program).args(rest).args(words).output();
            let done = done.unwrap();
            if done.status.success() {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "{words:?}: {done:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Leaves no room.
    pub(crate) fn fill(&self) {
        let mut file = std::fs::File::create(self.seen("filler")).unwrap();
        let block = vec![0x5a; 64 * 1024];
        while file.write_all(&block).is_ok() {}
        while file.write_all(b"x").is_ok() {}
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A run that is under way for sure: its agent waits for a page that the service holds back.
pub(crate) fn under_way(lane: &mut Lane, effects: &Arc<Effects>) -> Given {
    effects.hold();
    lane.start();
    lane.submit(0, Form::Mixed);
    let since = Instant::now();
    while !effects.is_asked() {
        assert!(since.elapsed() < PATIENCE, "{}", lane.said());
        std::thread::sleep(Duration::from_millis(5));
    }
    lane.runs[0].clone()
}

/// Builds what stands between a daemon and its kernel, from the C file of that name beside this one, and gives the
/// setting of the environment that puts it there.
pub(crate) fn preloaded(lane: &Lane, name: &str) -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults");
    let library = lane.place.path(&format!("{name}.so"));
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
        .args([&library, &tests.join(format!("{name}.c"))])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    format!("LD_PRELOAD={}", library.display())
}

/// Waits until a goal is refused, and gives what was said.
pub(crate) fn until_refused(lane: &Lane) -> Value {
    let since = Instant::now();
    loop {
        let base = lane.place.path("work");
        let params = json!({ "goal": "anything", "base": base, "orchestration": "direct" });
        match lane.ask("run.submit", &params) {
            Err(NoAnswer::Refused(why)) => return why,
            other => assert!(since.elapsed() < PATIENCE, "still accepted: {other:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// That a run left what it should, and its record is in order.
pub(crate) fn is_whole(lane: &Lane, run: &Given, effects: &Effects) {
    let left = Left::by(lane, run, effects);
    assert!(
        left.each_once() && left.effects() == 4,
        "{left:#?}\n{}",
        lane.excerpt(run)
    );
    let wrong = Tally::default().read(&lane.events(&run.id));
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", lane.excerpt(run));
}

/// A lane on a small disk with a run at work.
fn at_work(effects: &Arc<Effects>, seed: &Seed) -> (Lane, Disk, Given) {
    let mut lane = Lane::new(0, effects, seed);
    let disk = Disk::make(&lane.place.path("state"));
    lane.through = disk.enter.clone();
    lane.start();
    lane.submit(0, Form::Mixed);
    let run = lane.runs[0].clone();
    lane.wait_for(&run.id, "tool_invoked");
    (lane, disk, run)
}

#[test]
fn a_full_disk_takes_no_goals_and_loses_no_run() {
    let (effects, seed) = service(41);
    let (mut lane, disk, run) = at_work(&effects, &seed);
    disk.fill();
    let why = until_refused(&lane);
    let next = why["data"]["next_step"].as_str().unwrap_or("");
    assert!(!next.is_empty(), "{why}");
    lane.must("daemon.status", &json!({}));
    std::fs::remove_file(disk.seen("filler")).unwrap();
    lane.end(Signal::KILL);
    lane.start();
    lane.finish();
    is_whole(&lane, &run, &effects);
}

#[test]
fn a_disk_that_is_read_only_after_a_kill_starts_no_daemon_and_loses_no_run() {
    let (effects, seed) = service(45);
    let (mut lane, disk, run) = at_work(&effects, &seed);
    lane.end(Signal::KILL);
    let at = disk.at.to_str().unwrap().to_owned();
    disk.run_soon(&["mount", "-o", "remount,ro", &at]);
    let words = lane.refused().to_lowercase();
    assert!(words.contains("read-only"), "{words}");
    disk.run(&["mount", "-o", "remount,rw", &at]);
    lane.start();
    lane.finish();
    is_whole(&lane, &run, &effects);
}

#[test]
fn a_torn_end_of_the_record_is_a_shorter_record_or_said_with_the_next_step() {
    let (effects, mut seed) = service(42);
    let (mut shorter, mut said) = (0, 0);
    for round in 0..8 {
        let mut lane = Lane::new(round, &effects, &seed);
        lane.torn = true;
        lane.start();
        lane.submit(0, Form::Mixed);
        let run = lane.runs[0].clone();
        lane.wait_for(&run.id, "tool_result");
        lane.end(Signal::KILL);
        let wal = lane.place.path("state/aaos/journal.db-wal");
        let length = std::fs::metadata(&wal).unwrap().len();
        let file = std::fs::OpenOptions::new().write(true).open(&wal).unwrap();
        // Most of it stays: the last page is torn, not the whole log.
        file.set_len(length - seed.below(length / 4)).unwrap();
        match lane.starts_or_says() {
            None => {
                shorter += 1;
                lane.finish();
                lane.close();
            }
            Some(words) => {
                said += 1;
                assert!(words.contains("audit verify"), "{words}");
                // Only the operator can say that it may go on without what the disk had confirmed.
                assert!(words.contains("head.confirmed"), "{words}");
                let state = lane.place.path("state/aaos");
                std::fs::rename(state.join("head.confirmed"), state.join("aside")).unwrap();
                lane.start();
                lane.finish();
                lane.close();
            }
        }
    }
    println!("{shorter} went on with a shorter record, {said} said that it is damaged");
}

#[test]
fn a_run_whose_past_is_gone_says_what_is_missing_and_the_others_go_on() {
    let (effects, seed) = service(43);
    let mut lane = Lane::new(0, &effects, &seed);
    let needle = "the past of this agent ends with these very words";
    let long = format!("{} {needle}", "thinking it over, ".repeat(60));
    let goal = |name: &str| format!("do as {name} says");
    let script = |delay: u64| {
        let at = |name: &str, turn: u64| json!({ "purpose": "turn", "turn": turn, "contains": goal(name) });
        let echo = |text: &str| json!({ "text": text, "tool_calls": [{ "name": "echo", "input": { "message": "x" } }] });
        vec![
            json!({ "match": at("anna", 1), "times": "many", "reply": echo(&long) }),
            json!({ "match": at("berta", 1), "times": "many", "reply": echo("short") }),
            json!({ "match": { "purpose": "turn", "turn": 2 }, "times": "many", "reply": { "text": "done", "delay_ms": delay } }),
        ]
    };
    lane.scripted(&script(600_000));
    let run = |name: &str| {
        let params = json!({ "goal": goal(name), "base": lane.place.path("work"), "orchestration": "direct" });
        let answer = lane.must("run.submit", &params);
        let run = answer["run"].as_str().unwrap().to_owned();
        lane.wait_for(&run, "tool_result");
        run
    };
    let (anna, berta) = (run("anna"), run("berta"));
    lane.end(Signal::TERM);
    flip_all(&lane.place.path("state/aaos/journal.db"), needle);
    lane.scripted(&script(0));
    let (lost, kept) = (lane.outcome(&anna), lane.outcome(&berta));
    assert_eq!(lost["failure"]["why"], "unrecoverable", "{lost}");
    let digest = lost.to_string();
    let is_named = digest
        .split(|c: char| !c.is_ascii_hexdigit())
        .any(|word| word.len() >= 12);
    assert!(is_named, "the missing body is named: {lost}");
    assert_eq!(kept["result"], "succeeded", "{kept}");
}

#[test]
fn a_changed_event_in_the_middle_is_named_before_anything_goes_on() {
    let (effects, seed) = service(44);
    let mut lane = Lane::new(0, &effects, &seed);
    lane.start();
    lane.submit(0, Form::Mixed);
    let run = lane.runs[0].clone();
    lane.wait_for(&run.id, "subtask_completed");
    let events = lane.events(&run.id);
    let changed = events
        .iter()
        .find(|event| event["kind"] == "subtask_started")
        .unwrap();
    lane.end(Signal::TERM);
    let text = "{\"kind\":\"subtask_started\",\"subtask\":\"look\"";
    flip_all(&lane.place.path("state/aaos/journal.db"), text);
    let words = lane.refused();
    assert!(
        words.contains("damaged") && words.contains("audit verify"),
        "{words}"
    );
    let state = lane.place.path("state/aaos");
    let (code, report) = lane.place.audit(&state);
    assert_eq!((code, &report["whole"]), (1, &json!(false)), "{report}");
    let broken = &report["report"]["first_broken"]["seq"];
    assert_eq!(broken, &changed["seq"], "{report}");
}

#[test]
fn another_key_in_place_of_the_one_that_signed_is_said_at_the_start_and_both_are_told_of() {
    let (effects, seed) = service(52);
    let mut lane = Lane::new(0, &effects, &seed);
    lane.start();
    lane.end(Signal::TERM);
    let state = lane.place.path("state/aaos");
    let first = std::fs::read_to_string(state.join("audit.pub")).unwrap();
    assert!(!lane.said().contains("audit key"), "{}", lane.said());
    std::fs::remove_file(state.join("audit.key")).unwrap();
    lane.start();
    let said = lane.said();
    assert!(
        said.contains("audit key") && said.contains(first.trim()),
        "{said}"
    );
    lane.end(Signal::TERM);
    let second = std::fs::read_to_string(state.join("audit.pub")).unwrap();
    let told = lane
        .place
        .run(&["audit", "verify", state.to_str().unwrap()]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(
        told.out.contains(first.trim()) && told.out.contains(second.trim()),
        "{told:?}"
    );
}
