//! The database file: connections, settings, schema versions, and the check of the journal's end.

use super::{
    chain::{Head, ORIGIN},
    fault, log,
    row::{COLUMNS, Stored},
};
use crate::limits::{BUSY_MS, OPEN_CHECK_EVENTS, WRITER_CACHE_KIB};
use aaos_ports::JournalError;
use rusqlite::{Connection, OpenFlags};
use std::{
    fs::File,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Name of the database file within the state directory.
const FILE: &str = "journal.db";
/// Marks the file as a journal: `aaOS` in ASCII.
const APPLICATION: i32 = 0x6161_4f53;
/// The schema, one script for each version, applied in order.
const SCHEMA: [&str; 5] = [
    include_str!("../schema/0001.sql"),
    include_str!("../schema/0002.sql"),
    include_str!("../schema/0003.sql"),
    include_str!("../schema/0004.sql"),
    include_str!("../schema/0005.sql"),
];

/// The schema version from which on events have digests.
const DIGESTS: usize = 3;

/// The database file of a state directory.
pub(crate) fn file(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Opens the connection that writes, making or upgrading the database first.
///
/// # Errors
/// Storage; a file that is no journal, or of a newer version.
pub(crate) fn open_writer(dir: &Path) -> Result<Connection, JournalError> {
    let path = file(dir);
    create_private(&path).map_err(|error| fault::io(&path, &error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection =
        Connection::open_with_flags(&path, flags).map_err(|error| fault::sqlite(&path, &error))?;
    settle(&connection).map_err(|error| fault::sqlite(&path, &error))?;
    upgrade(&mut connection, &path)?;
    Ok(connection)
}

/// The file must belong to its owner alone from the first moment; SQLite gives its log the same mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map(drop)
}

fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // Commits do not wait for the disk; who needs that waits for the sync thread.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    log::keep(connection)?;
    connection.pragma_update(None, "cache_size", -i64::from(WRITER_CACHE_KIB))?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // What is erased is overwritten where it stood.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

fn number(connection: &Connection, name: &str) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

/// Refuses what is not ours to open: another program's database, or a newer version's journal.
pub(crate) fn recognise(connection: &Connection, path: &Path) -> Result<usize, JournalError> {
    let failed = |error: rusqlite::Error| fault::sqlite(path, &error);
    let known = SCHEMA.len();
    let version =
        usize::try_from(number(connection, "user_version").map_err(failed)?).unwrap_or(usize::MAX);
    let application = number(connection, "application_id").map_err(failed)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    let fresh = version == 0 && application == 0 && tables == 0;
    if application != APPLICATION && !fresh {
        let step = "Choose another state directory, or move that file away";
        return Err(fault::storage(path, "this database is not a journal", step));
    }
    if version > known {
        let message =
            format!("it has schema version {version}, and this program knows up to {known}");
        let step = "Install the newer version again, or choose another state directory";
        return Err(fault::storage(path, message, step));
    }
    Ok(version)
}

/// Lets a connection that only reads a journal of an earlier schema read it as one of this: what later versions added
/// stands empty in a view of its own. A journal of this schema needs nothing.
///
/// # Errors
/// What SQLite says.
pub(crate) fn complete(connection: &Connection, version: usize) -> rusqlite::Result<()> {
    if version == 0 || version >= DIGESTS {
        return Ok(());
    }
    connection.pragma_update(None, "query_only", false)?;
    connection
        .execute_batch("CREATE TEMP VIEW events AS SELECT *, NULL AS digest FROM main.events;")?;
    connection.pragma_update(None, "query_only", true)
}

fn upgrade(connection: &mut Connection, path: &Path) -> Result<(), JournalError> {
    let version = recognise(connection, path)?;
    if version == SCHEMA.len() {
        return Ok(());
    }
    let apply = |connection: &mut Connection| -> rusqlite::Result<()> {
        let change = connection.transaction()?;
        for script in SCHEMA.iter().skip(version) {
            change.execute_batch(script)?;
        }
        change.pragma_update(None, "application_id", APPLICATION)?;
        change.pragma_update(None, "user_version", SCHEMA.len() as i64)?;
        change.commit()
    };
    apply(connection).map_err(|error| fault::sqlite(path, &error))
}

/// Opens a connection that cannot write.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

/// The last event's place and hash, as the journal itself remembers them.
pub(crate) fn head(connection: &Connection) -> rusqlite::Result<Head> {
    connection.query_row("SELECT seq, hash FROM head WHERE id = 1", [], |row| {
        Ok(Head {
            seq: row.get::<_, i64>(0)?.cast_unsigned(),
            hash: row.get(1)?,
        })
    })
}

/// Checks the chain of the last [`OPEN_CHECK_EVENTS`] events and that they end where the journal says it ends.
///
/// # Errors
/// `Damaged` with the first event that does not hold.
pub(crate) fn check_end(connection: &Connection, path: &Path) -> Result<Head, JournalError> {
    let failed = |error: rusqlite::Error| fault::sqlite(path, &error);
    let claimed = head(connection).map_err(failed)?;
    let after = claimed.seq.saturating_sub(OPEN_CHECK_EVENTS);
    let text = format!("SELECT {COLUMNS} FROM events WHERE seq > ?1 ORDER BY seq");
    let mut statement = connection.prepare(&text).map_err(failed)?;
    let mut rows = statement.query([after.cast_signed()]).map_err(failed)?;
    let mut end = (after == 0).then_some(Head {
        seq: 0,
        hash: ORIGIN,
    });
    while let Some(row) = rows.next().map_err(failed)? {
        let place = end.map_or(after, |end| end.seq).saturating_add(1);
        let stored = Stored::read(row).map_err(|problem| fault::damaged(path, place, problem))?;
        let expected = end.map_or(stored.previous, |end| end.hash);
        if stored.link.seq != place {
            return Err(fault::damaged(path, place, "it is missing"));
        }
        if stored.previous != expected || !stored.holds() {
            return Err(fault::damaged(
                path,
                place,
                "its hash does not follow from what is stored",
            ));
        }
        end = Some(stored.head());
    }
    let found = end.unwrap_or(Head {
        seq: after,
        hash: ORIGIN,
    });
    if found != claimed {
        let at = found.seq.min(claimed.seq).saturating_add(1);
        let message = format!(
            "{} events are there, and the journal says it has {}",
            found.seq, claimed.seq
        );
        return Err(fault::damaged(path, at, message));
    }
    Ok(claimed)
}
