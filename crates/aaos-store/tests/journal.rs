//! The SQLite journal: the contract of every journal, and what only one on disk can get wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod shelf;

use aaos_core::event::Seq;
use aaos_ports::{Durability, Filter, Journal, JournalError};
use aaos_store::{Options, Store, limits};
use aaos_testkit::journal::draft;
use shelf::{add, open, sql};
use std::{num::NonZeroUsize, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

async fn fill(dir: &Path, count: u64) {
    let store = open(dir);
    add(&store, count, Durability::Ordered).await;
    store.close().await;
}

#[tokio::test]
async fn the_store_keeps_the_contract_of_journals() {
    let make = || {
        let dir = tempfile::tempdir().unwrap();
        (Arc::new(open(dir.path())) as Arc<dyn Journal>, dir)
    };
    aaos_testkit::contract::journal::journal(make).await;
}

#[tokio::test]
async fn the_store_keeps_the_contract_with_hardly_any_memory() {
    let one = NonZeroUsize::MIN;
    let make = || {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            tail_events_max: one,
            readers_max: one,
        };
        (
            Arc::new(Store::open(dir.path(), options).unwrap()) as Arc<dyn Journal>,
            dir,
        )
    };
    aaos_testkit::contract::journal::journal(make).await;
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_told_who_is_first() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    match Store::open(dir.path(), Options::standard()) {
        Err(JournalError::InUse { holder, place }) => {
            assert_eq!(holder, std::process::id());
            assert!(place.contains("journal.lock"));
        }
        other => panic!("{other:?}"),
    }
    first
        .append(vec![draft(1, None, "still works")], Durability::Durable)
        .await
        .unwrap();
    first.close().await;
    open(dir.path());
}

#[tokio::test]
async fn events_and_bodies_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 3).await;
    let large = vec![5; limits::BLOB_INLINE_BYTES_MAX + 1];
    let store = open(dir.path());
    let digests = [
        store.put(b"small".to_vec()).await.unwrap(),
        store.put(large.clone()).await.unwrap(),
    ];
    assert_eq!(
        store
            .append(vec![draft(1, None, "3")], Durability::Durable)
            .await
            .unwrap(),
        Seq(4)
    );
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.head_at_open(), Seq(4));
    assert_eq!(
        store
            .read(&Filter::default(), Seq(0), 10)
            .await
            .unwrap()
            .len(),
        4
    );
    assert_eq!(store.get(&digests[0]).await.unwrap(), b"small");
    assert_eq!(store.get(&digests[1]).await.unwrap(), large);
}

#[tokio::test]
async fn a_copy_taken_while_the_daemon_runs_opens_with_everything_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    add(&store, 20, Durability::Durable).await;
    // What a crash leaves: database and log as they are, and no shared index.
    for name in ["journal.db", "journal.db-wal"] {
        std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    assert_eq!(open(copy.path()).head_at_open(), Seq(20));
}

#[tokio::test]
async fn a_half_written_log_loses_only_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    add(&store, 20, Durability::Durable).await;
    let log = std::fs::read(dir.path().join("journal.db-wal")).unwrap();
    for part in [log.len() / 3, log.len() / 2, log.len() - 1] {
        std::fs::copy(
            dir.path().join("journal.db"),
            copy.path().join("journal.db"),
        )
        .unwrap();
        std::fs::write(copy.path().join("journal.db-wal"), &log[..part]).unwrap();
        let reopened = open(copy.path());
        let events = reopened
            .read(&Filter::default(), Seq(0), 100)
            .await
            .unwrap();
        assert_eq!(events.len() as u64, reopened.head_at_open().0);
        reopened
            .append(vec![draft(1, None, "on")], Durability::Durable)
            .await
            .unwrap();
        drop(reopened);
        assert!(aaos_store::audit::verify(copy.path()).unwrap().whole());
    }
}

#[tokio::test]
async fn a_damaged_end_is_refused_with_its_place() {
    let cases = [
        (
            "UPDATE events SET body = replace(body, '7', '8') WHERE seq = 8",
            8,
        ),
        ("DELETE FROM events WHERE seq = 5", 5),
        ("DELETE FROM events WHERE seq = 10", 10),
        ("UPDATE head SET seq = 11", 11),
        ("UPDATE head SET seq = 0, hash = zeroblob(32)", 1),
        ("UPDATE events SET hash = zeroblob(32) WHERE seq = 3", 3),
        ("UPDATE events SET run = NULL WHERE seq = 3", 3),
    ];
    for (change, place) in cases {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), 10).await;
        sql(dir.path(), change);
        match Store::open(dir.path(), Options::standard()) {
            Err(JournalError::Damaged { seq, .. }) => assert_eq!(seq, place, "{change}"),
            other => panic!("{change}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn damage_in_the_past_is_found_when_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let drafts = (0..2_000)
        .map(|number| draft(1, None, &format!("n{number}")))
        .collect();
    store.append(drafts, Durability::Ordered).await.unwrap();
    store.close().await;
    sql(
        dir.path(),
        "UPDATE events SET body = replace(body, 'n9', 'm9') WHERE seq = 10",
    );
    let store = open(dir.path());
    let found = store.read(&Filter::default(), Seq(0), 100).await;
    assert!(
        matches!(found, Err(JournalError::Damaged { seq: 10, .. })),
        "{found:?}"
    );
    assert_eq!(
        store
            .read(&Filter::default(), Seq(10), 100)
            .await
            .unwrap()
            .len(),
        100
    );
}

#[tokio::test]
async fn what_is_no_journal_is_refused_and_left_alone() {
    let garbage = tempfile::tempdir().unwrap();
    std::fs::write(garbage.path().join("journal.db"), vec![b'x'; 10_000]).unwrap();
    assert!(matches!(
        Store::open(garbage.path(), Options::standard()),
        Err(JournalError::Damaged { .. })
    ));
    let other = tempfile::tempdir().unwrap();
    sql(other.path(), "CREATE TABLE theirs (a)");
    assert!(matches!(
        Store::open(other.path(), Options::standard()),
        Err(JournalError::Storage { .. })
    ));
    assert_eq!(
        std::fs::read(garbage.path().join("journal.db")).unwrap(),
        vec![b'x'; 10_000]
    );
}

#[tokio::test]
async fn a_newer_versions_journal_is_refused_with_the_next_step() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1).await;
    sql(dir.path(), "PRAGMA user_version = 99");
    let refused = Store::open(dir.path(), Options::standard())
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("99") && refused.contains("newer version"),
        "{refused}"
    );
    let refused = aaos_store::audit::verify(dir.path())
        .unwrap_err()
        .to_string();
    assert!(refused.contains("99"), "{refused}");
}

#[test]
fn a_state_directory_that_cannot_be_made_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let refused = Store::open(&dir.path().join("file"), Options::standard()).unwrap_err();
    assert!(matches!(refused, JournalError::Storage { .. }));
    assert!(
        refused.to_string().contains("another state directory"),
        "{refused}"
    );
}

#[tokio::test]
async fn nobody_else_can_read_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let store = open(&state);
    store.put(vec![1; 1 << 20]).await.unwrap();
    store
        .append(vec![draft(1, None, "x")], Durability::Durable)
        .await
        .unwrap();
    let mode = |name: &str| {
        std::fs::metadata(state.join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o077
    };
    for name in ["", "journal.db", "journal.db-wal", "journal.lock", "blobs"] {
        assert_eq!(mode(name), 0, "{name}");
    }
}

#[tokio::test]
async fn the_same_body_is_stored_once_and_a_damaged_one_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for body in [b"small".to_vec(), vec![3; 1 << 20]] {
        let digest = store.put(body.clone()).await.unwrap();
        store.put(body.clone()).await.unwrap();
        let named = vec![draft(1, None, &digest.0)];
        store.append(named, Durability::Ordered).await.unwrap();
        let (shard, rest) = digest.0.split_at(2);
        let file = dir.path().join("blobs").join(shard).join(rest);
        if file.exists() {
            std::fs::write(&file, b"").unwrap();
        } else {
            let text = "UPDATE blobs SET body = x'00'";
            let connection = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
            assert_eq!(connection.execute(text, []).unwrap(), 1);
        }
        let damaged = store.get(&digest).await;
        assert!(
            matches!(damaged, Err(JournalError::NoBlob(_))),
            "{damaged:?}"
        );
        store.put(body.clone()).await.unwrap();
        assert_eq!(store.get(&digest).await.unwrap(), body);
    }
    store.close().await;
    let report = aaos_store::audit::verify(dir.path()).unwrap();
    assert!(report.whole() && report.blobs == 2, "{report:?}");
}

#[tokio::test]
async fn what_an_interrupted_put_left_is_removed_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1).await;
    let left = dir.path().join("blobs/unfinished/abc.0");
    std::fs::write(&left, "half").unwrap();
    open(dir.path());
    assert!(!left.exists());
}
