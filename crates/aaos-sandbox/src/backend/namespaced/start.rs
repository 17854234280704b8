//! Starting one worker for one agent: a staged worker is told its policy, shows its proof, and is judged.
//!
//! Refuses: a worker that does not show every required layer, or says anything else than its proof. Whatever the
//! outcome, the witness has it before anything follows from it.

use super::{
    House,
    calls::Calls,
    cgroup::Cgroup,
    desk::{AgentFiles, Desk},
    egress::{Asker, Attached},
    launcher::Fault,
    limits::{LAUNCH_ATTEMPTS_MAX, LAUNCH_WITHIN, WORDS_BYTES_MAX},
    line::{Outbox, drain},
    policy,
    pool::StagedWorker,
    session::{Parts, Session},
};
use crate::protocol::{FRAME_BYTES_MAX, FromWorker, Policy, ToWorker, frame};
use aaos_core::{
    capability::Capability,
    confine::Confinement,
    proof::{Layer, Proof},
    text,
};
use aaos_ports::{LaunchError, LaunchSpec, WorkerNote};
use rustix::fd::OwnedFd;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time;

/// What the operator does about a layer that does not stand.
const LAYER_NEXT: &str = "`agentd doctor` shows what this machine can enforce; to run without a layer, leave it out of \
     `confinement.require`";

/// What the operator does where control groups were not delegated.
const CGROUP_NEXT: &str = "start the daemon in a control group of its own with `memory` and `pids` delegated (systemd: \
     `Delegate=yes`), or leave `cgroup_limits` out of `confinement.require`";

/// Starts a worker for an agent that holds `held`, with the file power that `files` comes to, and tells the witness what became of it.
///
/// # Errors
/// What was missing and what would fix it.
pub(super) async fn start(
    house: &House,
    spec: &LaunchSpec,
    held: Vec<Capability>,
    files: impl Future<Output = Result<AgentFiles, LaunchError>>,
) -> Result<(Arc<Session>, AgentFiles), LaunchError> {
    let begun = Instant::now();
    let attempt = async {
        let bait = house.bait().await?;
        let (policy, confinement) = policy::policy(&house.config, bait, spec, held).await?;
        let starting = Starting {
            house,
            spec,
            policy,
            confinement,
        };
        // Opening the granted directories and confining the worker need nothing of one another.
        futures::try_join!(starting.confined(), files)
    };
    match attempt.await {
        Ok((ready, files)) => {
            let (note, parts) = ready.into_session(house, spec, &files, begun.elapsed());
            spec.witness.note(note).await;
            Ok((Session::begin(parts), files))
        }
        Err(error) => {
            spec.witness.note(WorkerNote::Refused(error.clone())).await;
            Err(error)
        }
    }
}

struct Starting<'a> {
    house: &'a House,
    spec: &'a LaunchSpec,
    policy: Policy,
    confinement: Confinement,
}

/// A worker that has shown enough.
struct Ready {
    staged: StagedWorker,
    calls: Arc<Calls>,
    confinement: Confinement,
    attached: Option<Attached>,
    cgroup: Option<Cgroup>,
    proof: Proof,
    pooled: bool,
}

impl Ready {
    fn into_session(
        self,
        house: &House,
        spec: &LaunchSpec,
        files: &AgentFiles,
        elapsed: Duration,
    ) -> (WorkerNote, Parts) {
        let all: BTreeSet<Layer> = Layer::ALL.into_iter().collect();
        let note = WorkerNote::Started {
            missing: self.proof.missing(&all).into_iter().collect(),
            proof: self.proof,
            pooled: self.pooled,
            elapsed_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        };
        let parts = Parts {
            outbox: Outbox::new(self.staged.line),
            inbox: self.staged.inbox,
            process: self.staged.process,
            calls: self.calls,
            desk: Desk::new(Arc::clone(files), Arc::clone(&house.acts)),
            reading: house.reading.clone(),
            witness: Arc::clone(&spec.witness),
            confinement: self.confinement,
            attached: self.attached,
            cgroup: self.cgroup,
        };
        (note, parts)
    }
}

impl Starting<'_> {
    /// Tries until a worker has shown its proof. One that vanished says nothing of the next.
    async fn confined(&self) -> Result<Ready, LaunchError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.attempt().await {
                Err(Fault::Gone(reason)) if attempts < LAUNCH_ATTEMPTS_MAX => {
                    tracing::warn!(agent = %self.spec.agent, reason, "a worker vanished while it was started");
                }
                Err(Fault::Ended(error)) if attempts < LAUNCH_ATTEMPTS_MAX => {
                    tracing::warn!(agent = %self.spec.agent, %error, "a launcher vanished while it was started");
                }
                outcome => return outcome.map_err(Fault::into_error),
            }
        }
    }

    async fn attempt(&self) -> Result<Ready, Fault> {
        let calls = Arc::new(Calls::default());
        let way_out = if self.policy.egress {
            let asker: Arc<dyn Asker> = Arc::<Calls>::clone(&calls);
            Some(self.house.egress.attach(asker).await?)
        } else {
            None
        };
        let (attached, doorbell) = way_out.unzip();
        let turn = self.house.pool.turn().await?;
        let (staged, pooled) = turn.take().await?;
        let cgroup = self.cgroup(&staged)?;
        let confined = self.confine(staged, doorbell, cgroup.is_some());
        let confined = time::timeout(LAUNCH_WITHIN, confined).await;
        let (staged, proof) = confined.map_err(|_| too_slow())??;
        drop(turn);
        Ok(Ready {
            staged,
            calls,
            confinement: self.confinement.clone(),
            attached,
            cgroup,
            proof,
            pooled,
        })
    }

    fn cgroup(&self, staged: &StagedWorker) -> Result<Option<Cgroup>, LaunchError> {
        let omitted = self.policy.omit == Some(Layer::CgroupLimits);
        let Some(delegated) = self.house.delegated().filter(|_| !omitted) else {
            return Ok(None);
        };
        match delegated.confine(staged.process.pid(), &self.policy.limits) {
            Ok(group) => Ok(Some(group)),
            Err(error) if self.house.config.require.contains(&Layer::CgroupLimits) => {
                Err(LaunchError {
                    layer: Some(Layer::CgroupLimits),
                    missing: format!("the worker could not be moved into a control group: {error}"),
                    next_step: CGROUP_NEXT.to_owned(),
                })
            }
            Err(_) => Ok(None),
        }
    }

    /// Tells the worker what it is for and judges what it shows.
    async fn confine(
        &self,
        mut staged: StagedWorker,
        doorbell: Option<OwnedFd>,
        limited: bool,
    ) -> Result<(StagedWorker, Proof), Fault> {
        let words = ToWorker::Confine(Box::new(self.policy.clone()));
        let frame = frame::encode(&words, FRAME_BYTES_MAX).map_err(|error| LaunchError {
            layer: None,
            missing: format!("what the worker is for cannot be said: {error}"),
            next_step: "grant fewer or shorter paths".to_owned(),
        })?;
        let outbox = Outbox::new(Arc::clone(&staged.line));
        outbox.push(frame, doorbell);
        drain(&outbox)
            .await
            .map_err(|error| Fault::Gone(error.to_string()))?;
        match staged.word().await? {
            FromWorker::Ready { mut proof } => {
                proof.layers.remove(&Layer::CgroupLimits);
                if limited {
                    proof.layers.insert(Layer::CgroupLimits);
                }
                self.judge(&proof)?;
                Ok((staged, proof))
            }
            _ => Err(Fault::Gone(
                "it took a call before it was confined".to_owned(),
            )),
        }
    }

    fn judge(&self, proof: &Proof) -> Result<(), LaunchError> {
        if proof.profile != self.policy.profile {
            return Err(LaunchError {
                layer: Some(Layer::Seccomp),
                missing: format!(
                    "the worker kept the system calls of the profile {}, and was told {}",
                    proof.profile, self.policy.profile
                ),
                next_step: LAYER_NEXT.to_owned(),
            });
        }
        let missing = proof.missing(&self.house.config.require);
        let Some(first) = missing.first() else {
            return Ok(());
        };
        let each: Vec<String> = missing
            .iter()
            .map(|layer| missing_words(proof, *layer))
            .collect();
        Err(LaunchError {
            layer: Some(*first),
            missing: text::preview(&each.join("; "), WORDS_BYTES_MAX),
            next_step: next_step(*first).to_owned(),
        })
    }
}

const fn next_step(layer: Layer) -> &'static str {
    match layer {
        Layer::CgroupLimits => CGROUP_NEXT,
        _ => LAYER_NEXT,
    }
}

/// What is known of a layer that does not stand.
fn missing_words(proof: &Proof, layer: Layer) -> String {
    let passed = proof
        .canaries
        .iter()
        .find(|canary| canary.layer == layer && !canary.stopped);
    match passed {
        Some(canary) => format!(
            "the layer {layer} does not hold: the worker tried to {} and was not stopped ({})",
            canary.tried, canary.found
        ),
        None => format!("the layer {layer} does not stand: the worker did not enter it"),
    }
}

fn too_slow() -> LaunchError {
    LaunchError {
        layer: None,
        missing: format!(
            "a worker did not confine itself within {} s",
            LAUNCH_WITHIN.as_secs()
        ),
        next_step: "see whether the machine is overloaded, and try again".to_owned(),
    }
}
