//! `capability`: one check and charge in a table of grants, from the bench of the core.

use super::fault::BenchError;
use super::figure::{Goal, Row, Unit};
use super::{Bench, Measured, criterion};

/// Grants the agent holds, as the bench has them.
const GRANTS: &[u32] = &[10, 100];
/// Nanoseconds that a check with ten grants may take: a thousandth of a tool call.
const CHECK: f64 = 20_000.0;

/// Measures it.
///
/// # Errors
/// The bench failed.
pub fn run(bench: &Bench<'_>) -> Result<Measured, BenchError> {
    criterion::run(bench.tree, "aaos-core", "authorize", "")?;
    let mut rows = Vec::new();
    for (which, words) in [
        ("allowed", "allowed by the last"),
        ("denied", "denied by all"),
    ] {
        for grants in GRANTS {
            let taken = criterion::nanos(bench.tree, &format!("authorize_{which}/{grants}"))?;
            let what = format!("capability check, {grants} grants, {words}");
            rows.push(Row::new(what, Unit::Nanos, taken).goal(Goal::AtMost(CHECK)));
        }
    }
    Ok(Measured {
        rows,
        note: String::new(),
    })
}
