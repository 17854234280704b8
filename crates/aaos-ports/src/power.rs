//! Powers: live access, already cut to what was granted. What was not handed over cannot be used.

use aaos_core::{
    capability::Need,
    id::{CallId, RoleName},
    secret::Secret,
    tool::Power,
    value::Value,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io::Read, sync::Arc};

/// Why a power did not do what it was asked. All but `Lost` say that the act did not happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum PowerError {
    /// The call was not handed this power.
    #[error("this call holds no {0:?} power")]
    NotHeld(Power),
    /// Beyond what was granted.
    #[error("{need} was refused ({axis}): {reason}")]
    Denied {
        /// What was needed, with the resolved path, host or program.
        need: String,
        /// The axis on which it exceeds what is held.
        axis: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Nothing there.
    #[error("{0} does not exist")]
    NotFound(String),
    /// Not what the act is for: a directory where a file was meant, a device, a FIFO, a symbolic link.
    #[error("{path}: {problem}")]
    WrongKind {
        /// The path.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// Larger than a named limit.
    #[error("{what} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// What.
        what: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The system refused or failed.
    #[error("{what}: {message}")]
    Io {
        /// What was being done, to what.
        what: String,
        /// The system's words.
        message: String,
    },
    /// The act was begun, and what became of it is not known: an answer did not come, a program was ended half-way.
    #[error("{what}: {message}; whether it happened is not known")]
    Lost {
        /// What was being done, to what.
        what: String,
        /// What is known.
        message: String,
    },
    /// Whoever serves this power is gone. Nothing was begun; the agent's next worker has another.
    #[error("{what}: the egress broker is gone and nothing was sent; call again")]
    Unserved {
        /// What was to be done, to what.
        what: String,
    },
}

impl PowerError {
    /// Whether the act certainly did not happen.
    #[must_use]
    pub const fn is_certain(&self) -> bool {
        !matches!(self, Self::Lost { .. })
    }
}

/// An open regular file. Reading it cannot block on a peer: FIFOs and devices are never opened.
pub struct OpenFile {
    /// Its bytes from the start.
    pub bytes: Box<dyn Read + Send>,
    /// Its path after resolution.
    pub path: String,
    /// Its size when opened, in bytes.
    pub size: u64,
}

/// What a directory holds at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; never followed.
    Symlink,
    /// A FIFO, socket or device; never opened.
    Other,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Absolute path.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Size in bytes; 0 unless it is a regular file.
    pub size: u64,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteMode {
    /// The whole content is replaced in one step; a reader sees the old or the new, never a part.
    Replace,
    /// The content is added at the end, in one step as seen by readers.
    Append,
    /// As `Replace`, and refused if there is already something.
    CreateNew,
}

/// Whether a walk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// To the next entry.
    Continue,
    /// Not at all.
    Stop,
}

/// Files beneath what was granted. Methods may block on the disk; callers are on a thread that may.
///
/// Every path is resolved beneath a directory handle without following any symbolic link, and checked against the
/// grants before anything is opened, created or changed. Missing parent directories are created on write, after the
/// check. A file with several hard links is read like any other; a write never goes through to the other names,
/// because it replaces the name.
pub trait Files: Send + Sync {
    /// Opens a regular file to read.
    ///
    /// # Errors
    /// `Denied`, `NotFound`, `WrongKind`, `Io`.
    fn open(&self, path: &str) -> Result<OpenFile, PowerError>;

    /// Writes a file and answers with its size afterwards. Nothing is left behind on failure.
    ///
    /// # Errors
    /// `Denied`, `WrongKind`, `TooLarge`, `Io`.
    fn write(&self, path: &str, content: &[u8], mode: WriteMode) -> Result<u64, PowerError>;

    /// What is at a path, without following a link.
    ///
    /// # Errors
    /// `Denied`, `NotFound`, `Io`.
    fn stat(&self, path: &str) -> Result<Entry, PowerError>;

    /// The names in a directory, sorted, at most `limit`, and whether there were more.
    ///
    /// # Errors
    /// `Denied`, `NotFound`, `WrongKind`, `Io`.
    fn list(&self, path: &str, limit: usize) -> Result<(Vec<Entry>, bool), PowerError>;

    /// Every regular file beneath a directory (or the file itself) that is granted, in no particular order, skipping
    /// what `.gitignore` files and hidden names exclude when `tidy` says so. Never follows a link.
    ///
    /// # Errors
    /// `Denied`, `NotFound`, `Io` for the root; what cannot be read further down is skipped.
    fn walk(
        &self,
        root: &str,
        tidy: Tidy,
        visit: &mut dyn FnMut(&Entry) -> Flow,
    ) -> Result<(), PowerError>;
}

/// Whether a walk skips what people mostly do not mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tidy {
    /// Skip hidden names, version control and ignored files.
    Skip,
    /// Visit all.
    All,
}

/// One HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// Upper case.
    pub method: String,
    /// Absolute, `http` or `https`.
    pub url: url::Url,
    /// Sent as given; hop-by-hop and authority headers are refused.
    pub headers: Vec<(String, String)>,
    /// Sent as the body.
    pub body: Vec<u8>,
    /// Most bytes of the answer's body that are read.
    pub bytes_max: u64,
    /// Longest time for everything, redirects included.
    pub deadline: aaos_core::time::Span,
}

/// Headers of an answer that are passed on: where the result is, when to come again, which version, which request.
pub const HEADERS_TOLD: [&str; 6] = [
    "location",
    "retry-after",
    "etag",
    "last-modified",
    "allow",
    "x-request-id",
];

/// One HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Status.
    pub status: u16,
    /// Where it came from, after redirects.
    pub url: url::Url,
    /// The `Content-Type` header, lower case, parameters included; empty if there is none.
    pub content_type: String,
    /// Those of the headers in [`HEADERS_TOLD`] that came, names in lower case, each value at most 1024 bytes.
    pub headers: Vec<(String, String)>,
    /// The body, at most `bytes_max`, decoded from its transfer and content encodings.
    pub body: Vec<u8>,
    /// Whether there was more.
    pub truncated: bool,
}

/// Outbound HTTP.
#[async_trait]
pub trait Http: Send + Sync {
    /// Sends a request and asks `gate` before each hop. Follows at most five redirects of a request that only reads
    /// (`GET`, `HEAD`, `OPTIONS`); to any other the redirect is the answer. Connects only to an address that was checked: private, loopback, link-local and metadata addresses are refused unless the capability names
    /// that address itself. Every hop, allowed or refused, is noted at the gate.
    ///
    /// A header value may hold placeholders, `{{secret:NAME}}`. They are filled in per hop from what the gate admitted
    /// the hop with, after every other check; a name that came with no admission is `Denied`. A secret's value in an
    /// answer is put back to its placeholder.
    ///
    /// # Errors
    /// `Denied` by the gate or the address check, `TooLarge`, `Io` if no connection came about, `Unserved` if there is
    /// nobody to connect, `Lost` if the request may have been received and no answer came.
    async fn send(&self, request: HttpRequest, gate: &dyn Gate) -> Result<HttpAnswer, PowerError>;
}

/// What came with an admission.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admitted {
    /// Values of the secrets that the admitting grant names; each is for this one destination only.
    pub secrets: BTreeMap<String, Secret<String>>,
}

/// One attempt to connect out, for the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The request's method; `CONNECT` for a tunnel.
    pub method: String,
    /// Scheme, host, port and path; no query, no user name.
    pub url: String,
    /// What became of it.
    pub outcome: ConnectionOutcome,
}

/// What became of an attempt to connect out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConnectionOutcome {
    /// It was allowed.
    Allowed {
        /// The address connected to; none if no connection came about.
        address: Option<String>,
    },
    /// It was refused.
    Refused {
        /// The axis on which it was too much.
        axis: String,
        /// Why, in words.
        reason: String,
    },
}

/// The one authority, asked at the point of use. Called by powers while a tool runs.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Checks and charges one need of the call the gate was made for.
    ///
    /// # Errors
    /// `Denied`, with the axis.
    async fn admit(&self, need: &Need) -> Result<Admitted, PowerError>;

    /// Records one attempt to connect out, allowed or refused. A bounded number per call is kept.
    fn note(&self, connection: Connection);
}

/// A program to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program as grants name it: a bare name, or an absolute path.
    pub program: String,
    /// Its arguments, without the program's own name.
    pub args: Vec<String>,
    /// Directory it is started in; relative ones start from the agent's base.
    pub directory: String,
    /// Variables set beside the small fixed environment of a worker.
    pub env: Vec<(String, String)>,
    /// What it reads from its standard input.
    pub stdin: Vec<u8>,
    /// Most bytes kept of each of its two outputs: the first half and the last. The rest is read and dropped.
    pub output_bytes_max: usize,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// One output of a program, cut in its middle if it was long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// The first bytes.
    pub head: Vec<u8>,
    /// Bytes left out between the two.
    pub dropped: u64,
    /// The last bytes; empty unless something was left out.
    pub tail: Vec<u8>,
}

/// A program that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// How.
    pub ended: Ended,
    /// Its standard output.
    pub stdout: Captured,
    /// Its standard error.
    pub stderr: Captured,
}

/// Starting programs, confined as their agent is. Blocks until the program has ended; callers are on a thread that may.
pub trait Exec: Send + Sync {
    /// Runs one program to its end. Whatever it started is gone when this returns; so it is at the call's deadline and
    /// when the call is dropped. Programs of one agent run one after the other.
    ///
    /// # Errors
    /// `Denied` if this start is not granted or not declared by the call, `NotFound` if there is no such program,
    /// `Io` if it was not started, `Lost` if it was and how it ended is not known.
    fn run(&self, command: Command) -> Result<Finished, PowerError>;
}

/// Starting further agents, for tools that may.
#[async_trait]
pub trait Spawn: Send + Sync {
    /// Runs one child agent to its end and answers with its output. The child's capabilities are attenuated from the
    /// caller's. Dropping the future stops the child.
    ///
    /// # Errors
    /// `Denied`, or `Io` carrying the child's failure.
    async fn spawn(&self, child: Child) -> Result<Value, PowerError>;
}

/// What a child agent is asked to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// Its role.
    pub role: RoleName,
    /// What to do, in a sentence.
    pub task: String,
    /// The role's parameters.
    pub params: BTreeMap<String, aaos_core::plan::Param>,
}

/// What a call was handed. A tool that was not handed a power is told so and can do nothing about it.
#[derive(Clone)]
pub struct Powers {
    call: CallId,
    gate: Arc<dyn Gate>,
    files: Option<Arc<dyn Files>>,
    http: Option<Arc<dyn Http>>,
    exec: Option<Arc<dyn Exec>>,
    spawn: Option<Arc<dyn Spawn>>,
}

impl Powers {
    /// No powers yet, for one call, under one gate.
    #[must_use]
    pub fn none(call: CallId, gate: Arc<dyn Gate>) -> Self {
        Self {
            call,
            gate,
            files: None,
            http: None,
            exec: None,
            spawn: None,
        }
    }

    /// With files.
    #[must_use]
    pub fn with_files(mut self, files: Arc<dyn Files>) -> Self {
        self.files = Some(files);
        self
    }

    /// With HTTP.
    #[must_use]
    pub fn with_http(mut self, http: Arc<dyn Http>) -> Self {
        self.http = Some(http);
        self
    }

    /// With the starting of programs.
    #[must_use]
    pub fn with_exec(mut self, exec: Arc<dyn Exec>) -> Self {
        self.exec = Some(exec);
        self
    }

    /// With the starting of agents.
    #[must_use]
    pub fn with_spawn(mut self, spawn: Arc<dyn Spawn>) -> Self {
        self.spawn = Some(spawn);
        self
    }

    /// The call they are for.
    #[must_use]
    pub const fn call(&self) -> CallId {
        self.call
    }

    /// The files power.
    ///
    /// # Errors
    /// It was not handed over.
    pub fn files(&self) -> Result<&dyn Files, PowerError> {
        self.files
            .as_deref()
            .ok_or(PowerError::NotHeld(Power::Files))
    }

    /// Sends one HTTP request through the power and its gate.
    ///
    /// # Errors
    /// It was not handed over, or as [`Http::send`].
    pub async fn http(&self, request: HttpRequest) -> Result<HttpAnswer, PowerError> {
        let http = self
            .http
            .as_deref()
            .ok_or(PowerError::NotHeld(Power::Http))?;
        http.send(request, &*self.gate).await
    }

    /// The power to start programs.
    ///
    /// # Errors
    /// It was not handed over.
    pub fn exec(&self) -> Result<&dyn Exec, PowerError> {
        self.exec.as_deref().ok_or(PowerError::NotHeld(Power::Exec))
    }

    /// The power to start agents.
    ///
    /// # Errors
    /// It was not handed over.
    pub fn spawn(&self) -> Result<&dyn Spawn, PowerError> {
        self.spawn
            .as_deref()
            .ok_or(PowerError::NotHeld(Power::Spawn))
    }
}

/// A need with its file path or directory made absolute and normal: a relative one starts from `base`, `.` and `..` are
/// resolved lexically. Other needs stay as they are. The authority and the worker both use this, so that what is
/// authorised and what is opened are the same path.
///
/// # Errors
/// `Denied` if the path is empty, climbs above the root, holds NUL or is too long.
pub fn at_base(need: Need, base: &str) -> Result<Need, PowerError> {
    Ok(match need {
        Need::File { right, path } => Need::File {
            right,
            path: absolute(&path, base)?,
        },
        Need::FileTree { right, path } => Need::FileTree {
            right,
            path: absolute(&path, base)?,
        },
        Need::Exec {
            program,
            args,
            workspace,
        } => Need::Exec {
            program,
            args,
            workspace: absolute(&workspace, base)?,
        },
        other => other,
    })
}

/// A path made absolute and normal: a relative one starts from `base`, `.` and `..` are resolved lexically.
///
/// # Errors
/// `Denied` if it is empty, climbs above the root, holds NUL or is too long.
pub fn absolute(path: &str, base: &str) -> Result<String, PowerError> {
    let refused = |reason: String| PowerError::Denied {
        need: format!(
            "the path `{}`",
            aaos_core::text::preview(path, PATH_SHOWN_BYTES_MAX)
        ),
        axis: "path".to_owned(),
        reason,
    };
    if path.is_empty() {
        return Err(refused(
            "it is empty; name a file or directory, `.` for the base directory".to_owned(),
        ));
    }
    let joined = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{base}/{path}")
    };
    aaos_core::capability::normalise(&joined).map_err(|error| refused(error.to_string()))
}

/// Most bytes of a path that an error shows: enough for any path a person wrote.
const PATH_SHOWN_BYTES_MAX: usize = 512;
