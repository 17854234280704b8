//! Watching under pressure: whatever the pace of writer and readers, nothing is lost, doubled or out of order.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use aaos_core::{event::Seq, id::RunId};
use aaos_ports::{Durability, Filter, Journal, JournalError, Watch, WatchItem};
use aaos_store::{Options, Store};
use aaos_testkit::journal::draft;
use futures::StreamExt;
use proptest::prelude::*;
use std::{num::NonZeroUsize, time::Duration};

/// One step of a world with a writer and three readers.
#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    Read(usize, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1_u8..40).prop_map(Step::Append),
        (0_usize..3, 1_u8..60).prop_map(|(reader, count)| Step::Read(reader, count)),
    ];
    prop::collection::vec(step, 1..40)
}

struct Reader {
    watch: Watch,
    wanted: fn(u64) -> bool,
    after: u64,
    seen: Vec<u64>,
    gaps: u32,
}

impl Reader {
    /// Takes one item; the journal has events up to `head`.
    async fn take(&mut self, head: u64) -> bool {
        if self.next_wanted() > head {
            return false;
        }
        match tokio::time::timeout(Duration::from_secs(20), self.watch.next())
            .await
            .unwrap()
        {
            Some(Ok(WatchItem::Event(event))) => {
                assert_eq!(event.seq.0, self.next_wanted());
                self.seen.push(event.seq.0);
            }
            Some(Ok(WatchItem::Gap { from, to })) => {
                self.gaps += 1;
                assert!(from <= to && to.0 <= head);
                assert!(
                    (from.0..=to.0).contains(&self.next_wanted()),
                    "the next event lies in the gap"
                );
            }
            other => panic!("{other:?}"),
        }
        true
    }

    fn next_wanted(&self) -> u64 {
        let last = self.seen.last().copied().unwrap_or(self.after);
        (last + 1..).find(|seq| (self.wanted)(*seq)).unwrap()
    }
}

fn reader(store: &Store, filter: Filter, after: u64, wanted: fn(u64) -> bool) -> Reader {
    Reader {
        watch: store.watch(filter, Seq(after)),
        wanted,
        after,
        seen: Vec::new(),
        gaps: 0,
    }
}

async fn world(steps: Vec<Step>, tail: usize) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        tail_events_max: NonZeroUsize::new(tail).unwrap(),
        ..Options::standard()
    };
    let store = Store::open(dir.path(), options).unwrap();
    let odd = Filter {
        run: Some(RunId::from_drawn(1)),
        ..Filter::default()
    };
    let mut readers = [
        reader(&store, Filter::default(), 0, |_| true),
        reader(&store, Filter::default(), 17, |_| true),
        reader(&store, odd, 0, |seq| seq % 2 == 1),
    ];
    let mut head = 0;
    for step in steps {
        match step {
            Step::Append(count) => {
                let drafts = (1..=u64::from(count))
                    .map(|n| draft((head + n) % 2, None, "x"))
                    .collect();
                head = store.append(drafts, Durability::Ordered).await.unwrap().0;
            }
            Step::Read(which, count) => {
                for _ in 0..count {
                    readers[which].take(head).await;
                }
            }
        }
    }
    for reader in &mut readers {
        while reader.take(head).await {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_pace_of_reading_loses_doubles_or_reorders(steps in steps(), tail in 1_usize..30) {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap()
            .block_on(world(steps, tail));
    }
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_told_once_and_catches_up() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        tail_events_max: NonZeroUsize::new(10).unwrap(),
        ..Options::standard()
    };
    let store = Store::open(dir.path(), options).unwrap();
    let mut reader = reader(&store, Filter::default(), 0, |_| true);
    store
        .append(vec![draft(1, None, "x")], Durability::Ordered)
        .await
        .unwrap();
    assert!(reader.take(1).await);
    for _ in 0..3 {
        let drafts = (0..300).map(|_| draft(1, None, "x")).collect();
        store.append(drafts, Durability::Ordered).await.unwrap();
    }
    while reader.take(901).await {}
    assert_eq!(reader.gaps, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_beside_a_busy_writer_see_every_event_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        tail_events_max: NonZeroUsize::new(64).unwrap(),
        ..Options::standard()
    };
    let store = std::sync::Arc::new(Store::open(dir.path(), options).unwrap());
    let readers: Vec<_> = (0..8_u64)
        .map(|pace| {
            let mut watch = store.watch(Filter::default(), Seq(0));
            tokio::spawn(async move {
                let mut next = 1;
                while next <= 4_000 {
                    if let WatchItem::Event(event) = watch.next().await.unwrap().unwrap() {
                        assert_eq!(event.seq.0, next);
                        next += 1;
                    }
                    if next % 500 == pace {
                        tokio::time::sleep(Duration::from_millis(pace * 5)).await;
                    }
                }
            })
        })
        .collect();
    let appends = (0..4_000).map(|_| store.append(vec![draft(1, None, "x")], Durability::Ordered));
    assert!(
        futures::future::join_all(appends)
            .await
            .into_iter()
            .all(|answer| answer.is_ok())
    );
    for reader in readers {
        tokio::time::timeout(Duration::from_secs(60), reader)
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test]
async fn a_closed_journal_gives_what_is_left_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::standard()).unwrap();
    let mut watch = store.watch(Filter::default(), Seq(0));
    store
        .append(vec![draft(1, None, "x")], Durability::Ordered)
        .await
        .unwrap();
    store.close().await;
    assert!(matches!(watch.next().await, Some(Ok(WatchItem::Event(_)))));
    assert!(matches!(
        watch.next().await,
        Some(Err(JournalError::Closed))
    ));
    assert!(watch.next().await.is_none());
}
