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
const MILESTONES: [&str; 2] = ["run_submitted", "run_finished"];

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
    let failed = |error: rusqlite::Error| fault::sqlite(path, &error);
    // Places over the signed range do not occur; nothing comes after them.
    let Ok(after) = i64::try_from(after) else {
        return Ok(Vec::new());
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = Query::new(filter, after, limit);
    let mut statement = from.prepare_cached(&query.text).map_err(failed)?;
    let mut rows = statement
        .query(rusqlite::params_from_iter(query.values))
        .map_err(failed)?;
    let mut found = Vec::new();
    let mut last = after.cast_unsigned();
    while let Some(row) = rows.next().map_err(failed)? {
        let stored = Stored::read(row)
            .map_err(|problem| fault::damaged(path, last.saturating_add(1), problem))?;
        last = stored.link.seq;
        found.push(
            stored
                .event()
                .map_err(|problem| fault::damaged(path, last, problem))?,
        );
    }
    Ok(found)
}

impl Query {
    fn new(filter: &Filter, after: i64, limit: i64) -> Self {
        let kinds: BTreeSet<&str> = filter.kinds.iter().map(String::as_str).collect();
        let narrowed = filter.run.is_some() || filter.agent.is_some();
        let milestones = MILESTONES.into_iter().filter(|kind| kinds.contains(kind));
        let milestones: Vec<&'static str> = milestones.collect();
        if narrowed || kinds.is_empty() || milestones.len() < kinds.len() {
            Self::scan(filter, &kinds, after, limit)
        } else {
            Self::merge(&milestones, after, limit)
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
        let text = format!(
            "SELECT {COLUMNS} FROM events {index} WHERE seq > ?1{conditions} ORDER BY seq LIMIT ?2"
        );
        Self { text, values }
    }

    /// One index scan for each kind, merged in order of place, so that rare kinds are found at once. The kinds are
    /// written out: the index is used only where the query itself says that it is within it.
    fn merge(kinds: &[&'static str], after: i64, limit: i64) -> Self {
        let part = |kind: &&str| {
            format!(
                "SELECT {COLUMNS} FROM events INDEXED BY events_milestone WHERE kind = '{kind}' AND seq > ?1"
            )
        };
        let parts: Vec<String> = kinds.iter().map(part).collect();
        Self {
            text: format!("{} ORDER BY seq LIMIT ?2", parts.join(" UNION ALL ")),
            values: vec![Value::Integer(after), Value::Integer(limit)],
        }
    }
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
        let milestones = MILESTONES.map(str::to_owned).to_vec();
        let filters = [
            Filter {
                run,
                agent: None,
                kinds: Vec::new(),
            },
            Filter {
                run,
                agent: None,
                kinds: kinds.clone(),
            },
            Filter {
                run: None,
                agent,
                kinds: Vec::new(),
            },
            Filter {
                run,
                agent,
                kinds: kinds.clone(),
            },
            Filter {
                run: None,
                agent: None,
                kinds: milestones.clone(),
            },
            Filter {
                run: None,
                agent: None,
                kinds,
            },
        ];
        for filter in filters {
            let indexed = filter.run.is_some() || filter.kinds == milestones;
            let query = Query::new(&filter, 0, 10);
            let mut statement = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {}", query.text))
                .unwrap();
            let mut rows = statement
                .query(rusqlite::params_from_iter(query.values))
                .unwrap();
            while let Some(row) = rows.next().unwrap() {
                let step: String = row.get(3).unwrap();
                assert!(!step.contains("TEMP B-TREE"), "{filter:?}: {step}");
                assert!(
                    !indexed || !step.contains("SCAN events"),
                    "{filter:?}: {step}"
                );
            }
        }
    }
}
