//! Plans that are only rehearsed: whose they are is recorded first, what they cost counts for whoever asked, and each
//! comes to an end in its record.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod world;
use aaos_core::time::Timestamp;
use aaos_ports::History;
use aaos_runtime::DayLimit;
use std::time::Duration;
use world::*;

/// What a request for a plan sets aside: its output, at a micro-dollar a token.
const WORST: u64 = 16_384;

fn rehearsing() -> Builder {
    planned(plan(&[talk("a", &[])]), |name, _| says(name))
}

fn slow() -> Builder {
    rehearsing().delay(|_| Duration::from_secs(50))
}

/// A day in which an operator has something left after one plan, and too little for another.
fn one_plan_a_day(config: &mut aaos_runtime::Config) {
    config.budget_operator_day = DayLimit {
        tokens: None,
        cost: Some(MicroDollars(WORST + USAGE.cost.0 - 1)),
    };
}

fn for_operator(world: &World, operator: u32) -> Submit {
    Submit {
        operator,
        ..world.goal("plan something")
    }
}

/// The events of the only rehearsal there is.
fn told(journal: &WorldJournal) -> Vec<Event> {
    let mut events = journal.events();
    events.retain(|event| event.subject.run.is_some());
    events
}

async fn until(journal: &WorldJournal, wanted: impl Fn(&Kind) -> bool) {
    let happened = async {
        while !told(journal).iter().any(|event| wanted(&event.kind)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let happened = tokio::time::timeout(Duration::from_secs(40), happened).await;
    happened.unwrap_or_else(|_| panic!("it never happened: {:#?}", told(journal)));
}

/// The rehearsal's request in flight counts at its worst, and then it is over.
fn ends_at_its_worst(journal: &WorldJournal, why: &Failure) {
    let events = told(journal);
    let kinds: Vec<&Kind> = events.iter().map(|event| &event.kind).collect();
    let [.., abandoned, ended] = kinds[..] else {
        panic!("{kinds:#?}")
    };
    assert!(
        matches!(abandoned, Kind::ModelAbandoned { cost, .. } if cost.0 == WORST),
        "{kinds:#?}"
    );
    let expected = Kind::RehearsalEnded {
        failure: Some(why.clone()),
    };
    assert_eq!(*ended, expected);
}

#[tokio::test(start_paused = true)]
async fn whose_a_rehearsal_is_is_durable_before_a_model_is_asked() {
    let world = rehearsing().start().await;
    let submit = for_operator(&world, 1234);
    world.runtime.plan(submit).await.unwrap();
    let events = told(&world.journal);
    let first = Kind::PlanRehearsed {
        goal: "plan something".to_owned(),
        operator: 1234,
    };
    assert_eq!(events[0].kind, first);
    assert_eq!(world.journal.sure(events[0].seq), Durability::Durable);
    let last = Kind::RehearsalEnded { failure: None };
    assert_eq!(events.last().unwrap().kind, last);
    assert!(
        events
            .iter()
            .skip(1)
            .all(|event| event.subject.cause.is_some()),
        "each was caused by one before: {events:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_rehearsal_counts_for_whoever_asked_in_the_next_daemon_too() {
    let builder = || rehearsing().configure(one_plan_a_day);
    let first = builder().start().await;
    let plan = async |world: &World, operator| {
        let planned = world.runtime.plan(for_operator(world, operator)).await;
        planned.map(drop).map_err(|error| match error {
            GoalError::Failed(failure) => *failure,
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(plan(&first, 1).await, Ok(()));
    let over = Err(Failure::Limit {
        kind: LimitKind::OperatorDayCost,
        limit: WORST + USAGE.cost.0 - 1,
    });
    assert_eq!(plan(&first, 1).await, over);
    let second = builder().journal(first.journal.killed()).start().await;
    assert_eq!(plan(&second, 1).await, over);
    assert_eq!(plan(&second, 2).await, Ok(()));
    let rows = second.runtime.spending(None, Timestamp::default()).await;
    let operators: Vec<u32> = rows.unwrap().iter().map(|row| row.operator).collect();
    assert_eq!(operators, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_rehearsal_cut_off_by_a_kill_is_ended_once_by_the_next_start() {
    let first = slow().start().await;
    let submit = for_operator(&first, 1);
    let planning = {
        let runtime = first.runtime.clone();
        tokio::spawn(async move { runtime.plan(submit).await })
    };
    until(&first.journal, |kind| requested(kind).is_some()).await;
    let second = rehearsing().journal(first.journal.killed()).start().await;
    ends_at_its_worst(&second.journal, &Failure::Interrupted);
    let rows = second.runtime.spending(None, Timestamp::default()).await;
    let rows = rows.unwrap();
    assert_eq!((rows[0].operator, rows[0].usage.cost.0), (1, WORST));
    let count = told(&second.journal).len();
    let third = rehearsing().journal(second.journal.killed()).start().await;
    assert_eq!(told(&third.journal).len(), count, "nothing is left to end");
    planning.abort();
}

#[tokio::test(start_paused = true)]
async fn a_rehearsal_ends_and_is_paid_for_when_whoever_asked_goes_away() {
    let world = slow().start().await;
    let planning = world.runtime.plan(for_operator(&world, 1));
    let left = tokio::time::timeout(Duration::from_secs(1), planning).await;
    assert!(left.is_err(), "it was still planning");
    let ended = |kind: &Kind| matches!(kind, Kind::RehearsalEnded { .. });
    until(&world.journal, ended).await;
    ends_at_its_worst(&world.journal, &Failure::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_goes_away_ends_its_rehearsals() {
    let world = slow().start().await;
    let submit = for_operator(&world, 1);
    let planning = {
        let runtime = world.runtime.clone();
        tokio::spawn(async move { runtime.plan(submit).await })
    };
    until(&world.journal, |kind| requested(kind).is_some()).await;
    world
        .runtime
        .drain(Span::from_secs(5), "it is told to")
        .await;
    ends_at_its_worst(&world.journal, &Failure::Interrupted);
    let refused = planning.await.unwrap();
    assert!(
        matches!(&refused, Err(GoalError::Failed(failure)) if **failure == Failure::Interrupted),
        "{refused:?}"
    );
}
