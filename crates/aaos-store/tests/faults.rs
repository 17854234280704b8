//! Faults of the disk: full, read-only, torn, flipped, a body gone. What is read is what was written, or damage is named.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use aaos_core::event::{Event, Kind, Seq};
use aaos_ports::{Digest, Durability, Filter, Journal, JournalError};
use aaos_store::{
    Options, Store,
    audit::{HeadCheck, verify},
};
use aaos_testkit::journal::draft;
use std::{
    fs,
    path::{Path, PathBuf},
};

const EVENTS: u64 = 120;

fn open(dir: &Path) -> Result<Store, JournalError> {
    Store::open(dir, Options::standard())
}

fn text(number: u64) -> String {
    format!("event {number} ").repeat(usize::try_from(number % 40).unwrap() + 1)
}

async fn add(store: &Store, number: u64) {
    store
        .append(vec![draft(1, None, &text(number))], Durability::Durable)
        .await
        .unwrap();
}

/// The files of a journal whose daemon was killed: the first half is in the database, the rest in its log.
async fn killed() -> (tempfile::TempDir, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for number in 1..=EVENTS / 2 {
        add(&store, number).await;
    }
    store.close().await;
    let store = open(dir.path()).unwrap();
    for number in EVENTS / 2 + 1..=EVENTS {
        add(&store, number).await;
    }
    let copy = tempfile::tempdir().unwrap();
    for file in ["journal.db", "journal.db-wal"] {
        fs::copy(dir.path().join(file), copy.path().join(file)).unwrap();
    }
    store.close().await;
    (copy, dir)
}

fn copy_of(from: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["journal.db", "journal.db-wal"] {
        fs::copy(from.join(file), dir.path().join(file)).unwrap();
    }
    dir
}

/// Numbers that look drawn and are the same each time. Source: the splitmix64 generator.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

fn is_what_was_written(events: &[Event]) -> bool {
    let right = |(at, event): (usize, &Event)| {
        let number = at as u64 + 1;
        event.seq.0 == number
            && matches!(&event.kind, Kind::ToolRejected { problem, .. } if *problem == text(number))
    };
    events.iter().enumerate().all(right)
}

/// Opens what is left: a prefix that holds and takes more, or an error that names the place. Answers with its length.
async fn survives(dir: &Path, what: &str) -> Option<u64> {
    let store = match open(dir) {
        Ok(store) => store,
        Err(JournalError::Damaged { .. } | JournalError::Storage { .. }) => return None,
        Err(other) => panic!("{what}: {other}"),
    };
    match store.read(&Filter::default(), Seq(0), 1_000).await {
        Ok(events) => {
            assert!(is_what_was_written(&events), "{what}: a wrong event");
            assert_eq!(events.len() as u64, store.head().0, "{what}");
            add(&store, events.len() as u64 + 1).await;
            Some(events.len() as u64)
        }
        Err(JournalError::Damaged { .. } | JournalError::Storage { .. }) => None,
        Err(other) => panic!("{what}: {other}"),
    }
}

#[tokio::test]
async fn a_log_cut_anywhere_leaves_a_prefix_that_holds() {
    let (files, _dir) = killed().await;
    let size = fs::metadata(files.path().join("journal.db-wal"))
        .unwrap()
        .len();
    let mut seed = Seeded(1);
    let mut lengths = std::collections::BTreeSet::new();
    for case in 0..100 {
        let at = seed.below(size);
        let dir = copy_of(files.path());
        let log = fs::File::options()
            .write(true)
            .open(dir.path().join("journal.db-wal"))
            .unwrap();
        log.set_len(at).unwrap();
        let what = format!("case {case}, log cut at {at}");
        let left = survives(dir.path(), &what).await;
        // A log is a sequence of sealed pages: what is cut off is its end and nothing else.
        let left = left.unwrap_or_else(|| panic!("{what}: refused"));
        assert!((EVENTS / 2..=EVENTS).contains(&left), "{what}: {left}");
        lengths.insert(left);
    }
    assert!(lengths.len() > 10, "{lengths:?}");
}

#[tokio::test]
async fn a_database_cut_or_torn_anywhere_is_whole_or_named() {
    let (files, _dir) = killed().await;
    let mut seed = Seeded(2);
    let mut refused = 0_u32;
    for case in 0..100 {
        let dir = copy_of(files.path());
        let path = dir.path().join("journal.db");
        let mut bytes = fs::read(&path).unwrap();
        let at = usize::try_from(seed.below(bytes.len() as u64)).unwrap();
        if case % 2 == 0 {
            bytes.truncate(at);
        } else {
            // The rest of a page that was being written when the power went.
            let end = (at / 4_096 + 1) * 4_096;
            let end = end.min(bytes.len());
            bytes[at..end].fill(0);
        }
        fs::write(&path, &bytes).unwrap();
        if case % 4 >= 2 {
            fs::remove_file(dir.path().join("journal.db-wal")).unwrap();
        }
        let what = format!("case {case}, database at {at}");
        refused += u32::from(survives(dir.path(), &what).await.is_none());
    }
    assert!(refused > 10, "{refused}");
}

#[tokio::test]
async fn a_byte_flipped_in_the_middle_is_never_read_as_an_event() {
    let (files, dir) = killed().await;
    drop(files);
    let whole = fs::read(dir.path().join("journal.db")).unwrap();
    let mut seed = Seeded(3);
    let mut noticed = 0_u32;
    for case in 0..100 {
        let place = tempfile::tempdir().unwrap();
        let mut bytes = whole.clone();
        let at = usize::try_from(seed.below(bytes.len() as u64)).unwrap();
        bytes[at] ^= 1 << seed.below(8);
        fs::write(place.path().join("journal.db"), &bytes).unwrap();
        let what = format!("case {case}, byte {at}");
        noticed += u32::from(survives(place.path(), &what).await.is_none());
        if let Ok(report) = verify(place.path()) {
            assert!(report.events <= EVENTS + 1, "{what}");
        }
    }
    assert!(noticed > 10, "{noticed}");
}

#[tokio::test]
async fn a_body_whose_file_is_gone_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let digest = store.put(vec![b'x'; 100_000]).await.unwrap();
    let (shard, rest) = digest.0.split_at(2);
    fs::remove_file(dir.path().join("blobs").join(shard).join(rest)).unwrap();
    match store.get(&digest).await {
        Err(JournalError::NoBlob(Digest(named))) => assert_eq!(named, digest.0),
        other => panic!("{other:?}"),
    }
}

/// A file system of its own with so much room, for as long as the value lives.
struct Disk(
    PathBuf,
    #[expect(dead_code, reason = "removed when it is dropped")] tempfile::TempDir,
);

impl Disk {
    /// `None` where mounting is not this account's to do.
    fn new(size: &str) -> Option<Self> {
        use rustix::mount::{MountFlags, mount};
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("disk");
        fs::create_dir(&place).unwrap();
        let options = std::ffi::CString::new(format!("size={size}")).unwrap();
        let flags = MountFlags::empty();
        let mounted = mount("tmpfs", &place, "tmpfs", flags, options.as_c_str());
        mounted.is_ok().then_some(Self(place, dir))
    }

    /// The same test once more, in a user namespace in which mounting is allowed.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test starts itself where it may mount"
    )]
    fn elsewhere(test: &str) {
        let done = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .status();
        assert!(done.unwrap().success(), "{test} failed in its namespace");
    }

    fn read_only(&self) {
        use rustix::mount::{MountFlags, mount_remount};
        // A file open for writing keeps a file system writable, so its mount alone is made read-only.
        mount_remount(&self.0, MountFlags::RDONLY | MountFlags::BIND, "").unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).ok();
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_loses_nothing_that_was_confirmed_and_says_what_to_do() {
    let Some(disk) = Disk::new("3m") else {
        return Disk::elsewhere(
            "a_disk_that_fills_up_loses_nothing_that_was_confirmed_and_says_what_to_do",
        );
    };
    let state = disk.0.join("state");
    let store = open(&state).unwrap();
    assert!(store.headroom().is_ok() && store.health().is_ok());
    let mut confirmed = 0_u64;
    let refused = loop {
        let drafts = vec![draft(1, None, &text(confirmed + 1))];
        match store.append(drafts, Durability::Durable).await {
            Ok(seq) => confirmed = seq.0,
            Err(error) => break error,
        }
        assert!(confirmed < 100_000, "the disk never filled up");
    };
    assert!(refused.to_string().contains("Make room"), "{refused}");
    assert!(store.health().is_err());
    let refused = store.headroom().unwrap_err().to_string();
    assert!(refused.contains("Make room"), "{refused}");
    drop(store);
    // As after an operator has made room.
    let roomy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(&state).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            fs::copy(entry.path(), roomy.path().join(entry.file_name())).unwrap();
        }
    }
    let store = open(roomy.path()).unwrap();
    assert!(
        store.head().0 >= confirmed,
        "{} < {confirmed}",
        store.head().0
    );
    let events = store
        .read(&Filter::default(), Seq(0), 200_000)
        .await
        .unwrap();
    assert!(is_what_was_written(&events));
    add(&store, confirmed + 1).await;
    store.close().await;
    assert!(verify(roomy.path()).unwrap().whole());
}

#[tokio::test]
async fn a_read_only_disk_is_refused_with_the_next_step() {
    let Some(disk) = Disk::new("8m") else {
        return Disk::elsewhere("a_read_only_disk_is_refused_with_the_next_step");
    };
    let state = disk.0.join("state");
    let store = open(&state).unwrap();
    add(&store, 1).await;
    // As after a daemon that others have read from: SQLite's shared index stays.
    store.read(&Filter::default(), Seq(0), 1).await.unwrap();
    store.close().await;
    drop(store);
    disk.read_only();
    match open(&state) {
        Err(JournalError::Storage { next_step, .. }) => assert!(next_step.contains("writable")),
        other => panic!("{other:?}"),
    }
    assert!(
        verify(&state).unwrap().whole(),
        "it is still there to be read"
    );
}

#[tokio::test]
async fn an_ordinary_disk_has_headroom() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.headroom().unwrap();
    store.health().unwrap();
}

#[tokio::test]
async fn a_log_that_lost_what_the_disk_had_confirmed_starts_no_daemon_until_somebody_says_so() {
    let (files, from) = killed().await;
    let size = fs::metadata(files.path().join("journal.db-wal"))
        .unwrap()
        .len();
    drop(from);
    let confirmed = format!("{EVENTS:020}\n");
    let mut seed = Seeded(4);
    let mut refused = 0_u32;
    for case in 0..40 {
        let dir = copy_of(files.path());
        let (log, place) = (
            dir.path().join("journal.db-wal"),
            dir.path().join("head.confirmed"),
        );
        fs::write(&place, &confirmed).unwrap();
        match case {
            0 => fs::remove_file(&log).unwrap(),
            1 => {}
            _ => fs::File::options()
                .write(true)
                .open(&log)
                .unwrap()
                .set_len(seed.below(size))
                .unwrap(),
        }
        let report = verify(dir.path()).unwrap();
        let found = fs::read(&log).ok();
        match open(dir.path()) {
            Ok(store) => assert_eq!(store.head().0, EVENTS, "case {case}"),
            Err(JournalError::Damaged { seq, message, .. }) => {
                refused += 1;
                assert!(seq <= EVENTS, "case {case}");
                assert!(message.contains("head.confirmed"), "{message}");
                assert_eq!(report.confirmed, HeadCheck::Cut { seq: EVENTS });
                assert!(!report.whole());
                // What is left is for whoever looks into it.
                assert!(found.is_none() || fs::read(&log).ok() == found);
                fs::rename(&place, dir.path().join("aside")).unwrap();
                let left = survives(dir.path(), "moved away").await;
                assert_eq!(left, Some(seq - 1));
            }
            other => panic!("case {case}: {other:?}"),
        }
    }
    assert!((30..40).contains(&refused), "{refused}");
}

#[tokio::test]
async fn what_the_disk_has_confirmed_is_noted_before_it_is_answered_and_outlasts_a_clean_end() {
    let dir = tempfile::tempdir().unwrap();
    let noted = || {
        let text = fs::read_to_string(dir.path().join("head.confirmed")).unwrap();
        text.trim().parse().unwrap_or(0_u64)
    };
    let store = open(dir.path()).unwrap();
    for number in 1..=3 {
        add(&store, number).await;
        assert_eq!(noted(), number);
    }
    let drafts = vec![draft(1, None, &text(4))];
    store.append(drafts, Durability::Ordered).await.unwrap();
    assert_eq!(noted(), 3);
    store.close().await;
    assert_eq!(noted(), 4);
    // What it may hold after a power cut, and what nobody wrote there.
    let older = format!("{:020}\n", 2);
    for content in ["", "\0\0\0\0\0\0\0\0", &older, "nonsense"] {
        fs::write(dir.path().join("head.confirmed"), content).unwrap();
        let before = open(dir.path()).unwrap().head().0;
        assert_eq!(before, 4);
        assert_eq!(noted(), 4, "{content:?}");
    }
}

#[tokio::test]
async fn a_second_daemon_is_refused_though_somebody_removed_the_lock_file() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    fs::remove_file(dir.path().join("journal.lock")).unwrap();
    let second = open(dir.path());
    assert!(
        matches!(second, Err(JournalError::InUse { .. })),
        "{second:?}"
    );
    add(&first, 1).await;
    first.close().await;
    open(dir.path()).unwrap();
}

/// The same test once more, on a disk that fails as the file beside the state directory says.
#[expect(
    clippy::disallowed_methods,
    reason = "a test starts itself on a disk that can be told to fail"
)]
fn on_a_sick_disk(test: &str, dir: &Path) {
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../agentd/tests/faults/sick_disk.c"
    );
    let library = dir.join("sick.so");
    let made = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(source)
        .status();
    assert!(made.unwrap().success());
    let done = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("LD_PRELOAD", library)
        .env("SICK_DIR", dir.join("state"))
        .env("SICK_NOW", dir.join("sick"))
        .status();
    assert!(done.unwrap().success(), "{test} failed on a sick disk");
}

/// The directory of the disk that fails, where this test is on one.
#[expect(
    clippy::disallowed_methods,
    reason = "a test is told by itself where it is"
)]
fn sick_disk() -> Option<PathBuf> {
    let state = PathBuf::from(std::env::var_os("SICK_DIR")?);
    state.parent().map(Path::to_owned)
}

#[tokio::test]
async fn a_database_that_the_disk_does_not_confirm_ends_recording_though_the_log_is_fine() {
    let Some(dir) = sick_disk() else {
        let dir = tempfile::tempdir().unwrap();
        let test =
            "a_database_that_the_disk_does_not_confirm_ends_recording_though_the_log_is_fine";
        return on_a_sick_disk(test, dir.path());
    };
    let state = dir.join("state");
    let store = open(&state).unwrap();
    fs::write(dir.join("sick"), "d").unwrap();
    let large = "x".repeat(60_000);
    let mut confirmed = 0;
    let refused = loop {
        let drafts = vec![draft(1, None, &large)];
        match store.append(drafts, Durability::Durable).await {
            Ok(seq) => confirmed = seq.0,
            Err(error) => break error.to_string(),
        }
        assert!(confirmed < 1_000, "nobody noticed");
    };
    assert!(refused.contains("start the daemon again"), "{refused}");
    fs::remove_file(dir.join("sick")).unwrap();
    let drafts = vec![draft(1, None, "on")];
    let still = store.append(drafts, Durability::Ordered).await;
    assert!(still.is_err(), "what the kernel dropped is not there");
    drop(store);
    let store = open(&state).unwrap();
    assert!(store.head().0 >= confirmed);
    add(&store, 1).await;
    store.close().await;
    assert!(verify(&state).unwrap().whole());
}

#[tokio::test]
async fn a_log_that_somebody_removes_beneath_a_daemon_ends_recording_and_is_missed_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for number in 1..=3 {
        add(&store, number).await;
    }
    fs::remove_file(dir.path().join("journal.db-wal")).unwrap();
    for durability in [Durability::Durable, Durability::Ordered] {
        let refused = store.append(vec![draft(1, None, "x")], durability).await;
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("removed its log"), "{said}");
    }
    assert!(store.headroom().is_err());
    drop(store);
    assert!(matches!(
        open(dir.path()),
        Err(JournalError::Damaged { seq: 1, .. })
    ));
}
