//! `agentd status`: all there is to know of one run; without a run, the daemon.

use super::{
    Act, CliError, Desk, approvals, budget,
    picture::picture,
    start::{self, Absent},
    words,
};
use crate::{
    config::Installation,
    rpc::{
        RunStatus,
        wire::{RunDetail, RunParams},
    },
    world::SystemClock,
};
use aaos_core::{
    capability::Capability,
    event::{Outcome, RunView, Waiting, WaitsFor},
    id::RunId,
    time::Span,
    value::Value,
};
use aaos_ports::Clock;
use clap::Args;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
};

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
    if view.warnings > 0 {
        let (warnings, run) = (view.warnings, view.run);
        fact(
            "warnings",
            format!("{warnings} (`agentd logs {run}` shows them)"),
        )?;
    }
    waits(desk, view)?;
    plan(desk, view)?;
    used(desk, view)?;
    authority(desk, detail)?;
    delivered(desk, view)?;
    if let Some(Outcome::Failed { failure }) = &view.outcome {
        let (problem, next_step) = crate::report::failure_of(view.run, failure);
        desk.say(format!("failed: {}", words::clean(&problem)))?;
        desk.say(format!(
            "next: {}",
            words::clean(&next_step).replace('\n', "\n      ")
        ))?;
    }
    Ok(())
}

/// The plan as a picture.
fn plan(desk: &Desk, view: &RunView) -> Result<(), CliError> {
    if view.subtasks.is_empty() {
        return Ok(());
    }
    desk.say("subtasks")?;
    let (nothing, now) = (BTreeMap::new(), SystemClock.now());
    picture(view, &nothing, now, SUBTASKS_SHOWN_MAX, desk.paint())
        .iter()
        .try_for_each(|line| desk.say_cut(line))?;
    more(desk, view.subtasks.len(), SUBTASKS_SHOWN_MAX, view.run)
}

/// Most subtasks that are shown: some screens. Those that run or failed come first; `--json` has all.
const SUBTASKS_SHOWN_MAX: usize = 100;

/// What the run was granted, what it asks about, and what it may still do.
fn authority(desk: &Desk, detail: &RunDetail) -> Result<(), CliError> {
    let view = &detail.view;
    let profile = words::clean(&view.profile);
    desk.say(format!("granted    by profile {profile}:"))?;
    grants(desk, &detail.envelope)?;
    super::submit::rules(desk, &detail.approve)?;
    let now = SystemClock.now();
    let holds = |until| !view.state.is_final() && until > now;
    for ahead in view.approved_ahead.iter().filter(|one| holds(one.until)) {
        let (tool, until) = (words::one_line(&ahead.tool, 64), words::date(ahead.until));
        let rule = words::one_line(&ahead.rule, 200);
        desk.say(desk.paint().dim(&format!(
            "  not for {tool} by `{rule}` until {until}, as you said"
        )))?;
    }
    live(desk, detail)
}

/// Tokens, money and calls.
pub(crate) fn work(view: &RunView) -> String {
    let calls = words::plural(view.tool_calls, "tool call");
    format!("{}, {calls}", words::usage(&view.usage))
}

fn standing(view: &RunView, paint: words::Paint) -> String {
    let (parked, waiting) = (view.parked.as_ref(), view.waiting.len());
    words::run_standing(view.state, parked, waiting, view.recoveries, paint)
}

/// How far each limit is used.
fn used(desk: &Desk, view: &RunView) -> Result<(), CliError> {
    let budget = &view.budget;
    let (active, allowed) = (view.active.millis(), budget.wall_clock.millis());
    let time = |millis| words::span(Span::from_millis(millis));
    desk.say("budget")?;
    budget::limits(desk, budget, &view.usage, view.tool_calls, view.agents)?;
    desk.say(budget::limit_line(desk, "time", active, allowed, time))
}

/// What waits for the operator, and what each answer means.
fn waits(desk: &Desk, view: &RunView) -> Result<(), CliError> {
    if view.parked.is_some() || !view.waiting.is_empty() {
        desk.say(desk.paint().warn("waits for you"))?;
    }
    if let Some(parked) = &view.parked {
        desk.say(format!(
            "  at its limit of {}, {} more wanted: {}",
            words::used_of(parked.limit, parked.used, parked.allowed),
            words::amount(parked.limit, parked.wanted),
            words::way_on(parked.limit, Some(view.run))
        ))?;
    }
    view.waiting
        .iter()
        .take(WAITS_SHOWN_MAX)
        .try_for_each(|waiting| wait(desk, view.run, waiting))?;
    more(desk, view.waiting.len(), WAITS_SHOWN_MAX, view.run)?;
    let mut approvals = view.waiting.iter().filter(|waiting| is_approval(waiting));
    let call = match (approvals.next(), approvals.next()) {
        (None, _) => return Ok(()),
        (Some(only), None) => only.call.to_string(),
        (Some(_), Some(_)) => "CALL".to_owned(),
    };
    desk.say(format!(
        "  `agentd approvals show {call}`, then `agentd approvals approve {call}` or `agentd approvals deny {call}`"
    ))
}

/// Most acts that wait which are shown.
const WAITS_SHOWN_MAX: usize = 20;

const fn is_approval(waiting: &Waiting) -> bool {
    matches!(waiting.what, WaitsFor::Approval { .. })
}

/// One act that waits.
fn wait(desk: &Desk, run: RunId, waiting: &Waiting) -> Result<(), CliError> {
    let (call, tool) = (waiting.call, words::one_line(&waiting.tool, 64));
    let since = words::span(SystemClock.now().since(waiting.since));
    match &waiting.what {
        WaitsFor::Approval {
            preview, expires, ..
        } => {
            let until = words::date(*expires);
            let what = words::one_line(preview, 200);
            desk.say(format!(
                "  {call}  approval of {tool}, waits {since}, until {until}: {what}"
            ))
        }
        WaitsFor::Doubt { .. } => {
            desk.say(format!("  {call}  effect in doubt: {tool}, waits {since}"))?;
            approvals::doubt(desk, run, waiting)
        }
    }
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
    let mut shown = detail.live.iter().take(LIVE_SHOWN_MAX);
    shown.try_for_each(|held| {
        let holder = held
            .agent
            .map_or_else(|| "the run".to_owned(), |agent| agent.to_string());
        let capability = words::clean(&held.capability.to_string());
        let line = format!("  {}  {holder:<19}  {}", held.grant, paint.dim(&capability));
        desk.say(line)
    })?;
    more(desk, detail.live.len(), LIVE_SHOWN_MAX, run)
}

/// How many of a list were not shown, and where they are.
fn more(desk: &Desk, all: usize, shown: usize, run: RunId) -> Result<(), CliError> {
    match all.checked_sub(shown) {
        None | Some(0) => Ok(()),
        Some(more) => desk.say(format!(
            "  … {more} more; `agentd status --json {run}` has all"
        )),
    }
}

/// Most live grants that are shown: those of a run and of some agents.
const LIVE_SHOWN_MAX: usize = 40;

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
    files
        .iter()
        .take(FILES_SHOWN_MAX)
        .try_for_each(|(path, bytes)| {
            desk.say(format!("  {}  ({bytes} bytes)", words::one_line(path, 400)))
        })?;
    more(desk, files.len(), FILES_SHOWN_MAX, view.run)
}

/// Most delivered files that are named.
const FILES_SHOWN_MAX: usize = 40;

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
