//! `agentd stop`: asks a run to stop.

use super::{
    Act, CliError, Desk,
    start::{self, Absent},
};
use crate::{config::Installation, rpc::wire::RunParams};
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
        let config = desk.config(Installation::PerUser)?;
        desk.wait(async {
            let mut link = start::reach(desk, &config, Absent::Report).await?;
            let stopped: RunParams = link
                .ask("stop the run", "run.stop", &RunParams { run: self.run })
                .await?;
            if desk.json() {
                desk.say_json(&stopped)
            } else {
                desk.say(format!("{} was asked to stop", stopped.run))
            }
        })
    }
}
