//! `journal`: durable appends by many at once, which share one sync, against SQLite's own commit of one row; from the
//! bench of the store.

use super::fault::BenchError;
use super::figure::{Goal, Row, Series, Unit};
use super::{Bench, Measured, criterion};

/// Appenders at once, as the bench has them.
const APPENDERS: &[u32] = &[1, 16, 256];
/// The folder of the yardstick in criterion's results.
const FLOOR: &str = "durable/floor_ SQLite, one row, one commit, FULL";
/// How many times the yardstick's pace the most appenders should reach.
const GROUP_GAIN: f64 = 10.0;

/// Measures it.
///
/// # Errors
/// The bench failed.
pub fn run(bench: &Bench<'_>) -> Result<Measured, BenchError> {
    criterion::run(bench.tree, "aaos-store", "journal", "durable")?;
    let a_second =
        |nanos: &Series, appends: u32| nanos.map(|nanos| f64::from(appends) * 1e9 / nanos);
    let floor = a_second(&criterion::nanos(bench.tree, FLOOR)?, 1);
    let mut rows = Vec::new();
    for appenders in APPENDERS {
        let taken = criterion::nanos(bench.tree, &format!("durable/appenders/{appenders}"))?;
        let what = format!("durable appends, {appenders} at once");
        let row = Row::new(what, Unit::PerSecond, a_second(&taken, *appenders));
        let row = row.against("SQLite, one row a commit, synced", &floor);
        let last = Some(appenders) == APPENDERS.last();
        rows.push(if last {
            row.goal(Goal::AtLeastTimes(GROUP_GAIN))
        } else {
            row
        });
    }
    Ok(Measured {
        rows,
        note: "Through criterion: one bench after the other, not in turns.".to_owned(),
    })
}
