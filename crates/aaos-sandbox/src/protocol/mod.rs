//! What the daemon, the launcher, the workers and the egress broker say to one another.
//!
//! Four lines, each between two parties, every message a postcard value within a bound:
//!
//! | line | socket | from the daemon | to the daemon |
//! |---|---|---|---|
//! | launcher | packets | [`Order`] with the worker's end of a new line | [`Report`], with a process descriptor |
//! | worker | stream of frames | [`ToWorker`] | [`FromWorker`] |
//! | doorbell | packets, worker to egress broker | – | [`Ring`], each with one descriptor |
//! | egress | packets | [`EgressOrder`] | [`EgressReport`] |
//!
//! A worker is hostile once it has been handed an agent's input: nothing it says is taken on trust, no descriptor of
//! its is ever accepted by the daemon, and a message that makes no sense ends it.

pub mod frame;
pub mod line;
pub mod packets;
mod policy;

pub use policy::{Canaries, Mask, Policy, Program, ResourceLimits};

use aaos_core::{
    capability::Capability,
    id::{CallId, ToolName},
    proof::{Layer, Proof},
};
use aaos_ports::{
    Connection, PowerError, ToolError,
    power::{Entry, WriteMode},
};
use serde::{Deserialize, Serialize};

/// Version of all four lines. Both ends are built from one source; the number catches an installation half replaced.
pub const VERSION: u16 = 2;
/// Longest frame between daemon and worker, in bytes: a tool's largest input (a file's content, escaped) and room.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest packet, in bytes: a URL, a policy's names.
pub const PACKET_BYTES_MAX: usize = 64 * 1024;
/// Most calls of one worker in flight; the daemon lets more wait.
pub const CALLS_MAX: usize = 8;

/// The daemon to the launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Hold the descriptor that carries along until the last worker is gone. At most once, before the first worker.
    Hold,
    /// Start a worker. Carries the worker's end of its line.
    Start {
        /// Names it in the report.
        id: u64,
        /// The layer to leave out, to see that its absence is noticed.
        omit: Option<Layer>,
    },
}

/// The launcher to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// It is there. First and once.
    Hello {
        /// The protocol it speaks.
        version: u16,
    },
    /// A worker's process exists. Carries a descriptor of it.
    Started {
        /// As in the order.
        id: u64,
        /// Its process number outside.
        pid: u32,
    },
    /// A worker's process could not be made.
    Failed {
        /// As in the order.
        id: u64,
        /// The layer that could not be had.
        layer: Layer,
        /// What was missing.
        missing: String,
        /// What would fix it.
        next_step: String,
    },
}

/// The daemon to a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToWorker {
    /// What it is for. First and once. Carries the worker's end of its doorbell if the policy says so.
    Confine(Box<Policy>),
    /// Run a tool, or have it answer a question and change nothing.
    Call {
        /// Names the call on this line.
        call: CallId,
        /// The call's identity in its run; the same whenever the call is made again.
        identity: CallId,
        /// What the tool is asked, a JSON document; none to run it.
        question: Option<String>,
        /// The tool.
        tool: ToolName,
        /// Its arguments, a JSON document.
        input: String,
        /// Longest time it may take, in milliseconds.
        deadline_ms: u64,
    },
    /// The call is not wanted any longer; it still gets its `Done`.
    Cancel {
        /// Which.
        call: CallId,
    },
    /// The answer to an [`FromWorker::Ask`]. Carries a descriptor if it is [`Answer::Opened`].
    Answer {
        /// Which question.
        ask: u64,
        /// The answer.
        answer: Answer,
    },
    /// All that the agent still holds.
    Narrow {
        /// Its capabilities.
        left: Vec<Capability>,
    },
}

/// A worker to the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromWorker {
    /// It is in its namespaces, its root stands ready, and it waits to be told what it is for. First and once.
    Staged {
        /// The protocol it speaks.
        version: u16,
    },
    /// It is confined, and has tried what must fail. Answers `Confine`.
    Ready {
        /// What it shows. The daemon judges it.
        proof: Proof,
    },
    /// It could not be staged or confined, and ends.
    Unfit {
        /// The layer that could not be had.
        layer: Layer,
        /// What was missing.
        missing: String,
        /// What would fix it.
        next_step: String,
    },
    /// A call ended: the tool's output as a JSON document, or its error.
    Done {
        /// Which.
        call: CallId,
        /// How.
        outcome: Result<String, ToolError>,
    },
    /// A file act on a path that was granted by itself, and is not in the worker's root. Only for a call in flight.
    Ask {
        /// Names the question.
        ask: u64,
        /// For which call.
        call: CallId,
        /// What is wanted.
        act: FileAct,
    },
    /// What was narrowed is in force; programs in flight are gone. Answers `Narrow`.
    Narrowed,
}

/// A file act the daemon does for a worker. Paths are absolute and normal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileAct {
    /// Open a regular file to read.
    Open {
        /// Which.
        path: String,
    },
    /// Write a file.
    Write {
        /// Which.
        path: String,
        /// How.
        mode: WriteMode,
        /// What.
        content: Vec<u8>,
    },
    /// Look at what is there.
    Stat {
        /// Where.
        path: String,
    },
    /// The names in a directory, sorted.
    List {
        /// Which.
        path: String,
        /// Most entries.
        limit: u32,
    },
}

/// The answer to a [`FileAct`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// Opened; the descriptor comes along.
    Opened {
        /// The path after resolution.
        path: String,
        /// Its size, in bytes.
        size: u64,
    },
    /// Written; the size afterwards, in bytes.
    Written(u64),
    /// What is there.
    Found(Entry),
    /// The names, and whether there were more.
    Listed(Vec<Entry>, bool),
    /// It was refused or failed.
    Refused(PowerError),
}

/// A worker to the egress broker, over its doorbell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ring {
    /// Serve as the proxy of the worker's programs on this listening socket, which carries along. At most once, before
    /// the worker is confined.
    Proxy,
    /// Take a request from this stream, which carries along: one [`Fetch`] frame in, one [`Fetched`] frame out.
    Fetch {
        /// The call it is for.
        call: CallId,
    },
}

/// One request of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Upper case.
    pub method: String,
    /// Absolute.
    pub url: String,
    /// Sent as given; values may hold placeholders for secrets.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Most bytes of the answer's body.
    pub bytes_max: u64,
    /// Longest time for everything, in milliseconds.
    pub deadline_ms: u64,
}

/// What became of a [`Fetch`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fetched(pub Result<FetchedAnswer, PowerError>);

/// The answer to a [`Fetch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedAnswer {
    /// Status.
    pub status: u16,
    /// Where it came from, after redirects.
    pub url: String,
    /// The `Content-Type` header, lower case.
    pub content_type: String,
    /// Those of the headers that are passed on.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether there was more.
    pub truncated: bool,
}

/// The daemon to the egress broker.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EgressOrder {
    /// Hold the descriptor that carries along until the process ends. At most once, before the first worker.
    Hold,
    /// A worker exists. Carries the broker's end of its doorbell.
    Worker {
        /// Names it.
        worker: u64,
    },
    /// A worker is gone; so is everything done for it.
    Gone {
        /// Which.
        worker: u64,
    },
    /// The answer to a question.
    Verdict {
        /// Which question.
        ask: u64,
        /// The answer.
        verdict: Verdict,
    },
    /// A note has reached the gate of its call.
    Noted {
        /// Which.
        note: u64,
    },
}

/// Whether a request may go where it wants to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It may.
    Allowed {
        /// The values of the secrets the grant names, for this destination only.
        secrets: Vec<(String, String)>,
    },
    /// It may not.
    Refused {
        /// What was needed.
        need: String,
        /// The axis on which it is too much.
        axis: String,
        /// Why.
        reason: String,
    },
}

/// The egress broker to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EgressReport {
    /// It is there, and confined. First and once.
    Hello {
        /// The protocol it speaks.
        version: u16,
    },
    /// It could not be confined, and ends.
    Unfit {
        /// What was missing.
        missing: String,
        /// What would fix it.
        next_step: String,
    },
    /// May this request be made?
    Ask {
        /// Names the question.
        ask: u64,
        /// For which worker.
        worker: u64,
        /// For which call; none for a program's, which belongs to the one call that runs programs.
        call: Option<CallId>,
        /// Upper case; `CONNECT` for a tunnel.
        method: String,
        /// Absolute.
        url: String,
    },
    /// An attempt to connect was made. Answered by [`EgressOrder::Noted`], before which its request is not answered.
    Note {
        /// Names the note.
        note: u64,
        /// For which worker.
        worker: u64,
        /// For which call; none for a program's.
        call: Option<CallId>,
        /// What became of it.
        connection: Connection,
    },
}
