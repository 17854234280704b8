//! `agentd budget`: where tokens and money went, by run, role, model and agent, to the micro-dollar.

use super::{
    Act, CliError, Desk, approvals,
    start::{self, Absent},
    words,
};
use crate::rpc::{
    BudgetShow,
    recounted::{BudgetParams, Spent},
};
use aaos_core::{event::StopReason, id::RunId, model::Usage, money::MicroDollars, time::Span};
use aaos_ports::Spending;
use clap::Args;
use std::collections::BTreeMap;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Budget {
    /// The run's id, or the beginning of it; all runs if not given.
    run: Option<String>,
    /// Look back so far, as `12h` or `7d`; a day if neither this nor a run is given.
    #[arg(long, value_name = "SPAN")]
    since: Option<String>,
}

impl Act for Budget {
    const NAME: &'static str = "budget";
    const ABOUT: &'static str = "Show where tokens and money went";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let since_s = self.since.as_deref().map(approvals::seconds).transpose()?;
        let params = BudgetParams {
            run: self.run,
            since_s,
        };
        let doing = "ask where the money went";
        let spent = start::ask::<BudgetShow>(desk, Absent::Start, doing, &params)?;
        desk.tell(&spent, |spent| print(desk, spent))
    }
}

fn print(desk: &Desk, spent: &Spent) -> Result<(), CliError> {
    let when = spent
        .since_s
        .map_or_else(String::new, |seconds| match seconds {
            86_400 => " in the last 24 hours".to_owned(),
            _ => format!(" in the last {}", words::span(Span::from_secs(seconds))),
        });
    let total = &spent.total;
    desk.say(format!(
        "{} and {} tokens{when}, {}{}",
        desk.paint().strong(&words::exact(total.cost)),
        words::count(total.tokens()),
        words::plural(spent.runs.len() as u64, "run"),
        match spent.rehearsals.len() as u64 {
            0 => String::new(),
            plans => format!(" and {}", words::plural(plans, "rehearsed plan")),
        }
    ))?;
    limits_of_day(desk, spent)?;
    match (spent.runs.as_slice(), spent.rehearsals.as_slice()) {
        ([run], []) => {
            desk.say(format!(
                "{}  {}  {}",
                run.run,
                words::painted_state(run.state, desk.paint()),
                words::one_line(&run.goal, 80)
            ))?;
            limits(desk, &run.budget, &run.usage, run.calls, run.agents)?;
        }
        ([], [plan]) => desk.say(format!("{}  {}", plan.run, goal(spent, plan.run)))?,
        _ => {}
    }
    let Some(first) = spent.spending.first() else {
        return Ok(());
    };
    let goal = |one: &Spending| format!("{}  {}", one.run, goal(spent, one.run));
    let role = |one: &Spending| {
        let role = one.role.as_ref().map(ToString::to_string);
        role.unwrap_or_else(|| "planning".to_owned())
    };
    if spent.spending.iter().any(|one| one.run != first.run) {
        section(desk, "by run", spent, goal)?;
    }
    section(desk, "by role", spent, role)?;
    section(desk, "by model", spent, |one| {
        words::one_line(&one.model.to_string(), 80)
    })?;
    // Over several runs the agents are not told apart.
    if spent.spending.iter().all(|one| one.agent.is_none()) {
        return Ok(());
    }
    section(desk, "by agent", spent, agent)
}

/// What a run or a rehearsed plan was for.
fn goal(spent: &Spent, run: RunId) -> String {
    let goal = |goal: &str| words::one_line(goal, 60);
    let plan = spent.rehearsals.iter().find(|plan| plan.run == run);
    let plan = plan.map(|plan| format!("(plan) {}", goal(&plan.goal)));
    let known = spent.runs.iter().find(|known| known.run == run);
    let told = known.map(|known| goal(&known.goal)).or(plan);
    told.unwrap_or_else(|| "(its goal was erased or not recorded)".to_owned())
}

/// An agent, what it worked for, and how it ended if not well.
fn agent(one: &Spending) -> String {
    let Some(agent) = one.agent else {
        return "planning".to_owned();
    };
    let mut text = agent.to_string();
    if let Some(role) = &one.role {
        text.push_str(&format!("  {role}"));
    }
    if let Some(subtask) = &one.subtask {
        text.push_str(&format!(" for {subtask}"));
    }
    if let Some(StopReason::Failed { failure }) = &one.stop {
        text.push_str(&format!(": {}", words::one_line(&failure.to_string(), 80)));
    }
    text
}

/// Most lines of a section; the rest is told in one.
const LINES_MAX: usize = 20;

/// What was spent by something, the dearest first.
fn section(
    desk: &Desk,
    head: &str,
    spent: &Spent,
    by: impl Fn(&Spending) -> String,
) -> Result<(), CliError> {
    let mut sums: BTreeMap<String, (Usage, u64, u64)> = BTreeMap::new();
    for one in &spent.spending {
        let (usage, requests, abandoned) = sums.entry(by(one)).or_default();
        *usage = usage.plus(one.usage);
        *requests = requests.saturating_add(one.requests);
        *abandoned = abandoned.saturating_add(one.abandoned);
    }
    let mut lines: Vec<_> = sums.into_iter().collect();
    lines.sort_by_key(|(_, (usage, ..))| std::cmp::Reverse((usage.cost, usage.tokens())));
    desk.say(desk.paint().strong(head))?;
    for (name, (usage, requests, abandoned)) in lines.iter().take(LINES_MAX) {
        let cut_off = if *abandoned > 0 {
            format!(", {abandoned} cut off")
        } else {
            String::new()
        };
        desk.say(format!(
            "  {} {:>12} {:>8} tokens {:>11}{cut_off}  {name}",
            share(desk, spent, usage),
            words::exact(usage.cost),
            words::count(usage.tokens()),
            words::plural(*requests, "request"),
        ))?;
    }
    if lines.len() > LINES_MAX {
        let rest = lines.iter().skip(LINES_MAX);
        let rest: Usage = rest.map(|(_, (usage, ..))| *usage).sum();
        desk.say(format!(
            "  {} {:>12} {:>8} tokens  {} more",
            share(desk, spent, &rest),
            words::exact(rest.cost),
            words::count(rest.tokens()),
            lines.len() - LINES_MAX
        ))?;
    }
    Ok(())
}

/// The share of the whole: of money, or of tokens where nothing costs any.
fn share(desk: &Desk, spent: &Spent, usage: &Usage) -> String {
    let paint = words::Paint(false);
    let bar = if spent.total.cost.0 > 0 {
        words::bar(usage.cost.0, spent.total.cost.0, paint)
    } else {
        words::bar(usage.tokens(), spent.total.tokens(), paint)
    };
    desk.paint().tool(&bar)
}

/// How far each limit of a run is used.
pub(crate) fn limits(
    desk: &Desk,
    allowed: &aaos_core::budget::Budget,
    usage: &Usage,
    calls: u64,
    agents: u64,
) -> Result<(), CliError> {
    let say = |name, used, allowed, said| desk.say(limit_line(desk, name, used, allowed, said));
    say("cost", usage.cost.0, allowed.cost.0, money)?;
    say("tokens", usage.tokens(), allowed.tokens, words::count)?;
    say("calls", calls, allowed.calls, words::count)?;
    say("agents", agents, allowed.agents, words::count)
}

/// An amount of money, to the micro-dollar.
fn money(amount: u64) -> String {
    words::exact(MicroDollars(amount))
}

/// One limit: its name, a bar, used and allowed, said in these words.
pub(crate) fn limit_line(
    desk: &Desk,
    name: &str,
    used: u64,
    allowed: u64,
    said: fn(u64) -> String,
) -> String {
    let bar = words::bar(used, allowed, desk.paint());
    format!("  {name:<10} {bar}  {} of {}", said(used), said(allowed))
}

/// How far the limits of today are used.
fn limits_of_day(desk: &Desk, spent: &Spent) -> Result<(), CliError> {
    for day in &spent.today {
        let who = format!("today, {}", day.of);
        desk.say(desk.paint().strong(&who))?;
        if let Some(cost) = day.cost {
            desk.say(limit_line(desk, "cost", day.used.cost.0, cost.0, money))?;
        }
        if let Some(tokens) = day.tokens {
            desk.say(limit_line(
                desk,
                "tokens",
                day.used.tokens(),
                tokens,
                words::count,
            ))?;
        }
    }
    Ok(())
}
