//! `agentd list`: the runs there are, newest first.

use super::{
    Act, CliError, Desk,
    start::{self, Absent},
    words,
};
use crate::{
    config::Installation,
    limits::RUNS_LISTED_MAX,
    rpc::{
        RunList,
        wire::{ListParams, RunSummary},
    },
    world::SystemClock,
};
use aaos_ports::Clock;
use clap::{Args, builder::RangedU64ValueParser};

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// At most so many, 50 if not given and 1000 at most; those that have not ended come first.
    #[arg(long, value_name = "N", default_value_t = 50, hide_default_value = true, value_parser = up_to_max())]
    limit: usize,
}

fn up_to_max() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=RUNS_LISTED_MAX as u64)
}

impl Act for List {
    const NAME: &'static str = "list";
    const ABOUT: &'static str = "List runs, newest first";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let config = desk.config(Installation::PerUser)?;
        desk.wait(async {
            let mut link = start::reach(desk, &config, Absent::Start).await?;
            // One more than is shown tells whether there are more.
            let params = ListParams {
                limit: Some(self.limit.saturating_add(1)),
            };
            let mut runs = link.ask::<RunList>("list the runs", &params).await?;
            let more = runs.len() > self.limit;
            runs.truncate(self.limit);
            if desk.json() {
                return desk.say_json(&runs);
            }
            print(desk, &runs)?;
            if more {
                desk.note(format!(
                    "there are more: `agentd list --limit {}` shows up to {0}",
                    self.limit.saturating_mul(10).min(RUNS_LISTED_MAX)
                ));
            }
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
    let (now, paint) = (SystemClock.now(), desk.paint());
    let standing = |run: &RunSummary| {
        let parked = run.parked.as_ref();
        words::run_standing(run.state, parked, run.waiting, run.recoveries, paint)
    };
    let row = |run: &RunSummary| {
        [
            run.run.to_string(),
            standing(run),
            words::span(now.since(run.submitted)),
            words::money(run.usage.cost),
            words::one_line(&run.goal, 72),
        ]
    };
    if runs.iter().all(|run| words::confines_wholly(&run.backend)) {
        let head = ["ID", "STATE", "AGE", "COST", "GOAL"];
        return desk.say_table(head, runs.iter().map(row));
    }
    let with_backend = |run: &RunSummary| {
        let [id, standing, age, cost, goal] = row(run);
        let backend = words::one_line(&run.backend, BACKEND_BYTES);
        [id, standing, age, cost, backend, goal]
    };
    let head = ["ID", "STATE", "AGE", "COST", "BACKEND", "GOAL"];
    desk.say_table(head, runs.iter().map(with_backend))
}
