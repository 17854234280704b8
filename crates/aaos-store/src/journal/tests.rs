#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
use super::*;
use aaos_testkit::journal::draft;
use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

/// A disk that can be told to fail, to be slow, and that counts.
#[derive(Clone, Default)]
struct Disk {
    syncs: Arc<AtomicU64>,
    fails: Arc<AtomicBool>,
    delay: Duration,
}

impl Flush for Disk {
    fn flush(&mut self) -> io::Result<()> {
        thread::sleep(self.delay);
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            Err(io::Error::other("broken"))
        } else {
            Ok(())
        }
    }
}

fn store_on(disk: &Disk) -> (Store, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), Options::standard(), |_| disk.clone()).unwrap();
    (store, dir)
}

async fn append(store: &Store, text: &str, durability: Durability) -> Result<Seq, JournalError> {
    store.append(vec![draft(1, None, text)], durability).await
}

fn is_storage<T>(found: &Result<T, JournalError>) -> bool {
    matches!(found, Err(JournalError::Storage { next_step, .. }) if !next_step.is_empty())
}

#[tokio::test]
async fn a_full_disk_fails_the_append_leaves_no_trace_and_mends_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::standard()).unwrap();
    append(&store, "before", Durability::Durable).await.unwrap();
    store.pages_max(1).await;
    let large = "x".repeat(100_000);
    for durability in [Durability::Ordered, Durability::Durable] {
        let refused = append(&store, &large, durability).await;
        assert!(is_storage(&refused), "{refused:?}");
    }
    assert!(is_storage(&store.put(vec![1; 60_000]).await));
    assert_eq!(
        store
            .read(&Filter::default(), Seq(0), 10)
            .await
            .unwrap()
            .len(),
        1
    );
    store.pages_max(1 << 20).await;
    assert_eq!(
        append(&store, &large, Durability::Durable).await.unwrap(),
        Seq(2)
    );
    drop(store);
    assert!(crate::audit::verify(dir.path()).unwrap().whole());
}

#[tokio::test]
async fn one_append_too_large_for_the_disk_does_not_fail_its_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::standard()).unwrap();
    append(&store, "before", Durability::Durable).await.unwrap();
    store.pages_max(64).await;
    let large = "x".repeat(1_000_000);
    let (first, second, third) = tokio::join!(
        append(&store, "small", Durability::Ordered),
        append(&store, &large, Durability::Ordered),
        append(&store, "small too", Durability::Durable),
    );
    assert_eq!(first.unwrap(), Seq(2));
    assert!(is_storage(&second));
    assert_eq!(third.unwrap(), Seq(3));
}

#[tokio::test]
async fn after_a_failed_sync_nothing_more_is_recorded() {
    let disk = Disk::default();
    let (store, dir) = store_on(&disk);
    append(&store, "kept", Durability::Durable).await.unwrap();
    disk.fails.store(true, Ordering::SeqCst);
    assert!(is_storage(
        &append(&store, "unsure", Durability::Durable).await
    ));
    disk.fails.store(false, Ordering::SeqCst);
    assert!(is_storage(
        &append(&store, "refused", Durability::Ordered).await
    ));
    assert!(is_storage(
        &append(&store, "refused", Durability::Durable).await
    ));
    assert!(is_storage(&store.put(b"refused".to_vec()).await));
    assert!(is_storage(&store.put(vec![1; 1 << 20]).await));
    assert!(
        store
            .read(&Filter::default(), Seq(0), 10)
            .await
            .unwrap()
            .len()
            <= 2
    );
    drop(store);
    let store = Store::open(dir.path(), Options::standard()).unwrap();
    append(&store, "again", Durability::Durable).await.unwrap();
}

#[tokio::test]
async fn many_durable_appends_share_few_syncs_and_ordered_ones_wait_for_none() {
    let disk = Disk {
        delay: Duration::from_millis(40),
        ..Disk::default()
    };
    let (store, _dir) = store_on(&disk);
    let durable = (0..200).map(|_| append(&store, "durable", Durability::Durable));
    let ordered = async {
        let mut done = 0_u32;
        for _ in 0..50 {
            append(&store, "ordered", Durability::Ordered)
                .await
                .unwrap();
            done += 1;
        }
        (done, disk.syncs.load(Ordering::SeqCst))
    };
    let (answers, (done, syncs)) = tokio::join!(futures::future::join_all(durable), ordered);
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    let all = disk.syncs.load(Ordering::SeqCst);
    assert!(all <= 20, "two hundred durable appends took {all} syncs");
    assert_eq!(done, 50);
    assert!(
        syncs < 20,
        "fifty ordered appends one after the other waited for {syncs} syncs"
    );
}

#[tokio::test]
async fn everything_taken_before_closing_is_recorded_and_nothing_after() {
    let (store, dir) = store_on(&Disk::default());
    let waiting: Vec<_> = (0..50)
        .map(|_| append(&store, "x", Durability::Durable))
        .collect();
    let mut waiting = futures::future::join_all(waiting);
    assert!(futures::poll!(&mut waiting).is_pending());
    store.close().await;
    let answers = waiting.await;
    let kept = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(matches!(
        append(&store, "late", Durability::Ordered).await,
        Err(JournalError::Closed)
    ));
    let again = Store::open(dir.path(), Options::standard()).unwrap();
    assert_eq!(again.head_at_open(), Seq(kept as u64));
}

#[tokio::test]
async fn an_event_or_a_body_over_its_bound_is_refused() {
    let (store, _dir) = store_on(&Disk::default());
    assert!(is_storage(
        &append(
            &store,
            &"x".repeat(crate::limits::EVENT_BYTES_MAX),
            Durability::Ordered
        )
        .await
    ));
    let many = vec![draft(1, None, ""); APPEND_EVENTS_MAX + 1];
    assert!(is_storage(&store.append(many, Durability::Ordered).await));
    assert!(is_storage(&store.put(vec![0; BLOB_BYTES_MAX + 1]).await));
    assert_eq!(store.head(), Seq(0));
}
