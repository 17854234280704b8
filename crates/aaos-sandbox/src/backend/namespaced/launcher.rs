//! The daemon's end of the launcher: starts the process, orders workers of it, starts it again when it is gone.
//!
//! Refuses: a launcher of another version, and reports nobody asked for; a worker nobody waits for is killed.

use super::{
    guard::Guard,
    limits::{HELLO_WITHIN, LAUNCH_WITHIN, WORDS_BYTES_MAX},
    process::Process,
};
use crate::protocol::{
    Order, Report, VERSION, frame,
    packets::{self, Packets},
};
use aaos_core::{proof::Layer, text};
use aaos_ports::LaunchError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinHandle,
    time,
};

/// What one who repairs a half-replaced installation does.
const REINSTALL: &str = "reinstall aaOS, so that agentd and aaos-agent-worker are of one version, and restart the daemon";

/// Why there is no worker.
#[derive(Debug)]
pub(super) enum Fault {
    /// Whoever was to make it, or it itself, is gone; another attempt may do.
    Gone(String),
    /// The same, where what helps is known if it happens each time.
    Ended(LaunchError),
    /// It cannot be had.
    Refused(LaunchError),
}

impl From<LaunchError> for Fault {
    fn from(error: LaunchError) -> Self {
        Self::Refused(error)
    }
}

impl Fault {
    /// In the words of a launch that is given up.
    pub(super) fn into_error(self) -> LaunchError {
        match self {
            Self::Refused(error) | Self::Ended(error) => error,
            Self::Gone(what) => LaunchError {
                layer: None,
                missing: format!("a worker could not be started: {what}"),
                next_step: "see the daemon's standard error and the kernel's messages (`dmesg`), and try again"
                    .to_owned(),
            },
        }
    }
}

/// Orders workers. Its process starts with the first order, and again after it was lost.
pub(super) struct Launcher {
    binary: PathBuf,
    omit: Option<Layer>,
    guard: Arc<Guard>,
    starting: Semaphore,
    running: Mutex<Option<Arc<Running>>>,
}

impl Launcher {
    pub(super) const fn new(binary: PathBuf, omit: Option<Layer>, guard: Arc<Guard>) -> Self {
        Self {
            binary,
            omit,
            guard,
            starting: Semaphore::const_new(1),
            running: Mutex::new(None),
        }
    }

    /// Makes a worker whose end of its line is `line`.
    pub(super) async fn clone_worker(&self, line: OwnedFd) -> Result<Process, Fault> {
        let running = self.running().await?;
        let made = running.order(line, self.omit);
        match time::timeout(LAUNCH_WITHIN, made).await {
            Ok(made) => made,
            Err(_) => {
                // One that takes no orders is of no use to anyone; the next order starts another.
                running.talk.close();
                Err(Fault::Gone(format!(
                    "the launcher did not answer within {} s",
                    LAUNCH_WITHIN.as_secs()
                )))
            }
        }
    }

    /// The number of its process, if it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.current().map(|running| running.pid)
    }

    fn held(&self) -> MutexGuard<'_, Option<Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Option<Arc<Running>> {
        self.held()
            .as_ref()
            .filter(|running| running.talk.is_open())
            .map(Arc::clone)
    }

    async fn running(&self) -> Result<Arc<Running>, Fault> {
        if let Some(running) = self.current() {
            return Ok(running);
        }
        let turn = self.starting.acquire().await;
        let _turn = turn.map_err(|closed| Fault::Gone(closed.to_string()))?;
        if let Some(running) = self.current() {
            return Ok(running);
        }
        let held = self.guard.held().await?;
        let running = Arc::new(Running::start(&self.binary, held).await?);
        *self.held() = Some(Arc::clone(&running));
        Ok(running)
    }
}

/// A launcher's process and the conversation with it. Both end when this is dropped.
struct Running {
    pid: u32,
    talk: Arc<Talk>,
    next: AtomicU64,
    reader: JoinHandle<()>,
}

impl Running {
    async fn start(binary: &Path, held: Option<BorrowedFd<'_>>) -> Result<Self, Fault> {
        let path = binary.to_owned();
        let started = tokio::task::spawn_blocking(move || spawn(&path)).await;
        let started = started.map_err(|error| Fault::Gone(error.to_string()))?;
        let (reaper, pid, socket) = started.map_err(|error| LaunchError {
            layer: None,
            missing: format!(
                "the worker program {} does not start: {error}",
                binary.display()
            ),
            next_step: REINSTALL.to_owned(),
        })?;
        let packets = Packets::new(socket).map_err(|error| Fault::Gone(error.to_string()))?;
        hello(&packets, binary).await?;
        if let Some(held) = held {
            let sent = packets.send(&Order::Hold, Some(held)).await;
            sent.map_err(|error| Fault::Gone(error.to_string()))?;
        }
        let talk = Arc::new(Talk {
            packets,
            waiting: Mutex::new(Some(HashMap::new())),
            reaper,
        });
        let reader = tokio::spawn(read(Arc::clone(&talk)));
        Ok(Self {
            pid,
            talk,
            next: AtomicU64::new(1),
            reader,
        })
    }

    async fn order(&self, line: OwnedFd, omit: Option<Layer>) -> Result<Process, Fault> {
        let gone = || Fault::Gone("the launcher is gone".to_owned());
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, made) = oneshot::channel();
        let _registered = self.talk.register(id, answer).ok_or_else(gone)?;
        let order = Order::Start { id, omit };
        let sent = self.talk.packets.send(&order, Some(line.as_fd())).await;
        // The worker's end is the worker's alone: while a copy is open here, its end would not be seen.
        drop(line);
        if let Err(frame::FrameError::Io(error)) = &sent
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            // Whoever tries again gets another launcher, and need not wait until the reader has seen this one's end.
            drop(self.talk.waiting().take());
        }
        sent.map_err(|_| gone())?;
        Ok(made.await.map_err(|_| gone())??)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.reader.abort();
        self.talk.close();
    }
}

type Answer = oneshot::Sender<Result<Process, LaunchError>>;

/// What the reading and the ordering side share.
struct Talk {
    packets: Packets,
    /// Who waits for which worker; none once it is over.
    waiting: Mutex<Option<HashMap<u64, Answer>>>,
    reaper: Reaper,
}

impl Talk {
    fn waiting(&self) -> MutexGuard<'_, Option<HashMap<u64, Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_open(&self) -> bool {
        self.waiting().is_some()
    }

    fn register(&self, id: u64, answer: Answer) -> Option<Registered<'_>> {
        self.waiting().as_mut()?.insert(id, answer);
        Some(Registered { talk: self, id })
    }

    fn take(&self, id: u64) -> Option<Answer> {
        self.waiting().as_mut()?.remove(&id)
    }

    /// Ends it: whoever waits is told, and the process is gone.
    fn close(&self) {
        let waiting = self.waiting().take();
        drop(waiting);
        self.reaper.end();
    }
}

/// One who waits; taken off the list when dropped.
struct Registered<'a> {
    talk: &'a Talk,
    id: u64,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.talk.take(self.id);
    }
}

/// Reads reports until the line ends or one makes no sense.
async fn read(talk: Arc<Talk>) {
    while let Ok(Some((report, descriptor))) = talk.packets.next::<Report>().await {
        let (id, made) = match (report, descriptor) {
            (Report::Started { id, pid }, Some(handle)) => (id, Ok(Process::new(pid, handle))),
            (
                Report::Failed {
                    id,
                    layer,
                    missing,
                    next_step,
                },
                _,
            ) => (id, Err(unfit(layer, &missing, &next_step))),
            (Report::Hello { .. } | Report::Started { .. }, _) => break,
        };
        if let Some(answer) = talk.take(id) {
            // If nobody takes it, it is dropped here, and the worker killed with it.
            let _ = answer.send(made);
        }
    }
    let _ = tokio::task::spawn_blocking(move || talk.close()).await;
}

/// What a launcher or worker said it lacks, bounded.
pub(super) fn unfit(layer: Layer, missing: &str, next_step: &str) -> LaunchError {
    LaunchError {
        layer: Some(layer),
        missing: text::preview(missing, WORDS_BYTES_MAX),
        next_step: text::preview(next_step, WORDS_BYTES_MAX),
    }
}

/// A version that is not this daemon's.
pub(super) fn version_error(what: &str, found: u16) -> LaunchError {
    LaunchError {
        layer: None,
        missing: format!(
            "{what} speaks version {found} of the protocol, and this daemon version {VERSION}"
        ),
        next_step: REINSTALL.to_owned(),
    }
}

async fn hello(packets: &Packets, binary: &Path) -> Result<(), Fault> {
    let said = time::timeout(HELLO_WITHIN, packets.next::<Report>()).await;
    let what = format!("the worker program {}", binary.display());
    let problem = match said {
        Ok(Ok(Some((Report::Hello { version: VERSION }, _)))) => return Ok(()),
        Ok(Ok(Some((Report::Hello { version }, _)))) => {
            return Err(version_error(&what, version).into());
        }
        Ok(Ok(Some(_)) | Err(_)) => "says what makes no sense".to_owned(),
        Ok(Ok(None)) => {
            let missing = format!(
                "{what} ended before its first word; its reason is on the daemon's standard error"
            );
            return Err(Fault::Ended(LaunchError {
                layer: None,
                missing,
                next_step: REINSTALL.to_owned(),
            }));
        }
        Err(_) => format!("said nothing within {} s", HELLO_WITHIN.as_secs()),
    };
    Err(Fault::Refused(LaunchError {
        layer: None,
        missing: format!("{what} {problem}"),
        next_step: REINSTALL.to_owned(),
    }))
}

fn spawn(binary: &Path) -> io::Result<(Reaper, u32, OwnedFd)> {
    let (ours, theirs) = packets::pair()?;
    let child = Command::new(binary)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()?;
    let pid = child.id();
    Ok((Reaper(Mutex::new(Some(child))), pid, ours))
}

/// The launcher's process; killed and reaped when this is dropped.
struct Reaper(Mutex<Option<Child>>);

impl Reaper {
    fn end(&self) {
        let child = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut child) = child {
            // It may have ended by itself; then there is nothing to kill and still something to reap.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.end();
    }
}
