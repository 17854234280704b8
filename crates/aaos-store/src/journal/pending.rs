//! Bodies that are written together with the first event that names them: one trip to the writer instead of two.
//!
//! A body stays here until it is committed, so that whoever asks for it finds it. One that no event names is written
//! when its place is needed, or when the journal is closed. Refuses to hold more than a few.

use super::{chain::Hash, erase, row::Prepared};
use crate::limits::{PENDING_BODIES_MAX, PENDING_BYTES_MAX};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A body and its digest.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// Its digest.
    pub(crate) digest: Hash,
    /// Its bytes.
    pub(crate) bytes: Arc<[u8]>,
}

/// The bodies that are not committed yet, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Pending(Mutex<VecDeque<Kept>>);

impl Pending {
    /// Takes a body, unless it is here. Answers with the oldest that have to be written by themselves, to make room.
    pub(crate) fn add(&self, body: Kept) -> Vec<Kept> {
        let mut kept = self.lock();
        if kept.iter().any(|one| one.digest == body.digest) {
            return Vec::new();
        }
        kept.push_back(body);
        let mut over = Vec::new();
        let mut bytes: usize = kept.iter().map(|one| one.bytes.len()).sum();
        for one in kept.iter() {
            if kept.len() - over.len() <= PENDING_BODIES_MAX && bytes <= PENDING_BYTES_MAX {
                break;
            }
            bytes = bytes.saturating_sub(one.bytes.len());
            over.push(one.clone());
        }
        over
    }

    /// A body that is not committed yet.
    pub(crate) fn get(&self, digest: &Hash) -> Option<Arc<[u8]>> {
        let kept = self.lock();
        let found = kept.iter().find(|one| one.digest == *digest);
        found.map(|one| Arc::clone(&one.bytes))
    }

    /// The bodies that these events name; they stay until [`Pending::written`].
    pub(crate) fn named(&self, rows: &[Prepared]) -> Vec<Kept> {
        let kept = self.lock();
        if kept.is_empty() {
            return Vec::new();
        }
        let mut named: Vec<Kept> = Vec::new();
        for digest in rows
            .iter()
            .flat_map(|row| erase::digests(row.body.as_bytes()))
        {
            let found = kept.iter().find(|one| one.digest == digest);
            named.extend(found.cloned());
        }
        named
    }

    /// These are committed.
    pub(crate) fn written(&self, bodies: &[Kept]) {
        if !bodies.is_empty() {
            self.lock()
                .retain(|one| bodies.iter().all(|body| body.digest != one.digest));
        }
    }

    /// Takes all that are left.
    pub(crate) fn take(&self) -> Vec<Kept> {
        std::mem::take(&mut *self.lock()).into()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
