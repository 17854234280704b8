//! `memory`: what a subtask that waits costs in memory: the daemon's own memory with a plan of 1000 subtasks less
//! that with one of 100, of which as many run in both.

use std::thread::sleep;
use std::time::Duration;

use super::daemon::{Daemon, Place, goal, goal_of, plan_reply, turn_reply};
use super::fault::BenchError;
use super::figure::{Row, Series, Unit};
use super::{Bench, Measured};
use serde_json::json;

/// The two sizes of plan.
const FEW: usize = 100;
const MANY: usize = 1_000;
/// How often each is measured, in a daemon of its own.
const REPETITIONS: usize = 5;
/// How long a model takes to answer; nothing ends while the size is read.
const DELAY_MS: u64 = 60_000;
/// When the size is read: the first subtasks have been started by then.
const SETTLE: Duration = Duration::from_millis(1_500);

/// Measures it.
///
/// # Errors
/// The daemon failed.
pub fn run(bench: &Bench<'_>) -> Result<Measured, BenchError> {
    let (mut idle, mut few, mut many) = <(Series, Series, Series)>::default();
    let mut each = Series::default();
    for _ in 0..REPETITIONS {
        let (before, with_few) = size_with(bench, FEW)?;
        let (_, with_many) = size_with(bench, MANY)?;
        idle.add(before);
        few.add(with_few);
        many.add(with_many);
        each.add((with_many - with_few) / (MANY - FEW) as f64);
    }
    let rows = vec![
        Row::new(
            format!("daemon with a plan of {FEW} under way"),
            Unit::Kib,
            few,
        )
        .against("idle", &idle),
        Row::new(
            format!("daemon with a plan of {MANY} under way"),
            Unit::Kib,
            many,
        )
        .against("idle", &idle),
        Row::new(
            "one waiting subtask: the difference, divided",
            Unit::Kib,
            each,
        ),
    ];
    Ok(Measured {
        rows,
        note: String::new(),
    })
}

/// The daemon's size before and while a plan of so many subtasks is under way, in KiB.
fn size_with(bench: &Bench<'_>, subtasks: usize) -> Result<(f64, f64), BenchError> {
    let place = Place::new(&bench.scratch, "memory")?;
    place.script(&[
        plan_reply(subtasks, "step", &json!({})),
        turn_reply(DELAY_MS),
    ])?;
    let daemon = Daemon::start(&place, &bench.program)?;
    let mut link = daemon.link()?;
    sleep(Duration::from_millis(300));
    let before = daemon.own_kib()?;
    let run = link.submit(&goal(&goal_of(subtasks), "plan", &place.dir))?;
    sleep(SETTLE);
    let during = daemon.own_kib()?;
    link.ask("run.stop", &json!({ "run": run }))?;
    Ok((before, during))
}
