//! One daemon to a state directory: a lock file that names its holder.
//!
//! The kernel's lock decides, not the file's existence, so a daemon that was killed leaves nothing to clean up.

use aaos_ports::JournalError;
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
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
    _file: File,
}

impl Lock {
    /// Takes the directory's lock.
    ///
    /// # Errors
    /// `InUse` with the holder's process number; `Storage` if the file cannot be made.
    pub(crate) fn take(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(FILE);
        let failed = |error: std::io::Error| super::journal::fault::io(&path, &error);
        let mut options = File::options();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let mut file = options.open(&path).map_err(failed)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let place = path.display().to_string();
                return Err(JournalError::InUse {
                    place,
                    holder: holder(&mut file),
                });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        file.set_len(0).map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn holder(file: &mut File) -> u32 {
    let mut text = String::new();
    match file.take(HOLDER_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => text.trim().parse().unwrap_or(0),
        Err(_) => 0,
    }
}
