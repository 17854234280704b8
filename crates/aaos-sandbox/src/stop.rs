//! A call's end, told to everything that works for it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::Notify;

/// Says once and for good that a call is over: at its deadline, when it is dropped, when its worker stops.
/// Work on a blocking thread cannot be dropped from outside; it asks here at every step instead.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stopped: AtomicBool,
    bell: Notify,
}

impl Stop {
    /// Ends the call. A second time changes nothing.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        self.0.bell.notify_waiters();
    }

    /// Whether the call is over.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire)
    }

    /// Waits until the call is over.
    pub async fn stopped(&self) {
        loop {
            let bell = self.0.bell.notified();
            if self.is_stopped() {
                return;
            }
            bell.await;
        }
    }
}

/// Stops its call when it is dropped, so that a call whose caller has gone away does not go on.
#[derive(Debug)]
pub(crate) struct StopOnDrop(pub(crate) Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
