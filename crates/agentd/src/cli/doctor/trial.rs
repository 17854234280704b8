//! A trial: one launch through the real backend, and what the worker showed.

use crate::{cli::CliError, config::Config, confine, world::RandomIds};
use aaos_core::{
    capability::{Capability, parse},
    id::{AgentId, RunId},
    proof::Proof,
};
use aaos_ports::{Backend, Ids, LaunchError, LaunchSpec, Witness, WorkerNote};
use aaos_sandbox::backend::namespaced::{Namespaced, NamespacedConfig};
use async_trait::async_trait;
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Longest time one launch may take; it takes milliseconds.
const LAUNCH_TIME: Duration = Duration::from_secs(30);
/// Programs that do nothing, by the places they are in.
const IDLE_PROGRAMS: [&str; 2] = ["/usr/bin/true", "/bin/true"];

/// What one launch came to.
pub(super) struct Trial {
    /// What it is about: `plain`, `exec` or `egress`.
    pub(super) name: &'static str,
    /// Why it was refused under what the configuration requires; none if it was not.
    pub(super) refused: Option<LaunchError>,
    /// What the worker showed; of a refused one, what it shows when nothing is required of it.
    pub(super) proof: Option<Proof>,
    /// From the wish to the proof, in microseconds.
    pub(super) elapsed_us: Option<u64>,
}

/// Makes every trial: a worker that only handles files, one that may start a program, one that may ask the egress
/// broker.
pub(super) async fn all(config: &Config) -> Result<Vec<Trial>, CliError> {
    let room = tempfile::tempdir().map_err(|error| {
        CliError::failed(
            "make a directory for the trial",
            error.to_string(),
            "Make room in the directory for temporary files",
        )
    })?;
    let program = IDLE_PROGRAMS
        .into_iter()
        .find(|program| Path::new(program).is_file())
        .unwrap_or(IDLE_PROGRAMS[0]);
    let exec = format!("exec: {program} in {}", room.path().display());
    let wanted = [
        ("plain", None),
        ("exec", Some(exec)),
        ("egress", Some("http: GET https://example.com".to_owned())),
    ];
    let mut trials = Vec::with_capacity(wanted.len());
    for (name, grant) in wanted {
        let capabilities = grant.map(|grant| read(&grant)).transpose()?;
        let capabilities: Vec<Capability> = capabilities.into_iter().collect();
        trials.push(one(config, name, &capabilities, room.path()).await);
    }
    Ok(trials)
}

fn read(grant: &str) -> Result<Capability, CliError> {
    parse(grant).map_err(|error| {
        CliError::failed("write the trial's grant", error.to_string(), "Report this")
    })
}

async fn one(config: &Config, name: &'static str, held: &[Capability], room: &Path) -> Trial {
    let wanted = NamespacedConfig {
        pool: 0,
        lock: None,
        ..confine::namespaced(config)
    };
    let first = launch(wanted.clone(), held, room).await;
    let refused = match first {
        Ok(seen) => return seen.into_trial(name, None),
        Err(refused) => refused,
    };
    let lenient = NamespacedConfig {
        require: BTreeSet::new(),
        ..wanted
    };
    match launch(lenient, held, room).await {
        Ok(seen) => seen.into_trial(name, Some(refused)),
        Err(_) => Seen::default().into_trial(name, Some(refused)),
    }
}

async fn launch(
    config: NamespacedConfig,
    held: &[Capability],
    room: &Path,
) -> Result<Seen, LaunchError> {
    let backend = Namespaced::new(config, aaos_tools::builtin());
    let notes = Arc::new(Notes::default());
    let (ids, text) = (RandomIds::default(), room.display().to_string());
    let spec = LaunchSpec {
        agent: AgentId::from_drawn(ids.draw()),
        run: RunId::from_drawn(ids.draw()),
        capabilities: held.to_vec(),
        base: text.clone(),
        folder: text,
        anchors: Vec::new(),
        witness: Arc::<Notes>::clone(&notes),
    };
    let launching = tokio::time::timeout(LAUNCH_TIME, backend.launch(spec));
    let worker = launching.await.map_err(|_| LaunchError {
        layer: None,
        missing: format!("no worker was ready within {} s", LAUNCH_TIME.as_secs()),
        next_step:
            "Look into the kernel's messages (`dmesg`), and try again when the machine is less busy"
                .to_owned(),
    })??;
    worker.stop().await;
    Ok(notes.seen())
}

/// What a worker showed when it was ready.
#[derive(Default)]
struct Seen {
    proof: Option<Proof>,
    elapsed_us: Option<u64>,
}

impl Seen {
    fn into_trial(self, name: &'static str, refused: Option<LaunchError>) -> Trial {
        Trial {
            name,
            refused,
            proof: self.proof,
            elapsed_us: self.elapsed_us,
        }
    }
}

/// Keeps what a trial's worker says of itself.
#[derive(Default)]
struct Notes(Mutex<Vec<WorkerNote>>);

impl Notes {
    fn seen(&self) -> Seen {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let started = notes.iter().find_map(|note| match note {
            WorkerNote::Started {
                proof, elapsed_us, ..
            } => Some((proof.clone(), *elapsed_us)),
            _ => None,
        });
        let (proof, elapsed_us) = started.unzip();
        Seen { proof, elapsed_us }
    }
}

#[async_trait]
impl Witness for Notes {
    async fn note(&self, note: WorkerNote) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(note);
    }
}
