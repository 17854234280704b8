//! Every stored body against its digest.

use super::{BlobProblem, Report};
use crate::{
    blobs,
    journal::{fault, row::bytes},
    limits::BLOB_BYTES_MAX,
    notary,
};
use aaos_ports::{Digest, JournalError};
use rusqlite::Connection;
use std::{
    fs::{self, File},
    io,
    path::Path,
};

/// Checks the bodies in the database and those in files.
pub(super) fn check(
    connection: &Connection,
    dir: &Path,
    report: &mut Report,
) -> Result<(), JournalError> {
    if let Err(error) = check_inline(connection, report) {
        report
            .structure
            .push(format!("bodies in the database: {error}"));
    }
    let dir = blobs::dir(dir);
    check_files(&dir, report).map_err(|error| fault::io(&dir, &error))
}

fn check_inline(connection: &Connection, report: &mut Report) -> rusqlite::Result<()> {
    let text = "SELECT id, digest, body FROM blobs WHERE id > ?1 ORDER BY id LIMIT 256";
    let mut statement = connection.prepare(text)?;
    let mut last = i64::MIN;
    loop {
        let mut rows = statement.query([last])?;
        let before = last;
        while let Some(row) = rows.next()? {
            last = row.get(0)?;
            let (digest, body) = (bytes(row.get_ref(1)?), bytes(row.get_ref(2)?));
            if body.is_empty() && blake3::hash(body).as_bytes() != digest {
                report.blobs_erased = report.blobs_erased.saturating_add(1);
                continue;
            }
            count(report, body.len() as u64);
            if blake3::hash(body).as_bytes() != digest {
                let shown = digest.get(..blake3::OUT_LEN).unwrap_or(digest);
                report.name(BlobProblem::Damaged {
                    digest: notary::hex(shown),
                });
            }
        }
        if last == before {
            return Ok(());
        }
    }
}

fn count(report: &mut Report, bytes: u64) {
    report.blobs = report.blobs.saturating_add(1);
    report.blob_bytes = report.blob_bytes.saturating_add(bytes);
}

fn check_files(dir: &Path, report: &mut Report) -> io::Result<()> {
    let shards = match fs::read_dir(dir) {
        Ok(shards) => shards,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for shard in shards {
        let shard = shard?;
        let name = shard.file_name();
        let Some(prefix) = name.to_str().filter(|name| blobs::is_shard(name)) else {
            continue;
        };
        for entry in fs::read_dir(shard.path())? {
            let entry = entry?;
            let rest = entry.file_name().to_string_lossy().into_owned();
            check_file(&entry.path(), format!("{prefix}{rest}"), report)?;
        }
    }
    Ok(())
}

fn check_file(path: &Path, digest: String, report: &mut Report) -> io::Result<()> {
    let size = match fs::symlink_metadata(path) {
        // A daemon beside this one erases: what is gone by now was no damage, and what an event misses is told elsewhere.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    count(report, size.len());
    let digest = Digest(digest);
    let expected = blobs::parse(&digest);
    let plain = size.is_file() && size.len() <= BLOB_BYTES_MAX as u64;
    let whole = plain && expected.is_some() && Some(hash(path)?) == expected;
    if !whole {
        report.name(BlobProblem::Damaged { digest: digest.0 });
    }
    Ok(())
}

fn hash(path: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_body_that_a_daemon_erases_meanwhile_is_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        let mut report = Report::default();
        check_file(&dir.path().join("gone"), "ab".to_owned(), &mut report).unwrap();
        assert_eq!(report, Report::default());
    }
}
