#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
use super::*;
use aaos_core::{
    event::Outcome,
    model::{ModelRef, Usage},
    money::MicroDollars,
    value::Value,
};
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
    assert!(is_storage(&store.health()));
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
    store.health().unwrap();
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
    assert!(is_storage(&store.health()) && is_storage(&store.headroom()));
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

/// A journal as schema version 2 left it, with so many events of a run under chain version 1.
fn journal_of_version_two(dir: &Path, count: u64) {
    let connection = rusqlite::Connection::open(database::file(dir)).unwrap();
    for script in ["0001", "0002"] {
        let path = format!("{}/src/schema/{script}.sql", env!("CARGO_MANIFEST_DIR"));
        connection
            .execute_batch(&std::fs::read_to_string(path).unwrap())
            .unwrap();
    }
    let application = i64::from(0x6161_4f53);
    connection
        .pragma_update(None, "application_id", application)
        .unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    let mut head = Head {
        seq: 0,
        hash: chain::ORIGIN,
    };
    for seq in 1..=count {
        let body = format!(r#"{{"kind":"tool_rejected","tool":"t","problem":"SECRET {seq}"}}"#);
        let link = chain::Link {
            seq,
            time: seq,
            subject: [Some(1), None, None, None],
            kind: b"tool_rejected",
            content: chain::Content::Whole(body.as_bytes()),
        };
        let hash = link.hash(&head.hash);
        let insert =
            "INSERT INTO events VALUES (?1, ?1, 1, NULL, NULL, NULL, 'tool_rejected', ?2, ?3, ?4)";
        let values = rusqlite::params![seq.cast_signed(), body, head.hash, hash];
        connection.execute(insert, values).unwrap();
        head = Head { seq, hash };
    }
    let values = rusqlite::params![head.seq.cast_signed(), head.hash];
    connection
        .execute("UPDATE head SET seq = ?1, hash = ?2", values)
        .unwrap();
}

#[tokio::test]
async fn a_journal_of_an_earlier_schema_is_verified_as_it_is_and_goes_on_under_the_next_version() {
    let dir = tempfile::tempdir().unwrap();
    journal_of_version_two(dir.path(), 5);
    let before = crate::audit::verify(dir.path()).unwrap();
    assert!(before.whole() && before.events == 5, "{before:?}");
    let store = Store::open(dir.path(), Options::standard()).unwrap();
    append(&store, "after", Durability::Durable).await.unwrap();
    let events = store.read(&Filter::default(), Seq(0), 10).await.unwrap();
    assert_eq!(events.len(), 6);
    store.close().await;
    let report = crate::audit::verify(dir.path()).unwrap();
    assert!(report.whole() && report.events == 6, "{report:?}");
    let mut lines = Vec::new();
    crate::audit::export(
        dir.path(),
        &crate::audit::ExportFilter::default(),
        &mut lines,
    )
    .unwrap();
    let versions: Vec<u64> = String::from_utf8(lines)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["chain"]["version"].as_u64().unwrap())
        .collect();
    assert_eq!(versions, [1, 1, 1, 1, 1, 2]);
}

#[tokio::test]
async fn an_event_of_version_one_that_was_changed_is_found_and_can_be_erased() {
    let dir = tempfile::tempdir().unwrap();
    journal_of_version_two(dir.path(), 5);
    let store = Store::open(dir.path(), Options::standard()).unwrap();
    let output = Value::Text {
        text: "SECRET".to_owned(),
    };
    let finished = Draft {
        kind: Kind::RunFinished {
            outcome: Outcome::Succeeded { output },
            usage: Usage::default(),
        },
        ..draft(1, None, "")
    };
    store
        .append(vec![finished], Durability::Durable)
        .await
        .unwrap();
    let (run, now) = (RunId::from_drawn(1), Timestamp::from_micros(9));
    let erased = store.erase(run, "asked for", None, now).await.unwrap();
    assert_eq!(erased.events, 6);
    store.close().await;
    let report = crate::audit::verify(dir.path()).unwrap();
    assert!(report.whole() && report.events_erased == 6, "{report:?}");
    let file = std::fs::read(database::file(dir.path())).unwrap();
    assert!(!file.windows(6).any(|part| part == b"SECRET"));
    // Under version 1 an event's own hash tells nothing once it is erased; the links still do.
    let connection = rusqlite::Connection::open(database::file(dir.path())).unwrap();
    connection
        .execute_batch(
            "DROP TRIGGER events_keep; UPDATE events SET hash = zeroblob(32) WHERE seq = 3",
        )
        .unwrap();
    let report = crate::audit::verify(dir.path()).unwrap();
    assert_eq!(report.first_broken.map(|broken| broken.seq), Some(4));
}

#[tokio::test]
async fn what_was_spent_since_a_moment_is_found_among_many_events_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::standard()).unwrap();
    let usage = |at: u64| Draft {
        time: Timestamp::from_micros(at),
        kind: Kind::ModelAbandoned {
            model: ModelRef {
                provider: "p".to_owned(),
                model: "m".to_owned(),
            },
            tokens: 1,
            cost: MicroDollars::default(),
        },
        ..draft(at % 7, None, "")
    };
    for chunk in 0..10_u64 {
        let drafts = (chunk * 1_000..(chunk + 1) * 1_000).flat_map(|at| {
            let other = Draft {
                time: Timestamp::from_micros(at),
                ..draft(1, None, "x")
            };
            // One clock in ten goes back.
            let spent = (at % 10 == 0).then(|| usage(if at % 100 == 0 { 1 } else { at }));
            [Some(other), spent].into_iter().flatten()
        });
        store
            .append(drafts.collect(), Durability::Ordered)
            .await
            .unwrap();
    }
    let filter = Filter {
        kinds: vec!["usage_reported".to_owned(), "model_abandoned".to_owned()],
        since: Some(Timestamp::from_micros(5_000)),
        until: Some(Timestamp::from_micros(9_000)),
        ..Filter::default()
    };
    let (mut place, mut found) = (Seq(0), 0);
    loop {
        let events = store.read(&filter, place, 100).await.unwrap();
        let Some(last) = events.last() else { break };
        assert!(events.is_sorted_by_key(|event| event.seq) && events[0].seq > place);
        (place, found) = (last.seq, found + events.len());
    }
    assert_eq!(found, 360);
}

/// A text that names a body, as an event's digest does.
async fn append_naming(store: &Store, digest: &Digest) -> Result<Seq, JournalError> {
    append(store, &digest.0, Durability::Ordered).await
}

#[tokio::test]
async fn a_body_is_there_before_the_event_that_names_it_is_and_after_that() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::standard()).unwrap();
    let digest = store.put(b"a body".to_vec()).await.unwrap();
    assert_eq!(store.get(&digest).await.unwrap(), b"a body");
    append_naming(&store, &digest).await.unwrap();
    assert!(store.shared.pending.take().is_empty());
    assert_eq!(store.get(&digest).await.unwrap(), b"a body");
}

#[tokio::test]
async fn bodies_that_no_event_names_are_bounded_and_outlast_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::standard()).unwrap();
    let mut digests = Vec::new();
    for number in 0..200_u32 {
        let body = number.to_le_bytes().repeat(8_000);
        digests.push((store.put(body.clone()).await.unwrap(), body));
    }
    let oldest = crate::blobs::parse(&digests[0].0).unwrap();
    assert!(store.shared.pending.get(oldest.as_bytes()).is_none());
    drop(store);
    let store = Store::open(dir.path(), Options::standard()).unwrap();
    for (digest, body) in digests {
        assert!(store.get(&digest).await.unwrap() == body);
    }
}

#[tokio::test]
async fn a_body_whose_event_a_full_disk_refused_comes_with_the_next_one_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::standard()).unwrap();
    append(&store, "before", Durability::Durable).await.unwrap();
    store.pages_max(1).await;
    let body = vec![7; 60_000];
    let digest = store.put(body.clone()).await.unwrap();
    assert!(is_storage(&append_naming(&store, &digest).await));
    assert!(store.get(&digest).await.unwrap() == body);
    store.pages_max(1 << 20).await;
    append_naming(&store, &digest).await.unwrap();
    drop(store);
    let store = Store::open(dir.path(), Options::standard()).unwrap();
    assert!(store.get(&digest).await.unwrap() == body);
}

#[tokio::test]
async fn after_a_failed_sync_the_log_is_left_as_it_is() {
    let disk = Disk::default();
    let (store, dir) = store_on(&disk);
    append(&store, "kept", Durability::Durable).await.unwrap();
    disk.fails.store(true, Ordering::SeqCst);
    let unsure = append(&store, "unsure", Durability::Durable).await;
    assert!(is_storage(&unsure), "{unsure:?}");
    let log = log::path(&database::file(dir.path()));
    let before = std::fs::read(&log).unwrap();
    // Nor is anything noted as confirmed that was not.
    assert_eq!(confirmed::load(dir.path()).unwrap(), Some(1));
    drop(store);
    assert_eq!(confirmed::load(dir.path()).unwrap(), Some(1));
    // Nothing was taken out of it for the database: what the disk holds of it is only known when it is read again.
    assert!(std::fs::read(&log).is_ok_and(|after| after == before));
}

#[tokio::test]
async fn what_somebody_else_recorded_ends_recording_until_the_next_start() {
    let (store, dir) = store_on(&Disk::default());
    append(&store, "ours", Durability::Durable).await.unwrap();
    let stranger = rusqlite::Connection::open(database::file(dir.path())).unwrap();
    let theirs = Prepared::new(draft(2, None, "theirs"), dir.path()).unwrap();
    let head = database::head(&stranger).unwrap();
    let head = theirs.insert(&stranger, &head).unwrap();
    let moved = rusqlite::params![head.seq.cast_signed(), head.hash];
    stranger
        .execute("UPDATE head SET seq = ?1, hash = ?2", moved)
        .unwrap();
    drop(stranger);
    for _ in 0..2 {
        let refused = append(&store, "ours", Durability::Ordered).await;
        assert!(is_storage(&refused), "{refused:?}");
    }
    assert!(is_storage(&store.headroom()));
    drop(store);
    let store = Store::open(dir.path(), Options::standard()).unwrap();
    assert_eq!(store.head(), Seq(2));
    append(&store, "ours", Durability::Durable).await.unwrap();
}

/// The bytes at the log's end that belong to no whole transaction, as the next start finds them.
fn unfinished(dir: &Path) -> Option<u64> {
    let connection = database::open_writer(dir).unwrap();
    let pages = log::pages(&connection).unwrap();
    let log = log::path(&database::file(dir));
    log::unfinished(&log, pages).unwrap()
}

fn copied(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in [database::file(from), log::path(&database::file(from))] {
        std::fs::copy(&file, to.path().join(file.file_name().unwrap())).unwrap();
    }
    to
}

#[tokio::test]
async fn an_end_of_the_log_that_was_not_written_whole_is_told_from_an_earlier_round() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::standard()).unwrap();
    let large = "x".repeat(100_000);
    append(&store, &large, Durability::Durable).await.unwrap();
    let first = copied(dir.path());
    assert_eq!(unfinished(first.path()), None);
    // The last pages of a transaction, the last of which makes it one.
    let torn = copied(dir.path());
    let path = log::path(&database::file(torn.path()));
    let size = std::fs::metadata(&path).unwrap().len();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(size - 10).unwrap();
    assert!(unfinished(torn.path()).is_some_and(|bytes| bytes > 4_096 && bytes < size));
    // The log begins anew and is shorter than it was.
    let connection = database::open_writer(dir.path()).unwrap();
    log::move_some(&connection).unwrap();
    drop(connection);
    append(&store, "short", Durability::Durable).await.unwrap();
    let second = copied(dir.path());
    let path = log::path(&database::file(second.path()));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), size);
    assert_eq!(unfinished(second.path()), None);
}

#[tokio::test]
async fn an_upgrade_that_was_cut_off_anywhere_is_done_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    journal_of_version_two(dir.path(), 300);
    let store = Store::open(dir.path(), Options::standard()).unwrap();
    let upgraded = copied(dir.path());
    store.close().await;
    let path = log::path(&database::file(upgraded.path()));
    let whole = std::fs::read(&path).unwrap();
    assert!(whole.len() > 4 * 4_096, "the upgrade is in the log");
    let mut at = 0;
    while at < whole.len() {
        let torn = copied(upgraded.path());
        let path = log::path(&database::file(torn.path()));
        std::fs::write(&path, &whole[..at]).unwrap();
        let store = Store::open(torn.path(), Options::standard()).unwrap();
        assert_eq!(store.head(), Seq(300), "cut at {at}");
        drop(store);
        let report = crate::audit::verify(torn.path()).unwrap();
        assert!(report.whole(), "cut at {at}: {report:?}");
        at += 500;
    }
}
