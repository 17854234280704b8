//! Reading events back: filters as indexed queries, rows checked against their hashes.

use super::{
    fault,
    row::{COLUMNS, Stored},
};
use aaos_core::event::Event;
use aaos_ports::{Filter, JournalError};
use rusqlite::{Connection, types::Value};
use std::{collections::BTreeSet, path::Path};

/// The kinds that have an index, `events_milestone`: what is asked for without naming a run.
const MILESTONES: &[&str] = &[
    "run_submitted",
    "run_finished",
    "run_recovering",
    "daemon_started",
    "daemon_stopped",
    "plan_rehearsed",
    "rehearsal_ended",
];
/// The kinds that have an index by time, `events_spending`: what limits by the day are computed from.
const SPENDING: &[&str] = &[
    "usage_reported",
    "model_abandoned",
    "model_requested",
    "model_failed",
    "run_finished",
    "agent_spawned",
    "agent_stopped",
];

/// A query and its parameters; the first two are the place to start after and the most rows.
struct Query {
    text: String,
    values: Vec<Value>,
}

/// At most `limit` events that match after the place `after`, in order.
///
/// # Errors
/// Storage, or the first damaged event among those wanted.
pub(crate) fn events(
    from: &Connection,
    path: &Path,
    filter: &Filter,
    after: u64,
    limit: usize,
) -> Result<Vec<Event>, JournalError> {
    let mut found = Vec::new();
    each(from, path, filter, after, limit, |stored| {
        found.push(stored.event()?);
        Ok(())
    })?;
    Ok(found)
}

/// Gives at most `limit` rows that match after the place `after` to `take`, in order; answers with the last one's place,
/// none if there was none.
///
/// # Errors
/// Storage, or damage: the first row that cannot be read, or of which `take` says what is wrong with it.
pub(crate) fn each(
    from: &Connection,
    path: &Path,
    filter: &Filter,
    after: u64,
    limit: usize,
    mut take: impl FnMut(&Stored<'_>) -> Result<(), String>,
) -> Result<Option<u64>, JournalError> {
    let failed = |error: rusqlite::Error| fault::sqlite(path, &error);
    // Places over the signed range do not occur; nothing comes after them.
    let Ok(after) = i64::try_from(after) else {
        return Ok(None);
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = Query::new(filter, after, limit);
    let mut statement = from.prepare_cached(&query.text).map_err(failed)?;
    let mut rows = statement
        .query(rusqlite::params_from_iter(query.values))
        .map_err(failed)?;
    let mut last = None;
    while let Some(row) = rows.next().map_err(failed)? {
        let next = last.unwrap_or(after.cast_unsigned()).saturating_add(1);
        let stored = Stored::read(row).map_err(|problem| fault::damaged(path, next, problem))?;
        last = Some(stored.link.seq);
        take(&stored).map_err(|problem| fault::damaged(path, stored.link.seq, problem))?;
    }
    Ok(last)
}

impl Query {
    fn new(filter: &Filter, after: i64, limit: i64) -> Self {
        let kinds: BTreeSet<&str> = filter.kinds.iter().map(String::as_str).collect();
        let narrowed = filter.run.is_some() || filter.agent.is_some() || kinds.is_empty();
        let all_of = |known: &[&'static str]| {
            let found: Vec<&'static str> = known
                .iter()
                .copied()
                .filter(|kind| kinds.contains(kind))
                .collect();
            (!narrowed && found.len() == kinds.len()).then_some(found)
        };
        if let Some(kinds) = all_of(MILESTONES) {
            return Self::merge(&kinds, filter, after, limit);
        }
        match all_of(SPENDING) {
            Some(kinds) => Self::spending(&kinds, filter, after, limit),
            None => Self::scan(filter, &kinds, after, limit),
        }
    }

    /// One scan in order of place, by the run's index if a run is named.
    fn scan(filter: &Filter, kinds: &BTreeSet<&str>, after: i64, limit: i64) -> Self {
        let mut values = vec![Value::Integer(after), Value::Integer(limit)];
        let mut conditions = String::new();
        let mut index = "NOT INDEXED";
        let mut add = |condition: &str, value: Value| {
            values.push(value);
            conditions.push_str(&condition.replace('?', &format!("?{}", values.len())));
        };
        if let Some(agent) = filter.agent {
            let number = Value::Integer(agent.number().cast_signed());
            add(" AND agent = ?", number);
        }
        if let Some(run) = filter.run {
            index = "INDEXED BY events_run";
            add(" AND run = ?", Value::Integer(run.number().cast_signed()));
        }
        if !kinds.is_empty() {
            let list = serde_json::Value::from_iter(kinds.iter().copied()).to_string();
            add(
                " AND +kind IN (SELECT value FROM json_each(?))",
                Value::Text(list),
            );
        }
        if let Some([from, to]) = moments(filter) {
            add(" AND time >= ?", from);
            add(" AND time <= ?", to);
        }
        let text = format!(
            "SELECT {COLUMNS} FROM events {index} WHERE seq > ?1{conditions} ORDER BY seq LIMIT ?2"
        );
        Self { text, values }
    }

    /// One index scan for each kind, merged in order of place, so that rare kinds are found at once. The kinds are
    /// written out: the index is used only where the query itself says that it is within it.
    fn merge(kinds: &[&'static str], filter: &Filter, after: i64, limit: i64) -> Self {
        let mut values = vec![Value::Integer(after), Value::Integer(limit)];
        let times = moments(filter).map(|bounds| values.extend(bounds));
        let times = times.map_or("", |()| " AND time >= ?3 AND time <= ?4");
        let part = |kind: &&str| {
            format!(
                "SELECT {COLUMNS} FROM events INDEXED BY events_milestone \
                 WHERE kind = '{kind}' AND seq > ?1{times}"
            )
        };
        let parts: Vec<String> = kinds.iter().map(part).collect();
        Self {
            text: format!("{} ORDER BY seq LIMIT ?2", parts.join(" UNION ALL ")),
            values,
        }
    }

    /// The places of what was spent within a time, found in the index alone, put in order, and only then read.
    fn spending(kinds: &[&'static str], filter: &Filter, after: i64, limit: i64) -> Self {
        let [from, to] =
            moments(filter).unwrap_or([Value::Integer(i64::MIN), Value::Integer(i64::MAX)]);
        let part = |kind: &&str| {
            format!(
                "SELECT seq FROM events INDEXED BY events_spending \
                 WHERE kind = '{kind}' AND time >= ?3 AND time <= ?4 AND seq > ?1"
            )
        };
        let parts: Vec<String> = kinds.iter().map(part).collect();
        let places = parts.join(" UNION ALL ");
        Self {
            text: format!(
                "SELECT {COLUMNS} FROM events NOT INDEXED \
                 WHERE seq IN ({places} ORDER BY seq LIMIT ?2) ORDER BY seq LIMIT ?2"
            ),
            values: vec![Value::Integer(after), Value::Integer(limit), from, to],
        }
    }
}

/// The first and last moment a filter wants, if it says anything of time. Moments over the signed range, three hundred
/// thousand years ahead, are of no time that could be asked for.
fn moments(filter: &Filter) -> Option<[Value; 2]> {
    if filter.since.is_none() && filter.until.is_none() {
        return None;
    }
    let signed = |micros: u64| i64::try_from(micros).unwrap_or(i64::MAX);
    let from = filter.since.map_or(0, |since| signed(since.micros()));
    let to = filter
        .until
        .map_or(i64::MAX, |until| signed(until.micros()).saturating_sub(1));
    Some([Value::Integer(from), Value::Integer(to)])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::journal::database;
    use aaos_core::id::{AgentId, RunId};

    #[test]
    fn no_filter_sorts_and_what_the_daemon_asks_for_is_found_by_an_index() {
        let dir = tempfile::tempdir().unwrap();
        let connection = database::open_writer(dir.path()).unwrap();
        let run = Some(RunId::from_drawn(1));
        let agent = Some(AgentId::from_drawn(2));
        let kinds = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let milestones = MILESTONES
            .iter()
            .map(|kind| (*kind).to_owned())
            .collect::<Vec<_>>();
        let spending = SPENDING
            .iter()
            .map(|kind| (*kind).to_owned())
            .collect::<Vec<_>>();
        let since = Some(aaos_core::time::Timestamp::from_micros(5));
        let of = |run, agent, kinds: &[String]| Filter {
            run,
            agent,
            kinds: kinds.to_vec(),
            ..Filter::default()
        };
        let plain = [
            of(run, None, &[]),
            of(run, None, &kinds),
            of(None, agent, &[]),
            of(run, agent, &kinds),
            of(None, None, &milestones),
            of(None, None, &spending),
            of(None, None, &kinds),
        ];
        let timed = plain.clone().map(|filter| Filter { since, ..filter });
        for filter in plain.into_iter().chain(timed) {
            let spends = filter.run.is_none() && filter.kinds == spending;
            let indexed = filter.run.is_some() || filter.kinds == milestones || spends;
            let query = Query::new(&filter, 0, 10);
            let mut statement = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {}", query.text))
                .unwrap();
            let mut rows = statement
                .query(rusqlite::params_from_iter(query.values))
                .unwrap();
            while let Some(row) = rows.next().unwrap() {
                let step: String = row.get(3).unwrap();
                // Places are sorted, rows are not.
                assert!(
                    spends || !step.contains("TEMP B-TREE"),
                    "{filter:?}: {step}"
                );
                let scans = step.contains("SCAN events") && !step.contains("COVERING INDEX");
                assert!(!indexed || !scans, "{filter:?}: {step}");
            }
        }
    }
}
