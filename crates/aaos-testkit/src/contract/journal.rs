//! What every journal promises.

use crate::journal::{daemon_draft, draft};
use aaos_core::{
    event::{Draft, Event, Kind, Seq},
    id::{AgentId, RunId},
    time::Timestamp,
};
use aaos_ports::{Digest, Durability, Filter, Journal, JournalError, Watch, WatchItem};
use futures::{FutureExt, StreamExt};
use std::{sync::Arc, time::Duration};

/// Longest wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the suite. `make` gives an empty journal and whatever must live as long as it does.
///
/// # Panics
/// A promise is not kept.
pub async fn journal<G>(make: impl Fn() -> (Arc<dyn Journal>, G)) {
    places_count_from_one_without_a_hole(make()).await;
    concurrent_appends_stay_whole(make()).await;
    what_is_read_is_what_was_written(make()).await;
    filters_narrow_together(make()).await;
    a_time_begins_with_its_first_moment_and_ends_before_its_last(make()).await;
    a_watch_gives_the_past_and_then_what_happens(make()).await;
    a_slow_watch_misses_nothing(make()).await;
    a_watch_from_the_future_waits_for_it(make()).await;
    an_append_nobody_waits_for_leaves_no_hole(make()).await;
    bodies_come_back_whole(make()).await;
    a_digest_that_is_none_finds_nothing(make()).await;
}

type Made<G> = (Arc<dyn Journal>, G);

async fn must<T>(what: &str, found: impl Future<Output = Result<T, JournalError>>) -> T {
    match tokio::time::timeout(PATIENCE, found).await {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => unmet(&format!("{what}: {error}")),
        Err(_) => unmet(&format!("{what}: nothing came")),
    }
}

#[expect(
    clippy::panic,
    reason = "a contract suite reports by panicking, as tests do"
)]
fn unmet(what: &str) -> ! {
    panic!("{what}")
}

/// The text a draft of this suite carries.
fn text(event: &Event) -> &str {
    match &event.kind {
        Kind::ToolRejected { problem, .. } => problem,
        Kind::DaemonStopped { reason } => reason,
        _ => "",
    }
}

fn texts(events: &[Event]) -> Vec<&str> {
    events.iter().map(text).collect()
}

async fn places_count_from_one_without_a_hole<G>((journal, _guard): Made<G>) {
    let nothing = must(
        "an empty append",
        journal.append(Vec::new(), Durability::Durable),
    )
    .await;
    assert_eq!(
        nothing,
        Seq(0),
        "an empty append answers where the journal ends"
    );
    let drafts = vec![draft(1, None, "a"), draft(1, None, "b")];
    assert_eq!(
        must("append", journal.append(drafts, Durability::Ordered)).await,
        Seq(2)
    );
    assert_eq!(
        must(
            "append",
            journal.append(vec![daemon_draft("c")], Durability::Durable)
        )
        .await,
        Seq(3)
    );
    assert_eq!(
        must(
            "append",
            journal.append(vec![draft(2, None, "d")], Durability::Ordered)
        )
        .await,
        Seq(4)
    );
    let events = must("read", journal.read(&Filter::default(), Seq(0), 100)).await;
    assert_eq!(texts(&events), ["a", "b", "c", "d"]);
    assert_eq!(
        events.iter().map(|event| event.seq.0).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    let some = must("read", journal.read(&Filter::default(), Seq(1), 2)).await;
    assert_eq!(texts(&some), ["b", "c"]);
    assert!(
        must("read", journal.read(&Filter::default(), Seq(0), 0))
            .await
            .is_empty()
    );
    assert!(
        must("read", journal.read(&Filter::default(), Seq(u64::MAX), 9))
            .await
            .is_empty()
    );
}

async fn concurrent_appends_stay_whole<G>((journal, _guard): Made<G>) {
    const WRITERS: u64 = 32;
    let append = |writer: u64| {
        let journal = Arc::clone(&journal);
        async move {
            let drafts = (0..3)
                .map(|part| draft(writer, None, &part.to_string()))
                .collect();
            let durability = if writer.is_multiple_of(2) {
                Durability::Durable
            } else {
                Durability::Ordered
            };
            (
                writer,
                must("append", journal.append(drafts, durability)).await,
            )
        }
    };
    let answers = futures::future::join_all((0..WRITERS).map(append)).await;
    let events = must("read", journal.read(&Filter::default(), Seq(0), 1_000)).await;
    assert_eq!(events.len() as u64, WRITERS * 3);
    for (writer, last) in answers {
        let own: Vec<&Event> = events
            .iter()
            .filter(|event| event.subject.run == Some(RunId::from_drawn(writer)))
            .collect();
        let places: Vec<u64> = own.iter().map(|event| event.seq.0).collect();
        assert_eq!(
            places,
            [last.0 - 2, last.0 - 1, last.0],
            "one append's events are neighbours"
        );
        assert_eq!(
            own.iter().map(|event| text(event)).collect::<Vec<_>>(),
            ["0", "1", "2"]
        );
    }
}

async fn what_is_read_is_what_was_written<G>((journal, _guard): Made<G>) {
    let mut whole = draft(u64::MAX, Some(0), "\u{0}\n\"quoted\" \u{1f600} { \u{7f}");
    whole.subject.call = Some(aaos_core::id::CallId::from_drawn(1 << 63));
    whole.subject.cause = Some(Seq(7));
    whole.time = aaos_core::time::Timestamp::from_micros(u64::MAX);
    must(
        "append",
        journal.append(vec![whole.clone()], Durability::Ordered),
    )
    .await;
    let events = must("read", journal.read(&Filter::default(), Seq(0), 1)).await;
    let back: Vec<Draft> = events
        .into_iter()
        .map(
            |Event {
                 time,
                 subject,
                 kind,
                 ..
             }| Draft {
                time,
                subject,
                kind,
            },
        )
        .collect();
    assert_eq!(back, [whole]);
}

async fn filters_narrow_together<G>((journal, _guard): Made<G>) {
    let drafts = vec![
        draft(1, Some(1), "a"),
        draft(1, Some(2), "b"),
        daemon_draft("c"),
        draft(2, Some(1), "d"),
        draft(1, None, "e"),
    ];
    must("append", journal.append(drafts, Durability::Ordered)).await;
    let (run, agent) = (Some(RunId::from_drawn(1)), Some(AgentId::from_drawn(1)));
    let kinds = |kinds: &[&str]| {
        kinds
            .iter()
            .map(|kind| (*kind).to_owned())
            .collect::<Vec<_>>()
    };
    let many: Vec<String> = (0..500)
        .map(|n| format!("kind_{n}"))
        .chain(kinds(&["daemon_stopped"]))
        .collect();
    let cases: [(Filter, &[&str]); 9] = [
        (
            Filter {
                run,
                ..Filter::default()
            },
            &["a", "b", "e"],
        ),
        (
            Filter {
                agent,
                ..Filter::default()
            },
            &["a", "d"],
        ),
        (
            Filter {
                run,
                agent,
                ..Filter::default()
            },
            &["a"],
        ),
        (
            Filter {
                kinds: kinds(&["daemon_stopped"]),
                ..Filter::default()
            },
            &["c"],
        ),
        (
            Filter {
                kinds: kinds(&["daemon_stopped", "tool_rejected", "x"]),
                ..Filter::default()
            },
            &["a", "b", "c", "d", "e"],
        ),
        (
            Filter {
                kinds: many,
                ..Filter::default()
            },
            &["c"],
        ),
        (
            Filter {
                run,
                kinds: kinds(&["daemon_stopped"]),
                ..Filter::default()
            },
            &[],
        ),
        (
            Filter {
                run,
                kinds: kinds(&["tool_rejected"]),
                ..Filter::default()
            },
            &["a", "b", "e"],
        ),
        (
            Filter {
                kinds: kinds(&["' OR 1=1 --"]),
                ..Filter::default()
            },
            &[],
        ),
    ];
    for (filter, wanted) in cases {
        let found = must("read", journal.read(&filter, Seq(0), 100)).await;
        assert_eq!(texts(&found), wanted, "read {filter:?}");
        let mut watch = journal.watch(filter.clone(), Seq(0));
        let watched = take(&mut watch, wanted.len()).await;
        assert_eq!(texts(&watched), wanted, "watch {filter:?}");
        assert!(
            watch.next().now_or_never().is_none(),
            "a watch gives what its filter wants: {filter:?}"
        );
    }
}

/// The next `count` events, every gap checked against what follows it.
async fn take(watch: &mut Watch, count: usize) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut gap: Option<(Seq, Seq)> = None;
    while events.len() < count {
        let next = async { watch.next().await.unwrap_or(Err(JournalError::Closed)) };
        match must("a watched event", next).await {
            WatchItem::Gap { from, to } => {
                assert!(from <= to, "a gap of {from:?} to {to:?}");
                assert!(
                    events.last().is_none_or(|last| last.seq < from),
                    "a gap begins after what was given"
                );
                gap = Some((from, to));
            }
            WatchItem::Event(event) => {
                if let Some((from, to)) = gap.take() {
                    assert!(
                        event.seq >= from && event.seq <= to,
                        "what was skipped is sent next"
                    );
                }
                assert!(
                    events.last().is_none_or(|last| last.seq < event.seq),
                    "in order, each once"
                );
                events.push(event);
            }
        }
    }
    events
}

async fn a_time_begins_with_its_first_moment_and_ends_before_its_last<G>(
    (journal, _guard): Made<G>,
) {
    let at = Timestamp::from_micros;
    let drafts = (1..=5_u64).map(|number| Draft {
        time: at(number),
        ..draft(number % 2, None, &number.to_string())
    });
    let drafts: Vec<Draft> = drafts.collect();
    must("append", journal.append(drafts, Durability::Ordered)).await;
    let within = |since: Option<u64>, until: Option<u64>| Filter {
        since: since.map(at),
        until: until.map(at),
        ..Filter::default()
    };
    let of_one = Filter {
        run: Some(RunId::from_drawn(1)),
        ..within(Some(2), Some(5))
    };
    let cases: [(Filter, &[&str]); 6] = [
        (within(Some(2), None), &["2", "3", "4", "5"]),
        (within(None, Some(4)), &["1", "2", "3"]),
        (within(Some(2), Some(4)), &["2", "3"]),
        (of_one, &["3"]),
        (within(Some(4), Some(4)), &[]),
        (within(None, Some(0)), &[]),
    ];
    for (filter, wanted) in cases {
        let events = must("read", journal.read(&filter, Seq(0), 100)).await;
        assert_eq!(texts(&events), wanted, "{filter:?}");
        let watched = take(&mut journal.watch(filter.clone(), Seq(0)), wanted.len()).await;
        assert_eq!(texts(&watched), wanted, "{filter:?}");
    }
}

async fn a_watch_gives_the_past_and_then_what_happens<G>((journal, _guard): Made<G>) {
    must(
        "append",
        journal.append(
            vec![draft(1, None, "a"), draft(1, None, "b")],
            Durability::Ordered,
        ),
    )
    .await;
    let mut all = journal.watch(Filter::default(), Seq(0));
    let mut late = journal.watch(Filter::default(), Seq(1));
    assert_eq!(texts(&take(&mut all, 2).await), ["a", "b"]);
    assert!(
        all.next().now_or_never().is_none(),
        "there is nothing more yet"
    );
    must(
        "append",
        journal.append(vec![draft(1, None, "c")], Durability::Durable),
    )
    .await;
    assert_eq!(texts(&take(&mut all, 1).await), ["c"]);
    assert_eq!(texts(&take(&mut late, 2).await), ["b", "c"]);
    drop(all);
    must(
        "append",
        journal.append(vec![draft(1, None, "d")], Durability::Ordered),
    )
    .await;
    assert_eq!(texts(&take(&mut late, 1).await), ["d"]);
}

async fn a_slow_watch_misses_nothing<G>((journal, _guard): Made<G>) {
    const ROUNDS: u64 = 40;
    const EACH: u64 = 25;
    let run = RunId::from_drawn(1);
    let mut own = journal.watch(
        Filter {
            run: Some(run),
            ..Filter::default()
        },
        Seq(0),
    );
    let mut all = journal.watch(Filter::default(), Seq(0));
    let mut seen = Vec::new();
    for round in 0..ROUNDS {
        let drafts = (0..EACH)
            .map(|part| draft(part % 2, None, &(round * EACH + part).to_string()))
            .collect();
        must("append", journal.append(drafts, Durability::Ordered)).await;
        if round % 7 == 0 {
            seen.extend(take(&mut all, 3).await);
        }
    }
    let total = usize::try_from(ROUNDS * EACH).unwrap_or(0);
    seen.extend(take(&mut all, total - seen.len()).await);
    let places: Vec<u64> = seen.iter().map(|event| event.seq.0).collect();
    assert_eq!(places, (1..=ROUNDS * EACH).collect::<Vec<_>>());
    let own = take(&mut own, usize::try_from(ROUNDS * (EACH / 2)).unwrap_or(0)).await;
    assert!(
        own.iter().all(|event| event.subject.run == Some(run)),
        "a watch carries its own run only"
    );
}

async fn a_watch_from_the_future_waits_for_it<G>((journal, _guard): Made<G>) {
    let mut watch = journal.watch(Filter::default(), Seq(2));
    assert!(watch.next().now_or_never().is_none());
    let drafts = vec![
        draft(1, None, "a"),
        draft(1, None, "b"),
        draft(1, None, "c"),
    ];
    must("append", journal.append(drafts, Durability::Ordered)).await;
    assert_eq!(texts(&take(&mut watch, 1).await), ["c"]);
}

async fn an_append_nobody_waits_for_leaves_no_hole<G>((journal, _guard): Made<G>) {
    for round in 0..20 {
        let gone = journal.append(vec![draft(1, None, "gone")], Durability::Durable);
        // Polled once and dropped.
        drop(gone.now_or_never());
        must(
            "append",
            journal.append(
                vec![draft(1, None, &round.to_string())],
                Durability::Ordered,
            ),
        )
        .await;
    }
    let events = must("read", journal.read(&Filter::default(), Seq(0), 1_000)).await;
    let places: Vec<u64> = events.iter().map(|event| event.seq.0).collect();
    assert_eq!(places, (1..=events.len() as u64).collect::<Vec<_>>());
    let kept: Vec<&str> = events
        .iter()
        .map(text)
        .filter(|text| *text != "gone")
        .collect();
    let wanted: Vec<String> = (0..20).map(|round| round.to_string()).collect();
    assert_eq!(kept, wanted);
}

async fn bodies_come_back_whole<G>((journal, _guard): Made<G>) {
    let bodies = [
        Vec::new(),
        vec![0_u8],
        b"a body".to_vec(),
        vec![7; 16 << 10],
        vec![9; 1 << 20],
    ];
    for body in bodies {
        let digest = must("put", journal.put(body.clone())).await;
        assert_eq!(
            digest.0,
            blake3::hash(&body).to_hex().as_str(),
            "a digest is the body's BLAKE3"
        );
        assert_eq!(must("put again", journal.put(body.clone())).await, digest);
        assert!(
            must("get", journal.get(&digest)).await == body,
            "a body of {} bytes",
            body.len()
        );
    }
}

async fn a_digest_that_is_none_finds_nothing<G>((journal, _guard): Made<G>) {
    let digest = must("put", journal.put(b"x".to_vec())).await.0;
    let others = [
        "0".repeat(64),
        String::new(),
        digest.to_uppercase(),
        digest.chars().skip(1).collect(),
        format!("{digest}0"),
        "../../../../etc/passwd".to_owned(),
        "é".repeat(32),
    ];
    for other in others {
        let wanted = Digest(other);
        match journal.get(&wanted).await {
            Err(JournalError::NoBlob(named)) => assert_eq!(named, wanted),
            found => unmet(&format!("{wanted:?} gave {found:?}")),
        }
    }
}
