//! Workers that are staged and wait to be told what they are for.
//!
//! Refuses: handing out one that died while it waited, and staging more at once than the machine has processors.

use super::{
    launcher::{Fault, Launcher, unfit, version_error},
    limits::{LAUNCH_WITHIN, POOL_MAX},
    line::Inbox,
    process::Process,
};
use crate::protocol::{FromWorker, VERSION};
use std::{
    collections::VecDeque,
    os::{fd::OwnedFd, unix::net},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
};
use tokio::{
    net::UnixStream,
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time,
};

/// A worker in its namespaces that has not been told what it is for.
#[derive(Debug)]
pub(super) struct StagedWorker {
    pub(super) line: Arc<UnixStream>,
    pub(super) inbox: Inbox,
    pub(super) process: Process,
}

/// Keeps workers ready.
pub(super) struct Pool {
    shared: Arc<Shared>,
    refill: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    launcher: Arc<Launcher>,
    size: usize,
    ready: Mutex<VecDeque<StagedWorker>>,
    wanted: Notify,
    /// One turn per worker that is being made.
    turns: Arc<Semaphore>,
}

impl Pool {
    pub(super) fn new(launcher: Arc<Launcher>, size: usize) -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self {
            shared: Arc::new(Shared {
                launcher,
                size: size.min(POOL_MAX),
                ready: Mutex::default(),
                wanted: Notify::new(),
                turns: Arc::new(Semaphore::new(processors)),
            }),
            refill: Mutex::new(None),
        }
    }

    /// Waits for a turn to make a worker. Launches queue here, however many they are.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, Fault> {
        Ok(Turn {
            pool: self,
            _turn: self.shared.turn().await?,
        })
    }

    /// Fills it up and returns when it is full.
    pub(super) async fn fill(&self) -> Result<(), Fault> {
        self.shared.fill().await?;
        self.ask_refill();
        Ok(())
    }

    /// How many wait.
    pub(super) fn ready(&self) -> usize {
        self.shared.ready().len()
    }

    /// Wakes the task that refills, and starts it if there is none.
    fn ask_refill(&self) {
        if self.shared.size == 0 {
            return;
        }
        self.shared.wanted.notify_one();
        let mut refill = self.refill.lock().unwrap_or_else(PoisonError::into_inner);
        if refill.as_ref().is_none_or(JoinHandle::is_finished) {
            // Where there is no runtime, nobody launches either; who launches next asks again.
            let runtime = Handle::try_current().ok();
            *refill = runtime.map(|runtime| runtime.spawn(keep_full(Arc::downgrade(&self.shared))));
        }
    }
}

/// The turn to make one worker. Whoever has it goes first: the pool is refilled when it is over.
pub(super) struct Turn<'a> {
    pool: &'a Pool,
    _turn: OwnedSemaphorePermit,
}

impl Turn<'_> {
    /// A staged worker, and whether it had been waiting.
    pub(super) async fn take(&self) -> Result<(StagedWorker, bool), Fault> {
        match self.pool.shared.pop() {
            Some(worker) => Ok((worker, true)),
            None => Ok((stage(&self.pool.shared.launcher).await?, false)),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.pool.ask_refill();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let refill = self
            .refill
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(refill) = refill.take() {
            refill.abort();
        }
    }
}

impl Shared {
    fn ready(&self) -> MutexGuard<'_, VecDeque<StagedWorker>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Fault> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        turn.map_err(|closed| Fault::Gone(closed.to_string()))
    }

    /// The one that waited longest and still lives.
    fn pop(&self) -> Option<StagedWorker> {
        loop {
            let mut worker = self.ready().pop_front()?;
            if worker.is_waiting() {
                return Some(worker);
            }
        }
    }

    /// Stages what is missing, as many at once as there are turns.
    async fn fill(&self) -> Result<(), Fault> {
        let missing = self.size.saturating_sub(self.ready().len());
        let made = (0..missing).map(|_| async {
            let _turn = self.turn().await?;
            let worker = stage(&self.launcher).await?;
            self.ready().push_back(worker);
            Ok(())
        });
        futures::future::join_all(made).await.into_iter().collect()
    }
}

/// Refills each time something was taken. After a failure it waits to be asked again.
async fn keep_full(shared: Weak<Shared>) {
    loop {
        let Some(here) = shared.upgrade() else { return };
        let _tried = here.fill().await;
        here.wanted.notified().await;
    }
}

impl StagedWorker {
    /// Whether it lives and says nothing, as it should.
    fn is_waiting(&mut self) -> bool {
        let mut probe = [0; 1];
        let seen = self.line.try_read(&mut probe);
        matches!(seen, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Waits for its next word before it is in use.
    pub(super) async fn word(&mut self) -> Result<FromWorker, Fault> {
        let said = time::timeout(LAUNCH_WITHIN, self.inbox.next(&self.line)).await;
        match said {
            Ok(Ok(Some(FromWorker::Unfit {
                layer,
                missing,
                next_step,
            }))) => Err(unfit(layer, &missing, &next_step).into()),
            Ok(Ok(Some(word))) => Ok(word),
            Ok(Ok(None)) => Err(Fault::Gone("it ended before it was ready".to_owned())),
            Ok(Err(error)) => Err(Fault::Gone(error.to_string())),
            Err(_) => Err(Fault::Refused(aaos_ports::LaunchError {
                layer: None,
                missing: format!("a worker said nothing within {} s", LAUNCH_WITHIN.as_secs()),
                next_step: "see whether the machine is overloaded, and try again".to_owned(),
            })),
        }
    }
}

/// Makes one worker and waits until it is staged. Dropping the future ends it.
async fn stage(launcher: &Launcher) -> Result<StagedWorker, Fault> {
    let system = |error: std::io::Error| Fault::Gone(error.to_string());
    let (ours, theirs) = net::UnixStream::pair().map_err(system)?;
    ours.set_nonblocking(true).map_err(system)?;
    let process = launcher.clone_worker(OwnedFd::from(theirs)).await?;
    let mut worker = StagedWorker {
        line: Arc::new(UnixStream::from_std(ours).map_err(system)?),
        inbox: Inbox::default(),
        process,
    };
    match worker.word().await? {
        FromWorker::Staged { version: VERSION } => Ok(worker),
        FromWorker::Staged { version } => Err(version_error("a worker", version).into()),
        _ => Err(Fault::Gone("its first word makes no sense".to_owned())),
    }
}
