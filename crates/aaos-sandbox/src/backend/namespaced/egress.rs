//! The daemon's end of the egress broker: starts the process, hands it workers' doorbells, answers its questions.
//!
//! Refuses: deciding. Every question goes to the gate of the call it is for, and is refused if there is none. A broker
//! that says what makes no sense is killed; what it did for workers ends with it.

use super::guard::Guard;
use super::limits::LAUNCH_ATTEMPTS_MAX;
use crate::{
    protocol::{
        EgressOrder, EgressReport, VERSION, Verdict,
        packets::{self, Packets},
    },
    stop::Stop,
};
use aaos_core::{capability::Need, id::CallId};
use aaos_ports::{Admitted, Connection, Gate, LaunchError, PowerError};
use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::{JoinHandle, JoinSet},
    time,
};
use url::Url;

/// The system calls that the broker's process keeps.
pub const PROFILE: &str = include_str!("../../profile/egress.toml");
/// Most questions of one worker that wait for their gate: its fetches and tunnels, with room for some given up.
const ASKS_MAX: usize = 128;
/// Most orders that wait to be sent; a broker that takes none for so long is stuck.
const ORDERS_MAX: usize = 4096;
/// Longest time the process has to confine itself and say so. A cold start takes some tens of milliseconds.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// Most bytes of a question that its refusal repeats.
const NEED_BYTES_MAX: usize = 512;
/// Most bytes of the axis a refusal names.
const AXIS_BYTES_MAX: usize = 64;
/// Most bytes of a refusal's reason.
const REASON_BYTES_MAX: usize = 2048;
/// Most bytes of all secrets of one admission, so that they fit a packet.
const SECRETS_BYTES_MAX: usize = 32 * 1024;

/// Knows the gates of one worker's calls.
pub trait Asker: Send + Sync {
    /// The gate of a call in flight; for none, of the one call that runs programs.
    fn gate(&self, call: Option<CallId>) -> Option<Arc<dyn Gate>>;
}

/// The egress broker. Its process starts with the first worker that needs it, and again when it was lost.
pub struct Egress {
    binary: PathBuf,
    guard: Arc<Guard>,
    broker: tokio::sync::Mutex<Option<Arc<Broker>>>,
    workers: AtomicU64,
}

impl Egress {
    /// A broker that runs this binary, and holds this lock as long as it lives. Starts nothing yet.
    #[must_use]
    pub fn new(binary: PathBuf, guard: Arc<Guard>) -> Self {
        Self {
            binary,
            guard,
            broker: tokio::sync::Mutex::new(None),
            workers: AtomicU64::new(0),
        }
    }

    /// Makes a doorbell for one worker: what keeps it served, and the worker's end.
    ///
    /// # Errors
    /// The broker could not be started, or says that it cannot be confined.
    pub async fn attach(&self, asker: Arc<dyn Asker>) -> Result<(Attached, OwnedFd), LaunchError> {
        for _ in 0..LAUNCH_ATTEMPTS_MAX {
            if let Some(made) = self.hand_over(Arc::clone(&asker)).await? {
                return Ok(made);
            }
        }
        Err(lost())
    }

    /// As [`Egress::attach`]; none if the broker was lost meanwhile, which says nothing of the next.
    async fn hand_over(
        &self,
        asker: Arc<dyn Asker>,
    ) -> Result<Option<(Attached, OwnedFd)>, LaunchError> {
        let broker = self.broker().await?;
        let (ours, theirs) = packets::pair().map_err(|error| {
            unfit(
                format!("no doorbell for the egress broker: {error}"),
                "see whether the daemon has too many open files (`ulimit -n`)",
            )
        })?;
        let worker = self.workers.fetch_add(1, Ordering::Relaxed);
        // Made first: from here on, dropping it takes the worker back.
        let attached = Attached { worker, broker };
        attached.broker.desk.routes().insert(
            worker,
            Route {
                asker,
                turns: Arc::new(Semaphore::new(ASKS_MAX)),
                gone: Stop::default(),
            },
        );
        let order = Outgoing {
            order: EgressOrder::Worker { worker },
            descriptor: Some(ours),
        };
        let taken = attached.broker.desk.orders.send(order).await.is_ok();
        Ok(taken.then_some((attached, theirs)))
    }

    /// Starts the process unless it runs.
    ///
    /// # Errors
    /// As [`Egress::attach`].
    pub async fn warm(&self) -> Result<(), LaunchError> {
        self.broker().await.map(|_| ())
    }

    /// The process number of the broker, if it runs and nobody is just starting it.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let held = self.broker.try_lock().ok()?;
        held.as_ref()
            .filter(|broker| broker.is_live())
            .map(|broker| broker.pid)
    }

    async fn broker(&self) -> Result<Arc<Broker>, LaunchError> {
        let mut held = self.broker.lock().await;
        if let Some(broker) = held.as_ref().filter(|broker| broker.is_live()) {
            return Ok(Arc::clone(broker));
        }
        // The one that was lost is gone, and its process with it, before there is another.
        *held = None;
        let guard = self.guard.held().await?;
        let mut attempts = 1;
        let broker = loop {
            match Broker::start(&self.binary, guard).await {
                Err(Unready::Ended(error)) if attempts < LAUNCH_ATTEMPTS_MAX => {
                    attempts += 1;
                    tracing::warn!(%error, "the egress broker vanished while it was started");
                }
                started => break started.map_err(Unready::into_error)?,
            }
        };
        Ok(Arc::clone(held.insert(Arc::new(broker))))
    }
}

/// Keeps one worker's way out open. Dropping it ends everything the broker does for that worker.
pub struct Attached {
    worker: u64,
    broker: Arc<Broker>,
}

impl Attached {
    /// Whether the broker that holds the doorbell still runs. Once it does not, only a new worker gets out again.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.broker.is_live()
    }

    /// Says when the broker that holds the doorbell is over.
    pub(super) fn end(&self) -> Stop {
        self.broker.end.clone()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let desk = &self.broker.desk;
        if let Some(route) = desk.routes().remove(&self.worker) {
            route.gone.stop();
        }
        let gone = Outgoing::plain(EgressOrder::Gone {
            worker: self.worker,
        });
        if desk.orders.try_send(gone).is_err() {
            // It takes no orders, or is no more; a worker's way out is not left open.
            self.broker.end.stop();
        }
    }
}

/// An order on its way to the broker.
struct Outgoing {
    order: EgressOrder,
    descriptor: Option<OwnedFd>,
}

impl Outgoing {
    const fn plain(order: EgressOrder) -> Self {
        Self {
            order,
            descriptor: None,
        }
    }
}

/// Where one worker's questions go.
#[derive(Clone)]
struct Route {
    asker: Arc<dyn Asker>,
    turns: Arc<Semaphore>,
    gone: Stop,
}

/// A broker's process and the conversation with it.
struct Broker {
    pid: u32,
    desk: Arc<Desk>,
    end: Stop,
    conversation: JoinHandle<()>,
    process: Arc<Process>,
}

/// Why a broker is not there.
enum Unready {
    /// It ended while it was started; another attempt may do.
    Ended(LaunchError),
    /// It cannot be had.
    Unfit(LaunchError),
}

impl From<LaunchError> for Unready {
    fn from(error: LaunchError) -> Self {
        Self::Unfit(error)
    }
}

impl Unready {
    fn into_error(self) -> LaunchError {
        match self {
            Self::Ended(error) | Self::Unfit(error) => error,
        }
    }
}

impl Broker {
    async fn start(binary: &Path, guard: Option<BorrowedFd<'_>>) -> Result<Self, Unready> {
        let (process, line) = spawn(binary).map_err(|error| {
            unfit(
                format!(
                    "the egress broker {} does not start: {error}",
                    binary.display()
                ),
                "install `aaos-egress` beside `agentd`, from the same release",
            )
        })?;
        let process = Arc::new(process);
        hello(&line).await?;
        if guard.is_some() {
            let sent = line.send(&EgressOrder::Hold, guard).await;
            sent.map_err(|_| Unready::Ended(lost()))?;
        }
        let (orders, queue) = mpsc::channel(ORDERS_MAX);
        let desk = Arc::new(Desk {
            orders,
            routes: Mutex::default(),
        });
        let end = Stop::default();
        let conversation = converse(
            Arc::clone(&desk),
            line,
            queue,
            end.clone(),
            Arc::clone(&process),
        );
        Ok(Self {
            pid: process.pid,
            desk,
            end,
            conversation: tokio::spawn(conversation),
            process,
        })
    }

    fn is_live(&self) -> bool {
        !self.end.is_stopped()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end.stop();
        self.conversation.abort();
        self.process.end();
    }
}

/// The broker's process; gone and reaped when this is dropped.
struct Process {
    pid: u32,
    child: Mutex<Option<Child>>,
}

impl Process {
    /// Kills it and waits for it. A second time does nothing.
    fn end(&self) {
        let child = self
            .child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut child) = child {
            // It may have ended by itself; then there is nothing to kill and still something to reap.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(binary: &Path) -> io::Result<(Process, Packets)> {
    let (ours, theirs) = packets::pair()?;
    let line = Packets::new(ours)?;
    let child = Command::new(binary)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()?;
    let process = Process {
        pid: child.id(),
        child: Mutex::new(Some(child)),
    };
    Ok((process, line))
}

/// Waits for the broker's first word.
async fn hello(line: &Packets) -> Result<(), Unready> {
    let Ok(first) = time::timeout(HELLO_WITHIN, line.next::<EgressReport>()).await else {
        let missing = format!(
            "the egress broker said nothing within {} s",
            HELLO_WITHIN.as_secs()
        );
        return Err(unfit(missing, "see whether the machine is overloaded").into());
    };
    let error = match first {
        Ok(Some((EgressReport::Hello { version: VERSION }, _))) => return Ok(()),
        Ok(Some((EgressReport::Hello { version }, _))) => unfit(
            format!(
                "the egress broker speaks version {version} of the protocol, the daemon {VERSION}"
            ),
            "install `agentd` and `aaos-egress` from one release",
        ),
        Ok(Some((EgressReport::Unfit { missing, next_step }, _))) => unfit(
            format!("the egress broker cannot be confined: {missing}"),
            &next_step,
        ),
        Ok(None) => {
            return Err(Unready::Ended(unfit(
                "the egress broker ended before its first word".to_owned(),
                "start `aaos-egress` by hand to see why; see also the daemon's standard error",
            )));
        }
        _ => unfit(
            "the egress broker's first word makes no sense".to_owned(),
            "install `agentd` and `aaos-egress` from one release",
        ),
    };
    Err(error.into())
}

fn unfit(missing: String, next_step: &str) -> LaunchError {
    LaunchError {
        layer: None,
        missing,
        next_step: next_step.to_owned(),
    }
}

fn lost() -> LaunchError {
    unfit(
        "the egress broker was lost while a worker was handed to it".to_owned(),
        "try again: the next launch starts another",
    )
}

/// Carries orders and reports until either end is over, then sees to it that the process is gone.
async fn converse(
    desk: Arc<Desk>,
    line: Packets,
    mut queue: mpsc::Receiver<Outgoing>,
    end: Stop,
    process: Arc<Process>,
) {
    tokio::select! {
        () = desk.read(&line) => {}
        () = write(&line, &mut queue) => {}
        () = end.stopped() => {}
    }
    end.stop();
    desk.close();
    let _ = tokio::task::spawn_blocking(move || process.end()).await;
}

async fn write(line: &Packets, queue: &mut mpsc::Receiver<Outgoing>) {
    while let Some(Outgoing { order, descriptor }) = queue.recv().await {
        let descriptor = descriptor.as_ref().map(AsFd::as_fd);
        if line.send(&order, descriptor).await.is_err() {
            return;
        }
    }
}

/// Answers the broker's questions.
struct Desk {
    orders: mpsc::Sender<Outgoing>,
    routes: Mutex<BTreeMap<u64, Route>>,
}

impl Desk {
    fn routes(&self) -> MutexGuard<'_, BTreeMap<u64, Route>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn route(&self, worker: u64) -> Option<Route> {
        self.routes().get(&worker).cloned()
    }

    fn close(&self) {
        for route in std::mem::take(&mut *self.routes()).into_values() {
            route.gone.stop();
        }
    }

    /// Reads reports to their end. Questions are answered side by side; reading never waits for one.
    async fn read(&self, line: &Packets) {
        let mut answers = JoinSet::new();
        while let Ok(Some((report, _))) = line.next::<EgressReport>().await {
            while answers.try_join_next().is_some() {}
            match report {
                EgressReport::Ask {
                    ask,
                    worker,
                    call,
                    method,
                    url,
                } => {
                    let (route, orders) = (self.route(worker), self.orders.clone());
                    answers.spawn(async move {
                        let verdict = judge(route, call, method, &url).await;
                        let order = Outgoing::plain(EgressOrder::Verdict { ask, verdict });
                        // If the conversation is over, so is the question.
                        let _ = orders.send(order).await;
                    });
                }
                EgressReport::Note {
                    note,
                    worker,
                    call,
                    connection,
                } => {
                    self.note(worker, call, connection);
                    let order = Outgoing::plain(EgressOrder::Noted { note });
                    if self.orders.send(order).await.is_err() {
                        return;
                    }
                }
                EgressReport::Hello { .. } | EgressReport::Unfit { .. } => return,
            }
        }
    }

    fn note(&self, worker: u64, call: Option<CallId>, connection: Connection) {
        let gate = self.route(worker).and_then(|route| route.asker.gate(call));
        if let Some(gate) = gate {
            gate.note(connection);
        }
    }
}

/// Takes a question to its gate.
async fn judge(route: Option<Route>, call: Option<CallId>, method: String, url: &str) -> Verdict {
    let over = || refused(&method, url, "call", "the call it is for is over");
    let Some(route) = route else { return over() };
    let Ok(_turn) = route.turns.try_acquire() else {
        let reason = format!("{ASKS_MAX} requests of this agent wait for an answer already");
        return refused(&method, url, "limit", &reason);
    };
    let Some(gate) = route.asker.gate(call) else {
        return over();
    };
    let Ok(parsed) = Url::parse(url) else {
        return refused(&method, url, "url", "it is no URL");
    };
    let need = Need::Http {
        method: method.clone(),
        url: parsed,
    };
    let admitted = tokio::select! {
        admitted = gate.admit(&need) => admitted,
        () = route.gone.stopped() => return over(),
    };
    match admitted {
        Ok(admitted) => allowed(admitted).unwrap_or_else(|| {
            refused(&method, url, "secret", "the secrets it names are too long")
        }),
        Err(PowerError::Denied { need, axis, reason }) => Verdict::Refused {
            need: aaos_core::text::preview(&need, NEED_BYTES_MAX),
            axis: aaos_core::text::preview(&axis, AXIS_BYTES_MAX),
            reason: aaos_core::text::preview(&reason, REASON_BYTES_MAX),
        },
        Err(other) => refused(&method, url, "gate", &other.to_string()),
    }
}

/// An admission as the broker is told it; none if it does not fit a packet.
fn allowed(admitted: Admitted) -> Option<Verdict> {
    let secrets: Vec<(String, String)> = admitted
        .secrets
        .into_iter()
        .map(|(name, value)| (name, value.expose().clone()))
        .collect();
    let bytes: usize = secrets
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    (bytes <= SECRETS_BYTES_MAX).then_some(Verdict::Allowed { secrets })
}

fn refused(method: &str, url: &str, axis: &str, reason: &str) -> Verdict {
    let need = format!("{method} {url}");
    Verdict::Refused {
        need: aaos_core::text::preview(&need, NEED_BYTES_MAX),
        axis: axis.to_owned(),
        reason: aaos_core::text::preview(reason, REASON_BYTES_MAX),
    }
}
