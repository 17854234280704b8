//! `agentd status`: all there is to know of one run; without a run, the daemon.

use super::{
    Act, CliError, Desk, approvals, budget,
    start::{self, Absent},
    words,
};
use crate::{
    config::Installation,
    rpc::{
        RunStatus,
        wire::{RunDetail, RunParams},
    },
};
use aaos_core::{
    capability::Capability,
    event::{Outcome, RunState, RunView, SubtaskView, WaitsFor},
    time::Span,
    value::Value,
};
use clap::Args;
use std::{collections::BTreeSet, io::Read};

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The run's id, or the beginning of it; the daemon if not given.
    run: Option<String>,
}

impl Act for Status {
    const NAME: &'static str = "status";
    const ABOUT: &'static str = "Show a run with its subtasks, outcomes and files, or the daemon";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let config = desk.config(Installation::PerUser)?;
        desk.wait(async {
            // A run is in the journal whether a daemon runs or not; of a daemon that is not there, just that is told.
            let absent = if self.run.is_some() {
                Absent::Start
            } else {
                Absent::Report
            };
            let mut link = start::reach(desk, &config, absent).await?;
            let Some(run) = self.run else {
                return super::daemon::print(desk, &start::about(&mut link).await?);
            };
            let params = RunParams { run };
            let detail = link.ask::<RunStatus>("read the run", &params).await?;
            desk.tell(&detail, |detail| print(desk, detail))
        })
    }
}

fn print(desk: &Desk, detail: &RunDetail) -> Result<(), CliError> {
    let (view, paint) = (&detail.view, desk.paint());
    desk.say(format!(
        "{}  {}",
        paint.strong(&view.run.to_string()),
        standing(view, paint)
    ))?;
    let fact = |name: &str, said: String| desk.say(format!("{name:<11}{said}"));
    fact("goal", words::one_line(&view.goal, 400))?;
    fact("submitted", words::date(view.submitted))?;
    if let Some(finished) = view.finished {
        let after = words::span(finished.since(view.submitted));
        fact("ended", format!("{}, after {after}", words::date(finished)))?;
    }
    fact("backend", words::painted_backend(&view.backend, paint))?;
    fact("model", words::clean(&view.model))?;
    fact("base", words::one_line(&view.base, 400))?;
    fact("folder", words::one_line(&view.folder, 400))?;
    let agents = words::plural(view.agents, "agent");
    fact("usage", format!("{}, {agents}", work(view)))?;
    used(desk, view)?;
    if view.warnings > 0 {
        let (warnings, run) = (view.warnings, view.run);
        fact(
            "warnings",
            format!("{warnings} (`agentd logs {run}` shows them)"),
        )?;
    }
    let profile = words::clean(&view.profile);
    fact("granted", format!("by profile {profile}:"))?;
    grants(desk, &detail.envelope)?;
    super::submit::rules(desk, &detail.approve)?;
    waits(desk, view)?;
    live(desk, detail)?;
    if !view.subtasks.is_empty() {
        desk.say("subtasks")?;
    }
    view.subtasks
        .iter()
        .try_for_each(|subtask| desk.say(subtask_line(subtask, paint)))?;
    delivered(desk, view)?;
    if let Some(Outcome::Failed { failure }) = &view.outcome {
        let (problem, next_step) = crate::report::failure_parts(failure);
        desk.say(format!("failed: {}", words::clean(&problem)))?;
        desk.say(format!("next: {}", words::clean(&next_step)))?;
    }
    Ok(())
}

/// Tokens, money and calls.
fn work(view: &RunView) -> String {
    let calls = words::plural(view.tool_calls, "tool call");
    format!("{}, {calls}", words::usage(&view.usage))
}

fn standing(view: &RunView, paint: words::Paint) -> String {
    let waiting = view.waiting.len();
    let text = words::run_standing(view.state, view.parked.as_ref(), waiting, view.recoveries);
    match view.state {
        RunState::Waiting | RunState::Parked | RunState::Recovering => paint.warn(&text),
        _ => text.replacen(
            words::run_state(view.state),
            &words::painted_state(view.state, paint),
            1,
        ),
    }
}

/// How far each limit is used.
fn used(desk: &Desk, view: &RunView) -> Result<(), CliError> {
    let budget = &view.budget;
    let minutes = |span: Span| span.millis() / 60_000;
    let (active, allowed) = (minutes(view.active), minutes(budget.wall_clock));
    desk.say("budget")?;
    budget::limits(desk, budget, &view.usage, view.tool_calls, view.agents)?;
    desk.say(budget::limit_line(
        desk,
        "minutes",
        active,
        allowed,
        words::count,
    ))?;
    let Some(parked) = &view.parked else {
        return Ok(());
    };
    desk.say(desk.paint().warn(&format!(
        "  it waits at its limit of {}, {} more wanted: {}",
        words::used_of(parked.limit, parked.used, parked.allowed),
        words::amount(parked.limit, parked.wanted),
        words::way_on(parked.limit, Some(view.run))
    )))
}

/// What waits for the operator, and what each answer means.
fn waits(desk: &Desk, view: &RunView) -> Result<(), CliError> {
    if !view.waiting.is_empty() {
        desk.say(desk.paint().warn("waits for you"))?;
    }
    view.waiting.iter().try_for_each(|waiting| {
        let tool = words::one_line(&waiting.tool, 64);
        match &waiting.what {
            WaitsFor::Approval {
                preview, expires, ..
            } => {
                let until = words::date(*expires);
                let what = words::one_line(preview, 200);
                desk.say(format!("  {}  approval of {tool}, until {until}: {what}", waiting.call))?;
                desk.say(format!(
                    "  `agentd approvals show {0}`, then `agentd approvals approve {0}` or `agentd approvals deny {0}`",
                    waiting.call
                ))
            }
            WaitsFor::Doubt { .. } => {
                desk.say(format!("  {}  effect in doubt: {tool}", waiting.call))?;
                approvals::doubt(desk, view.run, waiting)
            }
        }
    })
}

fn subtask_line(subtask: &SubtaskView, paint: words::Paint) -> String {
    let elapsed = match (subtask.started, subtask.finished) {
        (Some(started), Some(finished)) => words::span(finished.since(started)),
        _ => String::new(),
    };
    let end = match &subtask.outcome {
        Some(Outcome::Succeeded { output }) => words::one_line(&output.describe(), 200),
        Some(Outcome::Failed { failure }) => paint.bad(&words::one_line(&failure.to_string(), 200)),
        None => words::one_line(&subtask.task, 120),
    };
    format!(
        "  {} {:<14} {:<11} {elapsed:>6}  {end}",
        words::mark(subtask.state, paint),
        subtask.id,
        subtask.role
    )
}

/// Grants, a line each.
pub(crate) fn grants(desk: &Desk, held: &[Capability]) -> Result<(), CliError> {
    if held.is_empty() {
        return desk.say("  nothing");
    }
    held.iter().try_for_each(|grant| {
        desk.say(
            desk.paint()
                .dim(&format!("  {}", words::clean(&grant.to_string()))),
        )
    })
}

/// What the run and its agents may still do, with the ids that `agentd revoke` takes; nothing once it has ended.
fn live(desk: &Desk, detail: &RunDetail) -> Result<(), CliError> {
    let (run, paint) = (detail.view.run, desk.paint());
    if !detail.live.is_empty() {
        desk.say(format!(
            "live       (`agentd revoke {run} GRANT` takes one back, and all made from it)"
        ))?;
    }
    detail.live.iter().try_for_each(|held| {
        let holder = held
            .agent
            .map_or_else(|| "the run".to_owned(), |agent| agent.to_string());
        let capability = words::clean(&held.capability.to_string());
        let line = format!("  {}  {holder:<19}  {}", held.grant, paint.dim(&capability));
        desk.say(line)
    })
}

/// Lines of a delivered file that are shown.
const FILE_LINES_SHOWN: usize = 24;
/// Bytes of a delivered file that are looked at for them.
const FILE_BYTES_SHOWN: u64 = 16 * 1024;

/// What was delivered, and where the files are.
pub(crate) fn delivered(desk: &Desk, view: &RunView) -> Result<(), CliError> {
    if let Some(Outcome::Succeeded { output }) = &view.outcome {
        desk.say("")?;
        match output {
            Value::Text { text } => desk.say(words::clean(text.trim_end()))?,
            Value::Json { json } => desk.say(words::clean(
                &serde_json::to_string_pretty(json).unwrap_or_default(),
            ))?,
            Value::Artifact { path, .. } => beginning_of(desk, path)?,
        }
        desk.say("")?;
    }
    let files = artifacts(view);
    if !files.is_empty() {
        desk.say("files")?;
    }
    files.iter().try_for_each(|(path, bytes)| {
        desk.say(format!("  {}  ({bytes} bytes)", words::one_line(path, 400)))
    })?;
    if let Some(finished) = view.finished {
        let elapsed = words::span(finished.since(view.submitted));
        let line = format!("{}, {elapsed}", work(view));
        desk.say(desk.paint().dim(&line))?;
    }
    Ok(())
}

/// Files that subtasks and the run delivered, each once.
fn artifacts(view: &RunView) -> BTreeSet<(String, u64)> {
    let outcomes = view
        .subtasks
        .iter()
        .filter_map(|subtask| subtask.outcome.as_ref())
        .chain(&view.outcome);
    outcomes
        .filter_map(|outcome| match outcome {
            Outcome::Succeeded {
                output: Value::Artifact { path, bytes },
            } => Some((path.clone(), *bytes)),
            _ => None,
        })
        .collect()
}

/// The beginning of a delivered text file; nothing if it is no regular file or not text.
fn beginning_of(desk: &Desk, path: &str) -> Result<(), CliError> {
    let regular = std::fs::symlink_metadata(path).is_ok_and(|about| about.is_file());
    let Some(file) = std::fs::File::open(path).ok().filter(|_| regular) else {
        return Ok(());
    };
    let mut bytes = Vec::new();
    if file.take(FILE_BYTES_SHOWN).read_to_end(&mut bytes).is_err() || bytes.contains(&0) {
        return Ok(());
    }
    let text = words::clean(&String::from_utf8_lossy(&bytes));
    text.lines()
        .take(FILE_LINES_SHOWN)
        .try_for_each(|line| desk.say(line))?;
    if text.lines().count() > FILE_LINES_SHOWN || bytes.len() as u64 == FILE_BYTES_SHOWN {
        desk.say(desk.paint().dim("…"))?;
    }
    Ok(())
}
