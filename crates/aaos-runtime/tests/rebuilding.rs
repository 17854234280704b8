//! What a killed daemon's successor knows of an agent beside its words: how long it was at work, and what its calls had
//! taken of its grants.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod world;
use aaos_core::{approval::Answer, failure::LimitKind};
use aaos_ports::Decisions;
use std::time::Duration;
use world::*;

/// Long enough that no time of one daemon's comes after one of the next.
const LATER: u64 = 1_000_000;
const PAGE: &str = "https://example.org/";

/// A role for everything whose agents have so many seconds.
fn hasty(name: &str, seconds: u64) -> serde_json::Value {
    json!({ "name": name, "summary": "s", "prompt": "p",
        "capabilities": ["inherit: tool", "inherit: spawn"], "limits": { "wall_clock_s": seconds } })
}

/// How many answers an agent has had.
fn turn_of(request: &Request) -> usize {
    let answers = |message: &&Message| matches!(message, Message::Assistant { .. });
    request.messages.iter().filter(answers).count()
}

/// An agent with a hundred seconds that looks so often and then answers; each answer takes its model so long.
fn thinking(looks: usize, seconds: u64) -> Builder {
    let one = one_act();
    let mind = world(move |request, _| {
        Ok(answer(request, &one, &|_, request| {
            if turn_of(request) < looks {
                calls(&[(
                    "echo",
                    json!({ "message": format!("{}", turn_of(request)) }),
                )])
            } else {
                says("done")
            }
        }))
    });
    slow(mind.role(hasty("generalist", 100)), seconds)
}

fn slow(world: Builder, seconds: u64) -> Builder {
    world.delay(move |request| {
        let thinks = matches!(request.purpose, Purpose::Turn { .. });
        Duration::from_secs(if thinks { seconds } else { 0 })
    })
}

fn asked(kind: &Kind) -> bool {
    matches!(kind, Kind::ModelRequested { .. })
}

fn looked(kind: &Kind) -> bool {
    matches!(kind, Kind::ToolResult { .. })
}

/// Waits until so many events of a sort have happened.
async fn until(world: &World, id: RunId, sort: fn(&Kind) -> bool, mut times: usize) {
    let count = |kind: &Kind| {
        times -= usize::from(sort(kind));
        (times == 0).then_some(())
    };
    world.until(id, count).await;
}

/// What there is of a run when its daemon is killed after its agent was at work for so many seconds.
async fn killed_after(seconds: u64) -> (RunId, WorldJournal) {
    let first = thinking(2, 1).start().await;
    let id = first.submit().await;
    // The plan's, and the agent's own.
    until(&first, id, asked, 2).await;
    first.clock.advance(Span::from_secs(seconds));
    until(&first, id, looked, 1).await;
    (id, first.journal.killed())
}

/// The next daemon on a journal, so many lives after the first.
async fn next(world: Builder, journal: WorldJournal, lives: u64) -> World {
    let later = Span::from_secs(LATER * lives);
    world.journal(journal).later(later).start().await
}

const OUT_OF_TIME: Failure = Failure::Limit {
    kind: LimitKind::WallClock,
    limit: 100_000,
};

#[tokio::test(start_paused = true)]
async fn what_an_agent_was_at_work_before_a_kill_counts_after_it() {
    let (id, journal) = killed_after(70).await;
    let second = next(thinking(2, 25), journal, 1).await;
    assert_eq!(second.end_of(id).await.failure(), &OUT_OF_TIME);
}

#[tokio::test(start_paused = true)]
async fn an_agent_has_the_time_that_was_left_and_the_time_without_a_daemon_is_none_of_it() {
    let (id, journal) = killed_after(70).await;
    let second = next(thinking(2, 10), journal, 1).await;
    assert_eq!(second.end_of(id).await.text(), "done");
}

#[tokio::test(start_paused = true)]
async fn a_second_kill_adds_to_what_the_first_one_left() {
    let (id, journal) = killed_after(50).await;
    let second = next(thinking(2, 1), journal, 1).await;
    let mut resumed = false;
    let asked_again = |kind: &Kind| {
        resumed |= matches!(kind, Kind::RunResumed { .. });
        (resumed && asked(kind)).then_some(())
    };
    second.until(id, asked_again).await;
    second.clock.advance(Span::from_secs(40));
    until(&second, id, looked, 2).await;
    let third = next(thinking(2, 20), second.journal.killed(), 2).await;
    assert_eq!(third.end_of(id).await.failure(), &OUT_OF_TIME);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_the_operator_before_a_kill_uses_up_nobodys_time_after_it() {
    let rule = "tool: echo".parse().unwrap();
    let first = thinking(2, 1).ask(|submit| submit.approve = vec![rule]);
    let first = first.start().await;
    let id = first.submit().await;
    let request = |kind: &Kind| matches!(kind, Kind::ApprovalRequested { .. });
    until(&first, id, request, 1).await;
    first.clock.advance(Span::from_secs(1_000));
    let call = first.view(id).await.waiting[0].call;
    let always = Some(Span::from_secs(LATER * 9));
    let yes = Answer::Approve { always };
    first.runtime.answer(id, call, yes, 1000).await.unwrap();
    until(&first, id, looked, 1).await;
    let second = next(thinking(2, 10), first.journal.killed(), 1).await;
    assert_eq!(second.end_of(id).await.text(), "done");
}

/// An agent that starts another, which has a hundred seconds, and says what it was told.
fn parenting(seconds: u64) -> Builder {
    let one = one_act();
    let child = json!({ "role": "helper", "task": "help", "params": {} });
    let mind = world(move |request, _| {
        Ok(answer(
            request,
            &one,
            &|name, request| match (name, turn_of(request)) {
                ("help", 0) => calls(&[("echo", json!({ "message": "x" }))]),
                ("help", _) => says("helped"),
                (_, 0) => calls(&[("spawn_agent", child.clone())]),
                _ => says(&last_results(request)[0].text),
            },
        ))
    });
    slow(mind.role(hasty("helper", 100)), seconds)
}

#[tokio::test(start_paused = true)]
async fn a_child_has_only_the_time_that_it_was_left_too() {
    let first = parenting(1).start().await;
    let id = first.submit().await;
    until(&first, id, asked, 3).await;
    first.clock.advance(Span::from_secs(70));
    until(&first, id, looked, 1).await;
    let second = next(parenting(40), first.journal.killed(), 1).await;
    let told = second.end_of(id).await;
    assert!(
        told.text().contains("starting helper"),
        "the child failed: {}",
        told.text()
    );
    let stopped = |kind: &Kind| matches!(kind, Kind::AgentStopped { stop: StopReason::Failed { failure } } if *failure == OUT_OF_TIME);
    assert_eq!(told.count(stopped), 1);
}

/// An agent that makes one call after another, each to three pages that it has not declared, and says what it was told.
fn crawling(crawls: usize, http: &str) -> Builder {
    let one = one_act();
    let crawl = json!({ "url": PAGE, "times": 3, "secs": 60 });
    let mind = world(move |request, _| {
        Ok(answer(request, &one, &|_, request| {
            if turn_of(request) < crawls {
                calls(&[("web_crawl", crawl.clone())])
            } else {
                says(&last_results(request)[0].text)
            }
        }))
    });
    mind.grants(&["tool: *", http])
}

fn charged(kind: &Kind) -> bool {
    matches!(kind, Kind::CapabilityCharged { .. })
}

#[tokio::test(start_paused = true)]
async fn what_a_cut_off_call_had_taken_of_a_grant_is_not_there_again_after_a_kill() {
    for (grant, left) in [
        ("http: GET * {uses=5}", 2),
        ("http: GET * {uses=3}", 0),
        ("http: GET * {rate=4/90d}", 1),
    ] {
        let first = crawling(1, grant).start().await;
        let id = first.submit().await;
        until(&first, id, charged, 3).await;
        let second = next(crawling(1, grant), first.journal.killed(), 1).await;
        let told = second.end_of(id).await;
        assert_eq!(told.text(), format!("{{\"fetched\":{left}}}"), "{grant}");
        assert_eq!(told.count(charged), 3 + left);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_finished_call_had_taken_is_not_taken_twice_by_a_kill() {
    let grant = "http: GET * {uses=5}";
    let first = crawling(2, grant).start().await;
    let id = first.submit().await;
    until(&first, id, looked, 1).await;
    let second = next(crawling(2, grant), first.journal.killed(), 1).await;
    assert_eq!(second.end_of(id).await.text(), "{\"fetched\":2}");
}

#[tokio::test(start_paused = true)]
async fn a_use_is_sure_before_what_it_pays_for_and_one_that_nobody_counts_is_no_event() {
    let (world, told) = crawling(1, "http: GET * {uses=9}").run().await;
    let (use_, reached) = (
        told.at(charged),
        told.at(|kind| matches!(kind, Kind::ConnectionAllowed { .. })),
    );
    assert!(use_ < reached);
    assert_eq!(
        world.journal.sure(told.events[use_].seq),
        Durability::Durable
    );
    let (_, told) = crawling(1, "http: GET *").run().await;
    assert_eq!((told.text(), told.count(charged)), ("{\"fetched\":3}", 0));
}
