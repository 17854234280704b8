//! What an operator sees: a live tree that stays whole, tables that fit, states in which the next step is named.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;
mod stage;

use common::{GOAL, PROGRAM, Place, with_files};
use serde_json::json;
use stage::{kill, turns, wait_for};
use std::{
    io::Read,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

/// A command on a terminal of its own, and what it wrote there so far.
struct Terminal {
    child: Child,
    written: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
}

impl Terminal {
    /// Runs the program with these arguments on a terminal of 24 rows.
    fn run(place: &Place, columns: usize, arguments: &str) -> Self {
        Self::of_kind(place, "xterm", columns, arguments)
    }

    /// Runs it on a terminal of this kind.
    fn of_kind(place: &Place, kind: &str, columns: usize, arguments: &str) -> Self {
        let line = format!("stty rows 24 cols {columns}; exec {PROGRAM} {arguments}");
        let mut command = Command::new("script");
        command
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env_clear()
            .env("TERM", kind);
        for (name, value) in place.command(&[]).get_envs() {
            command.env(name, value.unwrap());
        }
        let mut child = command
            .current_dir(place.path("work"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let written = Arc::new(Mutex::new(Vec::new()));
        let (mut out, into) = (child.stdout.take().unwrap(), Arc::clone(&written));
        let reading = std::thread::spawn(move || {
            let mut piece = [0; 4_096];
            while let Ok(length @ 1..) = out.read(&mut piece) {
                into.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        Self {
            child,
            written,
            reading,
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// Waits until something was written.
    fn until(&self, text: &str) {
        wait_for(text, || self.text().contains(text));
    }

    /// Its exit code, and the lines that stand on the terminal in the end.
    fn end(self) -> (Option<i32>, Vec<String>) {
        let Self {
            mut child,
            written,
            reading,
        } = self;
        let code = child.wait().unwrap().code();
        reading.join().unwrap();
        let bytes = written.lock().unwrap();
        (code, drawn(&String::from_utf8_lossy(&bytes)))
    }
}

/// What is left of this on a terminal that is high enough.
fn drawn(written: &str) -> Vec<String> {
    let (mut lines, mut row, mut column) = (vec![Vec::new()], 0_usize, 0_usize);
    let mut chars = written.chars();
    while let Some(c) = chars.next() {
        match c {
            '\r' => column = 0,
            '\n' => row += 1,
            '\u{1b}' => {
                let mut number = String::new();
                let ending = chars.find(|c| {
                    number.extend(Some(*c).filter(char::is_ascii_digit));
                    c.is_ascii_alphabetic()
                });
                let number = number.parse().unwrap_or(1);
                match ending {
                    Some('A') => row -= number,
                    Some('B') => row += number,
                    Some('K') => lines[row].clear(),
                    _ => {}
                }
            }
            c => {
                let line: &mut Vec<char> = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
        lines.resize(lines.len().max(row + 1), Vec::new());
    }
    lines.into_iter().map(String::from_iter).collect()
}

/// A run whose only act waits for approval, and the act.
fn waiting(place: &Place) -> (String, String) {
    let write = json!({ "path": "out.txt", "content": "new\n" });
    place.script(&turns(&[("file_write", write)]));
    let flags = ["--orchestration", "direct", "--ask", "tool: file_write"];
    let run = place.submit(&flags, "write it");
    let call = place.waits(&run);
    (run, call)
}

fn holding<'a>(lines: &'a [String], text: &str) -> Vec<&'a String> {
    lines.iter().filter(|line| line.contains(text)).collect()
}

#[test]
fn a_tree_stays_whole_when_the_daemon_dies_and_what_is_said_of_it_stays_to_be_read() {
    let place = Place::new();
    let (run, call) = waiting(&place);
    let terminal = Terminal::run(&place, 80, &format!("attach {run}"));
    terminal.until("agentd approvals show");
    kill(place.daemon());
    terminal.until("recovering");
    assert_eq!(place.waits(&run), call);
    assert_eq!(place.run(&["approvals", "approve", &call]).code, 0);
    let (code, lines) = terminal.end();
    assert_eq!(code, Some(0), "{lines:#?}");
    assert_eq!(holding(&lines, "the daemon is gone").len(), 1, "{lines:#?}");
    assert_eq!(holding(&lines, "/1 subtasks").len(), 1, "{lines:#?}");
    assert_eq!(
        holding(&lines, "succeeded  1/1 subtasks").len(),
        1,
        "{lines:#?}"
    );
}

#[test]
fn a_tree_shows_which_act_waits_and_which_command_answers_it() {
    let place = Place::new();
    let (run, call) = waiting(&place);
    let terminal = Terminal::run(&place, 80, &format!("attach {run}"));
    terminal.until(&format!("agentd approvals show {call}"));
    let status = place.run(&["status", &run]).out;
    let waits = status.find("waits for you\n").unwrap();
    assert!(
        status.contains(&format!("agentd approvals approve {call}")),
        "{status}"
    );
    assert!(waits < status.find("granted").unwrap(), "{status}");
    assert_eq!(place.run(&["stop", &run]).code, 0);
    let (code, lines) = terminal.end();
    assert_eq!(code, Some(1), "{lines:#?}");
    assert!(
        holding(&lines, "waits for your approval (").is_empty(),
        "it stands in the tree: {lines:#?}"
    );
    let status = place.run(&["status", &run]);
    let fork = format!("agentd fork {run} --at");
    assert!(status.out.contains(&fork), "{}", status.out);
}

#[test]
fn tables_fit_a_narrow_terminal_and_are_whole_when_piped() {
    let place = with_files();
    assert_eq!(place.run(&["submit", "--detach", GOAL]).code, 0);
    let (code, lines) = Terminal::run(&place, 60, "list").end();
    assert_eq!(code, Some(0));
    assert!(
        lines.iter().all(|line| line.chars().count() <= 60),
        "{lines:#?}"
    );
    assert_eq!(holding(&lines, "run-").len(), 1, "{lines:#?}");
    assert!(place.run(&["list"]).out.contains(GOAL));
}

#[test]
fn what_waits_is_seen_in_a_list_on_a_terminal_of_usual_width() {
    let place = Place::new();
    let (run, call) = waiting(&place);
    let (code, lines) = Terminal::run(&place, 80, "approvals").end();
    assert_eq!(code, Some(0), "{lines:#?}");
    let line = holding(&lines, &call);
    assert_eq!(line.len(), 1, "{lines:#?}");
    assert!(line[0].contains("file_write  change out.txt"), "{lines:#?}");
    assert!(place.run(&["approvals"]).out.contains(&run));
}

#[test]
fn a_terminal_that_cannot_be_drawn_on_gets_plain_lines() {
    let place = with_files();
    let arguments = format!("submit '{GOAL}'");
    let terminal = Terminal::of_kind(&place, "dumb", 80, &arguments);
    let Terminal {
        mut child,
        reading,
        written,
    } = terminal;
    assert_eq!(child.wait().unwrap().code(), Some(0));
    reading.join().unwrap();
    let said = String::from_utf8_lossy(&written.lock().unwrap()).into_owned();
    assert!(said.contains("write-1         started as writer"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn a_run_that_is_over_says_what_it_took_once_and_asks_for_nothing() {
    let place = Place::new();
    let write = |path: &str| ("file_write", json!({ "path": path, "content": "x" }));
    place.script(&turns(&[write("one"), write("two")]));
    let terms = ["--budget", "1calls", "--park", "--ask", "tool: git_commit"];
    let run = place.submit(
        &[&["--orchestration", "direct"], &terms[..]].concat(),
        "write",
    );
    place.until(&run, |view| view["state"] == "parked");
    assert_eq!(place.run(&["resume", &run, "--budget", "+5calls"]).code, 0);
    let attached = place.run(&["attach", &run]).out;
    let raised = attached.lines().find(|line| line.contains("budget raised"));
    assert!(
        raised.unwrap().contains(" 6 calls, 20k agents"),
        "{attached}"
    );
    let status = place.run(&["status", &run]).out;
    assert_eq!(status.matches("2 tool calls").count(), 1, "{status}");
    assert!(
        status.contains("only with your approval:\n  tool: git_commit"),
        "{status}"
    );
    assert!(!status.contains("waits"), "{status}");
}

#[test]
fn a_wrong_amount_is_told_once_with_the_forms_that_fit() {
    let place = Place::new();
    for (arguments, form) in [
        (&["submit", "--budget", "2bananas", "x"][..], "`3deep`"),
        (
            &["fork", "run-1", "--at", "a", "--budget", "2bananas"],
            "`3deep`",
        ),
        (&["resume", "run-1", "--budget", "2bananas"], "`+20agents`"),
    ] {
        let done = place.run(arguments);
        assert_eq!(done.code, 2, "{done:?}");
        let (problem, next_step) = done.err.split_once("next: ").unwrap();
        assert!(
            problem.trim_end().ends_with("`2bananas` is not an amount"),
            "{}",
            done.err
        );
        assert!(
            next_step.starts_with("Write ") && next_step.contains(form),
            "{}",
            done.err
        );
    }
    place.config("[approvals]\nexpire = \"2bananas\"\n");
    let done = place.run(&["config"]);
    assert!(done.err.contains("next: Write `2usd`"), "{}", done.err);
}

#[test]
fn a_run_is_stopped_for_good_also_while_no_daemon_runs() {
    let place = Place::new();
    let (run, _) = waiting(&place);
    place.kill_daemon();
    let stopped = place.run(&["stop", &run]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    let view = place.until(&run, |view| view["state"] == "failed");
    assert_eq!(view["outcome"]["failure"]["why"], "stopped", "{view:#}");
}

#[test]
fn a_list_says_that_there_are_more_runs_than_it_shows() {
    let place = with_files();
    for _ in 0..2 {
        assert_eq!(place.run(&["submit", "--detach", GOAL]).code, 0);
    }
    let one = place.run(&["list", "--limit", "1"]);
    assert_eq!(one.out.matches("run-").count(), 1, "{one:?}");
    assert!(one.err.contains("there are more"), "{one:?}");
    let all = place.run(&["list", "--limit", "2"]);
    assert_eq!((all.out.matches("run-").count(), all.err.as_str()), (2, ""));
    assert_eq!(place.run(&["list", "--limit", "0"]).code, 2);
}

#[test]
fn wrong_use_is_told_to_programs_as_json() {
    let place = Place::new();
    let wrong = [
        &["settle", "--json", "run-1", "call-1"][..],
        &["list", "--json", "--limit", "many"],
        &["--json", "frobnicate"],
    ];
    for arguments in wrong {
        let done = place.run(arguments);
        assert_eq!((done.code, done.err.as_str()), (2, ""), "{done:?}");
        assert_eq!(done.json()["error"]["exit_code"], 2, "{done:?}");
    }
    assert!(
        place
            .run(&["--json", "list", "--help"])
            .out
            .contains("Usage")
    );
}

#[test]
fn an_export_that_fits_nothing_says_so_beside_its_output() {
    let place = with_files();
    assert_eq!(place.run(&["submit", GOAL]).code, 0);
    let none = place.run(&["audit", "export", "--kind", "tool_invokd"]);
    assert_eq!((none.code, none.out.as_str()), (0, ""), "{none:?}");
    assert!(none.err.contains("no event fits"), "{none:?}");
    let some = place.run(&["audit", "export", "--kind", "tool_invoked"]);
    assert_eq!(some.err, "");
}

#[test]
fn a_directory_without_a_journal_is_told_once_with_one_next_step() {
    let place = Place::new();
    let done = place.run(&["audit", "verify", "/nonexistent"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(!done.err.contains("cannot be written"), "{}", done.err);
    assert_eq!(done.err.matches("Name ").count(), 1, "{}", done.err);
}
