//! When to try again, and when to stop trying.
//!
//! Busy providers get a growing, jittered wait, or the wait they ask for if that is not too long. A provider
//! without a connection gets a few quick attempts and then fails within seconds: it is most likely not there.

use crate::{
    fault::{Again, Fault},
    provider::Patience,
};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::FutureExt;
use std::{pin::Pin, time::Duration};

/// Most attempts to connect after the first.
const CONNECT_RETRIES_MAX: u32 = 3;

/// The attempts of one request.
pub(crate) struct Attempts {
    backoff: ExponentialBackoff,
    failed: u32,
    wait_asked_max: Duration,
    /// Ends when connecting is not worth another attempt.
    unreachable: Pin<Box<tokio::time::Sleep>>,
}

impl Attempts {
    /// None made yet; the time for connecting starts now.
    pub(crate) fn new(patience: &Patience) -> Self {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(patience.backoff_first.as_duration())
            .with_max_delay(patience.backoff_max.as_duration())
            .with_factor(2.0)
            .with_jitter()
            .with_max_times(patience.retries_max as usize)
            .build();
        Self {
            backoff,
            failed: 0,
            wait_asked_max: patience.retry_after_max.as_duration(),
            unreachable: Box::pin(tokio::time::sleep(patience.unreachable.as_duration())),
        }
    }

    /// How many have failed.
    pub(crate) const fn failed(&self) -> u32 {
        self.failed
    }

    fn gave_up(&mut self) -> bool {
        self.unreachable.as_mut().now_or_never().is_some()
    }

    /// How long to wait before the next; none if this fault is final.
    pub(crate) fn wait_after(&mut self, fault: &Fault) -> Option<Duration> {
        self.failed += 1;
        match fault.again {
            Again::Never => None,
            Again::Connect if self.failed > CONNECT_RETRIES_MAX || self.gave_up() => None,
            Again::Later(Some(asked)) if asked > self.wait_asked_max => None,
            Again::Later(Some(asked)) => self.backoff.next().map(|own| own.max(asked)),
            Again::Connect | Again::Later(None) => self.backoff.next(),
        }
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

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_is_not_there_fails_within_seconds() {
        let mut attempts = Attempts::new(&Patience::default());
        let mut waited = Duration::ZERO;
        while let Some(wait) = attempts.wait_after(&fault(Again::Connect)) {
            waited += wait;
        }
        assert!(waited < Duration::from_secs(5), "{waited:?}");
        assert_eq!(attempts.failed(), CONNECT_RETRIES_MAX + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn connecting_is_given_up_when_its_time_is_over() {
        let mut attempts = Attempts::new(&Patience::default());
        tokio::time::sleep(Patience::default().unreachable.as_duration()).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(attempts.wait_after(&fault(Again::Connect)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_provider_is_asked_a_bounded_number_of_times() {
        let patience = Patience::default();
        let mut attempts = Attempts::new(&patience);
        let waits = std::iter::from_fn(|| attempts.wait_after(&fault(Again::Later(None)))).count();
        assert_eq!(waits, patience.retries_max as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_a_provider_asks_for_is_kept_up_to_a_bound() {
        let mut attempts = Attempts::new(&Patience::default());
        let asked = Duration::from_secs(20);
        let wait = attempts.wait_after(&fault(Again::Later(Some(asked))));
        assert!(wait >= Some(asked), "{wait:?}");
        let long = Duration::from_secs(3_600);
        assert_eq!(attempts.wait_after(&fault(Again::Later(Some(long)))), None);
    }
}
