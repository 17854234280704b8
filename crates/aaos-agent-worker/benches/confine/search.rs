//! `grep` over ten thousand files: confined, in process, and `rg` as a process.

use crate::{
    absent,
    launch::Taken,
    product::{World, call, text},
    timed,
};
use serde_json::json;
use std::{
    fs,
    process::{Command, Stdio},
    time::Instant,
};

/// Files, how many lie in one directory, and the lines of one, so that it has about four kilobytes.
const FILES: usize = 10_000;
const FILES_EACH: usize = 100;
const LINES: usize = 64;
/// How often each search is made.
const TURNS: usize = 15;
/// What is looked for: a word that is nowhere, and an expression with a hundred hits.
const SEARCHES: [(&str, &str); 2] = [
    ("nowhere", "absent_everywhere"),
    ("hits", "line (17|99) of file [0-9]*07\\b.*sparse"),
];

/// Every search in turns.
pub(crate) async fn turns(world: &World) {
    fill(world);
    let (confined, plain) = (world.namespaced(0), world.in_process());
    let grants = world.grants();
    let (confined, _) = world.launch(&confined, &grants).await;
    let (plain, _) = world.launch(&plain, &grants).await;
    let mut taken = Taken::default();
    for (name, pattern) in SEARCHES {
        for turn in 0..=TURNS {
            let mut add = |what: &str, took: f64| {
                if turn > 0 {
                    taken.add(&format!("grep {name} {what}"), took);
                }
            };
            let input = json!({ "pattern": pattern, "path": "tree" });
            add(
                "confined",
                timed(call(&*confined, "grep", input.clone())).await.0,
            );
            add("in process", timed(call(&*plain, "grep", input)).await.0);
            for (what, threads) in [("rg -j1", Some("-j1")), ("rg", None)] {
                match ripgrep(world, pattern, threads) {
                    Some(took) => add(what, took),
                    None if turn == 0 && threads.is_none() => absent("`rg` is not installed"),
                    None => {}
                }
            }
        }
    }
    confined.stop().await;
    plain.stop().await;
    taken.say();
}

fn fill(world: &World) {
    for number in 0..FILES {
        let dir = world
            .workspace
            .join(format!("tree/d{:03}", number / FILES_EACH));
        fs::create_dir_all(&dir).unwrap();
        let rare = if number % 100 == 7 {
            "sparse"
        } else {
            "common"
        };
        let line = |line| {
            format!("line {line} of file {number:05}: some words of which most are {rare}\n")
        };
        fs::write(
            dir.join(format!("f{number:05}.txt")),
            (0..LINES).map(line).collect::<String>(),
        )
        .unwrap();
    }
}

/// Microseconds of one process of `rg`; none if there is no such program.
fn ripgrep(world: &World, pattern: &str, threads: Option<&str>) -> Option<f64> {
    let since = Instant::now();
    Command::new("rg")
        .args(["--no-config", "--line-number"])
        .args(threads)
        .arg(pattern)
        .arg(text(&world.workspace.join("tree")))
        .stdin(Stdio::null())
        .output()
        .ok()?;
    Some(crate::micros(since.elapsed()))
}
