//! How far the disk has confirmed the journal, kept beside it: what is missing up to there at the next start was lost, not
//! left unwritten.
//!
//! SQLite takes a log that ends after any whole transaction for a whole log, so a cut leaves no mark of its own. This
//! place is written right after each sync and not synced itself: after a power cut it may be too old and then says
//! less, never anything wrong. Refuses nothing to whoever may write to the state directory; signed heads are for that.

use super::fault;
use crate::limits::NOTARY_FILE_BYTES_MAX;
use aaos_ports::JournalError;
use rustix::fs::OFlags;
use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

/// Name of the file within the state directory. It comes before the journal's own, so that a copy made name by name
/// beside a running daemon holds no place beyond its journal.
pub(crate) const FILE: &str = "head.confirmed";

/// The file, ready to be written.
#[derive(Debug)]
pub(crate) struct Confirmed {
    file: File,
    fails: bool,
}

impl Confirmed {
    /// Opens the file, making it if there is none.
    ///
    /// # Errors
    /// Storage.
    pub(crate) fn open(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(FILE);
        let opened = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path);
        let file = opened.map_err(|error| fault::io(&path, &error))?;
        Ok(Self { file, fails: false })
    }

    /// The disk has confirmed every event up to this place. Without the note the next start only knows less, so a
    /// failure is told once and holds up nothing.
    pub(crate) fn note(&mut self, place: u64) {
        // Twenty digits hold every place, so that each note covers the one before, within one sector.
        let text = format!("{place:020}\n");
        match self.file.write_all_at(text.as_bytes(), 0) {
            Ok(()) => self.fails = false,
            Err(error) => {
                if !self.fails {
                    tracing::warn!(%error, "how far the journal is on disk could not be noted");
                }
                self.fails = true;
            }
        }
    }

    /// The same at a clean end, with nothing to come that could be newer.
    pub(crate) fn settle(mut self, place: u64) {
        self.note(place);
        if let Err(error) = self.file.sync_data() {
            tracing::warn!(%error, "how far the journal is on disk was not confirmed");
        }
    }
}

/// The place noted last; `None` if there is none.
///
/// # Errors
/// The file cannot be read; `InvalidData` if it holds something else.
pub(crate) fn load(dir: &Path) -> io::Result<Option<u64>> {
    let mut text = Vec::new();
    match File::open(dir.join(FILE)) {
        Ok(file) => file.take(NOTARY_FILE_BYTES_MAX).read_to_end(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // A power cut may leave the name and a length, and nothing of what was written.
    if text.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let place = std::str::from_utf8(&text)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    place
        .map(Some)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it holds no place"))
}

/// Refuses a journal that ends before the place that the disk had confirmed.
///
/// # Errors
/// `Damaged` with the first event that is missing; storage.
pub(crate) fn check(dir: &Path, journal: &Path, end: u64) -> Result<(), JournalError> {
    let file = dir.join(FILE);
    match load(dir) {
        Ok(Some(place)) if place > end => {
            let message = format!(
                "events are missing at the end: there are {end}, and the disk had confirmed {place}. What they record \
                 could be done again. Put the journal and its log back from a copy, or, to go on without them, move {} away",
                file.display()
            );
            Err(fault::damaged(journal, end.saturating_add(1), message))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let file = file.display();
            tracing::warn!(%file, %error, "whether events are missing at the journal's end cannot be told");
            Ok(())
        }
        Err(error) => Err(fault::io(&file, &error)),
    }
}
