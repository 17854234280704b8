//! `audit verify`: whatever is changed, taken out, put in or moved is found and named.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod shelf;

use aaos_core::{
    event::{Draft, Kind, Seq, Subject},
    id::RunId,
    time::Timestamp,
    tool::Placement,
};
use aaos_ports::{Durability, Journal, JournalError};
use aaos_store::{
    Options, Store,
    audit::{BlobProblem, BrokenLink, Report, verify},
};
use aaos_testkit::journal::draft;
use proptest::prelude::*;
use shelf::sql;
use std::path::{Path, PathBuf};

const EVENTS: u64 = 30;
const LARGE: usize = 200 << 10;
/// The run whose events speak of bodies.
const SPEAKER: RunId = RunId::from_drawn(7);

fn receipt(output: &str) -> Draft {
    Draft {
        time: Timestamp::from_micros(9),
        subject: Subject {
            run: Some(SPEAKER),
            ..Subject::default()
        },
        kind: Kind::ToolResult {
            tool: "echo".to_owned(),
            success: true,
            output: output.to_owned(),
            result_preview: String::new(),
            elapsed_ms: 1,
            took: Vec::new(),
            execution_surface: Placement::Worker,
        },
    }
}

/// A journal of thirty events, two of which speak of a body: one small, one large.
async fn journal() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::standard()).unwrap();
    for number in 0..EVENTS - 2 {
        store
            .append(
                vec![draft(number % 3, Some(number), &format!("event {number}"))],
                Durability::Ordered,
            )
            .await
            .unwrap();
    }
    for body in [b"a small body".to_vec(), vec![b'L'; LARGE]] {
        let digest = store.put(body).await.unwrap();
        store
            .append(vec![receipt(&digest.0)], Durability::Durable)
            .await
            .unwrap();
    }
    store.close().await;
    dir
}

fn large_file(dir: &Path) -> PathBuf {
    let digest = blake3::hash(&vec![b'L'; LARGE]).to_hex();
    let (shard, rest) = digest.as_str().split_at(2);
    dir.join("blobs").join(shard).join(rest)
}

fn broken(report: &Report) -> (u64, BrokenLink) {
    let broken = report
        .first_broken
        .as_ref()
        .unwrap_or_else(|| panic!("nothing found: {report:?}"));
    (broken.seq, broken.link)
}

#[tokio::test]
async fn a_whole_journal_is_whole() {
    let dir = journal().await;
    let report = verify(dir.path()).unwrap();
    assert!(report.whole(), "{report:?}");
    assert_eq!(
        (report.events, report.blobs, report.blob_bytes),
        (EVENTS, 2, LARGE as u64 + 12)
    );
    assert_eq!(report.head.as_ref().map(String::len), Some(64));
}

#[tokio::test]
async fn an_empty_journal_is_whole_and_none_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        verify(dir.path()),
        Err(JournalError::Storage { .. })
    ));
    drop(Store::open(dir.path(), Options::standard()).unwrap());
    let report = verify(dir.path()).unwrap();
    assert!(report.whole() && report.head.is_none(), "{report:?}");
}

#[tokio::test]
async fn every_way_to_meddle_with_events_is_found_at_its_place() {
    let shift = "UPDATE events SET seq = seq + 1000 WHERE seq >= 7; UPDATE events SET seq = seq - 999 WHERE seq > 1000; \
                 INSERT INTO events SELECT 7, time, run, agent, call, cause, kind, body, prev_hash, hash, digest FROM events WHERE seq = 3; \
                 UPDATE head SET seq = seq + 1;";
    let swap = "UPDATE events SET seq = 1000 WHERE seq = 5; UPDATE events SET seq = 5 WHERE seq = 6; UPDATE events SET seq = 6 WHERE seq = 1000;";
    let cases = [
        (
            "UPDATE events SET body = replace(body, 'event 4', 'event 5') WHERE seq = 5",
            5,
            BrokenLink::Content,
        ),
        (
            "UPDATE events SET time = time + 1 WHERE seq = 4",
            4,
            BrokenLink::Content,
        ),
        (
            "UPDATE events SET run = run + 1 WHERE seq = 4",
            4,
            BrokenLink::Content,
        ),
        (
            "UPDATE events SET agent = NULL WHERE seq = 4",
            4,
            BrokenLink::Content,
        ),
        (
            "UPDATE events SET call = 0 WHERE seq = 4",
            4,
            BrokenLink::Content,
        ),
        (
            "UPDATE events SET cause = 3 WHERE seq = 4",
            4,
            BrokenLink::Content,
        ),
        (
            "UPDATE events SET kind = 'tool_result' WHERE seq = 4",
            4,
            BrokenLink::Content,
        ),
        (
            "UPDATE events SET hash = zeroblob(32) WHERE seq = 4",
            4,
            BrokenLink::Content,
        ),
        (
            "UPDATE events SET prev_hash = zeroblob(32) WHERE seq = 4",
            4,
            BrokenLink::Content,
        ),
        ("DELETE FROM events WHERE seq = 9", 9, BrokenLink::Missing),
        ("DELETE FROM events WHERE seq = 1", 1, BrokenLink::Missing),
        ("DELETE FROM events WHERE seq > 20", 21, BrokenLink::End),
        ("DELETE FROM events", 1, BrokenLink::End),
        ("UPDATE head SET seq = seq - 1", 30, BrokenLink::End),
        ("UPDATE head SET hash = zeroblob(32)", 31, BrokenLink::End),
        (swap, 5, BrokenLink::Content),
        (shift, 7, BrokenLink::Content),
    ];
    for (change, place, link) in cases {
        let dir = journal().await;
        sql(dir.path(), change);
        let report = verify(dir.path()).unwrap();
        assert_eq!(broken(&report), (place, link), "{change}");
        assert!(!report.whole());
        let whole = if change.contains("seq - 1") && place == EVENTS {
            EVENTS
        } else {
            place - 1
        };
        assert_eq!(report.events, whole, "{change}");
    }
}

#[tokio::test]
async fn a_rewritten_event_with_a_fitting_hash_breaks_the_next_link() {
    let (ours, theirs) = (journal().await, journal().await);
    // The other journal's ninth event is whole in itself, and belongs to another history.
    let store = Store::open(theirs.path(), Options::standard()).unwrap();
    store
        .append(vec![draft(1, None, "another end")], Durability::Durable)
        .await
        .unwrap();
    store.close().await;
    let attach = format!(
        "ATTACH '{}' AS theirs",
        theirs.path().join("journal.db").display()
    );
    let graft = "UPDATE events SET (time, kind, body, prev_hash, hash, digest) = \
                 (SELECT time, kind, body, zeroblob(32), hash, digest FROM theirs.events t WHERE t.seq = 31) WHERE seq = 12";
    sql(ours.path(), &format!("{attach}; {graft};"));
    assert_eq!(broken(&verify(ours.path()).unwrap()).0, 12);
}

#[tokio::test]
async fn missing_and_damaged_bodies_are_named() {
    let dir = journal().await;
    let large = blake3::hash(&vec![b'L'; LARGE]).to_hex().to_string();
    let small = blake3::hash(b"a small body").to_hex().to_string();
    let file = large_file(dir.path());
    let mut body = std::fs::read(&file).unwrap();
    body[LARGE / 2] ^= 1;
    std::fs::write(&file, &body).unwrap();
    let report = verify(dir.path()).unwrap();
    assert_eq!(
        report.blob_problems,
        [BlobProblem::Damaged {
            digest: large.clone()
        }]
    );
    std::fs::remove_file(&file).unwrap();
    sql(dir.path(), "DELETE FROM blobs");
    let report = verify(dir.path()).unwrap();
    assert_eq!(
        (report.blobs_missing, report.blobs_damaged, report.blobs),
        (2, 0, 0)
    );
    let missing = |digest, seq| {
        let run = Some(SPEAKER);
        BlobProblem::Missing { digest, seq, run }
    };
    assert_eq!(
        report.blob_problems,
        [missing(small, 29), missing(large, 30)]
    );
    assert!(!report.whole() && report.first_broken.is_none());
}

#[tokio::test]
async fn a_body_changed_within_the_database_is_found() {
    let dir = journal().await;
    sql(dir.path(), "UPDATE blobs SET body = x'00'");
    let report = verify(dir.path()).unwrap();
    assert_eq!(
        (report.blobs_missing, report.blobs_damaged),
        (0, 1),
        "{report:?}"
    );
}

#[tokio::test]
async fn verifying_works_beside_a_running_daemon_and_changes_nothing() {
    let dir = journal().await;
    let store = Store::open(dir.path(), Options::standard()).unwrap();
    for number in 0..50_u64 {
        store
            .append(
                vec![draft(1, None, &number.to_string())],
                Durability::Ordered,
            )
            .await
            .unwrap();
        if number % 10 == 0 {
            let report = verify(dir.path()).unwrap();
            assert!(report.whole(), "{report:?}");
            assert_eq!(report.events, EVENTS + number + 1);
        }
    }
    assert_eq!(
        store
            .append(vec![draft(1, None, "on")], Durability::Durable)
            .await
            .unwrap(),
        Seq(EVENTS + 51)
    );
}

#[tokio::test]
async fn more_events_than_one_chunk_are_verified() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::standard()).unwrap();
    for _ in 0..3 {
        let drafts = (0..4_096).map(|_| draft(1, None, "x")).collect();
        store.append(drafts, Durability::Ordered).await.unwrap();
    }
    store.close().await;
    assert_eq!(verify(dir.path()).unwrap().events, 3 * 4_096);
    sql(
        dir.path(),
        "UPDATE events SET body = replace(body, 'x', 'y') WHERE seq = 9000",
    );
    assert_eq!(
        broken(&verify(dir.path()).unwrap()),
        (9_000, BrokenLink::Content)
    );
}

#[tokio::test]
async fn garbage_in_place_of_a_journal_is_reported_without_panic() {
    let dir = journal().await;
    let file = dir.path().join("journal.db");
    let whole = std::fs::read(&file).unwrap();
    for content in [
        Vec::new(),
        vec![0; 100],
        vec![0xff; 8_192],
        whole[..whole.len() / 2].to_vec(),
    ] {
        std::fs::write(&file, &content).unwrap();
        match verify(dir.path()) {
            Ok(report) => assert!(!report.whole(), "{} bytes", content.len()),
            Err(error) => assert!(error.to_string().contains("journal.db"), "{error}"),
        }
    }
}

/// Where the bytes of a text lie in the database file.
fn places(file: &[u8], text: &[u8]) -> Vec<usize> {
    file.windows(text.len())
        .enumerate()
        .filter(|(_, part)| *part == text)
        .map(|(at, _)| at)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_flipped_bit_in_an_event_or_body_is_found(number in 0..EVENTS - 2, within in 0_usize..20, bit in 0_u32..8) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = runtime.block_on(journal());
        let file = dir.path().join("journal.db");
        let mut bytes = std::fs::read(&file).unwrap();
        let text = format!("\"problem\":\"event {number}\"");
        let at = places(&bytes, text.as_bytes());
        // SQLite leaves old copies in unused parts of pages; which one counts is its own affair.
        prop_assert!(!at.is_empty());
        for at in at {
            bytes[at + within.min(text.len() - 1)] ^= 1 << bit;
        }
        std::fs::write(&file, &bytes).unwrap();
        let report = verify(dir.path()).unwrap();
        prop_assert_eq!(broken(&report), (number + 1, BrokenLink::Content));
    }

    #[test]
    fn any_flipped_bit_anywhere_in_the_file_is_found_or_harmless(place in 0.0_f64..1.0, bit in 0_u32..8) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = runtime.block_on(journal());
        let before = verify(dir.path()).unwrap();
        let file = dir.path().join("journal.db");
        let mut bytes = std::fs::read(&file).unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place within the file")]
        let at = ((bytes.len() as f64) * place) as usize;
        bytes[at] ^= 1 << bit;
        std::fs::write(&file, &bytes).unwrap();
        // What lies in no event, body or structure is found by nobody and missed by nobody.
        match verify(dir.path()) {
            Ok(report) if report.whole() => prop_assert_eq!(report, before),
            Ok(_) | Err(_) => {}
        }
    }
}
