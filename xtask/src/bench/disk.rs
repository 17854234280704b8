//! The disk's own pace: what a durable step cannot be faster than.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::fault::BenchError;
use super::figure::timed;

/// Bytes of one append: a page, as a small commit of SQLite's takes.
const APPEND_BYTES: usize = 4_096;

/// A file that is appended to and synced, as the floor of a durable step.
#[derive(Debug)]
pub struct Floor {
    file: File,
}

impl Floor {
    /// Opens one in this directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(dir: &Path) -> Result<Self, BenchError> {
        let path = dir.join("floor");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Ok(Self {
            file: file.map_err(BenchError::file(path))?,
        })
    }

    /// How long one append and its `fdatasync` take.
    ///
    /// # Errors
    /// The disk's.
    pub fn sync(&mut self) -> Result<Duration, BenchError> {
        let (time, done) = timed(|| {
            self.file.write_all(&[0; APPEND_BYTES])?;
            self.file.sync_data()
        });
        done.map_err(BenchError::file("the disk's floor"))?;
        Ok(time)
    }
}
