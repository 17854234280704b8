//! What the tests of a worker's life have in common: a backend, agents, calls, and a count of what is left behind.
#![allow(dead_code, reason = "each test program uses a part of it")]

use aaos_core::{
    capability::Capability,
    id::{AgentId, CallId, RunId},
    proof::Layer,
    time::Span,
};
use aaos_ports::{AnyTool, Backend, LaunchSpec, Worker, WorkerCall, WorkerNote};
use aaos_sandbox::{
    backend::namespaced::{Namespaced, NamespacedConfig},
    programs::Toolchain,
    protocol::Mask,
};
use aaos_testkit::backend::{Notes, OpenGate};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    future::Future,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Longest that anything here is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A backend over a worker program, with a pool of so many.
pub(crate) fn backend(worker: &Path, pool: usize, tools: Vec<Arc<dyn AnyTool>>) -> Namespaced {
    Namespaced::new(config(worker, pool), tools)
}

/// The configuration of one.
pub(crate) fn config(worker: &Path, pool: usize) -> NamespacedConfig {
    NamespacedConfig {
        worker: worker.to_owned(),
        egress: PathBuf::from("/nonexistent/aaos-egress"),
        require: Layer::required_by_default(),
        pool,
        omit: None,
        lock: None,
        mask: Mask::default(),
        toolchain: Toolchain::default(),
    }
}

/// An agent and what was noted of its worker.
pub(crate) struct Agent {
    pub(crate) worker: Box<dyn Worker>,
    pub(crate) notes: Arc<Notes>,
}

/// What an agent that holds these grants is launched with.
pub(crate) fn spec(grants: &[&str], notes: &Arc<Notes>) -> LaunchSpec {
    let capabilities: Vec<Capability> = grants.iter().map(|grant| grant.parse().unwrap()).collect();
    LaunchSpec {
        agent: AgentId::from_drawn(1),
        run: RunId::from_drawn(1),
        capabilities,
        base: "/".to_owned(),
        folder: "/nonexistent".to_owned(),
        anchors: Vec::new(),
        witness: Arc::<Notes>::clone(notes),
    }
}

/// Launches an agent.
pub(crate) async fn launch(backend: &Namespaced, grants: &[&str]) -> Agent {
    let notes = Arc::new(Notes::default());
    let worker = backend.launch(spec(grants, &notes)).await.unwrap();
    Agent { worker, notes }
}

/// A call with a deadline in milliseconds.
pub(crate) fn call_within(tool: &str, input: Value, deadline_ms: u64) -> WorkerCall {
    static DRAWN: AtomicU64 = AtomicU64::new(1);
    WorkerCall {
        act: aaos_ports::Act::Perform,
        call: CallId::from_drawn(DRAWN.fetch_add(1, Ordering::Relaxed)),
        tool: tool.parse().unwrap(),
        input,
        gate: Arc::new(OpenGate::default()),
        deadline: Span::from_millis(deadline_ms),
    }
}

/// A call with time enough.
pub(crate) fn call(tool: &str, input: Value) -> WorkerCall {
    call_within(tool, input, 30_000)
}

/// The reasons of the losses that were noted.
pub(crate) fn losses(notes: &Notes) -> Vec<String> {
    let lost = |note| match note {
        WorkerNote::Lost { reason } => Some(reason),
        _ => None,
    };
    notes.noted().into_iter().filter_map(lost).collect()
}

/// How many starts were noted.
pub(crate) fn starts(notes: &Notes) -> usize {
    let started = |note: &WorkerNote| matches!(note, WorkerNote::Started { .. });
    notes.noted().iter().filter(|note| started(note)).count()
}

/// Polls until something holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs a test on a runtime like the daemon's.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(test);
}

/// What a process may leave behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Left {
    /// Processes whose ancestor this one is, dead ones that nobody reaped included.
    pub(crate) processes: BTreeSet<u32>,
    /// Open descriptors of this process.
    pub(crate) descriptors: usize,
    /// Mounts that this process sees.
    pub(crate) mounts: usize,
}

/// Counts it.
pub(crate) fn left() -> Left {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    Left {
        processes: descendants(std::process::id()),
        descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
        mounts: mounts.lines().count(),
    }
}

/// Every process beneath one.
pub(crate) fn descendants(ancestor: u32) -> BTreeSet<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let mut found = BTreeSet::from([ancestor]);
    while let Some(next) = parents
        .iter()
        .find(|(pid, parent)| found.contains(parent) && !found.contains(pid))
    {
        found.insert(next.0);
    }
    found.remove(&ancestor);
    found
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// This process's resident memory, in kilobytes.
pub(crate) fn resident_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// Ends a process that the test has to do with, by its number.
pub(crate) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
