//! `terms`: what a budget and the rules for approval add to one call, from the bench of the core.

use super::fault::BenchError;
use super::figure::{Goal, Row, Unit};
use super::{Bench, Measured, criterion};

/// What is measured, by its name in the bench, and for people.
const PARTS: &[(&str, &str)] = &[
    (
        "budget/reserve and settle",
        "a request reserved and settled, five agents deep, with a limit for its role",
    ),
    ("budget/call", "a tool call counted, five agents deep"),
    (
        "approval/16 rules",
        "a call compared with sixteen rules, none of which applies",
    ),
];
/// Nanoseconds that each may take: a thousandth of the least confined call.
const EACH: f64 = 10_000.0;

/// Measures it.
///
/// # Errors
/// The bench failed.
pub fn run(bench: &Bench<'_>) -> Result<Measured, BenchError> {
    criterion::run(bench.tree, "aaos-core", "terms", "")?;
    let row = |(name, words): &(&str, &str)| {
        let taken = criterion::nanos(bench.tree, name)?;
        Ok(Row::new(*words, Unit::Nanos, taken).goal(Goal::AtMost(EACH)))
    };
    Ok(Measured {
        rows: PARTS.iter().map(row).collect::<Result<_, BenchError>>()?,
        note: String::new(),
    })
}
