//! `goals`: how many goals the daemon carries out in a second, one after the other and from sixteen submitters at once,
//! and what one trivial goal takes over the socket. The journal is the real one: acceptance is synced to the disk.

use std::path::Path;
use std::thread;
use std::time::Duration;

use super::daemon::{Daemon, Place, goal, turn_reply};
use super::disk::Floor;
use super::fault::BenchError;
use super::figure::{Goal, Row, Series, Unit, timed};
use super::{Bench, Measured};

/// Goals one after the other.
const SEQUENTIAL: usize = 300;
/// Submitters at once.
const SUBMITTERS: usize = 16;
/// Rounds of all submitters, and goals of each in a round.
const ROUNDS: usize = 5;
const GOALS_EACH: usize = 25;
/// Microseconds that a trivial goal may take beyond one sync.
const BEYOND_SYNC: f64 = 3_000.0;

/// Measures it.
///
/// # Errors
/// The daemon failed.
pub fn run(bench: &Bench<'_>) -> Result<Measured, BenchError> {
    let place = Place::new(&bench.scratch, "goals")?;
    place.script(&[turn_reply(0)])?;
    let daemon = Daemon::start(&place, &bench.program)?;
    let mut floor = Floor::open(&place.dir)?;
    let (mut accepted, mut ended, mut syncs) = <(Series, Series, Series)>::default();
    let mut link = daemon.link()?;
    let params = goal("say that it is done", "direct", &place.dir);
    let one = |accepted: &mut Series, ended: &mut Series, link: &mut super::link::Link| {
        let (to_accept, run) = timed(|| link.submit(&params));
        let run = run?;
        let (to_end, done) = timed(|| link.follow(&run));
        accepted.add_time(to_accept);
        ended.add_time(to_accept + to_end);
        done
    };
    one(&mut Series::default(), &mut Series::default(), &mut link)?;
    for _ in 0..SEQUENTIAL {
        one(&mut accepted, &mut ended, &mut link)?;
        syncs.add_time(floor.sync()?);
    }
    let at_once = (0..ROUNDS)
        .map(|_| together(&daemon, &place.dir))
        .collect::<Result<Series, _>>()?;
    let sequential = ended.map(|micros| 1e6 / micros);
    const SYNC: &str = "append of 4 KiB + fdatasync";
    let rows = vec![
        Row::new("trivial goal, accepted durably", Unit::Micros, accepted).against(SYNC, &syncs),
        Row::new(
            "trivial goal, submitted, carried out and followed",
            Unit::Micros,
            ended,
        )
        .against(SYNC, &syncs)
        .goal(Goal::AtMostBeyond(BEYOND_SYNC)),
        Row::new(
            "trivial goals, one after the other",
            Unit::PerSecond,
            sequential.clone(),
        ),
        Row::new(
            format!("trivial goals, {SUBMITTERS} submitters at once"),
            Unit::PerSecond,
            at_once,
        )
        .against("one after the other", &sequential),
    ];
    Ok(Measured { rows, note: "The trivial goal is one agent with every built-in tool and its confined worker, one turn, about two dozen events.".to_owned() })
}

/// Goals in a second when all submitters are at work.
fn together(daemon: &Daemon, base: &Path) -> Result<f64, BenchError> {
    let work = || -> Result<(), BenchError> {
        let mut link = daemon.link()?;
        for _ in 0..GOALS_EACH {
            let run = link.submit(&goal("say that it is done", "direct", base))?;
            link.follow(&run)?;
        }
        Ok(())
    };
    let (time, done) = timed(|| {
        thread::scope(|scope| {
            let all: Vec<_> = (0..SUBMITTERS).map(|_| scope.spawn(work)).collect();
            all.into_iter().map(|one| one.join()).collect::<Vec<_>>()
        })
    });
    for one in done {
        one.map_err(|_| BenchError::Absent("a submitter ended early".to_owned()))??;
    }
    Ok((SUBMITTERS * GOALS_EACH) as f64 / time.max(Duration::from_micros(1)).as_secs_f64())
}
