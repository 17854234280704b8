//! `submit`: a trivial goal as a person gives it: the whole process of `agentd submit` with the embedded rules, a daemon
//! running. The floor is a process that does nothing; what the program itself takes to start stands beside it.

use std::process::Stdio;

use super::daemon::{Daemon, Place};
use super::fault::BenchError;
use super::figure::{Row, Series, Unit, timed};
use super::start::spawn_floor;
use super::{Bench, Measured};

/// How often it is submitted.
const REPETITIONS: usize = 60;
/// The goal: one file is read, one is written.
const GOAL: &str = "Read notes.txt and write a summary to summary.md";
/// What it reads.
const NOTES: &str =
    "The gate opens at eight. The gate closes at six. On Sundays it stays closed.\n";

/// Measures it.
///
/// # Errors
/// The daemon failed, or the goal did.
pub fn run(bench: &Bench<'_>) -> Result<Measured, BenchError> {
    let place = Place::new(&bench.scratch, "submit")?;
    place.write("config/config.toml", "")?;
    place.write("notes.txt", NOTES)?;
    let daemon = Daemon::start(&place, &bench.program)?;
    let (mut whole, mut version, mut floor) = <(Series, Series, Series)>::default();
    call(bench, &place, &["submit", GOAL])?;
    for _ in 0..REPETITIONS {
        whole.add(call(bench, &place, &["submit", GOAL])?);
        version.add(call(bench, &place, &["--version"])?);
        floor.add(spawn_floor()?);
    }
    drop(daemon);
    let rows = vec![
        Row::new("`agentd --version`, the process", Unit::Micros, version)
            .against("/bin/true", &floor),
        Row::new(
            "`agentd submit` of a trivial goal, the process",
            Unit::Micros,
            whole,
        )
        .against("/bin/true", &floor),
    ];
    Ok(Measured {
        rows,
        note: format!("The goal: \"{GOAL}\"."),
    })
}

/// Microseconds of one call of the program.
fn call(bench: &Bench<'_>, place: &Place, arguments: &[&str]) -> Result<f64, BenchError> {
    let mut command = place.command(&bench.program);
    command
        .args(arguments)
        .stderr(Stdio::piped())
        .stdout(Stdio::piped());
    let (time, output) = timed(|| command.output());
    let program = bench.program.display().to_string();
    match output {
        Ok(output) if output.status.success() => Ok(time.as_secs_f64() * 1e6),
        Ok(output) => Err(BenchError::Program {
            program: format!("{program} {}", arguments.join(" ")),
            said: String::from_utf8_lossy(&output.stderr).into_owned()
                + &String::from_utf8_lossy(&output.stdout),
        }),
        Err(source) => Err(BenchError::Start { program, source }),
    }
}
