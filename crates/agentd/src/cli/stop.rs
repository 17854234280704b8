//! `agentd stop`: asks a run to stop.

use super::{
    Act, CliError, Desk,
    start::{self, Absent},
};
use crate::rpc::{RunStop, wire::RunParams};
use clap::Args;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// The run's id, or the beginning of it.
    run: String,
}

impl Act for Stop {
    const NAME: &'static str = "stop";
    const ABOUT: &'static str = "Stop a run at its next safe point";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let params = RunParams { run: self.run };
        // Without a daemon nothing goes on, but the next one would carry the run on.
        let stopped = start::ask::<RunStop>(desk, Absent::Start, "stop the run", &params)?;
        desk.tell(&stopped, |stopped| {
            desk.say(format!(
                "{0} was asked to stop; `agentd attach {0}` shows how it ends",
                stopped.run
            ))
        })
    }
}
