//! `overhead`: what the runtime itself costs: plans of independent subtasks whose model answers at once.
//!
//! Each subtask is a whole agent: grants, a turn, nine or more chained events in the journal, the request and the reply
//! kept as bodies. Times are the daemon's own, from the goal's acceptance to its end, as `run.list` shows them; nobody
//! watches the run. A last row has a client follow all events of the largest plan.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use super::daemon::{Daemon, Place, goal, goal_of, plan_reply, turn_reply};
use super::fault::BenchError;
use super::figure::{Goal, Row, Series, Unit, timed};
use super::link::Link;
use super::peers::Peers;
use super::{Bench, Measured};
use serde_json::json;

/// Subtasks of a plan, and how often it is carried out; one warming run comes before.
const PLANS: &[(usize, usize)] = &[(1, 40), (10, 20), (100, 10), (1_000, 5)];
/// Systems of the peers' process, with their names for the table.
const PEERS: &[(&str, &str)] = &[
    ("asyncio", "asyncio.gather"),
    ("langgraph", "LangGraph, nothing kept"),
    ("langgraph-sqlite", "LangGraph + SqliteSaver"),
    ("dbos-sqlite", "DBOS steps on SQLite, one after the other"),
];
/// Share of LangGraph + SqliteSaver's time that a subtask may take.
const SHARE_OF_DURABLE_PEER: f64 = 0.1;
/// Longest wait for one run.
const RUN_TIME: Duration = Duration::from_secs(120);

/// What was taken of one size of plan.
#[derive(Default)]
struct Taken {
    clock: Series,
    processor: Series,
    peers: Vec<(Series, Series)>,
}

/// Measures it.
///
/// # Errors
/// The daemon failed. Peers that cannot be had are left out.
pub fn run(bench: &Bench<'_>) -> Result<Measured, BenchError> {
    let place = Place::new(&bench.scratch, "overhead")?;
    let mut replies: Vec<_> = PLANS
        .iter()
        .map(|(subtasks, _)| plan_reply(*subtasks, "step", &json!({})))
        .collect();
    replies.push(turn_reply(0));
    place.script(&replies)?;
    let daemon = Daemon::start(&place, &bench.program)?;
    let mut peers = match Peers::start(bench.tree) {
        Ok(peers) => Some(peers),
        Err(error) => {
            bench.note(&error.to_string());
            None
        }
    };
    let mut rows = Vec::new();
    for (subtasks, repetitions) in PLANS {
        let taken = one_size(&daemon, &place.dir, peers.as_mut(), *subtasks, *repetitions)?;
        rows.extend(taken.rows(*subtasks));
    }
    rows.push(followed(&daemon, &place.dir)?);
    let versions = peers.map_or_else(|| "no peers".to_owned(), |peers| peers.versions.clone());
    Ok(Measured {
        rows,
        note: format!("Peers: {versions}. Processor time of ours is counted in ticks of 10 ms."),
    })
}

/// A plan of this size and the peers' of the same size, in turns.
fn one_size(
    daemon: &Daemon,
    base: &Path,
    mut peers: Option<&mut Peers>,
    subtasks: usize,
    repetitions: usize,
) -> Result<Taken, BenchError> {
    let mut link = daemon.link()?;
    let mut taken = Taken {
        peers: vec![Default::default(); PEERS.len()],
        ..Taken::default()
    };
    for round in 0..=repetitions {
        let before = daemon.processor_micros()?;
        let clock = unwatched(&mut link, subtasks, base)?;
        let processor = daemon.processor_micros()? - before;
        if round > 0 {
            taken.clock.add(clock);
            taken.processor.add(processor);
        }
        let Some(peers) = peers.as_deref_mut() else {
            continue;
        };
        for ((system, _), (clock, processor)) in PEERS.iter().zip(&mut taken.peers) {
            let took = peers.run(system, subtasks)?;
            if round > 0 {
                clock.add(took.clock);
                processor.add(took.processor);
            }
        }
    }
    Ok(taken)
}

/// Carries out a plan that nobody watches; how long it took by the daemon's clock.
fn unwatched(link: &mut Link, subtasks: usize, base: &Path) -> Result<f64, BenchError> {
    let wanted = link.submit(&goal(&goal_of(subtasks), "plan", base))?;
    // Looking often would slow down what is measured.
    let pause = Duration::from_micros(500 + 20 * subtasks as u64);
    let mut waited = Duration::ZERO;
    while waited < RUN_TIME {
        sleep(pause);
        waited += pause;
        if let Some((run, took)) = link.newest()?
            && run == wanted
        {
            return Ok(took);
        }
    }
    Err(BenchError::Daemon {
        method: "run.submit".to_owned(),
        said: format!(
            "a plan of {subtasks} subtasks did not end within {} s",
            RUN_TIME.as_secs()
        ),
    })
}

/// The largest plan with a client that reads all its events.
fn followed(daemon: &Daemon, base: &Path) -> Result<Row, BenchError> {
    let (subtasks, repetitions) = PLANS.last().copied().unwrap_or_default();
    let mut link = daemon.link()?;
    let mut series = Series::default();
    for _ in 0..repetitions {
        let (time, done) = timed(|| {
            let run = link.submit(&goal(&goal_of(subtasks), "plan", base))?;
            link.follow(&run)
        });
        done?;
        series.add_time(time);
    }
    let what = format!("plan of {subtasks}, submitted and followed over the socket, in all");
    Ok(Row::new(what, Unit::Micros, series))
}

impl Taken {
    fn rows(&self, subtasks: usize) -> Vec<Row> {
        let each = |series: &Series| series.map(|micros| micros / subtasks as f64);
        let mut rows = vec![Row::new(
            format!("plan of {subtasks}, in all"),
            Unit::Micros,
            self.clock.clone(),
        )];
        let clock = format!("plan of {subtasks}, per subtask");
        let processor = format!("plan of {subtasks}, processor time per subtask");
        for ((system, name), (theirs, theirs_processor)) in PEERS.iter().zip(&self.peers) {
            if theirs.is_empty() {
                continue;
            }
            let row = Row::new(clock.clone(), Unit::Micros, each(&self.clock))
                .against(*name, &each(theirs));
            let asked = *system == "langgraph-sqlite" && subtasks >= 100;
            rows.push(if asked {
                row.goal(Goal::AtMostTimes(SHARE_OF_DURABLE_PEER))
            } else {
                row
            });
            if asked {
                let row = Row::new(processor.clone(), Unit::Micros, each(&self.processor));
                rows.push(row.against(*name, &each(theirs_processor)));
            }
        }
        if self.peers.iter().all(|(clock, _)| clock.is_empty()) {
            rows.push(Row::new(clock, Unit::Micros, each(&self.clock)));
            rows.push(Row::new(processor, Unit::Micros, each(&self.processor)));
        }
        rows
    }
}
