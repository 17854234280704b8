//! What a later daemon knows of earlier runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod world;
use futures::StreamExt;
use std::time::Duration;
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
