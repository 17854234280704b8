//! The proof a worker gives before it takes its first call: which layers stand, and what it tried that had to fail.
//!
//! A pure value. It is made inside the fresh sandbox, travels to the daemon, and is part of the launch's event.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// One layer of confinement. The names are those of `confinement.require`, of events and of `agentd doctor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Its own user namespace: no authority over anything outside.
    UserNamespace,
    /// Its own mounts.
    MountNamespace,
    /// Its own process numbers: sees and signals nobody outside.
    PidNamespace,
    /// Its own System V and POSIX message queues, semaphores, shared memory.
    IpcNamespace,
    /// Its own host name.
    UtsNamespace,
    /// Its own view of control groups.
    CgroupNamespace,
    /// Its own network, which has no way out.
    NetworkNamespace,
    /// A root directory of its own that holds only what was granted.
    Root,
    /// Landlock rules for files, sockets and signals.
    Landlock,
    /// A filter of system calls.
    Seccomp,
    /// No kernel capabilities, none to gain by executing anything.
    Privileges,
    /// Limits on memory, files, processes that each process has.
    Rlimits,
    /// Limits on memory, processor and processes of the whole worker, by control group.
    CgroupLimits,
}

impl Layer {
    /// Every layer, in the order in which a worker enters them.
    pub const ALL: [Self; 13] = [
        Self::UserNamespace,
        Self::MountNamespace,
        Self::PidNamespace,
        Self::IpcNamespace,
        Self::UtsNamespace,
        Self::CgroupNamespace,
        Self::NetworkNamespace,
        Self::Root,
        Self::Landlock,
        Self::Seccomp,
        Self::Privileges,
        Self::Rlimits,
        Self::CgroupLimits,
    ];

    /// What a launch requires unless the operator says otherwise: everything but control groups, which need to be
    /// delegated by whoever started the daemon.
    #[must_use]
    pub fn required_by_default() -> BTreeSet<Self> {
        Self::ALL
            .into_iter()
            .filter(|layer| *layer != Self::CgroupLimits)
            .collect()
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserNamespace => "user_namespace",
            Self::MountNamespace => "mount_namespace",
            Self::PidNamespace => "pid_namespace",
            Self::IpcNamespace => "ipc_namespace",
            Self::UtsNamespace => "uts_namespace",
            Self::CgroupNamespace => "cgroup_namespace",
            Self::NetworkNamespace => "network_namespace",
            Self::Root => "root",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::Privileges => "privileges",
            Self::Rlimits => "rlimits",
            Self::CgroupLimits => "cgroup_limits",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A text that names no layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no layer of confinement; there are: {all}", all = Layer::ALL.map(Layer::name).join(", "))]
pub struct LayerError(pub String);

impl FromStr for Layer {
    type Err = LayerError;

    fn from_str(text: &str) -> Result<Self, LayerError> {
        Self::ALL
            .into_iter()
            .find(|layer| layer.name() == text)
            .ok_or_else(|| LayerError(crate::text::preview(text, 64)))
    }
}

/// Which system calls a worker keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Files and its two sockets; starts no program.
    Plain,
    /// As plain, and starts the programs it was granted.
    Exec,
}

impl fmt::Display for Profile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Plain => "plain",
            Self::Exec => "exec",
        })
    }
}

/// Something the worker tried that had to fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// What was tried, in a few words: `open a file outside`.
    pub tried: String,
    /// The layer that has to stop it.
    pub layer: Layer,
    /// Whether it was stopped.
    pub stopped: bool,
    /// What happened: the error's name, or what was reached.
    pub found: String,
}

/// What a worker shows before its first call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Which system calls it keeps.
    pub profile: Profile,
    /// The Landlock version the kernel offers; 0 for none.
    pub landlock_abi: u32,
    /// The layers that stand.
    pub layers: BTreeSet<Layer>,
    /// What was tried and had to fail.
    pub canaries: Vec<Canary>,
}

impl Proof {
    /// The layers of these that do not stand: not entered, or passed by a canary.
    #[must_use]
    pub fn missing(&self, required: &BTreeSet<Layer>) -> BTreeSet<Layer> {
        let passed = |layer: &Layer| {
            self.canaries
                .iter()
                .any(|canary| canary.layer == *layer && !canary.stopped)
        };
        required
            .iter()
            .filter(|layer| !self.layers.contains(layer) || passed(layer))
            .copied()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_reads_its_own_name() {
        for layer in Layer::ALL {
            assert_eq!(layer.name().parse::<Layer>(), Ok(layer));
        }
        assert!("wall".parse::<Layer>().is_err());
    }

    #[test]
    fn a_layer_a_canary_got_past_is_missing_though_it_was_entered() {
        let canary = Canary {
            tried: "connect out".to_owned(),
            layer: Layer::NetworkNamespace,
            stopped: false,
            found: "connected".to_owned(),
        };
        let proof = Proof {
            profile: Profile::Plain,
            landlock_abi: 7,
            layers: Layer::ALL.into_iter().collect(),
            canaries: vec![canary],
        };
        let required = Layer::required_by_default();
        assert_eq!(
            proof.missing(&required),
            BTreeSet::from([Layer::NetworkNamespace])
        );
    }

    #[test]
    fn everything_but_control_groups_is_required_unless_said_otherwise() {
        let required = Layer::required_by_default();
        assert_eq!(required.len(), Layer::ALL.len() - 1);
        assert!(!required.contains(&Layer::CgroupLimits));
    }
}
