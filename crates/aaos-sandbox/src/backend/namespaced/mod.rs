//! The namespaced backend: every agent's tools run in a confined process of their own.
//!
//! The daemon's side: it starts the launcher, keeps a few workers ready, tells each what it is for, judges what it
//! shows, and carries calls to it. Refuses: running a tool in the daemon, a worker that does not show every layer the
//! operator requires, and anything a worker says that was not asked of it.

mod answer;
mod calls;
mod canary;
mod cgroup;
mod desk;
pub mod egress;
mod guard;
mod launcher;
mod limits;
mod line;
mod policy;
mod pool;
mod process;
mod session;
mod start;
mod worker;

pub use guard::Guard;
pub use limits::POOL_MAX;

use crate::{
    files::{BeneathFiles, OwnFiles},
    programs::Toolchain,
    protocol::Mask,
};
use aaos_core::{event::BackendName, id::ToolName, proof::Layer, tool::Placement};
use aaos_ports::{AnyTool, Backend, LaunchError, LaunchSpec, Worker};
use answer::Reading;
use async_trait::async_trait;
use canary::Bait;
use cgroup::Delegated;
use desk::AgentFiles;
use egress::Egress;
use launcher::{Fault, Launcher};
use limits::ACTS_ALL_MAX;
use pool::Pool;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, RwLock},
};
use tokio::sync::{OnceCell, Semaphore};
use worker::NamespacedWorker;

/// Its name.
pub const NAME: &str = "namespaced";

/// What the namespaced backend is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespacedConfig {
    /// The program `aaos-agent-worker`, absolute.
    pub worker: PathBuf,
    /// The program `aaos-egress`, absolute.
    pub egress: PathBuf,
    /// Layers without which no worker takes a call.
    pub require: BTreeSet<Layer>,
    /// Workers kept staged and waiting; 0 for none, at most [`POOL_MAX`].
    pub pool: usize,
    /// The layer to leave out, to see that its absence is noticed.
    pub omit: Option<Layer>,
    /// The runtime's own files, which no grant reaches.
    pub mask: Mask,
    /// The file whose lock one daemon and its processes hold, so that a daemon that was killed does nothing beside the next;
    /// none for a backend that shares nothing with any other.
    pub lock: Option<PathBuf>,
    /// Where granted programs are looked for.
    pub toolchain: Toolchain,
}

/// Runs tools in confined processes. Its processes end when it and all its workers are dropped.
pub struct Namespaced {
    house: Arc<House>,
}

/// What all workers share.
struct House {
    config: NamespacedConfig,
    tools: BTreeMap<ToolName, Arc<dyn AnyTool>>,
    own: Arc<OwnFiles>,
    pool: Pool,
    launcher: Arc<Launcher>,
    egress: Egress,
    bait: OnceCell<Bait>,
    delegated: OnceLock<Option<Delegated>>,
    /// Turns for file acts, of all workers.
    acts: Arc<Semaphore>,
    reading: Reading,
}

impl Namespaced {
    /// A backend whose workers can run these tools: those that the worker's program was built with. Starts nothing
    /// until the first launch or [`Namespaced::warm`].
    #[must_use]
    pub fn new(config: NamespacedConfig, tools: Vec<Arc<dyn AnyTool>>) -> Self {
        let guard = Arc::new(Guard::new(config.lock.clone()));
        let launcher = Launcher::new(config.worker.clone(), config.omit, Arc::clone(&guard));
        let launcher = Arc::new(launcher);
        let named = tools
            .into_iter()
            .map(|tool| (tool.spec().name.clone(), tool));
        Self {
            house: Arc::new(House {
                tools: named.collect(),
                own: Arc::new(OwnFiles::new(&config.mask.hidden, &config.mask.shown)),
                pool: Pool::new(Arc::clone(&launcher), config.pool),
                launcher,
                egress: Egress::new(config.egress.clone(), guard),
                bait: OnceCell::new(),
                delegated: OnceLock::new(),
                acts: Arc::new(Semaphore::new(ACTS_ALL_MAX)),
                reading: Reading::default(),
                config,
            }),
        }
    }

    /// Starts the launcher and fills the pool; returns when it is full. A launch does by itself what it needs of this.
    ///
    /// # Errors
    /// What was missing and what would fix it.
    pub async fn warm(&self) -> Result<(), LaunchError> {
        self.house.bait().await?;
        self.house.delegated();
        self.house.pool.fill().await.map_err(Fault::into_error)
    }

    /// The number of the launcher's process, if it runs.
    #[must_use]
    pub fn launcher_pid(&self) -> Option<u32> {
        self.house.launcher.pid()
    }

    /// The number of the egress broker's process, if it runs.
    #[must_use]
    pub fn egress_pid(&self) -> Option<u32> {
        self.house.egress.pid()
    }

    /// How many workers are staged and wait.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.house.pool.ready()
    }
}

impl House {
    async fn bait(&self) -> Result<&Bait, LaunchError> {
        let programs = [self.config.worker.as_path(), self.config.egress.as_path()];
        self.bait.get_or_try_init(|| Bait::lay(&programs)).await
    }

    /// The control group to divide among workers, if one was delegated.
    fn delegated(&self) -> Option<&Delegated> {
        let take = || {
            let own = fs::read_to_string(cgroup::OWN).ok()?;
            Delegated::take(Path::new(cgroup::MOUNT), &own, std::process::id())
        };
        self.delegated.get_or_init(take).as_ref()
    }

    /// Opens the directories an agent was granted.
    async fn files(&self, spec: &LaunchSpec) -> Result<AgentFiles, LaunchError> {
        let (own, spec) = (Arc::clone(&self.own), spec.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let folder = spec.folder.as_str();
            let anchors = spec.anchors.iter().map(String::as_str).chain([folder]);
            BeneathFiles::new(&spec.capabilities, &spec.base, anchors)
                .map(|files| files.without(own))
        });
        let files = opened.await.map_err(|error| LaunchError {
            layer: None,
            missing: format!("a thread to open the granted directories: {error}"),
            next_step: "see the daemon's standard error, and start the run again".to_owned(),
        })??;
        Ok(Arc::new(RwLock::new(files)))
    }
}

#[async_trait]
impl Backend for Namespaced {
    fn name(&self) -> BackendName {
        BackendName(NAME.to_owned())
    }

    fn surface(&self) -> Placement {
        Placement::Worker
    }

    async fn launch(&self, spec: LaunchSpec) -> Result<Box<dyn Worker>, LaunchError> {
        let house = Arc::clone(&self.house);
        let held = spec.capabilities.clone();
        let (session, files) = start::start(&house, &spec, held, house.files(&spec)).await?;
        Ok(Box::new(NamespacedWorker::new(house, spec, files, session)))
    }
}
