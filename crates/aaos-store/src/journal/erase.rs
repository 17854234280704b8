//! Erasure: what a run said is taken out of its events and bodies, and the chain holds without it.
//!
//! First it is recorded, durably, that it is going to happen; then files are removed; then one transaction empties the
//! rows; then the log is folded, which has the text too; then the run is struck off the table `erasing`. A daemon that dies
//! in between finishes it at its next start.
//!
//! Rows are emptied and stay: an update that shortens a row moves no other one, while removing rows makes SQLite shift
//! their neighbours, and copies of these could be left in unused parts of pages. Refuses runs that are not over, those
//! whose past an open fork goes on from, and bodies that another run speaks of; what was spent stays. What it cannot
//! reach: copies that sinks made, and what a guess of the whole text can be compared with, its digest.

use super::{chain::Hash, fault, log, row::bytes};
use crate::{
    blobs::Files,
    limits::{BATCH_EVENTS_MAX, ERASE_BODIES_MAX, FORKS_FOLLOWED_MAX, PUTS_KEPT_MAX},
};
use aaos_core::{
    event::{Draft, Kind, Subject},
    id::RunId,
    time::Timestamp,
};
use aaos_ports::JournalError;
use rusqlite::{Connection, params};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Rows read in one go: a reader that stays too long would keep the log from being tidied.
const CHUNK: usize = 4_096;
/// Events read to see whose a run was: its beginning, or records of so many erasures of what came later.
const BEGINNINGS_READ_MAX: u32 = 16;
/// Bytes of a digest in an event: 64 digits between two quotes.
const QUOTED: usize = 66;

/// Kinds that tell nothing of what was said: that it was erased, and what was spent, which counts on.
const KEPT: &str = "('content_erased', 'usage_reported', 'model_abandoned')";
/// Without its digest too, so that the same body can be stored again at the table's end.
const EMPTY_BODY: &str = "UPDATE blobs SET body = x'', digest = randomblob(32) WHERE digest = ?1";

/// Why a run's content was not erased.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EraseError {
    /// It is not over.
    #[error(
        "{0} is not over, so its content is still needed. Stop it first with `agentd stop {0}`"
    )]
    Open(RunId),
    /// A fork of it is not over and goes on from what was said in it.
    #[error(
        "{fork} was forked from {run} and goes on from what was said in it. Erase it when {fork} is over: `agentd stop {fork}` ends it"
    )]
    Needed {
        /// The run.
        run: RunId,
        /// The fork.
        fork: RunId,
    },
    /// The journal knows no such run.
    #[error("the journal has no run {0}. `agentd list` shows those it has")]
    Unknown(RunId),
    /// The journal could not do its work.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What was erased.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Erased {
    /// The runs.
    pub runs: Vec<RunId>,
    /// Events whose content is gone.
    pub events: u64,
    /// Bodies that are gone.
    pub bodies: u64,
}

/// What is to be erased of some runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// The runs, in the order in which they are erased.
    pub(crate) runs: Vec<PlannedRun>,
    /// The bodies that only they speak of.
    pub(crate) bodies: BTreeMap<Hash, Spoken>,
    /// Events up to here were searched.
    pub(crate) searched: u64,
}

/// A run that is to be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlannedRun {
    /// The run.
    pub(crate) run: RunId,
    /// Its events that have content.
    pub(crate) events: u64,
    /// The operator whose run it was, if that is recorded.
    whose: Option<u32>,
}

/// Where a body is spoken of, and with which run it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spoken {
    /// The last of the runs that speak of it.
    pub(crate) run: RunId,
    /// The place of the last event that does.
    pub(crate) seq: u64,
}

impl Erased {
    /// This and that.
    pub(crate) fn and(mut self, more: Self) -> Self {
        self.runs.extend(more.runs);
        Self {
            runs: self.runs,
            events: self.events.saturating_add(more.events),
            bodies: self.bodies.saturating_add(more.bodies),
        }
    }
}

impl Plan {
    /// Its runs, in the order in which they are erased.
    pub(crate) fn run_ids(&self) -> Vec<RunId> {
        self.runs.iter().map(|planned| planned.run).collect()
    }

    /// Takes off what fits into one transaction: the first runs, at least one, and the bodies that go with them.
    pub(crate) fn part(&mut self) -> Self {
        let mut events = 0_u64;
        let fits = |next: &&PlannedRun| {
            let first = events == 0;
            events = events.saturating_add(next.events.max(1));
            first || events <= BATCH_EVENTS_MAX as u64
        };
        let taken = self.runs.iter().take_while(fits).count();
        let rest = self.runs.split_off(taken);
        let runs = std::mem::replace(&mut self.runs, rest);
        let ours: BTreeSet<RunId> = runs.iter().map(|planned| planned.run).collect();
        let bodies = std::mem::take(&mut self.bodies).into_iter();
        let (bodies, rest) = bodies.partition(|(_, spoken)| ours.contains(&spoken.run));
        self.bodies = rest;
        Self {
            runs,
            bodies,
            searched: self.searched,
        }
    }

    /// What is recorded before it is carried out, one event for each run.
    pub(crate) fn intents(
        &self,
        reason: &str,
        operator: Option<u32>,
        time: Timestamp,
    ) -> Vec<Draft> {
        let mut bodies: BTreeMap<RunId, u64> = BTreeMap::new();
        for spoken in self.bodies.values() {
            *bodies.entry(spoken.run).or_default() += 1;
        }
        let intent = |planned: &PlannedRun| Draft {
            time,
            subject: Subject {
                run: Some(planned.run),
                ..Subject::default()
            },
            kind: Kind::ContentErased {
                erased: planned.run,
                events: planned.events,
                bodies: bodies.get(&planned.run).copied().unwrap_or(0),
                reason: reason.to_owned(),
                operator,
                whose: planned.whose,
            },
        };
        self.runs.iter().map(intent).collect()
    }
}

/// Bodies just stored, each with where the journal ended then: an event that speaks of them may be on its way.
#[derive(Debug, Default)]
pub(crate) struct Puts(Mutex<VecDeque<(Hash, u64)>>);

impl Puts {
    /// Notes a body.
    pub(crate) fn note(&self, digest: Hash, head: u64) {
        let mut puts = self.lock();
        if puts.len() >= PUTS_KEPT_MAX {
            puts.pop_front();
        }
        puts.push_back((digest, head));
    }

    /// Whether it was stored again after the last event that speaks of it.
    fn expects(&self, digest: &Hash, spoken: u64) -> bool {
        let puts = self.lock();
        puts.iter()
            .any(|(put, head)| put == digest && *head >= spoken)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Hash, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks through the journal for what is to be erased of a run.
///
/// # Errors
/// The run is unknown or not over; storage.
pub(crate) fn plan(from: &Connection, path: &Path, run: RunId) -> Result<Plan, EraseError> {
    let failed = |error: rusqlite::Error| fault::sqlite(path, &error);
    let (known, over) = state(from, run).map_err(failed)?;
    if !known {
        return Err(EraseError::Unknown(run));
    }
    if !over {
        return Err(EraseError::Open(run));
    }
    if let Some(fork) = needed(from).map_err(failed)?.remove(&run) {
        return Err(EraseError::Needed { run, fork });
    }
    Ok(search(from, &[run]).map_err(failed)?)
}

/// The runs that open forks go on from with part of their past, over forks of forks, each with such a fork.
///
/// # Errors
/// What SQLite says.
pub(crate) fn needed(from: &Connection) -> rusqlite::Result<BTreeMap<RunId, RunId>> {
    let text = "SELECT run FROM events INDEXED BY events_milestone WHERE kind = 'run_submitted' AND run NOT IN \
                (SELECT run FROM events INDEXED BY events_milestone WHERE kind = 'run_finished' AND run IS NOT NULL)";
    let mut statement = from.prepare_cached(text)?;
    let mut rows = statement.query([])?;
    let mut needed = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let open = RunId::from_drawn(row.get::<_, i64>(0)?.cast_unsigned());
        let mut fork = open;
        for _ in 0..FORKS_FOLLOWED_MAX {
            let Some(other) = forked_from(from, fork)? else {
                break;
            };
            needed.insert(other, open);
            fork = other;
        }
    }
    Ok(needed)
}

/// The run whose past a run began with, if it began with one.
fn forked_from(from: &Connection, run: RunId) -> rusqlite::Result<Option<RunId>> {
    let text = "SELECT body FROM events INDEXED BY events_run WHERE run = ?1 AND kind = 'run_submitted' LIMIT 1";
    let mut statement = from.prepare_cached(text)?;
    let mut rows = statement.query([run.number().cast_signed()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    // What is no submission is found by whoever reads it.
    Ok(match serde_json::from_slice(bytes(row.get_ref(0)?)) {
        Ok(Kind::RunSubmitted {
            forked: Some(fork), ..
        }) if fork.turns_kept > 0 => Some(fork.run),
        _ => None,
    })
}

/// Whether there is such a run, or a rehearsal of one, and whether it is over. One whose beginning is not recorded is a
/// rehearsal in a journal that does not say when these begin and end: none of those goes on.
fn state(from: &Connection, run: RunId) -> rusqlite::Result<(bool, bool)> {
    let text = "SELECT count(*) > 0, count(*) FILTER (WHERE kind IN ('run_finished', 'rehearsal_ended')) > 0 \
                OR count(*) FILTER (WHERE kind IN ('run_submitted', 'plan_rehearsed')) = 0 \
                FROM events INDEXED BY events_run WHERE run = ?1";
    from.query_row(text, [run.number().cast_signed()], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

/// Looks through the journal once for what is to be erased of runs that are over: of the first of them, at least one,
/// until there are too many bodies to remember.
///
/// # Errors
/// What SQLite says.
pub(crate) fn search(from: &Connection, runs: &[RunId]) -> rusqlite::Result<Plan> {
    let mut plan = Plan::default();
    for run in runs {
        if plan.bodies.len() >= ERASE_BODIES_MAX {
            break;
        }
        plan.runs.push(PlannedRun {
            run: *run,
            events: speaks_of(from, *run, &mut plan.bodies)?,
            whose: whose(from, *run)?,
        });
    }
    if !plan.runs.is_empty() {
        spare(from, &mut plan)?;
    }
    Ok(plan)
}

/// Adds the bodies that a run speaks of; answers with its events that have content.
fn speaks_of(
    from: &Connection,
    run: RunId,
    bodies: &mut BTreeMap<Hash, Spoken>,
) -> rusqlite::Result<u64> {
    let text = format!(
        "SELECT seq, body FROM events INDEXED BY events_run WHERE run = ?1 AND body <> '' AND kind NOT IN {KEPT}"
    );
    let mut statement = from.prepare_cached(&text)?;
    let mut rows = statement.query([run.number().cast_signed()])?;
    let mut events = 0_u64;
    while let Some(row) = rows.next()? {
        let seq = row.get::<_, i64>(0)?.cast_unsigned();
        events = events.saturating_add(1);
        for digest in digests(bytes(row.get_ref(1)?)) {
            // It goes with the last of the runs; the last event that speaks of it may be another's.
            let spoken = bodies.entry(digest).or_insert(Spoken { run, seq });
            spoken.run = run;
            spoken.seq = spoken.seq.max(seq);
        }
    }
    Ok(events)
}

/// The operator whose run it is, from its beginning, or from where it was erased before.
fn whose(from: &Connection, run: RunId) -> rusqlite::Result<Option<u32>> {
    let text = "SELECT body FROM events INDEXED BY events_run WHERE run = ?1 AND body <> '' \
                AND kind IN ('run_submitted', 'plan_rehearsed', 'content_erased') ORDER BY seq LIMIT ?2";
    let mut statement = from.prepare_cached(text)?;
    let mut rows = statement.query(params![run.number().cast_signed(), BEGINNINGS_READ_MAX])?;
    while let Some(row) = rows.next()? {
        match serde_json::from_slice(bytes(row.get_ref(0)?)) {
            Ok(Kind::RunSubmitted { operator, .. } | Kind::PlanRehearsed { operator, .. }) => {
                return Ok(Some(operator));
            }
            Ok(Kind::ContentErased {
                whose: Some(whose), ..
            }) => return Ok(Some(whose)),
            _ => {}
        }
    }
    Ok(None)
}

/// Strikes off the plan what other runs speak of in events after those that were searched.
fn spare(from: &Connection, plan: &mut Plan) -> rusqlite::Result<()> {
    let text = "SELECT seq, run, body FROM events NOT INDEXED WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let mut statement = from.prepare_cached(text)?;
    let ours: BTreeSet<i64> = plan
        .runs
        .iter()
        .map(|planned| planned.run.number().cast_signed())
        .collect();
    loop {
        let mut rows = statement.query(params![plan.searched.cast_signed(), CHUNK as i64])?;
        let mut read = 0_usize;
        while let Some(row) = rows.next()? {
            read = read.saturating_add(1);
            plan.searched = row.get::<_, i64>(0)?.cast_unsigned();
            if row
                .get::<_, Option<i64>>(1)?
                .is_some_and(|run| ours.contains(&run))
            {
                continue;
            }
            for digest in digests(bytes(row.get_ref(2)?)) {
                plan.bodies.remove(&digest);
            }
        }
        if read < CHUNK {
            return Ok(());
        }
    }
}

/// Every text of an event that is nothing but a digest. A digest within a longer text is none: its quotes are escaped.
pub(super) fn digests(body: &[u8]) -> impl Iterator<Item = Hash> {
    body.windows(QUOTED).filter_map(|window| match window {
        [b'"', digits @ .., b'"'] => {
            let text = std::str::from_utf8(digits).ok()?;
            let hash = blake3::Hash::from_hex(text).ok()?;
            Some(*hash.as_bytes())
        }
        _ => None,
    })
}

/// Carries a plan out whose intent is recorded up to `seq`, in one transaction; answers with what is gone.
///
/// # Errors
/// Nothing is lost: it can be done again, and the next start does.
pub(crate) fn carry_out(
    to: &mut Connection,
    path: &Path,
    mut plan: Plan,
    seq: u64,
    files: &Files,
    puts: &Puts,
) -> Result<Erased, JournalError> {
    let failed = |error: rusqlite::Error| fault::sqlite(path, &error);
    let change = to
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(failed)?;
    spare(&change, &mut plan).map_err(failed)?;
    let _alone = files.alone();
    let mut erased = Erased {
        runs: plan.run_ids(),
        ..Erased::default()
    };
    for (digest, spoken) in &plan.bodies {
        if puts.expects(digest, spoken.seq) {
            continue;
        }
        let rows = change
            .prepare_cached(EMPTY_BODY)
            .and_then(|mut empty| empty.execute([digest]))
            .map_err(failed)?;
        let file = files.remove(&blake3::Hash::from_bytes(*digest))?;
        if rows > 0 || file {
            erased.bodies = erased.bodies.saturating_add(1);
        }
    }
    for planned in &plan.runs {
        let events = empty(&change, planned.run, seq).map_err(failed)?;
        erased.events = erased.events.saturating_add(events);
    }
    change.commit().map_err(failed)?;
    Ok(erased)
}

/// Empties a run's events before a place; answers how many there were.
fn empty(change: &Connection, run: RunId, seq: u64) -> rusqlite::Result<u64> {
    let text = format!(
        "UPDATE events SET body = '' WHERE run = ?1 AND seq < ?2 AND body <> '' AND kind NOT IN {KEPT}"
    );
    let events = change
        .prepare_cached(&text)?
        .execute(params![run.number().cast_signed(), seq.cast_signed()])?;
    Ok(events as u64)
}

/// Strikes runs off the erasures that are begun.
///
/// # Errors
/// What SQLite says.
pub(crate) fn strike(to: &mut Connection, runs: &[RunId]) -> rusqlite::Result<()> {
    if runs.is_empty() {
        return Ok(());
    }
    let change = to.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for run in runs {
        change
            .prepare_cached("DELETE FROM erasing WHERE run = ?1")?
            .execute([run.number().cast_signed()])?;
    }
    change.commit()
}

/// Finishes what a daemon that died had begun; answers with the runs whose text may be in the log still, because
/// another program reads it.
///
/// # Errors
/// Storage.
pub(crate) fn resume(
    connection: &mut Connection,
    path: &Path,
    files: &Files,
) -> Result<Vec<RunId>, JournalError> {
    let failed = |error: rusqlite::Error| fault::sqlite(path, &error);
    let begun = begun(connection).map_err(failed)?;
    let all: Vec<RunId> = begun.values().flatten().copied().collect();
    for (seq, mut runs) in begun {
        while !runs.is_empty() {
            let plan = search(connection, &runs).map_err(failed)?;
            runs.drain(..plan.runs.len());
            let erased = carry_out(connection, path, plan, seq, files, &Puts::default())?;
            tracing::info!(
                runs = erased.runs.len(),
                erased.events,
                erased.bodies,
                "an erasure was finished"
            );
        }
    }
    if all.is_empty() || !log::fold(connection).map_err(failed)? {
        return Ok(all);
    }
    strike(connection, &all).map_err(failed)?;
    Ok(Vec::new())
}

/// The erasures that are not finished, by the place of their intent.
fn begun(connection: &Connection) -> rusqlite::Result<BTreeMap<u64, Vec<RunId>>> {
    let mut statement = connection.prepare("SELECT run, seq FROM erasing")?;
    let mut rows = statement.query([])?;
    let mut begun: BTreeMap<u64, Vec<RunId>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let run = RunId::from_drawn(row.get::<_, i64>(0)?.cast_unsigned());
        let seq = row.get::<_, i64>(1)?.cast_unsigned();
        begun.entry(seq).or_default().push(run);
    }
    Ok(begun)
}

/// Runs and rehearsals that ended before a moment and whose content is there, but those whose past an open fork goes on
/// from.
///
/// # Errors
/// Storage.
pub(crate) fn expired(
    from: &Connection,
    before: i64,
    limit: usize,
) -> rusqlite::Result<Vec<RunId>> {
    // One scan for each kind: the index is used only where the query itself says that it is within it.
    let ended = ["run_finished", "rehearsal_ended"].map(|kind| {
        format!(
            "SELECT run, seq FROM events INDEXED BY events_milestone \
             WHERE kind = '{kind}' AND time < ?1 AND body <> '' AND run IS NOT NULL"
        )
    });
    let text = format!(
        "SELECT run FROM ({}) ORDER BY seq LIMIT ?2",
        ended.join(" UNION ALL ")
    );
    let mut statement = from.prepare_cached(&text)?;
    let needed = needed(from)?;
    // Those that are needed must not take the place of those that can go.
    let asked = limit.saturating_add(needed.len());
    let rows = statement.query_map(params![before, asked as i64], |row| {
        Ok(RunId::from_drawn(row.get::<_, i64>(0)?.cast_unsigned()))
    })?;
    rows.filter(|run| run.as_ref().map_or(true, |run| !needed.contains_key(run)))
        .take(limit)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::journal::database;

    #[test]
    fn a_run_that_is_still_needed_takes_no_expired_runs_place() {
        let dir = tempfile::tempdir().unwrap();
        let journal = database::open_writer(dir.path()).unwrap();
        let add = |run: u64, kind: Kind| {
            let body = serde_json::to_value(&kind).unwrap();
            let text = "INSERT INTO events (time, run, kind, body, prev_hash, hash) \
                        VALUES (1, ?1, ?2, ?3, zeroblob(32), zeroblob(32))";
            let values = params![run.cast_signed(), body["kind"].as_str(), body.to_string()];
            journal.execute(text, values).unwrap();
        };
        let begins = |forked: Option<u64>| {
            let forked = forked.map(
                |run| serde_json::json!({ "run": RunId::from_drawn(run), "at": "a", "turns_kept": 1 }),
            );
            let kind = serde_json::json!({
                "kind": "run_submitted", "goal": "", "base": "", "folder": "", "operator": 1, "profile": "",
                "backend": "b", "model": "", "terms": "", "budget": aaos_core::budget::Budget::default(), "forked": forked,
            });
            serde_json::from_value::<Kind>(kind).unwrap()
        };
        let ends = || Kind::RunFinished {
            outcome: aaos_core::event::Outcome::Failed {
                failure: aaos_core::failure::Failure::Stopped,
            },
            usage: aaos_core::model::Usage::default(),
        };
        for run in [1, 2] {
            add(run, begins(None));
            add(run, ends());
        }
        add(3, begins(Some(1)));
        assert_eq!(expired(&journal, 2, 1).unwrap(), [RunId::from_drawn(2)]);
        add(3, ends());
        assert_eq!(expired(&journal, 2, 1).unwrap(), [RunId::from_drawn(1)]);
    }

    #[test]
    fn a_text_that_is_a_digest_is_found_and_one_that_holds_a_digest_is_not() {
        let hex = blake3::hash(b"x").to_hex();
        let body = format!(r#"{{"a":"{hex}","b":["{hex}"],"c":"see \"{hex}\"","d":"{hex}0"}}"#);
        assert_eq!(digests(body.as_bytes()).count(), 2);
    }
}
