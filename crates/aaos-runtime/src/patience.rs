//! Time that counts: a wall clock that stands still while its owner, or anything it started, waits for the operator.

use aaos_core::time::Span;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// Whether an agent, or the run, waits for the operator. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Patience {
    began: Instant,
    /// How long it had been at work before that, under earlier daemons.
    before: Span,
    waits: Arc<watch::Sender<Waits>>,
    above: Option<Arc<Self>>,
}

/// Waits that are open, and how long there was one.
#[derive(Default)]
struct Waits {
    open: u32,
    since: Option<Instant>,
    before: Duration,
}

impl Waits {
    fn begin(&mut self) {
        self.open = self.open.saturating_add(1);
        self.since.get_or_insert_with(timer);
    }

    fn end(&mut self) {
        self.open = self.open.saturating_sub(1);
        if self.open == 0 {
            self.before = self.total();
            self.since = None;
        }
    }

    fn total(&self) -> Duration {
        let now = self.since.map_or(Duration::ZERO, |since| {
            timer().saturating_duration_since(since)
        });
        self.before.saturating_add(now)
    }
}

/// A wait for the operator; it ends when this is dropped.
pub(crate) struct Wait(Patience);

impl Drop for Wait {
    fn drop(&mut self) {
        self.0.each(Waits::end);
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            began: timer(),
            before: Span::ZERO,
            waits: Arc::default(),
            above: None,
        }
    }
}

impl Patience {
    /// One whose waits are also waits of this one. It had been at work for so long `before`.
    pub(crate) fn below(&self, before: Span) -> Self {
        Self {
            began: timer(),
            before,
            waits: Arc::default(),
            above: Some(Arc::new(self.clone())),
        }
    }

    /// Begins to wait for the operator.
    pub(crate) fn wait(&self) -> Wait {
        self.each(Waits::begin);
        Wait(self.clone())
    }

    /// Returns when `limit` has passed, waits left out, and what it had been at work before taken off.
    pub(crate) async fn elapsed(&self, limit: Span) {
        let mut left = limit
            .as_duration()
            .saturating_sub(self.before.as_duration());
        let mut waits = self.waits.subscribe();
        loop {
            // The sender lives as long as this, so neither wait can fail.
            let _ = waits.wait_for(|waits| waits.open == 0).await;
            let began = timer();
            tokio::select! {
                () = sleep(left) => return,
                _ = waits.wait_for(|waits| waits.open > 0) => {
                    left = left.saturating_sub(timer().saturating_duration_since(began));
                }
            }
        }
    }

    /// How long it has been at work, waits left out.
    pub(crate) fn worked(&self) -> Span {
        let since = timer().saturating_duration_since(self.began);
        let since = since.saturating_sub(self.waits.borrow().total());
        let worked = since.saturating_add(self.before.as_duration());
        Span::from_micros(u64::try_from(worked.as_micros()).unwrap_or(u64::MAX))
    }

    fn each(&self, change: fn(&mut Waits)) {
        let mut here = Some(self);
        while let Some(patience) = here {
            patience.waits.send_modify(change);
            here = patience.above.as_deref();
        }
    }
}

/// How far the timer that sleeps are measured by has come.
fn timer() -> Instant {
    sleep(Duration::ZERO).deadline()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_for_the_operator_does_not_count_above_either() {
        let run = Patience::default();
        let agent = run.below(Span::ZERO);
        let began = timer();
        let waiting = agent.clone();
        tokio::spawn(async move {
            sleep(Duration::from_secs(5)).await;
            let _wait = waiting.wait();
            sleep(Duration::from_secs(1_000)).await;
        });
        run.elapsed(Span::from_secs(10)).await;
        assert_eq!((timer() - began).as_secs(), 1_010);
        let ten = Span::from_secs(10);
        assert_eq!((run.worked(), agent.worked()), (ten, ten));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_worked_before_is_taken_off() {
        let agent = Patience::default().below(Span::from_secs(30));
        let began = timer();
        agent.elapsed(Span::from_secs(40)).await;
        assert_eq!((timer() - began).as_secs(), 10);
        assert_eq!(agent.worked(), Span::from_secs(40));
        agent.elapsed(Span::from_secs(20)).await;
        assert_eq!((timer() - began).as_secs(), 10, "nothing is left");
    }
}
