//! `agentd audit`: is the journal what was written, what is in it, and taking content out of it. Only erasing needs a
//! daemon.

mod erase;
mod export;
mod key;
mod verify;

use super::{Act, CliError, Desk};
use crate::config::Installation;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    which: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// Check the journal's chain, its signed heads and every stored body.
    Verify(verify::Verify),
    /// Write events with their hashes, a line of JSON each.
    Export(export::Export),
    /// Erase the content of a run that has ended, or of a rehearsed plan; that it happened stays on record.
    Erase(erase::Erase),
    /// Show the public key that the journal's heads are signed with.
    Key,
}

impl Act for Audit {
    const NAME: &'static str = "audit";
    const ABOUT: &'static str =
        "Check that the journal is what was written, export it, erase what was said in a run";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        match self.which {
            Which::Verify(verify) => verify.perform(desk),
            Which::Export(export) => export.perform(desk),
            Which::Erase(erase) => erase.perform(desk),
            Which::Key => key::show(desk),
        }
    }
}

/// The state directory: the one given, or the configured one.
fn state(desk: &Desk, given: Option<PathBuf>) -> Result<PathBuf, CliError> {
    match given {
        Some(dir) => Ok(dir),
        None => Ok(desk.config(Installation::PerUser)?.paths.state.value),
    }
}
