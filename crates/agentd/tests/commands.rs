//! The command line as an operator meets it, with the real program and a daemon of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;
mod stage;

use common::{GOAL, Peer, Place, with_files};
use stage::wait_for;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_goal_is_carried_out_and_its_file_is_the_operators() {
    let place = with_files();
    let done = place.run(&["submit", GOAL]);
    assert_eq!(done.code, 0, "{done:?}");
    let first = done.out.lines().next().unwrap();
    assert!(first.starts_with("run-"), "{first}");
    assert!(first.contains("  namespaced  "), "{first}");
    assert!(first.contains("model: none (rules)"), "{first}");
    assert!(done.out.contains("granted by profile default"));
    let report = place.path("work/report.md");
    assert!(
        done.out.contains(&report.display().to_string()),
        "{}",
        done.out
    );
    assert!(std::fs::read_to_string(&report).unwrap().contains("letter"));
    assert!(!done.out.contains('\u{1b}'), "no colours when piped");
}

#[test]
fn json_is_events_and_then_one_result() {
    let place = with_files();
    let done = place.run(&["submit", "--json", GOAL]);
    assert_eq!(done.code, 0, "{done:?}");
    let lines: Vec<serde_json::Value> = done
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["kind"], "run_submitted");
    assert_eq!(
        lines.last().unwrap()["result"]["view"]["state"],
        "succeeded"
    );
    assert!(lines.iter().rev().skip(1).all(|line| line["seq"].is_u64()));
}

#[test]
fn a_goal_outside_the_rules_fails_with_what_why_and_next() {
    let place = with_files();
    let done = place.run(&["submit", "compose a symphony about the sea"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(
        done.err.starts_with("error: could not carry out the goal"),
        "{}",
        done.err
    );
    assert!(
        done.err.contains("next:") && done.err.contains("configure"),
        "{}",
        done.err
    );
    let failed = done.out.lines().find(|line| line.contains("failed: "));
    let failed = failed.unwrap();
    assert!(failed.ends_with("which takes a model"), "{failed}");
}

#[test]
fn a_detached_run_is_found_by_the_beginning_of_its_id() {
    let place = with_files();
    let run = place
        .run(&["submit", "--detach", GOAL])
        .out
        .trim()
        .to_owned();
    let beginning = &run[..run.len() - 3];
    let followed = place.run(&["logs", "--follow", beginning]);
    assert_eq!(followed.code, 0, "{followed:?}");
    let status = place.run(&["status", beginning]);
    assert_eq!(status.code, 0, "{status:?}");
    for wanted in [
        run.as_str(),
        "succeeded",
        "namespaced",
        "none (rules)",
        "report.md",
        "file_read:",
        "usage",
    ] {
        assert!(status.out.contains(wanted), "{wanted}: {}", status.out);
    }
    let list = place.run(&["list"]);
    assert!(list.out.starts_with("ID"), "{}", list.out);
    assert!(
        list.out.contains(&run) && list.out.contains("succeeded"),
        "{}",
        list.out
    );
    let stop = place.run(&["stop", beginning]);
    assert_eq!(stop.code, 1, "it has ended: {stop:?}");
    place.run(&["daemon", "stop"]);
    let later = place.run(&["status", beginning]);
    assert_eq!(later.code, 0, "the journal still knows it: {later:?}");
    assert!(later.out.contains("succeeded"), "{}", later.out);
}

#[test]
fn every_call_is_shown_where_it_runs() {
    for (backend, here, elsewhere) in [
        ("namespaced", "[worker]", "[daemon]"),
        ("in_process", "[daemon]", "[worker]"),
    ] {
        let place = with_files();
        place.config(&format!("backend = \"{backend}\"\n"));
        let shown = place.run(&["submit", GOAL]);
        assert!(shown.out.contains(here), "{backend}: {}", shown.out);
        assert!(!shown.out.contains(elsewhere), "{backend}: {}", shown.out);
    }
}

#[test]
fn an_unknown_or_ambiguous_run_is_wrong_use_and_candidates_are_listed() {
    let place = with_files();
    assert_eq!(
        place.run(&["stop", "run-zzzz"]).code,
        2,
        "none is there yet"
    );
    place.run(&["submit", "--detach", GOAL]);
    place.run(&["submit", "--detach", GOAL]);
    let unknown = place.run(&["status", "nothing-like-it"]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
    let ambiguous = place.run(&["status", "run-"]);
    assert_eq!(ambiguous.code, 2, "{ambiguous:?}");
    assert_eq!(
        ambiguous.err.matches("run-").count(),
        3,
        "{}",
        ambiguous.err
    );
}

#[test]
fn exit_codes_tell_wrong_use_from_no_daemon() {
    let place = Place::new();
    assert_eq!(place.run(&["frobnicate"]).code, 2);
    assert_eq!(place.run(&["submit"]).code, 2);
    assert_eq!(place.run(&["submit", "--budget", "2bananas", "x"]).code, 2);
    assert_eq!(place.run(&["submit", "--grant", "file_read", "x"]).code, 2);
    assert_eq!(place.run(&["daemon", "status"]).code, 3);
    assert_eq!(place.run(&["daemon", "stop"]).code, 3);
    assert_eq!(place.run(&["stop", "run-1"]).code, 2);
    assert_eq!(place.run(&["--help"]).code, 0);
}

#[test]
fn what_is_denied_is_not_granted() {
    let place = with_files();
    let done = place.run(&["submit", "--deny", "file_write: /**", GOAL]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(!place.path("work/report.md").exists());
    assert!(!done.out.contains("  file_write:"), "{}", done.out);
    let refused = place.run(&["submit", "--deny", "file_read: ./a.txt", GOAL]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("overlaps"), "{}", refused.err);
    assert_eq!(place.run(&["submit", "--profile", "nope", GOAL]).code, 2);
}

#[test]
fn a_plan_starts_nothing() {
    let place = with_files();
    let plan = place.run(&["plan", GOAL]);
    assert_eq!(plan.code, 0, "{plan:?}");
    assert!(
        plan.out.contains("may file_read:") && plan.out.contains("result:"),
        "{}",
        plan.out
    );
    assert!(!place.path("work/report.md").exists());
    assert!(place.run(&["list"]).out.contains("No runs yet"));
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("run/aaos")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(place.socket()).unwrap());
    assert!(place.socket().exists());
    assert_eq!(place.run(&["tools"]).code, 0);
    let other = place.path("other");
    let second = place.run(&[
        "run",
        "--state-dir",
        other.to_str().unwrap(),
        "--socket",
        place.socket().to_str().unwrap(),
    ]);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(
        second.err.contains("another daemon answers"),
        "{}",
        second.err
    );
    assert!(Peer::open(&place.socket()).is_served());
}

#[test]
fn the_second_daemon_on_a_state_directory_goes_no_further() {
    let place = Place::new();
    assert_eq!(place.run(&["tools"]).code, 0);
    let socket = place.path("run/second.sock");
    let state = place.path("state/aaos");
    let second = place.run(&[
        "run",
        "--state-dir",
        state.to_str().unwrap(),
        "--socket",
        socket.to_str().unwrap(),
    ]);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(
        second.err.contains("in use by another daemon"),
        "{}",
        second.err
    );
    assert!(!socket.exists());
}

#[test]
fn the_socket_is_the_owners_alone() {
    let place = Place::new();
    assert_eq!(place.run(&["tools"]).code, 0);
    let mode =
        |path: std::path::PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.path("run/aaos")), 0o700);
    assert_eq!(mode(place.socket()), 0o600);
    assert_eq!(mode(place.path("state/aaos")), 0o700);
}

#[test]
fn several_commands_at_once_share_one_daemon() {
    let place = with_files();
    let runs: Vec<String> = std::thread::scope(|scope| {
        let submit = || place.run(&["submit", "--detach", GOAL]);
        let asks: Vec<_> = (0..4).map(|_| scope.spawn(submit)).collect();
        let answers = asks.into_iter().map(|ask| ask.join().unwrap());
        answers.map(|done| done.out.trim().to_owned()).collect()
    });
    let listed = place.run(&["list"]).out;
    for run in runs {
        assert!(
            run.starts_with("run-") && listed.contains(&run),
            "{run}: {listed}"
        );
    }
}

#[test]
fn a_daemon_that_cannot_start_says_why() {
    let place = Place::new();
    place.config("backend = \"spaceship\"\n");
    let done = place.run(&["submit", "list the files"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(
        done.err.contains("spaceship") && done.err.contains("in_process"),
        "{}",
        done.err
    );
}

#[test]
fn changed_settings_restart_an_idle_daemon() {
    let place = with_files();
    let pid = |place: &Place| {
        place.run(&["daemon", "status", "--json"]).json()["pid"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(place.run(&["tools"]).code, 0);
    let before = pid(&place);
    assert_eq!(place.run(&["tools"]).code, 0);
    assert_eq!(pid(&place), before);
    place.config("[daemon]\nslots = 3\n");
    assert_eq!(place.run(&["tools"]).code, 0);
    assert_ne!(pid(&place), before);
}

#[test]
fn an_idle_daemon_ends_by_itself_and_leaves_no_socket() {
    let place = Place::new();
    place.config("[daemon]\nidle_exit_s = 1\n");
    assert_eq!(place.run(&["tools"]).code, 0);
    wait_for("the daemon to end", || !place.socket().exists());
    assert_eq!(place.run(&["audit", "verify"]).code, 0);
}

#[test]
fn a_terminated_daemon_drains_and_its_journal_is_whole() {
    let place = with_files();
    place.run(&["submit", "--detach", GOAL]);
    let pid = place.run(&["daemon", "status", "--json"]).json()["pid"]
        .as_u64()
        .unwrap();
    let killed = std::process::Command::new("kill")
        .args(["-TERM", &pid.to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    wait_for("the daemon to end", || !place.socket().exists());
    let audit = place.run(&["audit", "verify", "--json"]);
    assert_eq!(audit.code, 0, "{audit:?}");
    assert_eq!(audit.json()["whole"], true);
}

#[test]
fn a_bad_role_file_is_shown_with_line_and_column_and_harms_no_other() {
    let place = Place::new();
    let bad = place.path("work/bad.yaml");
    std::fs::write(
        &bad,
        "name: bad\nsummary: x\nprompt: y\nlimits:\n  turns_max: many\n",
    )
    .unwrap();
    let done = place.run(&["roles", "validate", bad.to_str().unwrap()]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.out.contains("bad.yaml:5:"), "{}", done.out);
    assert!(
        done.out.contains("5 |   turns_max: many") && done.out.contains('^'),
        "{}",
        done.out
    );
    std::fs::create_dir_all(place.path("config/aaos/roles")).unwrap();
    std::fs::copy(&bad, place.path("config/aaos/roles/bad.yaml")).unwrap();
    let list = place.run(&["roles", "list"]);
    assert!(list.out.contains("writer"), "{list:?}");
    assert!(list.err.contains("bad.yaml"), "{list:?}");
    assert_eq!(place.run(&["roles", "show", "writer"]).code, 0);
    assert_eq!(place.run(&["roles", "show", "nobody"]).code, 2);
}

#[test]
fn hostile_text_in_a_goal_moves_no_cursor() {
    let place = with_files();
    let done = place.run(&["submit", "list\u{1b}[2J the files"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(!done.err.contains('\u{1b}') && !done.out.contains('\u{1b}'));
}

#[test]
fn every_reference_page_prints() {
    let place = Place::new();
    for page in ["tools", "rpc", "cli", "config", "events", "capabilities"] {
        let done = place.run(&["docs", page]);
        assert_eq!(done.code, 0, "{done:?}");
        assert!(done.out.starts_with("# "), "{page}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert_eq!(place.run(&["completions", shell]).code, 0);
    }
}
