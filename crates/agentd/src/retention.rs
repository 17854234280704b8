//! Retention: erases the content of runs whose time is over, once at the start and then daily.
//!
//! What happened stays in the journal, with its hashes; what was said is gone. Runs that go on are never touched.

use aaos_core::{
    id::RunId,
    time::{Span, Timestamp},
};
use aaos_ports::Clock;
use aaos_store::Store;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Time between two looks: content is kept for days, so hours more make no difference.
const LOOK_TIME: Duration = Duration::from_secs(86_400);
/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// Shows runs no more whose content was erased.
pub(crate) type Forget = Arc<dyn Fn(&[RunId]) + Send + Sync>;

/// The task that erases.
pub(crate) struct Retention {
    closing: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Retention {
    /// Starts it.
    pub(crate) fn start(
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        days: u32,
        forget: Forget,
    ) -> Self {
        let closing = CancellationToken::new();
        let closed = closing.clone();
        let task = tokio::spawn(async move {
            let mut look = tokio::time::interval(LOOK_TIME);
            loop {
                tokio::select! {
                    _ = look.tick() => {}
                    () = closed.cancelled() => return,
                }
                tokio::select! {
                    () = erase_expired(&store, clock.as_ref(), days, &forget) => {}
                    () = closed.cancelled() => return,
                }
            }
        });
        Self { closing, task }
    }

    /// Erases no more. An erasure that was begun is finished by the next start.
    pub(crate) async fn close(self) {
        self.closing.cancel();
        let _ = self.task.await;
    }
}

/// The moment before which a run must have ended for its content to be erased.
fn due(now: Timestamp, days: u32) -> Timestamp {
    let kept = Span::from_secs(u64::from(days).saturating_mul(DAY_S));
    Timestamp::from_micros(now.micros().saturating_sub(kept.micros()))
}

async fn erase_expired(store: &Store, clock: &dyn Clock, days: u32, forget: &Forget) {
    let reason = format!("it ended more than {days} days ago");
    loop {
        let now = clock.now();
        match store.erase_expired(due(now, days), &reason, now).await {
            Ok(erased) if erased.runs.is_empty() => return,
            Ok(erased) => {
                forget(&erased.runs);
                tracing::info!(
                    runs = erased.runs.len(),
                    erased.events,
                    erased.bodies,
                    "the content of runs whose time is over was erased"
                );
            }
            Err(error) => {
                tracing::error!(%error, "the content of runs whose time is over could not be erased");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_kept_for_whole_days_and_a_clock_that_stands_at_its_beginning_erases_nothing() {
        let day = DAY_S * 1_000_000;
        let now = Timestamp::from_micros(100 * day + 5);
        assert_eq!(due(now, 90), Timestamp::from_micros(10 * day + 5));
        assert_eq!(
            due(Timestamp::from_micros(day), u32::MAX),
            Timestamp::from_micros(0)
        );
    }
}
