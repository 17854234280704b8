//! `confine`: what confinement costs: launches, calls, memory and searches from the worker's own bench, beside what the
//! kernel takes for the same; whole goals through two daemons, one confined and one not, in turns.

mod goals;
mod probe;
mod rows;

use super::fault::BenchError;
use super::{Bench, Measured};
use probe::Probe;

/// Measures it.
///
/// # Errors
/// The worker's bench or a daemon failed.
pub fn run(bench: &Bench<'_>) -> Result<Measured, BenchError> {
    let probe = Probe::run(bench)?;
    let mut rows = rows::rows(&probe);
    match goals::rows(bench) {
        Ok(goals) => rows.extend(goals),
        // What was measured before stands by itself.
        Err(error) => bench.note(&format!("Whole goals were **not measured**: {error}")),
    }
    for absent in probe.absent() {
        bench.note(&format!("Not beside: {absent}."));
    }
    let note = "MINIMUM is `bench/sandbox/floor.c`: a C program that enters six namespaces, makes a root of five binds, \
        adds Landlock with eleven rules and a filter of sixty system calls, and starts a worker that only answers; it \
        has no /proc, no /dev, no limits, drops nothing and proves nothing. A cold launch is one with nothing kept \
        ready; it enters seven namespaces, and ends with the daemon's judgement of what the worker showed. The agent \
        holds what the profile `default` grants, but for the network.";
    Ok(Measured {
        rows,
        note: note.to_owned(),
    })
}
