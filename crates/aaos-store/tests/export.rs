//! Export: what is asked for, in order, with hashes that can be checked elsewhere; damage is named.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use aaos_core::{event::Event, id::RunId, time::Timestamp};
use aaos_ports::{Durability, Journal, JournalError};
use aaos_store::{
    Options, Store,
    audit::{ExportError, ExportFilter, export, verify},
};
use aaos_testkit::journal::{daemon_draft, draft};
use serde_json::Value;
use std::path::Path;

async fn journal(count: u64) -> (Store, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::standard()).unwrap();
    let drafts = (0..count).map(|number| {
        let mut draft = draft(number % 3, None, &format!("text {number}"));
        draft.time = Timestamp::from_micros(number);
        draft
    });
    let drafts: Vec<_> = drafts.chain([daemon_draft("end")]).collect();
    store.append(drafts, Durability::Durable).await.unwrap();
    (store, dir)
}

fn lines(dir: &Path, filter: &ExportFilter) -> Vec<Value> {
    let mut out = Vec::new();
    let count = export(dir, filter, &mut out).unwrap();
    let lines: Vec<Value> = String::from_utf8(out)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len() as u64, count);
    lines
}

#[tokio::test]
async fn every_event_comes_once_in_order_beside_a_running_daemon_and_links_to_the_one_before() {
    let (_store, dir) = journal(1_000).await;
    let lines = lines(dir.path(), &ExportFilter::default());
    assert_eq!(lines.len(), 1_001);
    let mut previous = "0".repeat(64);
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line["seq"], number as u64 + 1);
        assert_eq!(line["chain"]["prev_hash"], *previous);
        assert_eq!(line["chain"]["version"], 2);
        previous = line["chain"]["hash"].as_str().unwrap().to_owned();
        serde_json::from_value::<Event>(line.clone()).unwrap();
    }
    assert_eq!(verify(dir.path()).unwrap().head, Some(previous));
}

#[tokio::test]
async fn run_kind_and_time_attenuate_together() {
    let (_store, dir) = journal(900).await;
    let base = ExportFilter::default();
    let of = |filter: ExportFilter| lines(dir.path(), &filter).len();
    let run = Some(RunId::from_drawn(1));
    let (since, until) = (
        Some(Timestamp::from_micros(300)),
        Some(Timestamp::from_micros(600)),
    );
    assert_eq!(
        of(ExportFilter {
            run,
            ..base.clone()
        }),
        300
    );
    assert_eq!(
        of(ExportFilter {
            since,
            until,
            ..base.clone()
        }),
        300
    );
    assert_eq!(
        of(ExportFilter {
            run,
            since,
            until,
            ..base.clone()
        }),
        100
    );
    let kinds = vec!["daemon_stopped".to_owned()];
    assert_eq!(
        of(ExportFilter {
            kinds: kinds.clone(),
            ..base.clone()
        }),
        1
    );
    assert_eq!(of(ExportFilter { kinds, run, ..base }), 0);
}

#[tokio::test]
async fn damage_is_named_and_what_is_whole_before_it_is_written() {
    let (store, dir) = journal(600).await;
    store.close().await;
    let connection = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    connection
        .execute_batch(
            "DROP TRIGGER events_keep; UPDATE events SET body = replace(body, 'text', 'lies') WHERE seq = 500",
        )
        .unwrap();
    let mut out = Vec::new();
    let failed = export(dir.path(), &ExportFilter::default(), &mut out);
    assert!(
        matches!(
            failed,
            Err(ExportError::Journal(JournalError::Damaged { seq: 500, .. }))
        ),
        "{failed:?}"
    );
    assert_eq!(out.split(|byte| *byte == b'\n').count() - 1, 499);
}

#[tokio::test]
async fn no_journal_and_an_output_that_refuses_are_errors() {
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(
        export(empty.path(), &ExportFilter::default(), Vec::new()),
        Err(ExportError::Journal(JournalError::Storage { .. }))
    ));
    let (_store, dir) = journal(600).await;
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    assert!(matches!(
        export(dir.path(), &ExportFilter::default(), full),
        Err(ExportError::Out(_))
    ));
}
