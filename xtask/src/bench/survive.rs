//! `survive`: how soon a run of a thousand steps goes on after the daemon was killed, how fast its record is replayed, what
//! a finished run leaves in the journal, and how quickly a daemon that remembers ten thousand of them answers.

use std::path::Path;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::daemon::{Daemon, Place, goal, goal_of, plan_reply, turn_reply};
use super::fault::BenchError;
use super::figure::{Goal, Row, Series, Unit, timed};
use super::{Bench, Measured};

/// Steps of the run that is recovered and replayed.
const STEPS: usize = 1_000;
/// How often it is killed, and how often replayed.
const REPETITIONS: usize = 10;
/// The step that is under way whenever the daemon is killed, and how long its model thinks, in milliseconds.
const LAST_STEP: &str = "the last step";
const THINKS_MS: u64 = 600_000;
/// Finished runs that a daemon remembers, and how many are submitted at once.
const FINISHED: usize = 10_000;
const SUBMITTERS: usize = 16;
/// How often it is asked then.
const QUESTIONS: usize = 200;
/// Longest wait for a run to reach a point.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(1);
/// Microseconds until the run of a thousand steps goes on; until a list or a status is there; until the socket is.
const RECOVERED: f64 = 250_000.0;
const ANSWERED: f64 = 10_000.0;
const READY: f64 = 250_000.0;
/// Bytes of the journal that a trivial run may leave.
const RUN_KIB: f64 = 32.0;

/// Measures it.
///
/// # Errors
/// The daemon failed.
pub fn run(bench: &Bench<'_>) -> Result<Measured, BenchError> {
    let mut rows = recovered(bench)?;
    rows.extend(replayed(bench)?);
    rows.extend(remembered(bench)?);
    Ok(Measured {
        rows,
        note: format!(
            "The run that is recovered has {STEPS} steps of which all but one had finished when the daemon was killed with SIGKILL."
        ),
    })
}

/// A plan of independent steps that the script answers at once, but one that it does not answer.
fn recovered(bench: &Bench<'_>) -> Result<Vec<Row>, BenchError> {
    let place = Place::new(&bench.scratch, "survive-recover")?;
    let mut plan = plan_reply(STEPS, "step", &json!({}));
    if let Some(task) = plan.pointer_mut(&format!("/reply/json/subtasks/{}/task", STEPS - 1)) {
        *task = Value::from(LAST_STEP);
    }
    let thinks = json!({ "match": { "purpose": "turn", "contains": LAST_STEP }, "times": "many",
        "reply": { "text": "done", "delay_ms": THINKS_MS } });
    place.script(&[plan, thinks, turn_reply(0)])?;
    let mut daemon = Daemon::start(&place, &bench.program)?;
    let run = daemon
        .link()?
        .submit(&goal(&goal_of(STEPS), "plan", &place.dir))?;
    wait_for(&daemon, &run, |view| finished_steps(view) == STEPS - 1)?;
    let (mut ready, mut goes_on) = <(Series, Series)>::default();
    for _ in 0..REPETITIONS {
        daemon.kill()?;
        let since = Instant::now();
        daemon = Daemon::start(&place, &bench.program)?;
        ready.add_time(daemon.ready_after);
        wait_for(&daemon, &run, |view| {
            view.pointer("/view/state").and_then(Value::as_str) == Some("running")
        })?;
        goes_on.add_time(since.elapsed());
    }
    Ok(vec![
        Row::new(
            "killed, until the socket is ready again",
            Unit::Micros,
            ready,
        ),
        Row::new(
            format!("killed, until a run of {STEPS} steps goes on"),
            Unit::Micros,
            goes_on,
        )
        .goal(Goal::AtMost(RECOVERED)),
    ])
}

fn finished_steps(view: &Value) -> usize {
    let subtasks = view.pointer("/view/subtasks").and_then(Value::as_array);
    let succeeded =
        |subtask: &&Value| subtask.get("state").and_then(Value::as_str) == Some("succeeded");
    subtasks.map_or(0, |all| all.iter().filter(succeeded).count())
}

fn wait_for(daemon: &Daemon, run: &str, there: impl Fn(&Value) -> bool) -> Result<(), BenchError> {
    let mut link = daemon.link()?;
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        if there(&link.ask("run.status", &json!({ "run": run }))?) {
            return Ok(());
        }
        sleep(LOOK_PAUSE);
    }
    Err(BenchError::Daemon {
        method: "run.status".to_owned(),
        said: format!("{run} did not get there within {} s", PATIENCE.as_secs()),
    })
}

/// The same plan, finished, and carried out again from its record.
fn replayed(bench: &Bench<'_>) -> Result<Vec<Row>, BenchError> {
    let place = Place::new(&bench.scratch, "survive-replay")?;
    place.script(&[plan_reply(STEPS, "step", &json!({})), turn_reply(0)])?;
    let daemon = Daemon::start(&place, &bench.program)?;
    let mut link = daemon.link()?;
    let (mut live, mut again, mut pace) = <(Series, Series, Series)>::default();
    for _ in 0..REPETITIONS {
        let (time, run) = timed(|| {
            let run = link.submit(&goal(&goal_of(STEPS), "plan", &place.dir))?;
            link.follow(&run).map(|()| run)
        });
        live.add_time(time);
        let (time, replayed) = timed(|| link.ask("run.replay", &json!({ "run": run? })));
        let replayed = replayed?;
        let events = replayed
            .get("events")
            .and_then(Value::as_f64)
            .unwrap_or_default();
        if !replayed.get("divergence").is_none_or(Value::is_null) || events < STEPS as f64 {
            return Err(BenchError::Daemon {
                method: "run.replay".to_owned(),
                said: replayed.to_string(),
            });
        }
        again.add_time(time);
        pace.add(events / time.as_secs_f64());
    }
    Ok(vec![
        Row::new(
            format!("replay of a run of {STEPS} steps"),
            Unit::Micros,
            again,
        )
        .against("the run itself, followed", &live),
        Row::new("events compared in a replay", Unit::PerSecond, pace),
    ])
}

/// Ten thousand finished runs.
fn remembered(bench: &Bench<'_>) -> Result<Vec<Row>, BenchError> {
    let place = Place::new(&bench.scratch, "survive-remember")?;
    place.script(&[turn_reply(0)])?;
    let daemon = Daemon::start(&place, &bench.program)?;
    let oldest = fill(&daemon, &place.dir)?;
    drop(daemon);
    let size = folder_kib(&place.state())? / FINISHED as f64;
    let (mut ready, mut list, mut status) = <(Series, Series, Series)>::default();
    for _ in 0..REPETITIONS {
        ready.add_time(Daemon::start(&place, &bench.program)?.ready_after);
    }
    let daemon = Daemon::start(&place, &bench.program)?;
    let mut link = daemon.link()?;
    for _ in 0..QUESTIONS {
        let (time, answer) = timed(|| link.ask("run.list", &json!({ "limit": 50 })));
        answer?;
        list.add_time(time);
        let (time, answer) = timed(|| link.ask("run.status", &json!({ "run": oldest })));
        answer?;
        status.add_time(time);
    }
    let mut one = Series::default();
    one.add(size);
    Ok(vec![
        Row::new(
            format!("daemon to socket ready, journal of {FINISHED} runs"),
            Unit::Micros,
            ready,
        )
        .goal(Goal::AtMost(READY)),
        Row::new(format!("list of 50, {FINISHED} runs"), Unit::Micros, list)
            .goal(Goal::AtMost(ANSWERED)),
        Row::new(
            format!("status of the oldest of {FINISHED} runs"),
            Unit::Micros,
            status,
        )
        .goal(Goal::AtMost(ANSWERED)),
        Row::new("journal and bodies of one trivial run", Unit::Kib, one)
            .goal(Goal::AtMost(RUN_KIB)),
    ])
}

/// Carries the runs out; answers with the first.
fn fill(daemon: &Daemon, base: &Path) -> Result<String, BenchError> {
    let params = goal("say that it is done", "direct", base);
    let mut link = daemon.link()?;
    let oldest = link.submit(&params)?;
    link.follow(&oldest)?;
    let work = || -> Result<(), BenchError> {
        let mut link = daemon.link()?;
        for _ in 0..FINISHED / SUBMITTERS {
            let run = link.submit(&params)?;
            link.follow(&run)?;
        }
        Ok(())
    };
    let done: Vec<_> = thread::scope(|scope| {
        let all: Vec<_> = (0..SUBMITTERS).map(|_| scope.spawn(work)).collect();
        all.into_iter().map(|one| one.join()).collect()
    });
    for one in done {
        one.map_err(|_| BenchError::Absent("a submitter ended early".to_owned()))??;
    }
    Ok(oldest)
}

/// KiB of the journal's database and bodies, as files.
fn folder_kib(dir: &Path) -> Result<f64, BenchError> {
    let mut bytes = 0;
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).map_err(BenchError::file(&dir))? {
            let entry = entry.map_err(BenchError::file(&dir))?;
            let about = entry.metadata().map_err(BenchError::file(&entry.path()))?;
            if about.is_dir() {
                open.push(entry.path());
            } else if about.is_file() {
                bytes += about.len();
            }
        }
    }
    Ok(bytes as f64 / 1_024.0)
}
