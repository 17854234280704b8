//! Ending: how a run, or an agent and everything below it, is told to end, and why. The first reason stands.

use aaos_core::failure::Failure;
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

/// Told once, heard by everything below. Clones are the same ending.
#[derive(Clone, Default)]
pub(crate) struct Ending {
    token: CancellationToken,
    reason: Arc<OnceLock<Failure>>,
    above: Option<Arc<Self>>,
}

/// Ends what it was made for when it is dropped, for the reason of whatever is above.
pub(crate) struct EndOnDrop(Ending);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.token.cancel();
    }
}

impl Ending {
    /// One that ends with this one, and may end before it.
    pub(crate) fn below(&self) -> Self {
        let above = Some(Arc::new(self.clone()));
        Self {
            token: self.token.child_token(),
            reason: Arc::default(),
            above,
        }
    }

    /// Tells everything below to end; the first reason stands.
    pub(crate) fn end(&self, why: Failure) {
        self.reason.get_or_init(|| why);
        self.token.cancel();
    }

    /// Waits until it is time to end, and says why.
    pub(crate) async fn ended(&self) -> Failure {
        self.token.cancelled().await;
        self.why()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Why it is to end: its own reason, or that of what is above.
    pub(crate) fn why(&self) -> Failure {
        match (self.reason.get(), &self.above) {
            (Some(reason), _) => reason.clone(),
            (None, Some(above)) => above.why(),
            (None, None) => Failure::Interrupted,
        }
    }

    pub(crate) fn on_drop(&self) -> EndOnDrop {
        EndOnDrop(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stands_and_reaches_everything_below() {
        let run = Ending::default();
        let (agent, other) = (run.below(), run.below());
        let child = agent.below();
        agent.end(Failure::Truncated);
        agent.end(Failure::Withheld);
        assert_eq!((child.has_ended(), child.why()), (true, Failure::Truncated));
        assert!(!run.has_ended() && !other.has_ended());
        run.end(Failure::Stopped);
        assert_eq!(
            (agent.why(), other.why()),
            (Failure::Truncated, Failure::Stopped)
        );
    }

    #[test]
    fn what_is_dropped_ends_for_the_reason_above() {
        let run = Ending::default();
        let child = run.below();
        drop(child.on_drop());
        run.end(Failure::Stopped);
        assert_eq!((child.has_ended(), child.why()), (true, Failure::Stopped));
    }
}
