//! A worker's policy: everything it is told before it confines itself. Made by the daemon from grants alone.

use aaos_core::{
    capability::Capability,
    id::AgentId,
    proof::{Layer, Profile},
};
use serde::{Deserialize, Serialize};

/// What a worker is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// The agent whose tools it runs.
    pub agent: AgentId,
    /// Which system calls it keeps.
    pub profile: Profile,
    /// What the agent holds. The worker's root, its Landlock rules and its powers follow from these.
    pub capabilities: Vec<Capability>,
    /// Directory that relative paths start from.
    pub base: String,
    /// The run's own directory.
    pub folder: String,
    /// Paths the operator named; links on the way to them are followed once.
    pub anchors: Vec<String>,
    /// Paths that stay hidden though a grant covers them.
    pub mask: Mask,
    /// Programs it may start; empty under the plain profile.
    pub programs: Vec<Program>,
    /// Limits of each of its processes.
    pub limits: ResourceLimits,
    /// Whether it holds a doorbell of the egress broker; it then came with this policy.
    pub egress: bool,
    /// What its canaries try.
    pub canaries: Canaries,
    /// The layer to leave out, to see that its absence is noticed.
    pub omit: Option<Layer>,
}

/// The runtime's own files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mask {
    /// Hidden, with everything beneath.
    pub hidden: Vec<String>,
    /// Beneath those, and shown all the same where granted.
    pub shown: Vec<String>,
}

/// A program an agent may start, as found on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// As grants name it.
    pub name: String,
    /// The file, absolute and without links.
    pub file: String,
    /// Files and directories whose programs may be executed: the file itself, and what it starts.
    pub execute: Vec<String>,
    /// Files and directories it has to read beside the system's libraries.
    pub read: Vec<String>,
    /// Variables it needs.
    pub env: Vec<(String, String)>,
    /// Whether it executes what it makes in the workspace, as a build tool does.
    pub workspace: bool,
}

/// Limits of each process of a worker. Sources: see [`ResourceLimits::usual`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// Address space, in bytes.
    pub memory_bytes: u64,
    /// Open files.
    pub files: u64,
    /// Processes and threads of the whole worker.
    pub processes: u64,
    /// Largest file it may write, in bytes.
    pub file_bytes: u64,
    /// Room in its private `/tmp`, in bytes.
    pub scratch_bytes: u64,
}

impl ResourceLimits {
    /// The limits of a worker that runs no programs: a page or a source tree fits many times over.
    pub const PLAIN: Self = Self {
        memory_bytes: 2 << 30,
        files: 256,
        processes: 64,
        file_bytes: 256 << 20,
        scratch_bytes: 16 << 20,
    };
    /// The limits of a worker that runs programs: a compiler's address space is several times its memory.
    pub const EXEC: Self = Self {
        memory_bytes: 16 << 30,
        files: 1024,
        processes: 512,
        file_bytes: 2 << 30,
        scratch_bytes: 512 << 20,
    };

    /// The usual limits under a profile.
    #[must_use]
    pub const fn usual(profile: Profile) -> Self {
        match profile {
            Profile::Plain => Self::PLAIN,
            Profile::Exec => Self::EXEC,
        }
    }
}

/// What canaries try to reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canaries {
    /// A file that is there outside and granted to nobody.
    pub outside: String,
    /// A port on the daemon's loopback that accepts connections.
    pub port: u16,
    /// Inode of the daemon's network namespace.
    pub network: u64,
}
