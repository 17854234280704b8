//! When one request is made again, and when that is given up.
//!
//! A provider that cannot be reached, is busy or is broken is asked again with growing, jittered waits, or after the wait
//! it asks for, until the patience with it is over. A reply that came only in part is asked for again whole, a bounded
//! number of times, because each may have to be paid for; whoever pays is asked before.

use crate::{
    fault::{Again, Fault},
    provider::Patience,
};
use aaos_core::time::Span;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::FutureExt;
use std::{pin::Pin, time::Duration};
use tokio::time::{Sleep, sleep};

/// Most times one reply is asked for again after it came only in part.
const PARTS_MAX: u32 = 5;

/// Waits that double, each with a random part.
pub(crate) fn backoff(patience: &Patience) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(patience.backoff_first.as_duration())
        .with_max_delay(patience.backoff_max.as_duration())
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

/// The attempts of one request, from its first trouble on.
pub(crate) struct Attempts {
    backoff: ExponentialBackoff,
    failed: u32,
    parts: u32,
    longest: Duration,
    /// Ends when the patience is over.
    end: Pin<Box<Sleep>>,
}

impl Attempts {
    /// None made yet; the patience, at most so long, begins now.
    pub(crate) fn new(patience: &Patience, longest: Span) -> Self {
        Self {
            backoff: backoff(patience),
            failed: 0,
            parts: 0,
            longest: longest.as_duration(),
            end: Box::pin(sleep(longest.as_duration())),
        }
    }

    /// How many have failed.
    pub(crate) const fn failed(&self) -> u32 {
        self.failed
    }

    /// How long the patience was, in whole seconds.
    pub(crate) const fn seconds(&self) -> u64 {
        self.longest.as_secs()
    }

    /// Waits for something, but not after the patience is over; none then.
    pub(crate) async fn within<T>(&mut self, waiting: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = waiting => Some(done),
            () = self.end.as_mut() => None,
        }
    }

    fn is_over(&mut self) -> bool {
        self.end.is_elapsed() || self.end.as_mut().now_or_never().is_some()
    }

    /// How long to wait before the next; none if this fault is final, or the wait would outlast the patience.
    pub(crate) fn wait_after(&mut self, fault: &Fault) -> Option<Duration> {
        self.failed = self.failed.saturating_add(1);
        if self.is_over() {
            return None;
        }
        let asked = match fault.again {
            Again::Never => return None,
            Again::Part => {
                self.parts += 1;
                if self.parts > PARTS_MAX {
                    return None;
                }
                Duration::ZERO
            }
            Again::Later(asked) => asked.unwrap_or_default(),
        };
        let wait = self.backoff.next()?.max(asked);
        (sleep(wait).deadline() <= self.end.deadline()).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aaos_core::failure::ProviderFault;

    fn fault(again: Again) -> Fault {
        Fault {
            fault: ProviderFault::Server,
            status: None,
            message: String::new(),
            again,
        }
    }

    fn attempts() -> Attempts {
        let patience = Patience::default();
        Attempts::new(&patience, patience.outage)
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_of_minutes_is_waited_out_with_few_attempts() {
        let (mut attempts, mut waited) = (attempts(), Duration::ZERO);
        while let Some(wait) = attempts.wait_after(&fault(Again::Later(None))) {
            sleep(wait).await;
            waited += wait;
        }
        let outage = Patience::default().outage.as_duration();
        assert!(waited <= outage && waited > outage / 10 * 9, "{waited:?}");
        assert!(attempts.failed() < 100, "{}", attempts.failed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_in_part_is_asked_for_a_bounded_number_of_times() {
        let mut attempts = attempts();
        let waits = std::iter::from_fn(|| attempts.wait_after(&fault(Again::Part))).count();
        assert_eq!(waits, PARTS_MAX as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_a_provider_asks_for_is_kept_if_the_patience_lasts_so_long() {
        let mut attempts = attempts();
        let asked = Duration::from_secs(200);
        let wait = attempts.wait_after(&fault(Again::Later(Some(asked))));
        assert!(wait >= Some(asked), "{wait:?}");
        let long = Duration::from_secs(3_600);
        assert_eq!(attempts.wait_after(&fault(Again::Later(Some(long)))), None);
        sleep(Duration::from_secs(500)).await;
        assert_eq!(attempts.wait_after(&fault(Again::Later(Some(asked)))), None);
    }
}
