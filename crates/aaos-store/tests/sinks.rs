//! Sinks: every event arrives in order and, as far as a crash allows, once; a broken sink holds up nobody.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use aaos_core::event::{Event, Seq};
use aaos_ports::{Durability, Journal, Sink};
use aaos_store::{
    Options, Store,
    sink::{Opened, SINKS, SinkPump, Start, Target},
};
use aaos_testkit::journal::draft;
use async_trait::async_trait;
use std::{
    io,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

const GRACE: Duration = Duration::from_secs(20);

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("events.ndjson")
    }

    /// A daemon's life: appends so many events and drains its file sink.
    async fn live(&self, count: u64) {
        let store: Arc<Store> = Arc::new(Store::open(&self.state(), Options::standard()).unwrap());
        let journal: Arc<dyn Journal> = store.clone();
        let pump = SinkPump::start(
            &journal,
            store.head_at_open(),
            vec![open_file(&self.file()).unwrap()],
        );
        for number in 0..count {
            journal
                .append(
                    vec![draft(1, None, &number.to_string())],
                    Durability::Ordered,
                )
                .await
                .unwrap();
        }
        pump.drain(store.head(), GRACE).await;
        store.close().await;
    }

    fn seqs(&self) -> Vec<u64> {
        let text = std::fs::read_to_string(self.file()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<Event>(line).unwrap().seq.0)
            .collect()
    }
}

fn open_file(path: &Path) -> io::Result<Opened> {
    let kind = SINKS.iter().find(|kind| kind.name == "file").unwrap();
    (kind.open)(&Target {
        path: Some(path.to_owned()),
    })
}

fn range(from: u64, to: u64) -> Vec<u64> {
    (from..=to).collect()
}

#[tokio::test]
async fn a_file_goes_on_where_it_stopped() {
    let world = World::new();
    world.live(5).await;
    world.live(0).await;
    world.live(7).await;
    assert_eq!(world.seqs(), range(1, 12));
}

#[tokio::test]
async fn a_half_line_is_mended_and_a_lost_position_doubles_nothing() {
    let world = World::new();
    world.live(5).await;
    std::fs::remove_file(format!("{}.position", world.file().display())).unwrap();
    let whole = std::fs::read(world.file()).unwrap();
    std::fs::write(world.file(), &whole[..whole.len() - 10]).unwrap();
    world.live(2).await;
    assert_eq!(world.seqs(), range(1, 7));
}

#[tokio::test]
async fn a_file_that_was_moved_away_goes_on_after_it() {
    let world = World::new();
    world.live(5).await;
    std::fs::rename(world.file(), world.dir.path().join("old")).unwrap();
    world.live(3).await;
    assert_eq!(world.seqs(), range(6, 8));
}

#[tokio::test]
async fn a_file_removed_while_the_daemon_runs_is_made_again() {
    let world = World::new();
    let store = Arc::new(Store::open(&world.state(), Options::standard()).unwrap());
    let journal: Arc<dyn Journal> = store.clone();
    let pump = SinkPump::start(&journal, Seq(0), vec![open_file(&world.file()).unwrap()]);
    let say = async |text: &str| {
        let seq = journal
            .append(vec![draft(1, None, text)], Durability::Ordered)
            .await
            .unwrap();
        while !std::fs::read_to_string(world.file()).is_ok_and(|found| found.contains(text)) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        seq
    };
    tokio::time::timeout(GRACE, async {
        say("first").await;
        std::fs::remove_file(world.file()).unwrap();
        say("second").await;
    })
    .await
    .unwrap();
    pump.drain(store.head(), GRACE).await;
    assert_eq!(world.seqs(), [2]);
}

#[tokio::test]
async fn a_file_that_holds_more_than_the_journal_still_gets_what_comes() {
    let world = World::new();
    world.live(5).await;
    // A power cut took the journal back to its beginning.
    std::fs::remove_dir_all(world.state()).unwrap();
    world.live(2).await;
    assert_eq!(world.seqs(), [1, 2, 3, 4, 5, 1, 2]);
}

#[test]
fn what_is_no_plain_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(open_file(dir.path()).is_err());
    assert!(open_file(Path::new("/dev/full")).is_err());
    assert!(
        (SINKS.iter().find(|kind| kind.name == "file").unwrap().open)(&Target::default()).is_err()
    );
    let file = dir.path().join("f");
    std::fs::write(format!("{}.position", file.display()), "garbage").unwrap();
    assert!(
        open_file(&file)
            .err()
            .unwrap()
            .to_string()
            .contains("f.position")
    );
}

#[test]
fn a_foreign_file_is_continued_not_understood() {
    let dir = tempfile::tempdir().unwrap();
    for content in [
        &b"\xff\xfe\n"[..],
        b"not json\n",
        b"\n\n\n",
        b"{\"seq\":-1}\n",
        b"no newline",
    ] {
        let file = dir.path().join("f");
        std::fs::File::create(&file)
            .unwrap()
            .write_all(content)
            .unwrap();
        assert_eq!(
            open_file(&file).unwrap().start(),
            &Start::After(Seq(0)),
            "{content:?}"
        );
    }
}

/// A sink that fails a few times and remembers what it took.
#[derive(Default)]
struct Moody {
    failures: Mutex<u32>,
    taken: Mutex<Vec<u64>>,
}

#[async_trait]
impl Sink for Moody {
    fn name(&self) -> &'static str {
        "moody"
    }

    async fn deliver(&self, events: &[Event]) -> io::Result<()> {
        {
            let mut failures = self.failures.lock().unwrap();
            if *failures > 0 {
                *failures -= 1;
                return Err(io::Error::other("not today"));
            }
        }
        self.taken
            .lock()
            .unwrap()
            .extend(events.iter().map(|event| event.seq.0));
        Ok(())
    }
}

/// A sink that never answers.
struct Stuck;

#[async_trait]
impl Sink for Stuck {
    fn name(&self) -> &'static str {
        "stuck"
    }

    async fn deliver(&self, _events: &[Event]) -> io::Result<()> {
        futures::future::pending().await
    }
}

#[tokio::test]
async fn a_broken_sink_is_tried_again_and_a_stuck_one_holds_up_nobody() {
    let world = World::new();
    let store = Arc::new(Store::open(&world.state(), Options::standard()).unwrap());
    let journal: Arc<dyn Journal> = store.clone();
    let moody = Arc::new(Moody {
        failures: Mutex::new(2),
        ..Moody::default()
    });
    let sinks = vec![
        Opened::forgetful(Arc::new(Stuck), Start::Now),
        Opened::forgetful(moody.clone(), Start::After(Seq(0))),
    ];
    let pump = SinkPump::start(&journal, Seq(0), sinks);
    for _ in 0..20 {
        let drafts = (0..500).map(|_| draft(1, None, "x")).collect();
        journal.append(drafts, Durability::Ordered).await.unwrap();
    }
    tokio::time::timeout(GRACE, async {
        while moody.taken.lock().unwrap().len() < 10_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    pump.drain(store.head(), Duration::from_millis(50)).await;
    assert_eq!(*moody.taken.lock().unwrap(), range(1, 10_000));
}

#[test]
fn every_sink_has_a_name_and_a_sentence() {
    assert_eq!(
        SINKS.iter().map(|kind| kind.name).collect::<Vec<_>>(),
        ["stdout", "file", "journald"]
    );
    assert!(SINKS.iter().all(|kind| kind.summary.ends_with('.')));
}

/// The fields of an entry, as systemd's journal reads them.
fn fields(mut entry: &[u8]) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    while !entry.is_empty() {
        let end = entry
            .iter()
            .position(|byte| matches!(byte, b'=' | b'\n'))
            .unwrap();
        let name = String::from_utf8(entry[..end].to_vec()).unwrap();
        let (start, length) = if entry[end] == b'=' {
            let start = end + 1;
            let line = entry[start..].iter().position(|byte| *byte == b'\n');
            (start, line.unwrap())
        } else {
            let length = u64::from_le_bytes(entry[end + 1..end + 9].try_into().unwrap());
            (end + 9, usize::try_from(length).unwrap())
        };
        found.insert(name, entry[start..start + length].to_vec());
        assert_eq!(entry[start + length], b'\n');
        entry = &entry[start + length + 1..];
    }
    found
}

#[expect(clippy::disallowed_methods, reason = "the test stands in for journald")]
#[tokio::test]
async fn journald_is_given_each_event_once_with_its_fields_and_a_long_one_cut_with_a_mark() {
    let world = World::new();
    let path = world.dir.path().join("journald");
    let listens = tokio::net::UnixDatagram::bind(&path).unwrap();
    let kind = SINKS.iter().find(|kind| kind.name == "journald").unwrap();
    let opened = (kind.open)(&Target { path: Some(path) }).unwrap();
    assert_eq!(*opened.start(), Start::Now);
    let store = Arc::new(Store::open(&world.state(), Options::standard()).unwrap());
    let journal: Arc<dyn Journal> = store.clone();
    let pump = SinkPump::start(&journal, store.head_at_open(), vec![opened]);
    for text in ["one\nMESSAGE=forged", &"é".repeat(100_000), "three"] {
        journal
            .append(vec![draft(1, Some(2), text)], Durability::Ordered)
            .await
            .unwrap();
    }
    let mut got = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    while got.len() < 3 {
        let read = tokio::time::timeout(GRACE, listens.recv(&mut buffer)).await;
        got.push(fields(&buffer[..read.unwrap().unwrap()]));
    }
    pump.drain(store.head(), GRACE).await;
    for (number, entry) in got.iter().enumerate() {
        let field = |name: &str| String::from_utf8(entry[name].clone()).unwrap();
        assert_eq!(field("AAOS_SEQ"), (number + 1).to_string());
        assert_eq!(field("SYSLOG_IDENTIFIER"), "agentd");
        assert_eq!(field("AAOS_KIND"), "tool_rejected");
        assert_eq!(field("PRIORITY"), "4");
        assert!(field("MESSAGE").starts_with("tool_rejected run-"));
        assert!(field("AAOS_RUN").starts_with("run-"));
        assert!(field("AAOS_AGENT").starts_with("agent-"));
        assert!(!entry.contains_key("AAOS_CALL"));
        assert_eq!(entry.contains_key("AAOS_CUT"), number == 1);
    }
    serde_json::from_slice::<Event>(&got[0]["AAOS_EVENT"]).unwrap();
    assert!(got[1]["AAOS_EVENT"].len() <= aaos_store::limits::JOURNALD_EVENT_BYTES_MAX);
}

#[tokio::test]
async fn journald_that_does_not_listen_is_said_at_once() {
    let world = World::new();
    let kind = SINKS.iter().find(|kind| kind.name == "journald").unwrap();
    let path = Some(world.dir.path().join("nobody"));
    let refused = (kind.open)(&Target { path }).err().unwrap().to_string();
    assert!(refused.contains("nobody"), "{refused}");
}

#[expect(clippy::disallowed_methods, reason = "the test stands in for journald")]
#[tokio::test]
async fn journald_that_was_started_anew_is_given_what_it_missed_once_and_in_order() {
    let world = World::new();
    let path = world.dir.path().join("journald");
    let listens = tokio::net::UnixDatagram::bind(&path).unwrap();
    let kind = SINKS.iter().find(|kind| kind.name == "journald").unwrap();
    let opened = (kind.open)(&Target {
        path: Some(path.clone()),
    });
    let store = Arc::new(Store::open(&world.state(), Options::standard()).unwrap());
    let journal: Arc<dyn Journal> = store.clone();
    let pump = SinkPump::start(&journal, store.head_at_open(), vec![opened.unwrap()]);
    let mut got = Vec::new();
    let mut take = async |listens: &tokio::net::UnixDatagram| {
        let mut buffer = vec![0; 1 << 20];
        let read = tokio::time::timeout(GRACE, listens.recv(&mut buffer)).await;
        got.push(fields(&buffer[..read.unwrap().unwrap()])["AAOS_SEQ"].clone());
    };
    let say = async || {
        let drafts = vec![draft(1, None, "x")];
        journal.append(drafts, Durability::Ordered).await.unwrap();
    };
    say().await;
    take(&listens).await;
    drop(listens);
    std::fs::remove_file(&path).unwrap();
    say().await;
    say().await;
    let listens = tokio::net::UnixDatagram::bind(&path).unwrap();
    for _ in 0..2 {
        take(&listens).await;
    }
    pump.drain(store.head(), GRACE).await;
    assert_eq!(got, [b"1", b"2", b"3"]);
    let mut none = [0; 1];
    assert!(listens.try_recv(&mut none).is_err(), "each comes once");
}
