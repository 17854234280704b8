//! Clocks that jump, ahead or back, while a run goes on or between one daemon and the next: no run is lost to them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod world;
use std::time::Duration;
use world::*;

const DAY: Span = Span::from_secs(86_400);

/// A jump by so many days; the clock counts in a circle, so a jump back is a long way ahead.
fn days(number: i64) -> Span {
    let micros = i64::try_from(DAY.micros()).unwrap() * number;
    Span::from_micros(micros.cast_unsigned())
}

/// Two agents, one after the other, each of which takes seconds, at a time that leaves room on both sides.
fn slow() -> Builder {
    planned(plan(&[talk("a", &[]), talk("b", &["a"])]), |name, _| {
        says(name)
    })
    .delay(|_| Duration::from_secs(5))
    .later(days(1_000))
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_while_a_run_goes_on_neither_ends_it_nor_uses_up_its_time() {
    for jump in [days(300), days(-300)] {
        let world = slow().start().await;
        let id = world.submit().await;
        let begun = |kind: &Kind| matches!(kind, Kind::AgentExecutionStarted { .. }).then_some(());
        world.until(id, begun).await;
        world.clock.advance(jump);
        let told = world.end_of(id).await;
        assert!(told.completed("a") < told.completed("b"));
        let view = world.view(id).await;
        assert_eq!(view.state, RunState::Succeeded, "{:?}", view.outcome);
        assert!(view.active < DAY, "{:?}", view.active);
    }
}
