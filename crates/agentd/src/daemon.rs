//! The daemon's life: compose, bind, serve, drain, end. Ends on SIGTERM, SIGINT, an order on the socket, or idleness.

use crate::{
    compose::{self, ComposeError, House},
    config::Config,
    limits::DRAIN_TIME,
    rpc::Front,
    socket::{self, SocketError},
};
use std::{sync::Arc, time::Duration};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Threads that run tasks. The daemon waits far more than it computes; blocking work has threads of its own.
const THREADS: usize = 2;
/// Most threads for blocking work: file tools of agents that run side by side.
const BLOCKING_THREADS_MAX: usize = 64;

/// Who started the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Starter {
    /// A person or a service manager, who sees what it writes.
    Operator,
    /// The command line, on demand; it leaves its starter's terminal.
    OnDemand,
}

/// Why the daemon did not start, or ended in error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    /// A part of it could not be made.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// There is no socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The system refused threads or signals.
    #[error("the system refused {what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// What it said.
        source: std::io::Error,
    },
}

/// Runs the daemon to its end.
///
/// # Errors
/// It did not start.
pub(crate) fn run(config: Config, starter: Starter) -> Result<(), DaemonError> {
    if starter == Starter::OnDemand {
        // Leads its own session, so that the terminal it was started from can close. Refused only if it leads one already.
        let _ = rustix::process::setsid();
    }
    keep_memory_private().map_err(|source| DaemonError::System {
        what: "to keep the daemon's memory from core dumps",
        source,
    })?;
    take_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .map_err(|source| DaemonError::System {
            what: "threads",
            source,
        })?;
    let result = runtime.block_on(live(Arc::new(config), starter));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// No core dump of this process, and no look into it by others of the same user number: it holds keys. What it starts
/// gets no core dumps either.
fn keep_memory_private() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// As many open files as this process may ask for: each worker takes a few, and the usual soft limit of 1024 is a bound
/// on nothing but them. A system that refuses leaves it as it was.
fn take_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let held = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: held.maximum,
        maximum: held.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        tracing::warn!(%error, "the limit of open files stays as it was");
    }
}

async fn live(config: Arc<Config>, starter: Starter) -> Result<(), DaemonError> {
    let failed = |source| DaemonError::System {
        what: "signals",
        source,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let Some(house) = open(&config, starter).await? else {
        return Ok(());
    };
    let listener = match socket::bind(&config.paths).await {
        Ok(listener) => listener,
        Err(error) => {
            house.drain("there is no socket", DRAIN_TIME).await;
            house.close().await;
            return Err(error.into());
        }
    };
    let front = Arc::clone(&house.front);
    tracing::info!(
        socket = %config.paths.socket.value.display(), state = %config.paths.state.value.display(),
        backend = front.backend, model = front.model_label, "ready"
    );
    let closing = CancellationToken::new();
    let serving = tokio::spawn(socket::serve(listener, Arc::clone(&front), closing.clone()));
    let reason = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = front.stop.wait() => "asked to stop",
        () = idle(&front) => "idle",
    };
    tracing::info!(reason, "ending");
    front.stop.give();
    // Runs end first, so that those who watch them see how.
    house.drain(reason, DRAIN_TIME).await;
    closing.cancel();
    let _ = serving.await;
    drop(front);
    // While the state directory is still this daemon's own: afterwards the socket could be the next one's.
    let _ = std::fs::remove_file(&config.paths.socket.value);
    house.close().await;
    Ok(())
}

/// Pause between two attempts to open a state directory that another daemon is just leaving.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Attempts: as long as a daemon may take to drain, and a little more.
const RETRIES_MAX: u32 = 140;

/// Composes the daemon. One started on demand waits for another that is just leaving the state directory, and is not
/// needed if another answers: then there is none.
async fn open(config: &Arc<Config>, starter: Starter) -> Result<Option<House>, DaemonError> {
    let mut attempts = 0;
    loop {
        match compose::house(Arc::clone(config)).await {
            Ok(house) => return Ok(Some(house)),
            Err(error)
                if starter == Starter::OnDemand && error.is_in_use() && attempts < RETRIES_MAX =>
            {
                if tokio::net::UnixStream::connect(&config.paths.socket.value)
                    .await
                    .is_ok()
                {
                    tracing::info!("another daemon answers already");
                    return Ok(None);
                }
                attempts += 1;
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns when nothing has gone on for the configured time; never in a daemon that does not end by itself.
async fn idle(front: &Front) {
    let Some(patience) = front.config.idle_exit() else {
        return std::future::pending().await;
    };
    loop {
        let (ever, runs) = (front.activity.connections_ever(), (front.runs_open)());
        tokio::time::sleep(patience).await;
        let quiet = front.activity.connections() == 0 && front.activity.connections_ever() == ever;
        if quiet && runs == 0 && (front.runs_open)() == 0 {
            return;
        }
    }
}
