//! `agentd plan`: the plan of a goal and what it would be granted. Starts nothing.

use super::{
    Act, CliError, Desk,
    start::{self, Absent},
    status,
    terms::Terms,
    words,
};
use crate::rpc::{RunPlan, wire::Planned};
use aaos_core::plan::{Item, Param, Subtask};
use clap::Args;
use std::time::Duration;

/// Longest wait for a plan: a slow model on this machine and two repairs.
const PLAN_TIME: Duration = Duration::from_secs(900);

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    terms: Terms,
}

impl Act for Plan {
    const NAME: &'static str = "plan";
    const ABOUT: &'static str =
        "Show the plan of a goal and what it would be granted, without starting it";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let params = self.terms.params()?;
        let doing = "plan the goal";
        let planned = start::ask_for::<RunPlan>(desk, Absent::Start, doing, &params, PLAN_TIME)?;
        desk.tell(&planned, |planned| print(desk, planned))
    }
}

fn print(desk: &Desk, planned: &Planned) -> Result<(), CliError> {
    let paint = desk.paint();
    let count = words::plural(planned.plan.subtasks.len() as u64, "subtask");
    let mode = format!("{:?}", planned.mode).to_lowercase();
    desk.say(format!(
        "{}: {count}, {}",
        paint.strong(&mode),
        words::model(&planned.model)
    ))?;
    for subtask in &planned.plan.subtasks {
        print_subtask(desk, planned, subtask)?;
    }
    desk.say(format!("result: {}", planned.plan.result))?;
    desk.say("the run would hold:")?;
    status::grants(desk, &planned.envelope)?;
    super::submit::rules(desk, &planned.approve)
}

fn print_subtask(desk: &Desk, planned: &Planned, subtask: &Subtask) -> Result<(), CliError> {
    let paint = desk.paint();
    let needs: Vec<String> = subtask.needs().iter().map(ToString::to_string).collect();
    let after = if needs.is_empty() {
        String::new()
    } else {
        format!("  after {}", needs.join(", "))
    };
    desk.say(format!(
        "  {} as {}{}",
        paint.strong(subtask.id.as_str()),
        subtask.role,
        paint.dim(&after)
    ))?;
    desk.say(format!("      {}", words::one_line(&subtask.task, 300)))?;
    for (name, param) in &subtask.params {
        desk.say(format!(
            "      {} = {}",
            words::one_line(name, 64),
            words::one_line(&param_text(param), 300)
        ))?;
    }
    let granted = planned
        .grants
        .iter()
        .filter(|(id, _)| *id == subtask.id)
        .flat_map(|(_, grants)| grants);
    for grant in granted {
        desk.say(paint.dim(&format!("      may {}", words::clean(&grant.to_string()))))?;
    }
    Ok(())
}

fn param_text(param: &Param) -> String {
    let item = |item: &Item| match item {
        Item::Text(text) => format!("{text:?}"),
        Item::From { from } => format!("output of {from}"),
        Item::Number(number) => number.to_string(),
    };
    param
        .items()
        .iter()
        .map(item)
        .collect::<Vec<_>>()
        .join(", ")
}
