//! The write-ahead log: how much is in it, how it is moved into the database, and whether its end was written whole.
//!
//! Moving it is asked for and never left to SQLite, which would keep it to itself if the disk did not take it, and would
//! move it at the end of a start that found damage.

use crate::limits::BUSY_MS;
use rusqlite::{Connection, config::DbConfig};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// What is added to the database's name for its log.
const SUFFIX: &str = "-wal";
/// Bytes before the log's first frame. Source: SQLite's file format, section 4.1.
const HEADER_BYTES: usize = 32;
/// Bytes of a frame before its page. Source: the same.
const FRAME_BYTES: usize = 24;

/// The log of a database.
pub(crate) fn path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(SUFFIX);
    PathBuf::from(name)
}

/// Has a connection leave the log to whoever asks for it, also when it closes.
pub(crate) fn keep(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map(drop)
}

/// Lets the last connection remove a log in which nothing is left. One that stays is as good.
pub(crate) fn let_go(connection: &Connection) {
    let gone = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
    if let Err(error) = gone {
        tracing::debug!(%error, "an empty log stays beside the journal");
    }
}

/// Pages in the log, whether or not they are in the database as well.
pub(crate) fn pages(connection: &Connection) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
    let pages: i64 = statement.query_row([], |row| row.get(1))?;
    Ok(u64::try_from(pages).unwrap_or(0))
}

/// Moves what nobody reads from the log into the database, and waits for nobody.
pub(crate) fn move_some(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// Moves all of the log into the database and empties it; answers whether it could. Whoever reads is not waited for.
pub(crate) fn fold(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(Duration::ZERO)?;
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
    connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
    busy.map(|busy: bool| !busy)
}

/// Bytes at the log's end that belong to no whole transaction, if its end was not written whole.
pub(crate) fn unfinished(log: &Path, pages: u64) -> io::Result<Option<u64>> {
    let file = File::open(log)?;
    let size = file.metadata()?.len();
    let (mut header, mut frame) = ([0; HEADER_BYTES], [0; FRAME_BYTES]);
    if size < HEADER_BYTES as u64 {
        return Ok((size > 0).then_some(size));
    }
    file.read_exact_at(&mut header, 0)?;
    let [.., b0, b1, b2, b3] = *header.first_chunk::<12>().unwrap_or(&[0; 12]);
    let page = u64::from(u32::from_be_bytes([b0, b1, b2, b3]));
    let end = page
        .saturating_add(FRAME_BYTES as u64)
        .saturating_mul(pages)
        .saturating_add(HEADER_BYTES as u64);
    let rest = size.saturating_sub(end);
    if rest < FRAME_BYTES as u64 {
        return Ok((rest > 0).then_some(rest));
    }
    file.read_exact_at(&mut frame, end)?;
    // What an earlier round of the log left behind has another salt, and lies there until it is written over.
    Ok((frame.get(8..16) == header.get(16..24)).then_some(rest))
}
