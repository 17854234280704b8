//! What a later daemon knows of earlier runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod world;
use aaos_core::event::{Draft, Subject};
use aaos_ports::Journal;
use futures::StreamExt;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use world::*;

fn talking() -> Builder {
    planned(plan(&[talk("a", &[])]), |name, _| says(name))
}

#[tokio::test(start_paused = true)]
async fn finished_runs_are_listed_newest_first_and_seen_whole_by_id() {
    let journal = WorldJournal::default();
    let first = talking().journal(journal.clone()).start().await;
    let (old, new) = (first.run().await, first.run().await);
    let second = talking().journal(journal).start().await;
    let listed = second.runtime.view(None, 10).await.unwrap();
    assert_eq!(
        listed.iter().map(|view| view.run).collect::<Vec<_>>(),
        [new.id, old.id]
    );
    assert!(
        listed
            .iter()
            .all(|view| view.state == RunState::Succeeded && view.subtasks.is_empty())
    );
    assert_eq!(second.runtime.view(None, 1).await.unwrap().len(), 1);
    let whole = second.view(old.id).await;
    assert_eq!((whole.subtasks.len(), whole.usage), (1, USAGE.plus(USAGE)));
    assert!(
        second.events(old.id) == old.events,
        "nothing is added to what is over"
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_is_durable_before_submit_answers() {
    let world = talking().start().await;
    let id = world.submit().await;
    let first = world.events(id).remove(0);
    assert!(
        matches!(&first.kind, Kind::RunSubmitted { goal, operator: 1000, .. } if goal == "do what the test says")
    );
    assert_eq!(world.journal.sure(first.seq), Durability::Durable);
    let told = world.end_of(id).await;
    let last = told.events.last().unwrap();
    assert_eq!(world.journal.sure(last.seq), Durability::Durable);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_sees_its_own_run_only_past_and_live() {
    let world = talking().delay(|_| Duration::from_secs(1)).start().await;
    let (mine, other) = (world.submit().await, world.submit().await);
    let mut watch = world.runtime.watch(mine, Seq(0));
    let mut seen = Vec::new();
    loop {
        let Some(Ok(aaos_ports::WatchItem::Event(event))) = watch.next().await else {
            panic!("the watch ended")
        };
        let over = matches!(event.kind, Kind::RunFinished { .. });
        seen.push(event);
        if over {
            break;
        }
    }
    world.end_of(other).await;
    assert_eq!(seen, world.events(mine));
    let late = world.runtime.watch(mine, seen[3].seq).next().await;
    assert!(matches!(late, Some(Ok(aaos_ports::WatchItem::Event(event))) if event == seen[4]));
}

#[tokio::test(start_paused = true)]
async fn a_run_going_on_is_seen_live() {
    let world = talking().delay(|_| Duration::from_secs(5)).start().await;
    let id = world.submit().await;
    world
        .until(id, |kind| {
            matches!(kind, Kind::AgentExecutionStarted { .. }).then_some(())
        })
        .await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let view = world.view(id).await;
    assert_eq!(
        (view.state, view.agents_running.len()),
        (RunState::Running, 1)
    );
    assert_eq!(view.subtasks[0].state, SubtaskState::Running);
    assert_eq!(world.runtime.view(None, 5).await.unwrap().len(), 1);
    world.end_of(id).await;
}

#[tokio::test(start_paused = true)]
async fn a_long_result_is_short_in_the_list_and_whole_in_the_run() {
    let world = planned(plan(&[talk("a", &[])]), |_, _| says(&"x".repeat(10_000)))
        .start()
        .await;
    let told = world.run().await;
    let listed = world.runtime.view(None, 1).await.unwrap().remove(0);
    let Some(Outcome::Succeeded {
        output: Value::Text { text },
    }) = listed.outcome
    else {
        panic!()
    };
    assert!(text.len() <= 210);
    assert_eq!(told.text().len(), 10_000);
}

/// Finished runs kept in memory, and the place of the first that a start looks at.
const REMEMBERED: u64 = 10_000;

/// Records so many runs that are over, from this number on, as one that was carried out began and ended.
async fn record_finished(journal: &WorldJournal, like: &[Event], numbers: std::ops::Range<u64>) {
    let of = |number, kind: &Kind| Draft {
        time: like[0].time,
        subject: Subject {
            run: Some(RunId::from_drawn(number)),
            ..Subject::default()
        },
        kind: kind.clone(),
    };
    let both = [&like[0].kind, &like.last().unwrap().kind];
    let drafts = numbers.flat_map(|number| both.map(|kind| of(number, kind)));
    let drafts = drafts.collect();
    journal.append(drafts, Durability::Durable).await.unwrap();
}

/// What the newest start says of how far back the next has to look.
fn runs_from(journal: &WorldJournal) -> Seq {
    let events = journal.events();
    let from = |event: &Event| match event.kind {
        Kind::DaemonStarted { runs_from, .. } => Some(runs_from),
        _ => None,
    };
    events.iter().rev().find_map(from).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_start_looks_no_further_back_than_the_first_run_that_is_open_or_remembered() {
    let journal = WorldJournal::default();
    let first = talking().journal(journal.clone()).start().await;
    let like = first.run().await.events;
    record_finished(&journal, &like, 1..11).await;
    let open = Draft {
        time: like[0].time,
        subject: Subject {
            run: Some(RunId::from_drawn(11)),
            ..Subject::default()
        },
        kind: like[0].kind.clone(),
    };
    let began = journal.append(vec![open], Durability::Durable);
    let began = began.await.unwrap();
    record_finished(&journal, &like, 12..12 + REMEMBERED).await;

    let second = talking().journal(journal.clone()).start().await;
    assert_eq!(
        runs_from(&journal),
        began,
        "the open one is the first of them"
    );
    let end = second.end_of(RunId::from_drawn(11)).await;
    assert!(
        matches!(end.outcome, Outcome::Succeeded { .. }),
        "and was not overlooked"
    );

    record_finished(&journal, &like, 20_000..20_000 + REMEMBERED).await;
    talking().journal(journal.clone()).start().await;
    let from = runs_from(&journal);
    assert!(
        from > end.events.last().unwrap().seq,
        "what has ended is left behind"
    );

    let looked_at = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&looked_at);
    journal.tell_otherwise(move |event| {
        if event.subject.run.is_some() {
            seen.lock().unwrap().get_or_insert(event.seq);
        }
    });
    let last = talking().journal(journal.clone()).start().await;
    assert_eq!(
        *looked_at.lock().unwrap(),
        Some(from),
        "nothing before it is read"
    );
    let listed = last.runtime.view(None, 100_000).await.unwrap();
    assert_eq!(listed.len() as u64, REMEMBERED);
    assert_eq!(
        last.view(like[0].subject.run.unwrap()).await.state,
        RunState::Succeeded
    );
}
