//! One daemon to a state directory, and a lock file that names it.
//!
//! The kernel's lock decides, not the file's existence, so a daemon that was killed leaves nothing to clean up. The
//! directory itself is locked as well: a lock file that somebody removed would be made anew, and be another file.

use crate::journal::fault;
use aaos_ports::JournalError;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Name of the lock file within the state directory.
const FILE: &str = "journal.lock";
/// Bytes of the lock file that are read to learn its holder.
const HOLDER_BYTES_MAX: u64 = 32;

/// Held for as long as the journal is open; let go by the kernel when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _directory: File,
    _file: File,
}

impl Lock {
    /// Takes the directory's lock.
    ///
    /// # Errors
    /// `InUse` with the holder's process number; `Storage` if the file cannot be made.
    pub(crate) fn take(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(FILE);
        let failed = |error: io::Error| fault::io(&path, &error);
        let directory = File::open(dir).map_err(failed)?;
        let mut options = File::options();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let mut file = options.open(&path).map_err(failed)?;
        if !is_free(&directory).map_err(failed)? || !is_free(&file).map_err(failed)? {
            let place = path.display().to_string();
            let holder = holder(&mut file);
            return Err(JournalError::InUse { place, holder });
        }
        file.set_len(0).map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self {
            _directory: directory,
            _file: file,
        })
    }
}

/// Locks a file, unless another holds it.
fn is_free(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn holder(file: &mut File) -> u32 {
    let mut text = String::new();
    match file.take(HOLDER_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => text.trim().parse().unwrap_or(0),
        Err(_) => 0,
    }
}
