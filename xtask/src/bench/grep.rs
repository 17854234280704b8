//! `grep`: the tool `grep`, called by an agent in the daemon, over ten thousand files, against `rg` as a process.
//!
//! The tool's time is the journal's: from the recorded intent to the recorded result, with everything between that
//! makes a call safe. `rg`'s is its whole process.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::daemon::{Daemon, Place, goal};
use super::fault::BenchError;
use super::figure::{Goal, Row, Series, Unit, timed};
use super::link::{Link, Seen};
use super::{Bench, Measured};

/// Files, and how many lie in one directory.
const FILES: usize = 10_000;
const FILES_EACH: usize = 100;
/// Lines of a file, so that one has about four kilobytes.
const LINES: usize = 64;
/// How often each search is made.
const REPETITIONS: usize = 15;
/// How many times `rg`'s time the tool may take.
const TIMES: f64 = 1.25;
/// What is looked for: a word that is nowhere, and an expression with few hits.
const SEARCHES: &[(&str, &str)] = &[
    ("a word that is nowhere", "absent_everywhere"),
    (
        "an expression with a hundred hits",
        "line (17|99) of file [0-9]*07\\b.*sparse",
    ),
];

/// Measures it.
///
/// # Errors
/// The daemon failed, or there is no `rg`.
pub fn run(bench: &Bench<'_>) -> Result<Measured, BenchError> {
    let place = Place::new(&bench.scratch, "grep")?;
    let tree = place.dir.join("tree");
    fill(&tree)?;
    let script: Vec<_> = SEARCHES
        .iter()
        .flat_map(|(name, pattern)| replies(name, pattern))
        .collect();
    place.script(&script)?;
    let daemon = Daemon::start(&place, &bench.program)?;
    let mut link = daemon.link()?;
    let mut rows = Vec::new();
    for (name, pattern) in SEARCHES {
        let (mut ours, mut one, mut all) = <(Series, Series, Series)>::default();
        search(&mut link, &tree, name)?;
        for _ in 0..REPETITIONS {
            ours.add(search(&mut link, &tree, name)?);
            one.add(ripgrep(&tree, pattern, &["-j1"])?);
            all.add(ripgrep(&tree, pattern, &[])?);
        }
        let what = format!("grep over {FILES} files for {name}");
        let row = Row::new(what, Unit::Micros, ours).goal(Goal::AtMostTimes(TIMES));
        rows.push(row.clone().against("rg -j1", &one));
        rows.push(row.against("rg", &all));
    }
    Ok(Measured {
        rows,
        note: format!("Files of about 4 KiB, {FILES_EACH} to a directory, warm in memory."),
    })
}

fn fill(tree: &Path) -> Result<(), BenchError> {
    for number in 0..FILES {
        let dir = tree.join(format!("d{:03}", number / FILES_EACH));
        fs::create_dir_all(&dir).map_err(BenchError::file(&dir))?;
        let rare = if number % 100 == 7 {
            "sparse"
        } else {
            "common"
        };
        let line = |line| {
            format!("line {line} of file {number:05}: some words of which most are {rare}\n")
        };
        let path = dir.join(format!("f{number:05}.txt"));
        fs::write(&path, (0..LINES).map(line).collect::<String>())
            .map_err(BenchError::file(&path))?;
    }
    Ok(())
}

/// The replies of an agent that searches once and is done.
fn replies(name: &str, pattern: &str) -> [serde_json::Value; 2] {
    let call = json!({ "name": "grep", "input": { "pattern": pattern, "path": "." } });
    [
        json!({ "match": { "purpose": "turn", "turn": 1, "contains": name }, "times": "many",
                "reply": { "tool_calls": [call] } }),
        json!({ "match": { "purpose": "turn", "turn": 2 }, "times": "many", "reply": { "text": "done" } }),
    ]
}

/// Microseconds of one call of the tool.
fn search(link: &mut Link, tree: &Path, name: &str) -> Result<f64, BenchError> {
    let run = link.submit(&goal(name, "direct", tree))?;
    link.follow(&run)?;
    let events = link.events(&run)?;
    let moment = |kind: &str| {
        let fits = |seen: &&Seen| seen.kind == kind && !seen.failed;
        events.iter().find(fits).map(|seen| seen.time)
    };
    match (moment("tool_invoked"), moment("tool_result")) {
        (Some(from), Some(to)) => Ok(to.saturating_sub(from) as f64),
        _ => Err(BenchError::Daemon {
            method: "run.watch".to_owned(),
            said: "the run has no call of a tool that succeeded".to_owned(),
        }),
    }
}

/// Microseconds of one process of `rg`.
fn ripgrep(tree: &Path, pattern: &str, arguments: &[&str]) -> Result<f64, BenchError> {
    let mut command = Command::new("rg");
    command
        .args(["--no-config", "--line-number"])
        .args(arguments)
        .arg(pattern)
        .arg(".")
        .current_dir(tree);
    let (time, output) = timed(|| command.stdin(Stdio::null()).output());
    output.map_err(|_| BenchError::Absent("`rg` is not installed".to_owned()))?;
    Ok(time.as_secs_f64() * 1e6)
}
