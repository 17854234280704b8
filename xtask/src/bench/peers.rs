//! Peers: other orchestrators, in one Python process that is asked for one run at a time, so that theirs and ours
//! take turns on the same machine in the same minute.
//!
//! They are installed from the package registry into the build's own directory, and left out where that fails.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::fault::BenchError;
use crate::tree::Tree;

/// Where they are installed, relative to the checkout.
const VENV: &str = "target/bench-venv";
/// The program that runs them, relative to the checkout.
const PROGRAM: &str = "bench/peers/orch.py";
/// What is installed, in the versions the published figures were taken with.
const PACKAGES: &[&str] = &[
    "langgraph==1.2.22",
    "langgraph-checkpoint-sqlite==3.1.2",
    "dbos==3.4.0",
];

/// What a run took, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// By the clock.
    pub clock: f64,
    /// Of the processor.
    pub processor: f64,
}

/// The process that runs the peers.
#[derive(Debug)]
pub struct Peers {
    child: Child,
    asking: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Names and versions, for the table.
    pub versions: String,
}

impl Peers {
    /// Installs them if need be and starts the process.
    ///
    /// # Errors
    /// There is no Python here, or the packages cannot be had.
    pub fn start(tree: &Tree) -> Result<Self, BenchError> {
        let python = install(tree)?;
        let failed = |source| BenchError::Start {
            program: PROGRAM.to_owned(),
            source,
        };
        let mut child = Command::new(python)
            .arg(tree.path(PROGRAM))
            .arg(tree.path("target"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (Some(asking), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(odd("it has no pipes"));
        };
        let mut peers = Self {
            child,
            asking,
            answers: BufReader::new(answers),
            versions: String::new(),
        };
        peers.versions = peers.line()?;
        Ok(peers)
    }

    /// One run of so many steps on a system.
    ///
    /// # Errors
    /// The peer failed.
    pub fn run(&mut self, system: &str, steps: usize) -> Result<Took, BenchError> {
        let asked = writeln!(self.asking, "{system} {steps}");
        asked.map_err(BenchError::file(PROGRAM))?;
        let answer = self.line()?;
        let mut numbers = answer.split(' ').map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(clock)), Some(Ok(processor))) => Ok(Took { clock, processor }),
            _ => Err(odd(&answer)),
        }
    }

    fn line(&mut self) -> Result<String, BenchError> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        match read.map_err(BenchError::file(PROGRAM))? {
            0 => Err(odd("it ended early")),
            _ => Ok(line.trim().to_owned()),
        }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn odd(said: &str) -> BenchError {
    BenchError::Program {
        program: PROGRAM.to_owned(),
        said: said.to_owned(),
    }
}

/// The Python that has the packages.
fn install(tree: &Tree) -> Result<PathBuf, BenchError> {
    let venv = tree.path(VENV);
    let python = venv.join("bin/python");
    if has_them(&python) {
        return Ok(python);
    }
    let absent =
        || BenchError::Absent("no Python with LangGraph and DBOS could be installed".to_owned());
    let make = Command::new("python3")
        .args(["-m", "venv"])
        .arg(&venv)
        .status();
    if !make.is_ok_and(|status| status.success()) {
        return Err(absent());
    }
    let pip = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet"])
        .args(PACKAGES)
        .status();
    if pip.is_ok_and(|status| status.success()) && has_them(&python) {
        return Ok(python);
    }
    Err(absent())
}

fn has_them(python: &Path) -> bool {
    let import = Command::new(python)
        .args([
            "-c",
            "import langgraph.graph, langgraph.checkpoint.sqlite, dbos",
        ])
        .stderr(Stdio::null())
        .status();
    import.is_ok_and(|status| status.success())
}
