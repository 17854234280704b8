//! Erasure: a run's text is gone from every file, other runs keep theirs, and the chain holds.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod shelf;

use aaos_core::{
    budget::Budget,
    event::{BackendName, Draft, Fork, Kind, Outcome, Seq, Subject},
    id::RunId,
    time::Timestamp,
    tool::Placement,
    value::Value,
};
use aaos_ports::{Durability, Filter, Journal, JournalError};
use aaos_store::{
    EraseError, Erased, Store,
    audit::{BrokenLink, verify},
};
use aaos_testkit::journal::draft;
use shelf::open;
use std::path::Path;

const LARGE: usize = 200 << 10;
const NOW: Timestamp = Timestamp::from_micros(99);
/// Whose runs and rehearsals these are.
const OPERATOR: u32 = 1234;

fn run(number: u64) -> RunId {
    RunId::from_drawn(number)
}

fn of(number: u64, at: u64, kind: Kind) -> Draft {
    Draft {
        time: Timestamp::from_micros(at),
        subject: Subject {
            run: Some(run(number)),
            ..Subject::default()
        },
        kind,
    }
}

fn receipt(number: u64, output: &str) -> Draft {
    let kind = Kind::ToolResult {
        tool: "echo".to_owned(),
        success: true,
        output: output.to_owned(),
        result_preview: format!("SECRET{number} preview"),
        elapsed_ms: 1,
        took: Vec::new(),
        execution_surface: Placement::Worker,
    };
    of(number, 5, kind)
}

fn finished(number: u64, at: u64) -> Draft {
    let output = Value::Text {
        text: format!("SECRET{number} result"),
    };
    of(
        number,
        at,
        Kind::RunFinished {
            outcome: Outcome::Succeeded { output },
            usage: Default::default(),
        },
    )
}

async fn put(store: &Store, number: u64, size: usize) -> String {
    let text = format!("SECRET{number} body ").repeat(size / 13 + 1);
    store.put(text.into_bytes()).await.unwrap().0
}

/// A run with many events of every size, a small body, one that overflows its page, and one in a file.
async fn live(store: &Store, number: u64, shared: &str, end: u64) -> Vec<String> {
    for size in [1, 10, 100, 1_000, 3_000, 20_000] {
        let text = format!("SECRET{number} ").repeat(size / 8 + 1);
        store
            .append(vec![draft(number, None, &text)], Durability::Ordered)
            .await
            .unwrap();
    }
    let mut bodies = Vec::new();
    for size in [20, 5_000, 60_000, LARGE] {
        let digest = put(store, number, size).await;
        store
            .append(
                vec![receipt(number, &digest), receipt(number, shared)],
                Durability::Ordered,
            )
            .await
            .unwrap();
        bodies.push(digest);
    }
    store
        .append(vec![finished(number, end)], Durability::Durable)
        .await
        .unwrap();
    bodies
}

/// Every file beneath a directory that holds a text.
fn holds(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holds(&path, text));
        } else if std::fs::read(&path)
            .unwrap()
            .windows(text.len())
            .any(|part| part == text.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn the_text_is_gone_from_every_file_and_the_chain_and_other_runs_hold() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let shared = store
        .put(b"a body that both speak of".to_vec())
        .await
        .unwrap();
    let mut bodies = Vec::new();
    for number in 1..=6 {
        bodies.push(live(&store, number, &shared.0, 10).await);
    }
    assert!(!holds(dir.path(), "SECRET2").is_empty());
    let erased = store
        .erase(run(2), "asked for", Some(1000), NOW)
        .await
        .unwrap();
    assert_eq!(
        erased,
        Erased {
            runs: vec![run(2)],
            events: 15,
            bodies: 4
        }
    );
    assert_eq!(holds(dir.path(), "SECRET2"), Vec::<String>::new());
    for gone in &bodies[1] {
        let missing = store.get(&aaos_ports::Digest(gone.clone())).await;
        assert!(matches!(missing, Err(JournalError::NoBlob(_))));
    }
    for kept in bodies[0].iter().chain(&bodies[2]) {
        store.get(&aaos_ports::Digest(kept.clone())).await.unwrap();
    }
    assert_eq!(
        store.get(&shared).await.unwrap(),
        b"a body that both speak of"
    );
    let filter = Filter {
        run: Some(run(2)),
        ..Filter::default()
    };
    let events = store.read(&filter, Seq(0), 100).await.unwrap();
    let (last, erased) = events.split_last().unwrap();
    assert!(matches!(
        &last.kind,
        Kind::ContentErased {
            events: 15,
            bodies: 4,
            operator: Some(1000),
            ..
        }
    ));
    assert!(
        erased
            .iter()
            .all(|event| matches!(event.kind, Kind::Erased { .. }))
    );
    assert!(matches!(&erased[0].kind, Kind::Erased { was } if was == "tool_rejected"));
    let report = verify(dir.path()).unwrap();
    assert!(report.whole(), "{report:?}");
    assert_eq!((report.events_erased, report.blobs_erased), (15, 3));
    // Again, and then all the others: each text goes when its own turn comes, and not before.
    assert_eq!(
        store.erase(run(2), "again", None, NOW).await.unwrap(),
        Erased::default()
    );
    for number in [5, 1, 6, 3] {
        store
            .erase(run(number), "retention", None, NOW)
            .await
            .unwrap();
        assert_eq!(
            holds(dir.path(), &format!("SECRET{number}")),
            Vec::<String>::new()
        );
        assert!(!holds(dir.path(), "SECRET4").is_empty());
    }
    for kept in &bodies[3] {
        store.get(&aaos_ports::Digest(kept.clone())).await.unwrap();
    }
    store.close().await;
    assert!(verify(dir.path()).unwrap().whole());
    let store = open(dir.path());
    store
        .append(vec![draft(9, None, "on")], Durability::Durable)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_body_that_was_erased_can_be_stored_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bodies = live(&store, 1, "", 10).await;
    store.erase(run(1), "asked for", None, NOW).await.unwrap();
    for (digest, size) in bodies.iter().zip([20, 5_000, 60_000, LARGE]) {
        assert_eq!(put(&store, 1, size).await, *digest);
        assert!(store.get(&aaos_ports::Digest(digest.clone())).await.is_ok());
    }
    store.close().await;
    assert!(verify(dir.path()).unwrap().whole());
}

#[tokio::test]
async fn a_body_just_stored_for_another_run_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bodies = live(&store, 1, "", 10).await;
    for size in [20, LARGE] {
        put(&store, 1, size).await;
    }
    store.erase(run(1), "asked for", None, NOW).await.unwrap();
    for (number, kept) in [(0, true), (1, false), (3, true)] {
        let digest = aaos_ports::Digest(bodies[number].clone());
        assert_eq!(store.get(&digest).await.is_ok(), kept, "body {number}");
    }
}

#[tokio::test]
async fn an_open_run_and_an_unknown_one_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store
        .append(vec![submitted(1, None)], Durability::Durable)
        .await
        .unwrap();
    assert!(matches!(
        store.erase(run(1), "x", None, NOW).await,
        Err(EraseError::Open(_))
    ));
    assert!(matches!(
        store.erase(run(2), "x", None, NOW).await,
        Err(EraseError::Unknown(_))
    ));
    assert_eq!(store.head(), Seq(1));
}

#[tokio::test]
async fn an_erasure_that_was_cut_short_is_finished_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bodies = live(&store, 1, "", 10).await;
    let kind = Kind::ContentErased {
        erased: run(1),
        events: 15,
        bodies: 4,
        reason: "asked for".to_owned(),
        operator: None,
        whose: None,
    };
    let seq = store
        .append(vec![of(1, 11, kind)], Durability::Durable)
        .await
        .unwrap();
    store.close().await;
    // The intent is recorded, and of the rest one file is gone.
    let begun = format!("INSERT INTO erasing (run, seq) VALUES (1, {})", seq.0);
    let connection = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    connection.execute_batch(&begun).unwrap();
    drop(connection);
    let (shard, rest) = bodies[3].split_at(2);
    std::fs::remove_file(dir.path().join("blobs").join(shard).join(rest)).unwrap();
    let store = open(dir.path());
    assert!(
        store
            .get(&aaos_ports::Digest(bodies[0].clone()))
            .await
            .is_err()
    );
    store.close().await;
    assert_eq!(holds(dir.path(), "SECRET1"), Vec::<String>::new());
    assert!(verify(dir.path()).unwrap().whole());
    drop(open(dir.path()));
}

#[tokio::test]
async fn retention_erases_the_runs_that_ended_before_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (number, end) in [(1, 10), (2, 20), (3, 30)] {
        live(&store, number, "", end).await;
    }
    store
        .append(vec![draft(4, None, "open")], Durability::Ordered)
        .await
        .unwrap();
    let erase = async |before| {
        let before = Timestamp::from_micros(before);
        let erased = store.erase_expired(before, "retention", NOW).await;
        erased.unwrap().runs.len()
    };
    assert_eq!(erase(5).await, 0);
    assert_eq!(erase(30).await, 2);
    for (number, gone) in [(1, true), (2, true), (3, false)] {
        let text = format!("SECRET{number}");
        assert_eq!(holds(dir.path(), &text).is_empty(), gone, "{text}");
    }
    assert_eq!(erase(30).await, 0);
    assert_eq!(erase(u64::MAX).await, 1);
    assert!(holds(dir.path(), "SECRET").is_empty());
    assert!(verify(dir.path()).unwrap().whole());
}

#[tokio::test]
async fn what_runs_erased_together_share_goes_with_them_and_what_others_speak_of_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let body = async |text: &str| store.put(text.as_bytes().to_vec()).await.unwrap();
    let theirs = body("SHARED by those that are over").await;
    let everybodys = body("SPOKEN OF by one that goes on, too").await;
    // More events than one transaction takes, so that what is shared lies across several.
    for number in 1..=3 {
        let receipts = (0..3_000).map(|_| receipt(number, "")).collect();
        store.append(receipts, Durability::Ordered).await.unwrap();
        let spoken = [&theirs, &everybodys].map(|body| receipt(number, &body.0));
        let end = spoken.into_iter().chain([finished(number, 10)]).collect();
        store.append(end, Durability::Ordered).await.unwrap();
    }
    let on = vec![receipt(4, &everybodys.0)];
    store.append(on, Durability::Durable).await.unwrap();
    let erased = store
        .erase_expired(Timestamp::from_micros(30), "retention", NOW)
        .await
        .unwrap();
    let wanted = Erased {
        runs: [1, 2, 3].map(run).to_vec(),
        events: 3 * 3_003,
        bodies: 1,
    };
    assert_eq!(erased, wanted);
    assert!(matches!(
        store.get(&theirs).await,
        Err(JournalError::NoBlob(_))
    ));
    assert!(store.get(&everybodys).await.is_ok());
    assert!(holds(dir.path(), "SHARED").is_empty());
    let filter = Filter {
        kinds: vec!["content_erased".to_owned()],
        ..Filter::default()
    };
    let said = store.read(&filter, Seq(0), 10).await.unwrap();
    let bodies: Vec<u64> = said
        .iter()
        .filter_map(|event| match event.kind {
            Kind::ContentErased { bodies, .. } => Some(bodies),
            _ => None,
        })
        .collect();
    assert_eq!(bodies, [0, 0, 1], "it goes with the last that speaks of it");
    store.close().await;
    assert!(verify(dir.path()).unwrap().whole());
}

#[tokio::test]
async fn content_that_is_gone_without_an_erasure_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    live(&store, 1, "", 10).await;
    store.close().await;
    let connection = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    // The trigger lets a body be emptied and nothing else be changed.
    for kept in [
        "body = 'x'",
        "time = 1, body = ''",
        "hash = zeroblob(32), body = ''",
    ] {
        let change = format!("UPDATE events SET {kept} WHERE seq = 4");
        assert!(connection.execute_batch(&change).is_err(), "{kept}");
    }
    connection
        .execute_batch("UPDATE events SET body = '' WHERE seq = 4")
        .unwrap();
    let report = verify(dir.path()).unwrap();
    let broken = report.first_broken.as_ref().unwrap();
    assert_eq!((broken.seq, broken.link), (4, BrokenLink::Erased));
}

#[tokio::test]
async fn text_that_a_reader_keeps_in_the_log_is_gone_when_it_ends_and_not_told_as_gone_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = std::sync::Arc::new(open(dir.path()));
    live(&store, 1, "", 10).await;
    let reader = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM events;")
        .unwrap();
    let mut erasing = store.watch(
        Filter {
            kinds: vec!["content_erased".to_owned()],
            ..Filter::default()
        },
        Seq(0),
    );
    let asked = tokio::spawn({
        let store = store.clone();
        async move { store.erase(run(1), "asked for", None, NOW).await }
    });
    futures::StreamExt::next(&mut erasing).await;
    while store
        .read(&Filter::default(), Seq(0), 1)
        .await
        .is_ok_and(|first| !matches!(first[0].kind, Kind::Erased { .. }))
    {
        tokio::task::yield_now().await;
    }
    // A daemon that is killed now has erased, and its log has the text.
    let killed = tempfile::tempdir().unwrap();
    for file in ["journal.db", "journal.db-wal"] {
        std::fs::copy(dir.path().join(file), killed.path().join(file)).unwrap();
    }
    assert!(!holds(killed.path(), "SECRET1").is_empty());
    assert!(!asked.is_finished());
    drop(reader);
    assert_eq!(asked.await.unwrap().unwrap().events, 15);
    assert_eq!(holds(dir.path(), "SECRET1"), Vec::<String>::new());
    let next = open(killed.path());
    assert_eq!(holds(killed.path(), "SECRET1"), Vec::<String>::new());
    next.close().await;
    // Nothing is left to be done.
    for dir in [dir.path(), killed.path()] {
        let connection = rusqlite::Connection::open(dir.join("journal.db")).unwrap();
        let begun: i64 = connection
            .query_row("SELECT count(*) FROM erasing", [], |row| row.get(0))
            .unwrap();
        assert_eq!(begun, 0);
    }
}

fn submitted(number: u64, forked: Option<(u64, u32)>) -> Draft {
    let forked = forked.map(|(other, turns_kept)| Fork {
        run: run(other),
        at: "a".parse().unwrap(),
        turns_kept,
    });
    let kind = Kind::RunSubmitted {
        goal: format!("SECRET{number}"),
        base: String::new(),
        folder: String::new(),
        operator: OPERATOR,
        profile: String::new(),
        backend: BackendName("b".to_owned()),
        model: String::new(),
        terms: String::new(),
        budget: Budget::default(),
        forked,
    };
    of(number, 1, kind)
}

#[tokio::test]
async fn what_an_open_fork_goes_on_from_stays_until_the_fork_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // 3 goes on from 2, which went on from 1; 5 began anew from 4.
    for (number, forked) in [
        (1, None),
        (2, Some((1, 2))),
        (3, Some((2, 1))),
        (4, None),
        (5, Some((4, 0))),
    ] {
        let first = vec![submitted(number, forked)];
        store.append(first, Durability::Durable).await.unwrap();
    }
    for number in [1, 2, 4] {
        let end = vec![finished(number, 10)];
        store.append(end, Durability::Durable).await.unwrap();
    }
    for number in [1, 2] {
        let refused = store.erase(run(number), "asked for", None, NOW).await;
        assert!(
            matches!(&refused, Err(EraseError::Needed { fork, .. }) if *fork == run(3)),
            "{refused:?}"
        );
    }
    let all = Timestamp::from_micros(u64::MAX);
    let erased = store.erase_expired(all, "retention", NOW).await.unwrap();
    assert_eq!(erased.runs, [run(4)], "it is needed by nobody");
    assert!(holds(dir.path(), "SECRET4").is_empty());
    assert!(!holds(dir.path(), "SECRET1").is_empty());
    let end = vec![finished(3, 10)];
    store.append(end, Durability::Durable).await.unwrap();
    let erased = store.erase_expired(all, "retention", NOW).await.unwrap();
    assert_eq!(erased.runs, [1, 2, 3].map(run));
}

#[tokio::test]
async fn a_body_stored_for_runs_that_are_erased_together_goes_though_it_was_stored_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let body = async || store.put(b"SHARED by both".to_vec()).await.unwrap().0;
    let spoken = vec![receipt(2, &body().await)];
    store.append(spoken, Durability::Ordered).await.unwrap();
    // Another run stores and names the same body, and ends first.
    let spoken = vec![receipt(1, &body().await), finished(1, 10), finished(2, 20)];
    store.append(spoken, Durability::Durable).await.unwrap();
    let before = Timestamp::from_micros(30);
    let erased = store.erase_expired(before, "retention", NOW).await.unwrap();
    assert_eq!((erased.runs.len(), erased.bodies), (2, 1));
    assert!(holds(dir.path(), "SHARED").is_empty());
}

/// Whose the runs were that were erased, as the record says, in order.
async fn whose(store: &Store) -> Vec<Option<u32>> {
    let filter = Filter {
        kinds: vec!["content_erased".to_owned()],
        ..Filter::default()
    };
    let erasures = store.read(&filter, Seq(0), 100).await.unwrap();
    let whose = erasures.iter().map(|event| match event.kind {
        Kind::ContentErased { whose, .. } => whose,
        _ => panic!("{event:?}"),
    });
    whose.collect()
}

#[tokio::test]
async fn whose_a_run_was_is_known_after_every_erasure_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let both = vec![submitted(1, None), finished(1, 10)];
    store.append(both, Durability::Durable).await.unwrap();
    store.erase(run(1), "asked", Some(0), NOW).await.unwrap();
    let late = vec![receipt(1, "")];
    store.append(late, Durability::Durable).await.unwrap();
    store.erase(run(1), "asked", Some(0), NOW).await.unwrap();
    assert_eq!(whose(&store).await, [Some(OPERATOR), Some(OPERATOR)]);
}

/// A rehearsal whose request has a body of its own, and its beginning and end.
async fn rehearsed(store: &Store, number: u64, end: u64) -> [Draft; 3] {
    let goal = format!("SECRET{number} goal");
    let begun = Kind::PlanRehearsed {
        goal,
        operator: OPERATOR,
    };
    let asked = Kind::ModelRequested {
        model: aaos_core::model::ModelRef::parse("a/b").unwrap(),
        tokens_reserved: 1,
        cost_reserved: Default::default(),
        request: put(store, number, 5_000).await,
    };
    let ended = Kind::RehearsalEnded { failure: None };
    [
        of(number, 1, begun),
        of(number, 2, asked),
        of(number, end, ended),
    ]
}

#[tokio::test]
async fn a_rehearsal_is_erased_when_it_is_over_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let [begun, asked, ended] = rehearsed(&store, 1, 10).await;
    let open = vec![begun, asked];
    store.append(open, Durability::Durable).await.unwrap();
    let refused = store.erase(run(1), "asked", None, NOW).await;
    assert!(matches!(refused, Err(EraseError::Open(_))), "{refused:?}");
    store
        .append(vec![ended], Durability::Durable)
        .await
        .unwrap();
    let erased = store.erase(run(1), "asked", None, NOW).await.unwrap();
    assert_eq!((erased.events, erased.bodies), (3, 1));
    assert_eq!(holds(dir.path(), "SECRET1"), Vec::<String>::new());
    assert_eq!(whose(&store).await, [Some(OPERATOR)]);
    // One of a journal that does not say where it begins and ends.
    let [_, asked, _] = rehearsed(&store, 2, 10).await;
    store
        .append(vec![asked], Durability::Durable)
        .await
        .unwrap();
    store.erase(run(2), "asked", None, NOW).await.unwrap();
    assert_eq!(holds(dir.path(), "SECRET2"), Vec::<String>::new());
    store.close().await;
    assert!(verify(dir.path()).unwrap().whole());
}

#[tokio::test]
async fn retention_reaches_rehearsals_in_the_order_in_which_they_and_runs_ended() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    live(&store, 1, "", 10).await;
    for (number, end) in [(2, 20), (3, 30)] {
        let all = rehearsed(&store, number, end).await;
        store.append(all.into(), Durability::Durable).await.unwrap();
    }
    live(&store, 4, "", 20).await;
    let before = Timestamp::from_micros(30);
    let erased = store.erase_expired(before, "retention", NOW).await.unwrap();
    assert_eq!(erased.runs, [1, 2, 4].map(run));
    assert_eq!(holds(dir.path(), "SECRET2"), Vec::<String>::new());
    assert!(!holds(dir.path(), "SECRET3").is_empty());
    let erased = store.erase_expired(before, "retention", NOW).await.unwrap();
    assert!(erased.runs.is_empty(), "and does so once");
}
