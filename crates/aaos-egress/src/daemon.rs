//! The line to the daemon: questions out, verdicts in, notes acknowledged.
//!
//! Refuses: an answer of its own. When the daemon is gone there is no verdict, and nothing goes out.

use aaos_core::{capability::Need, id::CallId, secret::Secret};
use aaos_net::policy::URL_BYTES_MAX;
use aaos_ports::{Admitted, Connection, Gate, PowerError};
use aaos_sandbox::protocol::{EgressReport, Verdict, packets::Packets};
use async_trait::async_trait;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{Notify, mpsc, oneshot};

/// Most reports that wait to be sent. A daemon that takes none of so many is lost.
const REPORTS_MAX: usize = 4096;

/// The daemon, as the broker's parts see it.
pub(crate) struct Daemon {
    reports: mpsc::Sender<EgressReport>,
    asks: Waiting<Verdict>,
    notes: Waiting<()>,
    names: AtomicU64,
    lost: Notify,
}

/// Answers that are waited for, by the name of their question.
type Waiting<T> = Mutex<HashMap<u64, oneshot::Sender<T>>>;

fn locked<T>(waiting: &Waiting<T>) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<T>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets a question when nobody waits for its answer any longer.
struct Asked<'a> {
    daemon: &'a Daemon,
    ask: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        locked(&self.daemon.asks).remove(&self.ask);
    }
}

impl Daemon {
    pub(crate) fn new() -> (Arc<Self>, mpsc::Receiver<EgressReport>) {
        let (reports, queue) = mpsc::channel(REPORTS_MAX);
        let daemon = Self {
            reports,
            asks: Mutex::default(),
            notes: Mutex::default(),
            names: AtomicU64::new(0),
            lost: Notify::new(),
        };
        (Arc::new(daemon), queue)
    }

    /// Sends reports until the line breaks.
    pub(crate) async fn write(line: &Packets, queue: &mut mpsc::Receiver<EgressReport>) {
        while let Some(report) = queue.recv().await {
            if line.send(&report, None).await.is_err() {
                return;
            }
        }
    }

    /// Returns when the daemon takes no reports any longer.
    pub(crate) async fn lost(&self) {
        self.lost.notified().await;
    }

    pub(crate) fn verdict(&self, ask: u64, verdict: Verdict) {
        let waiting = locked(&self.asks).remove(&ask);
        // Whoever asked may have gone away meanwhile.
        let _ = waiting.map(|waiting| waiting.send(verdict));
    }

    pub(crate) fn noted(&self, note: u64) {
        let waiting = locked(&self.notes).remove(&note);
        let _ = waiting.map(|waiting| waiting.send(()));
    }

    fn name(&self) -> u64 {
        self.names.fetch_add(1, Ordering::Relaxed)
    }

    fn report(&self, report: EgressReport) {
        if self.reports.try_send(report).is_err() {
            self.lost.notify_one();
        }
    }
}

/// The gate of one call, or of a worker's programs: the daemon's, at the other end of the line.
pub(crate) struct FarGate {
    daemon: Arc<Daemon>,
    worker: u64,
    call: Option<CallId>,
    notes: Mutex<Vec<oneshot::Receiver<()>>>,
}

impl FarGate {
    pub(crate) fn new(daemon: Arc<Daemon>, worker: u64, call: Option<CallId>) -> Self {
        Self {
            daemon,
            worker,
            call,
            notes: Mutex::default(),
        }
    }

    /// Waits until every note has reached the call: after its answer the call may be over.
    pub(crate) async fn settled(&self) {
        let notes = std::mem::take(&mut *self.notes());
        for note in notes {
            // A daemon that is gone keeps no notes, and the broker ends with it.
            let _ = note.await;
        }
    }

    fn notes(&self) -> MutexGuard<'_, Vec<oneshot::Receiver<()>>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Gate for FarGate {
    async fn admit(&self, need: &Need) -> Result<Admitted, PowerError> {
        let Need::Http { method, url } = need else {
            return Err(denied(need, "kind", "only requests are made here"));
        };
        if url.as_str().len() > URL_BYTES_MAX {
            return Err(denied(need, "url", "the URL is too long"));
        }
        let (answer, waiting) = oneshot::channel();
        let ask = self.daemon.name();
        locked(&self.daemon.asks).insert(ask, answer);
        let _asked = Asked {
            daemon: &self.daemon,
            ask,
        };
        self.daemon.report(EgressReport::Ask {
            ask,
            worker: self.worker,
            call: self.call,
            method: method.clone(),
            url: url.to_string(),
        });
        match waiting.await {
            Ok(Verdict::Allowed { secrets }) => Ok(Admitted {
                secrets: secrets
                    .into_iter()
                    .map(|(name, value)| (name, Secret::new(value)))
                    .collect(),
            }),
            Ok(Verdict::Refused { need, axis, reason }) => {
                Err(PowerError::Denied { need, axis, reason })
            }
            Err(_) => Err(PowerError::Io {
                what: format!("asking whether {need} is granted"),
                message: "the egress broker was lost; call again".to_owned(),
            }),
        }
    }

    fn note(&self, connection: Connection) {
        let (answer, waiting) = oneshot::channel();
        let note = self.daemon.name();
        locked(&self.daemon.notes).insert(note, answer);
        self.notes().push(waiting);
        self.daemon.report(EgressReport::Note {
            note,
            worker: self.worker,
            call: self.call,
            connection,
        });
    }
}

fn denied(need: &Need, axis: &str, reason: &str) -> PowerError {
    PowerError::Denied {
        need: need.to_string(),
        axis: axis.to_owned(),
        reason: reason.to_owned(),
    }
}
