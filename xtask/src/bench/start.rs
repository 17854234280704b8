//! `start`: from the daemon's process to its socket, with an empty state directory and with one that has a journal, and
//! its resident size when nothing goes on.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::daemon::{Daemon, Place, goal, turn_reply};
use super::fault::BenchError;
use super::figure::{Goal, Row, Series, Unit, timed};
use super::{Bench, Measured};

/// How often each is started.
const REPETITIONS: usize = 20;
/// Goals in the journal that the daemon finds.
const GOALS_BEFORE: usize = 40;
/// Microseconds until the socket is ready.
const READY: f64 = 50_000.0;
/// KiB of an idle daemon.
const IDLE: f64 = 15.0 * 1024.0;
/// When an idle daemon's size is read.
const SETTLE: Duration = Duration::from_millis(300);
/// The least that starting a process takes.
const FLOOR: &str = "/bin/true";

/// Measures it.
///
/// # Errors
/// The daemon failed.
pub fn run(bench: &Bench<'_>) -> Result<Measured, BenchError> {
    let known = Place::new(&bench.scratch, "start-known")?;
    known.script(&[turn_reply(0)])?;
    fill(bench, &known)?;
    let (mut fresh, mut again, mut floor) = <(Series, Series, Series)>::default();
    let (mut own, mut resident) = <(Series, Series)>::default();
    for _ in 0..REPETITIONS {
        let place = Place::new(&bench.scratch, "start-fresh")?;
        place.script(&[turn_reply(0)])?;
        fresh.add_time(Daemon::start(&place, &bench.program)?.ready_after);
        let daemon = Daemon::start(&known, &bench.program)?;
        again.add_time(daemon.ready_after);
        sleep(SETTLE);
        own.add(daemon.own_kib()?);
        resident.add(daemon.resident_kib()?);
        floor.add(spawn_floor()?);
    }
    let rows = vec![
        Row::new(
            "daemon to socket ready, empty state directory",
            Unit::Micros,
            fresh,
        )
        .against(FLOOR, &floor)
        .goal(Goal::AtMost(READY)),
        Row::new(
            format!("daemon to socket ready, journal of {GOALS_BEFORE} goals"),
            Unit::Micros,
            again,
        )
        .against(FLOOR, &floor)
        .goal(Goal::AtMost(READY)),
        Row::new("idle daemon, its own memory", Unit::Kib, own),
        Row::new(
            "idle daemon, resident with the program file's pages",
            Unit::Kib,
            resident,
        )
        .goal(Goal::AtMost(IDLE)),
    ];
    Ok(Measured {
        rows,
        note: String::new(),
    })
}

fn fill(bench: &Bench<'_>, place: &Place) -> Result<(), BenchError> {
    let daemon = Daemon::start(place, &bench.program)?;
    let mut link = daemon.link()?;
    for _ in 0..GOALS_BEFORE {
        let run = link.submit(&goal("say that it is done", "direct", &place.dir))?;
        link.follow(&run)?;
    }
    Ok(())
}

/// Microseconds from starting the least of programs to its end.
///
/// # Errors
/// It is not there.
pub fn spawn_floor() -> Result<f64, BenchError> {
    let (time, done) = timed(|| Command::new(FLOOR).stdin(Stdio::null()).status());
    done.map_err(|source| BenchError::Start {
        program: FLOOR.to_owned(),
        source,
    })?;
    Ok(time.as_secs_f64() * 1e6)
}
