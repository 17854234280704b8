//! Bodies too large for the database, one file each, named by their digest: `blobs/ab/cdef…`.
//!
//! A file is written under a temporary name, synced, and only then given its own, so a name stands for a whole
//! body. Refuses to follow a name that is not a digest.

use crate::{journal::fault, limits::BLOB_BYTES_MAX};
use aaos_ports::{Digest, JournalError};
use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

/// Name of the bodies' directory within the state directory.
const DIR: &str = "blobs";
/// Name of the directory within it where bodies are written before they have their name.
const UNFINISHED: &str = "unfinished";
/// Digits of a digest that name its directory.
const SHARD_DIGITS: usize = 2;

/// The digest as a hash; `None` unless it is 64 lower-case hexadecimal digits.
pub(crate) fn parse(digest: &Digest) -> Option<blake3::Hash> {
    let hash = blake3::Hash::from_hex(&digest.0).ok()?;
    (hash.to_hex().as_str() == digest.0).then_some(hash)
}

/// The bodies' directory of a state directory.
pub(crate) fn dir(state: &Path) -> PathBuf {
    state.join(DIR)
}

/// Whether a directory among the bodies holds some, rather than unfinished ones.
pub(crate) fn is_shard(name: &str) -> bool {
    name.len() == SHARD_DIGITS
}

/// A body's file, relative to the bodies' directory.
fn relative(hash: &blake3::Hash) -> (PathBuf, PathBuf) {
    let hex = hash.to_hex();
    let (shard, rest) = hex.as_str().split_at(SHARD_DIGITS);
    (PathBuf::from(shard), Path::new(shard).join(rest))
}

/// Where a body is or would be, given the bodies' directory.
pub(crate) fn path(dir: &Path, hash: &blake3::Hash) -> PathBuf {
    dir.join(relative(hash).1)
}

/// The directory of bodies.
#[derive(Debug)]
pub(crate) struct Files {
    dir: PathBuf,
    drawn: AtomicU64,
    gate: RwLock<()>,
}

impl Files {
    /// Makes the directories and removes what an earlier daemon left unfinished.
    ///
    /// # Errors
    /// Storage.
    pub(crate) fn open(state: &Path) -> Result<Self, JournalError> {
        let dir = dir(state);
        let files = Self {
            dir,
            drawn: AtomicU64::new(0),
            gate: RwLock::new(()),
        };
        files
            .clear()
            .map_err(|error| fault::io(&files.dir, &error))?;
        Ok(files)
    }

    fn clear(&self) -> io::Result<()> {
        let unfinished = self.dir.join(UNFINISHED);
        make_dir(&unfinished)?;
        for entry in fs::read_dir(&unfinished)? {
            fs::remove_file(entry?.path())?;
        }
        Ok(())
    }

    /// While this is held no body is removed.
    pub(crate) fn among(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// While this is held no body is kept by others who hold [`Files::among`].
    pub(crate) fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes a body; answers whether it was there.
    ///
    /// # Errors
    /// Storage.
    pub(crate) fn remove(&self, hash: &blake3::Hash) -> Result<bool, JournalError> {
        let path = path(&self.dir, hash);
        let removed =
            fs::remove_file(&path).and_then(|()| sync_dir(path.parent().unwrap_or(&self.dir)));
        match removed {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(fault::io(&path, &error)),
        }
    }

    /// Keeps a body. One that is there whole is left alone, one that is there damaged is replaced.
    ///
    /// # Errors
    /// Storage; then nothing is left behind.
    pub(crate) fn put(&self, body: &[u8]) -> Result<Digest, JournalError> {
        let hash = blake3::hash(body);
        let path = path(&self.dir, &hash);
        let failed = |error: io::Error| fault::io(&path, &error);
        let whole = matches!(read(&path), Ok(Some(found)) if blake3::hash(&found) == hash);
        if !whole {
            self.write(&hash, body).map_err(failed)?;
        }
        Ok(Digest(hash.to_hex().to_string()))
    }

    fn write(&self, hash: &blake3::Hash, body: &[u8]) -> io::Result<()> {
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        let temporary = self
            .dir
            .join(UNFINISHED)
            .join(format!("{}.{number}", hash.to_hex()));
        let (shard, name) = relative(hash);
        let done = write_synced(&temporary, body).and_then(|()| {
            let shard = self.dir.join(shard);
            if make_dir(&shard)? == Made::New {
                sync_dir(&self.dir)?;
            }
            fs::rename(&temporary, self.dir.join(name))?;
            sync_dir(&shard)
        });
        if done.is_err() {
            // The failure that matters is the first; what is left is removed at the next start.
            fs::remove_file(&temporary).ok();
        }
        done
    }

    /// A body's bytes, unchecked; `None` if there is none, or one too large to be ours.
    ///
    /// # Errors
    /// Storage.
    pub(crate) fn get(&self, hash: &blake3::Hash) -> Result<Option<Vec<u8>>, JournalError> {
        let path = path(&self.dir, hash);
        read(&path).map_err(|error| fault::io(&path, &error))
    }
}

#[derive(PartialEq, Eq)]
enum Made {
    New,
    There,
}

fn make_dir(path: &Path) -> io::Result<Made> {
    if path.is_dir() {
        return Ok(Made::There);
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    Ok(Made::New)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn write_synced(path: &Path, body: &[u8]) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(body)?;
    file.sync_all()
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let size = file.metadata()?.len();
    if size > BLOB_BYTES_MAX as u64 {
        return Ok(None);
    }
    let mut body = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(BLOB_BYTES_MAX as u64).read_to_end(&mut body)?;
    Ok(Some(body))
}
