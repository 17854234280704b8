//! `agentd list`: the runs there are, newest first.

use super::{
    Act, CliError, Desk,
    start::{self, Absent},
    words,
};
use crate::{
    config::Installation,
    rpc::{
        RunList,
        wire::{ListParams, RunSummary},
    },
    world::SystemClock,
};
use aaos_ports::Clock;
use clap::Args;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// At most so many.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

impl Act for List {
    const NAME: &'static str = "list";
    const ABOUT: &'static str = "List runs, newest first";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let config = desk.config(Installation::PerUser)?;
        desk.wait(async {
            let mut link = start::reach(desk, &config, Absent::Start).await?;
            let params = ListParams { limit: self.limit };
            let runs = link.ask::<RunList>("list the runs", &params).await?;
            if desk.json() {
                return desk.say_json(&runs);
            }
            print(desk, &runs)?;
            if let Some(trouble) = &start::about(&mut link).await?.trouble {
                desk.note(super::daemon::no_goals(trouble));
            }
            Ok(())
        })
    }
}

/// Bytes of a backend's name that are shown: a bar set lower than usual is seen, and `status` tells it whole.
const BACKEND_BYTES: usize = 40;

fn print(desk: &Desk, runs: &[RunSummary]) -> Result<(), CliError> {
    if runs.is_empty() {
        return desk.say("No runs yet. `agentd submit \"GOAL\"` starts one.");
    }
    let now = SystemClock.now();
    let row = |run: &RunSummary| {
        [
            run.run.to_string(),
            words::run_standing(run.state, run.parked.as_ref(), run.waiting, run.recoveries),
            words::span(now.since(run.submitted)),
            words::money(run.usage.cost),
            words::one_line(&run.backend, BACKEND_BYTES),
            words::one_line(&run.goal, 72),
        ]
    };
    desk.say(super::desk::table(
        ["ID", "STATE", "AGE", "COST", "BACKEND", "GOAL"],
        runs.iter().map(row),
    ))
}
