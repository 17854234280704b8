//! `agentd audit erase`: takes what was said in a run out of the journal, after asking on a terminal.

use super::{CliError, Desk};
use crate::{
    cli::{
        start::{self, Absent},
        words,
    },
    config::Installation,
    rpc::{AuditErase, RunStatus, audit_erase::EraseParams, wire::RunParams},
};
use clap::Args;
use std::io::IsTerminal;

const DOING: &str = "erase the run's content";

/// Its arguments.
#[derive(Debug, Args)]
pub(super) struct Erase {
    /// The run's id, or the beginning of it.
    run: String,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

impl Erase {
    /// Does it.
    pub(super) fn perform(self, desk: &Desk) -> Result<(), CliError> {
        let config = desk.config(Installation::PerUser)?;
        desk.wait(async {
            let mut link = start::reach(desk, &config, Absent::Start).await?;
            let params = RunParams { run: self.run };
            let view = link.ask::<RunStatus>(DOING, &params).await?.view;
            if !self.yes {
                agreed(&format!("{}  {}", view.run, words::one_line(&view.goal, 200)))?;
            }
            let params = EraseParams {
                run: view.run.to_string(),
                reason: self.reason,
            };
            let erased = link.ask::<AuditErase>(DOING, &params).await?;
            desk.tell(&erased, |erased| {
                desk.say(format!(
                    "erased {} and {} of {}; that it ran, and the chain, stay. Its folder {} is yours to remove",
                    words::plural(erased.events, "event"),
                    words::counted(erased.bodies, "body", "bodies"),
                    erased.run,
                    words::one_line(&view.folder, 400)
                ))
            })
        })
    }
}

/// Asks on the terminal; without one, `--yes` is needed.
fn agreed(what: &str) -> Result<(), CliError> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        let problem = "there is no terminal to ask on, and what is erased does not come back";
        return Err(CliError::usage(DOING, problem, "Give --yes"));
    }
    let question = format!("Erase for good what was said in {what}?");
    let answer = cliclack::confirm(question).initial_value(false).interact();
    match answer {
        Ok(true) => Ok(()),
        Ok(false) => Err(CliError::failed(
            DOING,
            "you said no",
            "Nothing was changed",
        )),
        Err(error) => Err(CliError::failed(
            DOING,
            error.to_string(),
            "Nothing was changed",
        )),
    }
}
