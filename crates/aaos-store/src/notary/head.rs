//! Signed heads: where the journal ended, kept beside it and anywhere else the operator likes.

use super::{Key, key};
use crate::{
    journal::{
        chain::{self, Hash, Head},
        confirmed, database, fault,
    },
    limits::NOTARY_FILE_BYTES_MAX,
};
use aaos_core::time::Timestamp;
use aaos_ports::JournalError;
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Name of the last signed head's file within the state directory.
pub const HEAD_FILE: &str = "head.signed";

/// Where the journal ended at some time, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    /// The last event that is covered.
    pub seq: u64,
    /// Its hash, 64 hexadecimal digits.
    pub hash: String,
    /// The public key, 64 hexadecimal digits.
    pub key: String,
    /// The Ed25519 signature over place and hash, 128 hexadecimal digits.
    pub signature: String,
    /// When it was signed. Not covered by the signature.
    pub time: Timestamp,
}

impl SignedHead {
    pub(crate) fn new(key: &Key, seq: u64, hash: &Hash, time: Timestamp) -> Self {
        Self {
            seq,
            hash: chain::hex(hash),
            key: key.public().to_owned(),
            signature: key.sign(seq, hash),
            time,
        }
    }

    /// Whether the signature is by the key that it names.
    #[must_use]
    pub fn holds(&self) -> bool {
        key::verify(&self.key, self.seq, &self.hash, &self.signature)
    }
}

/// The journal's end; `None` if it is empty or its last event is a signed head that covers the one before it.
pub(crate) fn unsigned_head(from: &Connection) -> rusqlite::Result<Option<Head>> {
    let view = from.unchecked_transaction()?;
    let head = database::head(&view)?;
    let text = "SELECT kind FROM events WHERE seq = ?1";
    let last: Option<String> = view
        .query_row(text, [head.seq.cast_signed()], |row| row.get(0))
        .optional()?;
    Ok(last.filter(|kind| kind != "head_signed").map(|_| head))
}

/// Writes a file of the state directory whole or not at all, and makes it survive a power cut.
pub(super) fn replace(dir: &Path, name: &str, content: &[u8], mode: u32) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    // One that was left behind may have another mode.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(name))?;
    File::open(dir)?.sync_all()
}

/// Keeps a signed head beside the journal in place of the one before.
///
/// # Errors
/// Storage.
pub(crate) fn store_head(dir: &Path, head: &SignedHead) -> Result<(), JournalError> {
    let path = dir.join(HEAD_FILE);
    let stored = serde_json::to_vec(head)
        .map_err(io::Error::other)
        .and_then(|mut line| {
            line.push(b'\n');
            replace(dir, HEAD_FILE, &line, 0o600)
        });
    stored.map_err(|error| fault::io(&path, &error))
}

/// The signed head beside the journal; `None` if there is none.
///
/// # Errors
/// It cannot be read, or is none.
pub(crate) fn load_head(dir: &Path) -> io::Result<Option<SignedHead>> {
    let mut text = String::new();
    match File::open(dir.join(HEAD_FILE)) {
        Ok(file) => file.take(NOTARY_FILE_BYTES_MAX).read_to_string(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(serde_json::from_str(&text)?))
}

/// The hash of the event at a place, as stored; `None` if there is none.
pub(crate) fn hash_at(from: &Connection, seq: u64) -> rusqlite::Result<Option<Hash>> {
    let text = "SELECT hash FROM events WHERE seq = ?1";
    from.prepare_cached(text)?
        .query_row([seq.cast_signed()], |row| row.get(0))
        .optional()
}

/// Refuses a journal that does not reach to the signed head beside it, with that head's hash.
///
/// # Errors
/// `Damaged` with the first place that is missing or another's; storage.
pub(crate) fn check_reach(from: &Connection, dir: &Path, end: u64) -> Result<(), JournalError> {
    let (file, journal) = (dir.join(HEAD_FILE), database::file(dir));
    let signed = match load_head(dir) {
        Ok(Some(signed)) => signed,
        Ok(None) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData || is_text(&error) => {
            return Err(unfit(&file, &error.to_string()));
        }
        Err(error) => return Err(fault::io(&file, &error)),
    };
    if !signed.holds() {
        return Err(unfit(&file, "its signature does not hold"));
    }
    let found = hash_at(from, signed.seq).map_err(|error| fault::sqlite(&journal, &error))?;
    match found.map(|hash| chain::hex(&hash)) {
        Some(hash) if hash == signed.hash => Ok(()),
        Some(_) => {
            let message = format!(
                "the signed head in {} is of another history",
                file.display()
            );
            Err(fault::damaged(&journal, signed.seq, message))
        }
        None => {
            let message = format!(
                "events are missing at the end: there are {end}, and the signed head in {} covers {}. What they record \
                 could be done again. Put the journal and its log back from a copy, or, to go on without them, move that \
                 file and {} away",
                file.display(),
                signed.seq,
                confirmed::FILE
            );
            Err(fault::damaged(&journal, end.saturating_add(1), message))
        }
    }
}

/// Whether an error is about what a file says rather than about reading it.
fn is_text(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<serde_json::Error>())
        || error.kind() == io::ErrorKind::UnexpectedEof
}

fn unfit(file: &Path, message: &str) -> JournalError {
    let step =
        "Run `agentd audit verify`; if the journal is whole, move this file away and start again";
    fault::storage(file, format!("it is no signed head: {message}"), step)
}
