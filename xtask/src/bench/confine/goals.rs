//! Whole goals through `agentd`, confined and in process, in turns.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::bench::Bench;
use crate::bench::daemon::{Daemon, Place, goal, goal_of, plan_reply, turn_reply};
use crate::bench::fault::BenchError;
use crate::bench::figure::{Goal, Row, Series, Unit, timed};
use crate::bench::link::Link;

/// The two backends; the first is the product, the second its yardstick.
const BACKENDS: [&str; 2] = ["namespaced", "in_process"];
/// Trivial goals one after the other, and goals of the embedded rules.
const TRIVIAL: usize = 200;
const RULES: usize = 60;
/// Submitters at once, how often, and goals of each.
const SUBMITTERS: usize = 16;
const ROUNDS: usize = 4;
const GOALS_EACH: usize = 20;
/// Subtasks of a plan, and how often it is carried out.
const PLANS: &[(usize, usize)] = &[(100, 6), (1_000, 2)];
/// The goal that the rules carry out with two calls: one file is read, one is written.
const RULES_GOAL: &str = "Read notes.txt and write a summary to summary.md";
const NOTES: &str =
    "The gate opens at eight. The gate closes at six. On Sundays it stays closed.\n";
/// A role whose agent may use files, so that it has a worker.
const READER: &str = "name: reader\nsummary: One step of a measurement that may read.\n\
    capabilities: [\"tool: file_read\", \"inherit: file_read\"]\nprompt: Answer.\noutput: text\n";

/// Microseconds that a trivial goal may take beyond one in process: a launch from the pool.
const BEYOND: f64 = 1_000.0;
/// Trivial goals in a second.
const PACE: f64 = 150.0;
/// Microseconds of a plan of a hundred.
const HUNDRED: f64 = 300_000.0;

/// What was taken of one backend.
#[derive(Default)]
struct Taken {
    trivial: Series,
    rules: Series,
    at_once: Series,
    plans: Vec<Series>,
}

/// One daemon of each kind of model, with one backend.
struct Side {
    scripted: (Daemon, Place),
    rules: (Daemon, Place),
    taken: Taken,
}

/// The table's lines.
///
/// # Errors
/// A daemon failed.
pub(super) fn rows(bench: &Bench<'_>) -> Result<Vec<Row>, BenchError> {
    let mut sides = Vec::new();
    for backend in BACKENDS {
        sides.push(Side::start(bench, backend)?);
    }
    for round in 0..=TRIVIAL {
        for side in &mut sides {
            let took = side.one("say that it is done", false)?;
            if round > 0 {
                side.taken.trivial.add_time(took);
            }
        }
    }
    for round in 0..=RULES {
        for side in &mut sides {
            let took = side.one(RULES_GOAL, true)?;
            if round > 0 {
                side.taken.rules.add_time(took);
            }
        }
    }
    for _ in 0..ROUNDS {
        for side in &mut sides {
            let pace = side.together()?;
            side.taken.at_once.add(pace);
        }
    }
    for (subtasks, repetitions) in PLANS {
        plans(&mut sides, *subtasks, *repetitions)?;
    }
    let taken: Vec<Taken> = sides.into_iter().map(|side| side.taken).collect();
    Ok(match taken.as_slice() {
        [confined, plain] => table(confined, plain),
        _ => Vec::new(),
    })
}

/// A plan of this size on every side, in turns.
fn plans(sides: &mut [Side], subtasks: usize, repetitions: usize) -> Result<(), BenchError> {
    for side in &mut *sides {
        side.taken.plans.push(Series::default());
    }
    for _ in 0..repetitions {
        for side in &mut *sides {
            let took = side.plan(subtasks)?;
            if let Some(series) = side.taken.plans.last_mut() {
                series.add_time(took);
            }
        }
    }
    Ok(())
}

impl Side {
    fn start(bench: &Bench<'_>, backend: &str) -> Result<Self, BenchError> {
        let place = Place::new(&bench.scratch, &format!("confine-{backend}"))?;
        let plan = |(subtasks, _): &(usize, usize)| plan_reply(*subtasks, "reader", &json!({}));
        let mut replies: Vec<_> = PLANS.iter().map(plan).collect();
        replies.push(turn_reply(0));
        place.script(&replies)?;
        place.write("roles/reader.yaml", READER)?;
        place.backend(backend)?;
        let scripted = Daemon::start(&place, &bench.program)?;
        let other = Place::new(&bench.scratch, &format!("confine-rules-{backend}"))?;
        other.write("config/config.toml", "")?;
        other.write("notes.txt", NOTES)?;
        other.backend(backend)?;
        let rules = Daemon::start(&other, &bench.program)?;
        Ok(Self {
            scripted: (scripted, place),
            rules: (rules, other),
            taken: Taken::default(),
        })
    }

    /// How long one goal takes, from its submission to its end.
    fn one(&self, text: &str, by_rules: bool) -> Result<Duration, BenchError> {
        let (daemon, place) = if by_rules {
            &self.rules
        } else {
            &self.scripted
        };
        let mut params = goal(text, "direct", &place.dir);
        if let Some(fields) = params.as_object_mut().filter(|_| by_rules) {
            // The rules choose by themselves.
            fields.remove("orchestration");
        }
        let mut link = daemon.link()?;
        let (took, done) = timed(|| carry_out(&mut link, &params));
        done.map(|()| took)
    }

    fn plan(&self, subtasks: usize) -> Result<Duration, BenchError> {
        let (daemon, place) = &self.scripted;
        let params = goal(&goal_of(subtasks), "plan", &place.dir);
        let mut link = daemon.link()?;
        let (took, done) = timed(|| carry_out(&mut link, &params));
        done.map(|()| took)
    }

    /// Goals in a second when all submitters are at work.
    fn together(&self) -> Result<f64, BenchError> {
        let work = || -> Result<(), BenchError> {
            for _ in 0..GOALS_EACH {
                self.one("say that it is done", false)?;
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
        Ok((SUBMITTERS * GOALS_EACH) as f64 / time.as_secs_f64())
    }
}

fn carry_out(link: &mut Link, params: &serde_json::Value) -> Result<(), BenchError> {
    let run = link.submit(params)?;
    link.follow(&run)
}

fn table(confined: &Taken, plain: &Taken) -> Vec<Row> {
    const PLAIN: &str = "in process";
    let a_second = |series: &Series| series.map(|micros| 1e6 / micros);
    let mut rows = vec![
        Row::new(
            "trivial goal, confined",
            Unit::Micros,
            confined.trivial.clone(),
        )
        .against(PLAIN, &plain.trivial)
        .goal(Goal::AtMostBeyond(BEYOND)),
        Row::new(
            "goal of the rules, a file read and one written, confined",
            Unit::Micros,
            confined.rules.clone(),
        )
        .against(PLAIN, &plain.rules),
        Row::new(
            "trivial goals one after the other, confined",
            Unit::PerSecond,
            a_second(&confined.trivial),
        )
        .against(PLAIN, &a_second(&plain.trivial)),
        Row::new(
            format!("trivial goals, {SUBMITTERS} submitters, confined"),
            Unit::PerSecond,
            confined.at_once.clone(),
        )
        .against(PLAIN, &plain.at_once)
        .goal(Goal::AtLeast(PACE)),
    ];
    let sizes = PLANS.iter().zip(confined.plans.iter().zip(&plain.plans));
    for ((subtasks, _), (confined, plain)) in sizes {
        let what = format!("plan of {subtasks} agents that may read, confined");
        let row = Row::new(what, Unit::Micros, confined.clone()).against(PLAIN, plain);
        rows.push(if *subtasks == 100 {
            row.goal(Goal::AtMost(HUNDRED))
        } else {
            row
        });
    }
    rows
}
