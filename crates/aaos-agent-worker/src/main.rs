//! What runs inside the sandbox.
//!
//! Executed once by the daemon with its control line as standard input, this is the launcher: it clones workers. In
//! each of them the same code goes on, to be staged, confined and to serve one agent's tools.
//!
//! Refuses: arguments, variables, files. What it is for comes over its line.
#![forbid(unsafe_code)]

use aaos_sandbox::{
    confine::Staged,
    launcher::{self, LauncherEnd},
};
use std::{
    error::Error,
    io::{self, Write},
    os::fd::AsFd,
    process::ExitCode,
};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            // Where the launcher's error stream leads is the daemon's to say; without one there is nobody to tell.
            let _ = writeln!(io::stderr(), "aaos-agent-worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    // Made before any worker, so that all share them.
    let tools = launcher::apart(aaos_tools::builtin)?;
    let control = io::stdin().as_fd().try_clone_to_owned()?;
    let worker = match launcher::serve(control) {
        Ok(worker) => worker,
        Err(LauncherEnd::Closed) => return Ok(ExitCode::SUCCESS),
        Err(error) => return Err(error.into()),
    };
    // A worker has told the daemon over its line what it could not do.
    let Ok(confined) = worker.stage().and_then(Staged::confine) else {
        return Ok(ExitCode::FAILURE);
    };
    match confined.serve(&tools) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(_) => Ok(ExitCode::FAILURE),
    }
}
