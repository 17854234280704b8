//! `agentd audit erase`: takes what was said in a run or a rehearsal out of the journal, after asking on a terminal.

use super::{CliError, Desk};
use crate::{
    cli::{
        link::Link,
        start::{self, Absent},
        words,
    },
    config::Installation,
    rpc::{
        AuditErase, BudgetShow, RunStatus,
        audit_erase::EraseParams,
        recounted::{BudgetParams, SpentPlan},
        wire::{RunDetail, RunParams},
    },
};
use aaos_core::id::RunId;
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
            let Meant { run, goal, stays } = meant(&mut link, self.run).await?;
            if !self.yes {
                agreed(&format!("{run}  {}", words::one_line(&goal, 200)))?;
            }
            let params = EraseParams {
                run: run.to_string(),
                reason: self.reason,
            };
            let erased = link.ask::<AuditErase>(DOING, &params).await?;
            desk.tell(&erased, |erased| {
                desk.say(format!(
                    "erased {} and {} of {}; {stays}",
                    words::plural(erased.events, "event"),
                    words::counted(erased.bodies, "body", "bodies"),
                    erased.run,
                ))
            })
        })
    }
}

/// What is to be erased.
struct Meant {
    run: RunId,
    goal: String,
    /// What is left of it then.
    stays: String,
}

/// The run that is meant, or else the rehearsed plan.
async fn meant(link: &mut Link, run: String) -> Result<Meant, CliError> {
    let params = RunParams { run };
    let unknown = match link.ask::<RunStatus>(DOING, &params).await {
        Ok(RunDetail { view, .. }) => {
            return Ok(Meant {
                run: view.run,
                goal: view.goal,
                stays: format!(
                    "that it ran, and the chain, stay. Its folder {} is yours to remove",
                    words::one_line(&view.folder, 400)
                ),
            });
        }
        Err(unknown) => unknown,
    };
    let params = BudgetParams {
        run: Some(params.run),
        since_s: None,
    };
    // What is neither is told as no run.
    let spent = link.ask::<BudgetShow>(DOING, &params).await.ok();
    let plan = spent.and_then(|spent| spent.rehearsals.into_iter().next());
    let SpentPlan { run, goal } = plan.ok_or(unknown)?;
    let stays = "that it was rehearsed, and the chain, stay".to_owned();
    Ok(Meant { run, goal, stays })
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
