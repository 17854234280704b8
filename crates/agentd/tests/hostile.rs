//! What nobody means well by: goals, role files, journals, disks and models. Each ends with a typed failure or a
//! refusal in words and the right exit code; nothing outside the grants is touched and nothing is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;
mod stage;

use common::{Done, Peer, Place};
use serde_json::{Value, json};
use stage::{Foreground, files, objects, of_kind};
use std::{fmt::Write as _, path::PathBuf, process::Command};

// Goals.

fn submitted(place: &Place, goal: &str) -> Value {
    let base = place.path("work").canonicalize().unwrap();
    json!({ "jsonrpc": "2.0", "id": 1, "method": "run.submit", "params": { "goal": goal, "base": base } })
}

#[test]
fn a_goal_that_is_no_goal_is_refused_before_anything_is_recorded() {
    let place = Place::new();
    let long = "read a.txt and ".repeat(1024 * 1024 / 15 + 1);
    assert!(long.len() > 1024 * 1024);
    let mut peer = place.connect();
    for (goal, named) in [(long.as_str(), "65536"), ("", "empty"), (" \n\t ", "empty")] {
        let answer = peer.ask(&submitted(&place, goal).to_string());
        assert_eq!(answer["error"]["code"], -32005, "{answer}");
        let problem = answer["error"]["data"]["problem"].as_str().unwrap();
        assert!(
            problem.contains(named) && problem.len() < 1_000,
            "{problem}"
        );
        assert!(
            !answer["error"]["data"]["next_step"]
                .as_str()
                .unwrap()
                .is_empty()
        );
    }
    assert!(peer.is_served());
    let listed = place.run(&["list", "--json"]).json();
    assert_eq!(listed, json!([]), "nothing was started");
    let empty = place.run(&["submit", ""]);
    assert_eq!(empty.code, 2, "{empty:?}");
    assert!(empty.err.contains("next:"), "{empty:?}");
    let large = place.run(&["submit", &long[..100_000]]);
    assert_eq!(large.code, 2, "{large:?}");
}

#[test]
fn control_characters_in_a_goal_reach_no_terminal() {
    let place = Place::new();
    place.work("a.txt", "One line.\n");
    let goal = "\u{1b}[2J\u{1b}]0;owned\u{7}read \u{202e}a.txt\r\u{9b}31m \u{0} and \u{7f}sing";
    let mut peer = place.connect();
    let answer = peer.ask(&submitted(&place, goal).to_string());
    if let Some(run) = answer["result"]["run"].as_str() {
        assert_eq!(
            place.run(&["logs", "--follow", run]).code,
            1,
            "no such goal is understood"
        );
        for command in [vec!["list"], vec!["status", run], vec!["logs", run]] {
            let done = place.run(&command);
            assert_eq!(done.code, 0, "{done:?}");
            let hostile =
                |c: char| (c.is_control() && c != '\n') || c == '\u{202e}' || c == '\u{9b}';
            assert!(!done.out.contains(hostile), "{command:?}: {:?}", done.out);
        }
    } else {
        assert_eq!(answer["error"]["code"], -32005, "{answer}");
    }
    assert!(peer.is_served());
}

// Role files.

const ROLE: &str = "\
name: NAME
summary: Says a word.
class: worker
ladder: [reasoner]
escalate_on: [replan_retry]
parameters:
  word:
    type: string
    required: true
    description: The word.
capabilities:
  - \"tool: echo\"
prompt: Say the word.
output: text
limits:
  turns_max: 3
  output_tokens_max: 100
  nudges_max: 1
  wall_clock_s: 60
  context_tokens_max: 10000
";

/// A line of the role above, what stands there instead, and the line that has to be named.
const BROKEN_ROLES: &[(&str, &str, u32)] = &[
    ("name: NAME", "name: [a]", 1),
    ("name: NAME", "name: Not A Name", 1),
    ("name: NAME", "name: another", 1),
    ("summary: Says a word.", "summary: {}", 2),
    ("summary: Says a word.", "summary: \"\"", 2),
    ("summary: Says a word.", "sumary: Says a word.", 2),
    ("class: worker", "class: genius", 3),
    ("class: worker", "class: worker\nclass: worker", 4),
    ("ladder: [reasoner]", "model: 7", 4),
    ("ladder: [reasoner]", "model: no-slash", 4),
    (
        "ladder: [reasoner]",
        "model: script/a\nladder: [reasoner]",
        5,
    ),
    ("ladder: [reasoner]", "ladder: reasoner", 4),
    ("ladder: [reasoner]", "ladder: [genius]", 4),
    ("escalate_on: [replan_retry]", "escalate_on: [boredom]", 5),
    ("  word:", "  word: string\n  other:", 7),
    ("    type: string", "    type: number", 8),
    ("    type: string", "    kind: string", 8),
    ("    required: true", "    required: perhaps", 9),
    ("    description: The word.", "    description: [a]", 10),
    ("  - \"tool: echo\"", "  - \"tool echo\"", 12),
    ("  - \"tool: echo\"", "  - \"file_read: {nothing}\"", 12),
    ("  - \"tool: echo\"", "  - 7", 12),
    ("prompt: Say the word.", "prompt: \"\"", 13),
    ("prompt: Say the word.", "prompt: \"never closed", 13),
    ("output: text", "output: poem", 14),
    ("output: text", "output: { file: word }", 14),
    ("output: text", "output: text\nscaffold: \"\"", 15),
    ("  turns_max: 3", "  turns_max: 0", 16),
    ("  turns_max: 3", "  turns_max: -1", 16),
    ("  turns_max: 3", "  turns: 3", 16),
    ("  output_tokens_max: 100", "  output_tokens_max: many", 17),
    ("  nudges_max: 1", "  nudges_max: 99999999999", 18),
    ("  wall_clock_s: 60", "  wall_clock_s: 1.5", 19),
    (
        "  context_tokens_max: 10000",
        "  context_tokens_max: [1]",
        20,
    ),
];

#[test]
fn every_broken_field_of_a_role_is_named_with_its_line_and_column() {
    let place = Place::new();
    let mut unplaced = String::new();
    for (number, (line, broken, at)) in BROKEN_ROLES.iter().enumerate() {
        let name = format!("role-{number}");
        let text = ROLE.replace(line, broken).replace("NAME", &name);
        let file = place.path("work").join(format!("{name}.yaml"));
        std::fs::write(&file, text).unwrap();
        let done = place.run(&["roles", "validate", file.to_str().unwrap()]);
        let said = done.out.lines().next().unwrap_or("").to_owned();
        let rest = said
            .split_once(&format!("{}:{at}:", file.display()))
            .map(|(_, rest)| rest);
        let column = rest
            .and_then(|rest| rest.split(':').next())
            .and_then(|column| column.parse::<u32>().ok());
        if done.code != 1 || column.is_none() {
            writeln!(
                unplaced,
                "{broken:?} should be named at line {at}: exit {}, {said}",
                done.code
            )
            .unwrap();
        }
    }
    assert!(unplaced.is_empty(), "{unplaced}");
    let good = place.path("work/good.yaml");
    std::fs::write(&good, ROLE.replace("NAME", "good")).unwrap();
    let done = place.run(&["roles", "validate", good.to_str().unwrap()]);
    assert_eq!(done.code, 0, "{done:?}");
}

#[test]
fn broken_roles_do_not_disable_the_others() {
    let place = Place::new();
    place.work("a.txt", "Alpha is the first letter.\n");
    place.script(&[]);
    let config = std::fs::read_to_string(place.path("config/aaos/config.toml")).unwrap();
    place.config(&format!("roles_dir = \"roles\"\n{config}"));
    let roles = place.path("config/aaos/roles");
    std::fs::create_dir_all(&roles).unwrap();
    std::fs::write(roles.join("good.yaml"), ROLE.replace("NAME", "good")).unwrap();
    std::fs::write(roles.join("writer.yaml"), "name: writer\nsummary: [\n").unwrap();
    std::fs::write(roles.join("binary.yaml"), b"\xff\xfe\x00name").unwrap();
    std::fs::write(roles.join("huge.yaml"), vec![b'#'; 4 * 1024 * 1024]).unwrap();
    let bomb: String = (1..40).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
        format!(
            "{text}a{n}: &a{n} [*a{0},*a{0},*a{0},*a{0},*a{0},*a{0},*a{0},*a{0}]\n",
            n - 1
        )
    });
    std::fs::write(roles.join("bomb.yaml"), bomb).unwrap();
    std::fs::write(roles.join("deep.yaml"), "[".repeat(100_000)).unwrap();
    let _ = Command::new("mkfifo").arg(roles.join("pipe.yaml")).status();
    let listed = place.run(&["roles", "list"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    for name in [
        "good",
        "writer",
        "analyzer",
        "fetcher",
        "generalist",
        "builder",
    ] {
        assert!(
            listed
                .out
                .lines()
                .any(|line| line.starts_with(&format!("{name} "))),
            "{name}: {}",
            listed.out
        );
    }
    for name in ["writer", "binary", "huge", "bomb", "deep", "pipe"] {
        assert!(
            listed.err.contains(&format!("{name}.yaml")),
            "{name}: {}",
            listed.err
        );
    }
    let done = place.run(&[
        "submit",
        "--model",
        "rules/rules",
        "read a.txt and write a summary to b.md",
    ]);
    assert_eq!(done.code, 0, "{done:?}");
}

// Configuration, state directory, journal, disk.

#[test]
fn a_broken_configuration_starts_no_daemon() {
    let place = Place::new();
    place.config("[daemon]\nslots = \"many\"\n");
    let done = place.run(&["submit", "read a.txt"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(
        done.err.contains("config.toml:2:") && done.err.contains("next:"),
        "{}",
        done.err
    );
    assert!(!place.socket().exists() && files(&place.path("state")).is_empty());
}

#[test]
fn of_two_daemons_on_one_state_directory_the_second_goes_no_further() {
    let place = Place::new();
    let mut first = Foreground::start(place.command(&["run"]), &place.socket());
    let other = place.path("run/other.sock");
    let done = Done::from(
        place
            .command(&["run", "--socket", other.to_str().unwrap()])
            .output()
            .unwrap(),
    );
    assert_ne!(done.code, 0, "{done:?}");
    assert!(
        done.err.contains("in use by another daemon")
            && done.err.contains(&first.process().to_string()),
        "{}",
        done.err
    );
    assert!(!other.exists());
    assert!(first.runs() && Peer::open(&place.socket()).is_served());
    assert_eq!(first.terminate().code(), Some(0));
    assert_eq!(place.audit(&place.path("state/aaos")).0, 0);
}

#[test]
fn a_damaged_journal_is_refused_and_left_as_it_is() {
    let place = Place::new();
    place.work("a.txt", "Alpha is the first letter.\n");
    assert_eq!(place.run(&["submit", "summarise a.txt"]).code, 0);
    assert_eq!(place.run(&["daemon", "stop"]).code, 0);
    let state = place.path("state/aaos");
    let whole = std::fs::read(state.join("journal.db")).unwrap();
    let mut beginning = whole.clone();
    beginning[..4096].fill(0x5a);
    let cut = whole[..whole.len() / 2].to_vec();
    let other = b"This was never a database.\n".repeat(400);
    for damaged in [beginning, cut, other] {
        std::fs::write(state.join("journal.db"), &damaged).unwrap();
        let done = place.run(&["submit", "summarise a.txt"]);
        assert_eq!(done.code, 3, "{done:?}");
        assert!(
            done.err.contains("could not start the daemon") && done.err.contains("journal"),
            "{}",
            done.err
        );
        let started = Done::from(place.command(&["run"]).output().unwrap());
        assert!(
            started.code != 0
                && started.err.contains("damaged")
                && started.err.contains("audit verify"),
            "{started:?}"
        );
        let audited = place.run(&["audit", "verify"]);
        assert_eq!(audited.code, 1, "{audited:?}");
        assert!(
            std::fs::read(state.join("journal.db")).unwrap() == damaged,
            "the damaged journal was changed"
        );
    }
    std::fs::write(state.join("journal.db"), &whole).unwrap();
    assert_eq!(
        place
            .run(&["list", "--json"])
            .json()
            .as_array()
            .unwrap()
            .len(),
        1,
        "nothing was lost"
    );
}

/// The daemon's command line in a shell, in the test's environment.
fn in_shell(place: &Place, shell: &[&str], script: &str) -> Command {
    let (program, rest) = shell.split_first().unwrap();
    let environment = place.command(&[]);
    let known = environment
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    let mut command = Command::new(program);
    command
        .args(rest)
        .arg(script)
        .env_clear()
        .envs(known)
        .current_dir("/");
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

fn started_with(place: &Place, shell: &[&str], before: &str) -> Foreground {
    let (state, socket) = (place.path("small"), place.socket());
    std::fs::create_dir_all(&state).unwrap();
    let flags = format!(
        "--state-dir '{}' --socket '{}'",
        state.display(),
        socket.display()
    );
    let script = format!("{before} && exec '{}' run {flags}", common::PROGRAM);
    Foreground::start(in_shell(place, shell, &script), &socket)
}

/// A daemon whose state directory is a small file system of its own, and that directory as seen from here. Needs root or
/// user namespaces.
fn on_a_small_disk(place: &Place) -> (Foreground, PathBuf) {
    let state = place.path("small");
    std::fs::create_dir_all(&state).unwrap();
    let mount = format!(
        "mount -t tmpfs -o size=4m,mode=700 tmpfs '{}'",
        state.display()
    );
    let shells = [
        &["unshare", "-m", "sh", "-c"][..],
        &["unshare", "-Urm", "sh", "-c"],
    ];
    let works = |shell: &&&[&str]| {
        in_shell(place, shell, &mount)
            .output()
            .is_ok_and(|done| done.status.success())
    };
    let shell = shells
        .iter()
        .find(works)
        .expect("root, or a kernel that lets anyone make user namespaces");
    let daemon = started_with(place, shell, &mount);
    let seen = format!("/proc/{}/root{}", daemon.process(), state.display());
    (daemon, seen.into())
}

/// A daemon whose files may not grow beyond some hundred kilobytes, as on a disk that fills up while it works.
fn on_a_disk_that_fills_up(place: &Place) -> Foreground {
    started_with(place, &["sh", "-c"], "trap '' XFSZ; ulimit -f 600")
}

/// Runs a command that speaks to one of these daemons.
fn on_small(place: &Place, arguments: &[&str]) -> Done {
    let (state, socket) = (place.path("small"), place.socket());
    let flags = [
        "--state-dir",
        state.to_str().unwrap(),
        "--socket",
        socket.to_str().unwrap(),
    ];
    place.run(&[arguments, &flags].concat())
}

const SMALL_GOAL: [&str; 2] = ["submit", "read a.txt and write a summary to b.md"];

#[test]
fn on_a_full_disk_goals_are_refused_in_words_and_recording_goes_on_once_there_is_room() {
    let place = Place::new();
    place.work("a.txt", "Alpha is the first letter.\n");
    let (mut daemon, disk) = on_a_small_disk(&place);
    assert_eq!(on_small(&place, &SMALL_GOAL).code, 0);
    let _ = std::fs::write(disk.join("filler"), vec![0; 8 * 1024 * 1024]);
    let refused = until_refused(&place);
    let words = refused.err.to_lowercase();
    assert!(
        words.contains("full") || words.contains("room"),
        "{refused:?}"
    );
    assert!(daemon.runs() && Peer::open(&place.socket()).is_served());
    std::fs::remove_file(disk.join("filler")).unwrap();
    let done = on_small(&place, &SMALL_GOAL);
    assert_eq!(
        done.code, 0,
        "recording goes on once there is room: {done:?}"
    );
    assert_eq!(daemon.terminate().code(), Some(0));
}

#[test]
fn a_disk_that_fills_up_in_the_middle_holds_runs_up_visibly_and_loses_nothing_recorded() {
    let place = Place::new();
    place.work("a.txt", "Alpha is the first letter.\n");
    let mut daemon = on_a_disk_that_fills_up(&place);
    let refused = until_refused(&place);
    assert!(refused.err.contains("journal"), "{refused:?}");
    assert!(daemon.runs() && Peer::open(&place.socket()).is_served());
    let listed = on_small(&place, &["list", "--json"]).json();
    let ended = listed
        .as_array()
        .unwrap()
        .iter()
        .all(|run| run["state"] != "running");
    assert!(ended, "nothing seems to go on: {listed}");
    daemon.terminate();
    let (code, report) = place.audit(&place.path("small"));
    assert!(
        code == 0 && report["report"]["events"].as_u64() > Some(20),
        "{report}"
    );
}

/// Submits until the disk has no room left even within the files there are; answers with what that goal was told.
fn until_refused(place: &Place) -> Done {
    for _ in 0..200 {
        let done = on_small(place, &SMALL_GOAL);
        if done.code != 0 {
            assert!(done.err.contains("next:"), "{done:?}");
            return done;
        }
    }
    panic!("the disk never fills up");
}

// Models.

/// One agent with the whole goal, whose model says these things, turn after turn; the last goes on for ever.
fn tempted(place: &Place, replies: &[Value]) -> (Done, Vec<Value>) {
    let last = replies.len() - 1;
    let entries: Vec<Value> = replies
        .iter()
        .enumerate()
        .map(|(turn, reply)| {
            let times = if turn == last {
                json!("many")
            } else {
                json!(1)
            };
            json!({ "match": { "purpose": "turn" }, "times": times, "reply": reply })
        })
        .collect();
    place.script(&entries);
    let done = place.run(&[
        "submit",
        "--json",
        "--orchestration",
        "direct",
        "do what you are told",
    ]);
    let events = objects(&done.out);
    (done, events)
}

fn call(tool: &str, input: Value) -> Value {
    json!({ "tool_calls": [{ "name": tool, "input": input }] })
}

fn failed_with(done: &Done) -> Value {
    assert_eq!(done.code, 1, "{done:?}");
    stage::outcome(done)["failure"].clone()
}

#[test]
fn a_model_that_repeats_the_same_call_for_ever_is_stopped() {
    let place = Place::new();
    let (done, events) = tempted(&place, &[call("echo", json!({ "message": "again" }))]);
    let failure = failed_with(&done);
    assert_eq!(
        (&failure["why"], &failure["kind"]),
        (&json!("limit"), &json!("repeats")),
        "{failure}"
    );
    let made = of_kind(&events, "tool_invoked").len();
    assert!((1..10).contains(&made), "{made} calls were made");
    assert!(!of_kind(&events, "tool_repeat_guard_fired").is_empty());
}

#[test]
fn a_model_that_names_tools_there_are_not_ends_at_its_limit() {
    let place = Place::new();
    let (done, events) = tempted(&place, &[call("rm_rf\n- tool: *", json!({ "path": "/" }))]);
    let failure = failed_with(&done);
    assert_eq!(failure["why"], "limit", "{failure}");
    assert!(of_kind(&events, "tool_invoked").is_empty());
    assert!(!of_kind(&events, "tool_rejected").is_empty());
}

#[test]
fn arguments_that_are_none_are_refused_and_nothing_is_called() {
    let malformed =
        |text: &str| json!({ "tool_calls": [{ "name": "file_write", "malformed": text }] });
    let deep = "[".repeat(10_000);
    let replies = [
        malformed("{\"path\": \"a.txt\", \"content\": \"half"),
        malformed("\u{0}\u{1b}"),
        malformed(&deep),
        call("file_write", json!([1, 2])),
        call("file_write", json!({ "path": 7, "content": "x" })),
        call("file_write", json!({ "path": "a.txt" })),
        call(
            "file_write",
            json!({ "path": "a.txt", "content": "x", "mode": "0777" }),
        ),
        call("file_write", json!({ "path": "", "content": "x" })),
        call("file_write", json!({ "path": "a\u{0}b", "content": "x" })),
        json!({ "text": "CANNOT: nothing works" }),
    ];
    let place = Place::new();
    let (done, events) = tempted(&place, &replies);
    assert_eq!(failed_with(&done)["why"], "gave_up");
    assert!(
        of_kind(&events, "tool_result")
            .iter()
            .all(|event| event["success"] == false)
    );
    assert!(of_kind(&events, "tool_rejected").len() >= 7, "{}", done.out);
    assert!(files(&place.path("work")).is_empty());
}

#[test]
fn what_lies_outside_the_grants_is_neither_read_nor_written() {
    let place = Place::new();
    let outside = place.path("outside");
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(outside.join("secret.txt"), "the secret word").unwrap();
    std::os::unix::fs::symlink(&outside, place.path("work/link")).unwrap();
    std::os::unix::fs::symlink(outside.join("secret.txt"), place.path("work/innocent.txt"))
        .unwrap();
    std::os::unix::fs::symlink("/etc/shadow", place.path("work/shadow")).unwrap();
    let absolute = outside.join("secret.txt").display().to_string();
    let read = [
        "/etc/shadow",
        "../outside/secret.txt",
        "link/secret.txt",
        "innocent.txt",
        "shadow",
        "a/../../outside/secret.txt",
        &absolute,
        "/proc/self/environ",
    ];
    let write = [
        "../outside/secret.txt",
        "link/new.txt",
        "innocent.txt",
        "/tmp/../etc/aaos-was-here",
        "./link/../../outside/new.txt",
    ];
    let mut replies: Vec<Value> = read
        .iter()
        .map(|path| call("file_read", json!({ "path": path })))
        .collect();
    replies.push(call("file_read_many", json!({ "paths": read })));
    replies.push(call("grep", json!({ "path": "..", "pattern": "secret" })));
    replies.push(call("grep", json!({ "path": "link", "pattern": "secret" })));
    replies.push(call(
        "file_list",
        json!({ "path": "link", "recursive": true }),
    ));
    replies.extend(
        write
            .iter()
            .map(|path| call("file_write", json!({ "path": path, "content": "changed" }))),
    );
    replies.push(call(
        "file_edit",
        json!({ "path": "innocent.txt", "old_text": "secret", "new_text": "changed" }),
    ));
    replies.push(json!({ "text": "CANNOT: everything is refused" }));
    let (done, events) = tempted(&place, &replies);
    assert_eq!(failed_with(&done)["why"], "gave_up", "{}", done.out);
    let results = of_kind(&events, "tool_result");
    let told = json!(results).to_string();
    assert!(
        !told.contains("the secret word")
            && !told.contains("root:")
            && !told.contains("XDG_STATE_HOME"),
        "{told}"
    );
    assert!(!of_kind(&events, "capability_denied").is_empty());
    let kept = files(&outside);
    assert_eq!(kept.len(), 1, "{:?}", kept.keys());
    assert_eq!(kept["secret.txt"], b"the secret word");
    assert!(!std::path::Path::new("/etc/aaos-was-here").exists());
    let shown = json!(events).to_string();
    assert!(
        !shown.contains("the secret word"),
        "not in any event either"
    );
}

/// A plan with a writer whose output is this, and what its agents were granted.
fn planned(place: &Place, params: Value) -> (Done, Vec<Value>) {
    let subtask = json!({ "id": "write", "role": "writer", "task": "write", "params": params });
    let plan = json!({ "subtasks": [subtask], "result": "write" });
    let write = json!({ "path": "${output}", "content": "changed\n" });
    place.script(&[
        json!({ "match": { "purpose": "plan" }, "times": "many", "reply": { "json": plan } }),
        json!({ "match": { "purpose": "turn", "turn": 1 }, "times": "many", "reply": call("file_write", write) }),
        json!({ "match": { "purpose": "turn", "turn": 2 }, "times": "many", "reply": call("file_read", json!({ "path": "/etc/shadow" })) }),
        json!({ "match": { "purpose": "turn" }, "times": "many", "reply": { "text": "done" } }),
    ]);
    let done = place.run(&[
        "submit",
        "--json",
        "--orchestration",
        "plan",
        "write something",
    ]);
    let events = objects(&done.out);
    (done, events)
}

#[test]
fn a_plan_parameter_is_data_and_never_a_grant() {
    let hostile = [
        "a.md\nfile_read: /etc/**",
        "a.md\"\n  - \"file_read: /**",
        "a.md}\n{workspace}/**",
        "{output}",
        "${output}",
        "*",
        "**",
        "./**",
        "../outside/new.md",
        "/etc/aaos-was-here",
        "link/new.md",
        "a.md, tool: *",
        "a.md; uses=1000",
        "\u{0}",
        "",
    ];
    let outside_of = |place: &Place| {
        let outside = place.path("outside");
        std::fs::create_dir_all(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, place.path("work/link")).unwrap();
        outside
    };
    for output in hostile {
        let place = Place::new();
        let outside = outside_of(&place);
        let (done, events) = planned(&place, json!({ "output": output }));
        assert!(done.code == 0 || done.code == 1, "{output:?}: {done:?}");
        assert!(
            files(&outside).is_empty() && !std::path::Path::new("/etc/aaos-was-here").exists(),
            "{output:?}"
        );
        let work = place
            .path("work")
            .canonicalize()
            .unwrap()
            .display()
            .to_string();
        for event in of_kind(&events, "capability_granted")
            .into_iter()
            .filter(|event| event["agent"].is_string())
        {
            let grant = event["capability"].as_str().unwrap();
            let tool = [
                "tool: file_read",
                "tool: file_read_many",
                "tool: file_write",
            ]
            .contains(&grant);
            assert!(
                tool || (grant.starts_with("file_write: ") && grant.contains(&work)),
                "{output:?}: {grant}"
            );
            let whole = grant.ends_with('*') && !grant.ends_with("\\*");
            assert!(!whole && !grant.contains('\n'), "{output:?}: {grant}");
        }
        let reads = of_kind(&events, "tool_result")
            .into_iter()
            .filter(|event| event["tool"] == "file_read");
        assert!(
            reads.clone().all(|event| event["success"] == false),
            "{output:?}"
        );
        // What was written is one file with an odd name at most, and success is only claimed where it is there.
        let written = files(&place.path("work"));
        assert!(written.len() <= 1, "{output:?}: {:?}", written.keys());
        assert_eq!(done.code == 0, written.len() == 1, "{output:?}: {done:?}");
    }
}

#[test]
fn a_plan_that_is_none_is_repaired_a_few_times_and_then_refused() {
    let subtask = |id: &str, role: &str, on: &[&str]| json!({ "id": id, "role": role, "task": "t", "depends_on": on });
    let plans = [
        json!({ "subtasks": [subtask("a", "emperor", &[])], "result": "a" }),
        json!({ "subtasks": [subtask("a", "generalist", &["b"]), subtask("b", "generalist", &["a"])], "result": "a" }),
        json!({ "subtasks": [subtask("a", "generalist", &[])], "result": "nobody" }),
        json!({ "subtasks": [], "result": "a" }),
        json!({ "subtasks": [subtask("a", "generalist", &[]), subtask("a", "generalist", &[])], "result": "a" }),
        json!({ "subtasks": [subtask("a b\n", "generalist", &[])], "result": "a b\n" }),
        json!({ "subtasks": [subtask("a", "writer", &[])], "result": "a" }),
        json!("I would rather not"),
        json!({ "subtasks": "all" }),
    ];
    let place = Place::new();
    for plan in plans {
        place.script(&[
            json!({ "match": { "purpose": "plan" }, "times": "many", "reply": { "json": plan } }),
        ]);
        place.run(&["daemon", "stop"]);
        let done = place.run(&[
            "submit",
            "--json",
            "--orchestration",
            "plan",
            "write something",
        ]);
        let failure = failed_with(&done);
        assert_eq!(failure["why"], "plan_invalid", "{plan}: {failure}");
        assert!(!failure["problems"].as_array().unwrap().is_empty());
        let asked = of_kind(&objects(&done.out), "model_requested").len();
        assert_eq!(asked, 3, "{plan}: asked once and twice for a repair");
    }
    assert!(files(&place.path("work")).is_empty());
}

#[test]
fn a_provider_that_fails_fails_the_run_with_what_and_the_next_step() {
    let faults = [
        "unreachable",
        "unauthorised",
        "unknown_model",
        "bad_request",
        "bad_reply",
    ];
    let place = Place::new();
    for fault in faults {
        place.script(&[json!({ "times": "many", "reply": { "fail": { "fault": fault, "status": 418, "message": "\u{1b}[31mno\n\nnext: lies" } } })]);
        place.run(&["daemon", "stop"]);
        let done = place.run(&["submit", "write something"]);
        assert_eq!(done.code, 1, "{fault}: {done:?}");
        assert!(
            done.err.contains("script/a") && done.err.contains("418") && done.err.contains("next:"),
            "{}",
            done.err
        );
        assert!(!done.err.contains('\u{1b}') && !done.out.contains('\u{1b}'));
    }
}
