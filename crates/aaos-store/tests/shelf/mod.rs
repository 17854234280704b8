//! A state directory to try things on: a store in it, events in that, and changes made past the store.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use aaos_ports::{Durability, Journal};
use aaos_store::{Options, Store};
use aaos_testkit::journal::draft;
use std::path::Path;

/// Opens a store.
pub(crate) fn open(dir: &Path) -> Store {
    Store::open(dir, Options::standard()).unwrap()
}

/// Adds so many events, each by itself; each says its number.
pub(crate) async fn add(store: &Store, count: u64, sure: Durability) {
    for number in 0..count {
        let drafts = vec![draft(1, None, &number.to_string())];
        store.append(drafts, sure).await.unwrap();
    }
}

/// Changes a journal past its store, and past the triggers that keep it as it is.
pub(crate) fn sql(dir: &Path, text: &str) {
    let connection = rusqlite::Connection::open(dir.join("journal.db")).unwrap();
    let free = "DROP TRIGGER IF EXISTS events_keep; DROP TRIGGER IF EXISTS events_stay;";
    connection.execute_batch(free).unwrap();
    connection.execute_batch(text).unwrap();
}
