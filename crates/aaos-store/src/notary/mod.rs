//! The notary: signs where the journal ends, from time to time, so that an end cut off and a history computed anew show.
//!
//! Refuses a key that others than its owner can read. The key stays in the daemon's memory and in its file, which the
//! state directory hides from workers like everything else in it. What it cannot do: protect from whoever can read the
//! key; a signed head kept on another machine still tells then.

mod head;
mod key;

pub use head::{HEAD_FILE, SignedHead};
pub(crate) use head::{check_reach, hash_at, load_head, store_head, unsigned_head};
pub use key::{KEY_FILE, Key, PUBLIC_FILE};
pub(crate) use key::{load_public, verify};

use crate::Store;
use aaos_core::event::Seq;
use aaos_ports::{Clock, JournalError};
use std::{num::NonZeroU64, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};

/// How often the journal's end is signed.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// After so many new events at the latest.
    pub events: NonZeroU64,
    /// After so long at the latest, if there is anything new.
    pub every: Duration,
}

impl Pace {
    /// What suits one daemon on one machine: a signature is one durable append and one small file, so a thousand events
    /// or a minute apart they cost nothing that shows, and a cut takes no more than that unseen.
    #[must_use]
    pub fn standard() -> Self {
        Self {
            events: NonZeroU64::new(1_000).unwrap_or(NonZeroU64::MIN),
            every: Duration::from_secs(60),
        }
    }
}

/// Signs until it is closed.
#[derive(Debug)]
pub struct Notary {
    stop: watch::Sender<bool>,
    signing: Option<JoinHandle<()>>,
}

impl Notary {
    /// Starts the task that signs.
    #[must_use]
    pub fn start(store: Arc<Store>, clock: Arc<dyn Clock>, key: Key, pace: Pace) -> Self {
        let stop = watch::Sender::new(false);
        let round = Round {
            store,
            clock,
            key,
            pace,
            stop: stop.subscribe(),
        };
        let signing = Some(tokio::spawn(round.run()));
        Self { stop, signing }
    }

    /// Signs once more if there is anything new, and ends.
    pub async fn close(mut self) {
        self.stop.send_replace(true);
        if let Some(signing) = self.signing.take()
            && signing.await.is_err()
        {
            tracing::error!("the notary ended early");
        }
    }
}

impl Drop for Notary {
    fn drop(&mut self) {
        if let Some(signing) = &self.signing {
            signing.abort();
        }
    }
}

struct Round {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    key: Key,
    pace: Pace,
    stop: watch::Receiver<bool>,
}

impl Round {
    async fn run(mut self) {
        let mut signed = self.sign().await;
        loop {
            let enough = signed.0.saturating_add(self.pace.events.get());
            let open = tokio::select! {
                open = self.store.reaches(enough) => open,
                () = tokio::time::sleep(self.pace.every) => true,
                _ = async { self.stop.wait_for(|stop| *stop).await.is_ok() } => {
                    self.sign().await;
                    return;
                }
            };
            if !open {
                return;
            }
            signed = self.sign().await;
        }
    }

    /// Signs if there is anything new; answers where to count new events from. After a failure it is tried again with
    /// the next ones.
    async fn sign(&self) -> Seq {
        let before = self.store.head();
        match self.store.sign_head(&self.key, self.clock.now()).await {
            // The event that says so is not new.
            Ok(Some(signed)) => Seq(signed.seq.saturating_add(1)),
            Ok(None) | Err(JournalError::Closed) => before,
            Err(error) => {
                tracing::error!(%error, "the journal's end was not signed");
                before
            }
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes from lower-case hexadecimal digits, exactly `N` of them.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    };
    let pairs = text.as_bytes();
    if pairs.len() != N.checked_mul(2)? {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(pairs.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}
