//! Why a measurement was not made.

use std::path::PathBuf;

/// Why a measurement was not made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file or socket.
    #[error("cannot reach {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// Which.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program ended with a failure, or said what was not expected.
    #[error("{program}: {said}")]
    Program {
        /// Which.
        program: String,
        /// What it said.
        said: String,
    },
    /// The daemon refused or failed.
    #[error("{method}: {said}")]
    Daemon {
        /// What it was asked.
        method: String,
        /// What it said.
        said: String,
    },
    /// Something is not JSON, or not of the shape that was expected.
    #[error("{what} is not understood: {source}")]
    Shape {
        /// What.
        what: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// What a measurement needs is not on this machine.
    #[error("not measured: {0}")]
    Absent(String),
}

impl BenchError {
    /// Trouble with a file or socket.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
