//! The door to a provider, shared by all who ask it: open while it answers; while it does not, one asks at a time and
//! the others wait for what that one finds, so that an outage ends without a storm.
//!
//! Whoever fails leaves the door, so that one request which always fails keeps nobody else out.

use crate::{fault::Fault, provider::Patience, retry::backoff};
use backon::ExponentialBackoff;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep, sleep_until},
};

/// The door to one provider.
pub(crate) struct Door {
    patience: Patience,
    shut: Mutex<Option<Shut>>,
    turn: Semaphore,
}

/// Why and how long it is shut.
struct Shut {
    backoff: ExponentialBackoff,
    /// When the next may ask.
    opens: Instant,
    fault: Fault,
}

/// The right to ask while the door is shut; gone when it is dropped.
pub(crate) struct Turn<'a>(#[expect(dead_code, reason = "held for its end")] SemaphorePermit<'a>);

impl Door {
    /// Open.
    pub(crate) fn new(patience: Patience) -> Self {
        Self {
            patience,
            shut: Mutex::new(None),
            turn: Semaphore::new(1),
        }
    }

    fn state(&self) -> MutexGuard<'_, Option<Shut>> {
        self.shut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What went wrong last, if the door is shut.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.state().as_ref().map(|shut| shut.fault.clone())
    }

    fn opens(&self) -> Option<Instant> {
        self.state().as_ref().map(|shut| shut.opens)
    }

    /// Waits until the door is open, or it is one's turn to ask whether the provider is back.
    pub(crate) async fn pass(&self) -> Option<Turn<'_>> {
        self.opens()?;
        let permit = self.turn.acquire().await.ok()?;
        sleep_until(self.opens()?).await;
        Some(Turn(permit))
    }

    /// The provider has answered, with whatever.
    pub(crate) fn open(&self) {
        *self.state() = None;
    }

    /// The provider has not answered, or asks to be left alone for so long. Those who had asked before it shut change
    /// nothing about when the next may ask.
    pub(crate) fn shut(&self, fault: &Fault, asked: Duration, turn: Option<&Turn<'_>>) {
        let mut state = self.state();
        if state.is_some() && turn.is_none() {
            return;
        }
        let mut backoff = state
            .take()
            .map_or_else(|| backoff(&self.patience), |shut| shut.backoff);
        let wait = backoff.next().unwrap_or_default().max(asked);
        *state = Some(Shut {
            backoff,
            opens: sleep(wait).deadline(),
            fault: fault.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Again;
    use aaos_core::failure::ProviderFault;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn down() -> Fault {
        Fault {
            fault: ProviderFault::Unreachable,
            status: None,
            message: "down".to_owned(),
            again: Again::Later(None),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_it_is_shut_one_asks_at_a_time_and_when_it_opens_all_pass() {
        let door = Door::new(Patience::default());
        door.shut(&down(), Duration::ZERO, None);
        let (asking, asked) = (AtomicU32::new(0), AtomicU32::new(0));
        let one = || async {
            let Some(turn) = door.pass().await else {
                return;
            };
            assert_eq!(asking.fetch_add(1, Ordering::SeqCst), 0, "two at once");
            sleep(Duration::from_millis(50)).await;
            asking.fetch_sub(1, Ordering::SeqCst);
            if asked.fetch_add(1, Ordering::SeqCst) < 9 {
                door.shut(&down(), Duration::ZERO, Some(&turn));
            } else {
                door.open();
            }
        };
        futures::future::join_all((0..100).map(|_| one())).await;
        assert_eq!(
            asked.load(Ordering::SeqCst),
            10,
            "the others passed an open door"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_asked_before_it_shut_do_not_make_the_wait_longer() {
        let door = Door::new(Patience::default());
        door.shut(&down(), Duration::ZERO, None);
        let opens = door.opens();
        for _ in 0..1_000 {
            door.shut(&down(), Duration::from_secs(60), None);
        }
        assert_eq!(door.opens(), opens);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_asks_before_the_wait_that_was_asked_for_is_over() {
        let door = Door::new(Patience::default());
        let asked = sleep(Duration::from_secs(60)).deadline();
        door.shut(&down(), Duration::from_secs(60), None);
        let turn = door.pass().await;
        assert!(turn.is_some() && sleep(Duration::ZERO).deadline() >= asked);
    }
}
