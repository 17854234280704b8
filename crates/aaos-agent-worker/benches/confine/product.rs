//! The product, set up as the daemon sets it up: backends, an agent, a call.

use aaos_core::{
    id::{AgentId, CallId, RunId},
    proof::Layer,
};
use aaos_ports::{Backend, LaunchSpec, ToolOutput, Worker, WorkerCall, WorkerNote};
use aaos_sandbox::{
    InProcess,
    backend::namespaced::{Namespaced, NamespacedConfig},
    programs::Toolchain,
    protocol::Mask,
};
use aaos_testkit::{
    backend::{Notes, OpenGate},
    http::Pages,
};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tempfile::TempDir;

/// Bytes of the file that calls read.
pub(crate) const FILE_BYTES: usize = 4096;
/// Its name in the workspace.
pub(crate) const FILE: &str = "four.txt";
/// Numbers for agents and calls.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A directory of one's own, gone when dropped, with a workspace, a run's folder and a file to read.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) workspace: PathBuf,
    pub(crate) folder: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let workspace = dir.path().join("workspace");
        let folder = dir.path().join("run");
        std::fs::create_dir_all(&workspace).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        let line = "sixty-three bytes of a text, as long as a line of a program is\n";
        let mut text = line.repeat(FILE_BYTES / line.len() + 1);
        text.truncate(FILE_BYTES);
        std::fs::write(workspace.join(FILE), text).unwrap();
        Self {
            dir,
            workspace,
            folder,
        }
    }

    /// A backend of confined workers that keeps so many ready.
    pub(crate) fn namespaced(&self, pool: usize) -> Namespaced {
        let config = NamespacedConfig {
            egress: egress(),
            worker: worker(),
            require: Layer::required_by_default(),
            pool,
            omit: None,
            lock: None,
            mask: Mask::default(),
            toolchain: Toolchain {
                path: vec!["/usr/bin".into()],
                ..Toolchain::default()
            },
        };
        Namespaced::new(config, aaos_tools::builtin())
    }

    /// The backend without confinement.
    pub(crate) fn in_process(&self) -> InProcess {
        InProcess::new(aaos_tools::builtin(), Arc::new(Pages::default()))
    }

    /// What an agent of the profile `default` holds, but for the network.
    pub(crate) fn grants(&self) -> Vec<String> {
        [&self.workspace, &self.folder]
            .into_iter()
            .flat_map(|tree| {
                let tree = text(tree);
                [
                    format!("file_read: {tree}/**"),
                    format!("file_write: {tree}/**"),
                ]
            })
            .collect()
    }

    /// The same with the network; none if the egress broker is not built.
    pub(crate) fn online_grants(&self) -> Option<Vec<String>> {
        let mut grants = self.grants();
        grants.push("http: GET *".to_owned());
        egress().exists().then_some(grants)
    }

    /// Starts a worker for a new agent that holds these; answers what its witness was told, too.
    pub(crate) async fn launch(
        &self,
        backend: &dyn Backend,
        grants: &[String],
    ) -> (Box<dyn Worker>, Arc<Notes>) {
        let notes = Arc::new(Notes::default());
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let spec = LaunchSpec {
            agent: AgentId::from_drawn(number),
            run: RunId::from_drawn(1),
            capabilities: grants.iter().map(|grant| grant.parse().unwrap()).collect(),
            base: text(&self.workspace).to_owned(),
            folder: text(&self.folder).to_owned(),
            anchors: vec![text(&self.workspace).to_owned()],
            witness: Arc::<Notes>::clone(&notes),
        };
        let launched = backend.launch(spec).await;
        let worker = launched.unwrap_or_else(|error| panic!("no worker: {error}"));
        (worker, notes)
    }
}

/// The worker's program, built with the bench.
fn worker() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_aaos-agent-worker"))
}

/// The egress broker's program, where it is if it is built.
fn egress() -> PathBuf {
    worker().with_file_name("aaos-egress")
}

/// Whether a witness was told of a worker that had been kept ready.
pub(crate) fn was_pooled(notes: &Notes) -> bool {
    let noted = notes.noted();
    noted
        .iter()
        .any(|note| matches!(note, WorkerNote::Started { pooled: true, .. }))
}

/// Calls a tool, which has to succeed.
pub(crate) async fn call(worker: &dyn Worker, tool: &str, input: Value) -> ToolOutput {
    let call = WorkerCall {
        act: aaos_ports::Act::Perform,
        call: CallId::from_drawn(NEXT.fetch_add(1, Ordering::Relaxed)),
        tool: tool.parse().unwrap(),
        input,
        gate: Arc::new(OpenGate::default()),
        deadline: aaos_ports::tool::DEADLINE,
    };
    let called = worker.call(call).await;
    called.unwrap_or_else(|error| panic!("{tool}: {error}"))
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("the checkout's path is text")
}
