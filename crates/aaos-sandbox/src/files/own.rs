//! What no grant reaches: the runtime's own files. An agent that could write the journal or read a key would be above
//! every other rule, however wide the operator's grants are.

use super::is_beneath;
use std::{fs, path::Path};

/// Where the kernel shows the daemon's memory and environment as files.
const PROCESSES: &str = "/proc";

/// Paths that are never opened, listed, created or changed, whatever is granted; real paths, links resolved.
#[derive(Debug, Clone, Default)]
pub struct OwnFiles {
    kept: Vec<String>,
    open: Vec<String>,
}

impl OwnFiles {
    /// Keeps these files and directories, and all beneath them, and `/proc`, which shows the daemon itself; but for what `open` names beneath them. What does not
    /// exist is kept under the path given.
    #[must_use]
    pub fn new(kept: &[String], open: &[String]) -> Self {
        let real = |paths: &[String]| paths.iter().map(|path| real(path)).collect();
        let mut all: Vec<String> = real(kept);
        all.push(PROCESSES.to_owned());
        Self {
            kept: all,
            open: real(open),
        }
    }

    /// Whether a real path is the runtime's own.
    pub(super) fn keeps(&self, real: &str) -> bool {
        let within = |paths: &[String]| paths.iter().any(|path| is_beneath(real, path));
        within(&self.kept) && !within(&self.open)
    }
}

fn real(path: &str) -> String {
    let mut existing = Path::new(path);
    let mut missing = Vec::new();
    loop {
        if let Ok(found) = fs::canonicalize(existing) {
            let whole = missing
                .iter()
                .rev()
                .fold(found, |above, name| above.join(name));
            return whole.to_string_lossy().into_owned();
        }
        match (existing.parent(), existing.file_name()) {
            (Some(above), Some(name)) => {
                missing.push(name);
                existing = above;
            }
            _ => return path.to_owned(),
        }
    }
}
