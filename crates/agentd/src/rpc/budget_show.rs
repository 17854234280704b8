//! `budget.show`: Tells where tokens and money went: of one run, or of all in a time.

use super::{
    Call, Caller, Fault, FaultKind, Front,
    recounted::{BudgetParams, Spent, SpentPlan, SpentRun, Today},
    rehearsed::Rehearsed,
};
use crate::{config::Day, limits::RUNS_LISTED_MAX};
use aaos_core::{
    event::RunView,
    id::RunId,
    time::{Span, Timestamp},
};
use aaos_ports::Spending;
use std::{collections::BTreeSet, sync::Arc};

/// Microseconds of a day.
const DAY_MICROS: u64 = 86_400_000_000;
/// Seconds looked back over all runs if no time is asked for: a day.
const SINCE_S_UNASKED: u64 = 86_400;

/// The method.
pub(crate) struct BudgetShow;

impl Call for BudgetShow {
    const NAME: &'static str = "budget.show";
    const SUMMARY: &'static str =
        "Tells where tokens and money went: of one run, or of all in a time.";
    const ANSWER: &'static str = "{since_s, total, spending: [{run, operator, agent, role, subtask, model, requests, abandoned, usage, stop}], runs: [{run, goal, state, budget, usage, calls, agents}], rehearsals: [{run, goal}], today: [{of, used, tokens, cost}]}";
    type Params = BudgetParams;
    type Answer = Spent;

    async fn call(front: Arc<Front>, caller: Caller, params: BudgetParams) -> Result<Spent, Fault> {
        let run = match &params.run {
            Some(text) => Some(front.find_recorded(&caller, text).await?),
            None => None,
        };
        let since_s = params
            .since_s
            .or_else(|| run.is_none().then_some(SINCE_S_UNASKED));
        let since = since_s.map_or_else(Timestamp::default, |seconds| {
            let back = Span::from_secs(seconds).micros();
            Timestamp::from_micros(front.clock.now().micros().saturating_sub(back))
        });
        let mut spending = front.history.spending(run, since).await?;
        spending.retain(|one| front.is_theirs(&caller, one.operator));
        let total = spending.iter().map(|one| one.usage).sum();
        let named: BTreeSet<RunId> = spending.iter().map(|one| one.run).chain(run).collect();
        let (mut runs, mut rehearsals) = (Vec::new(), Vec::new());
        for run in named.into_iter().take(RUNS_LISTED_MAX) {
            match front.view(run).await {
                Ok(view) => runs.push(spent(view)),
                Err(fault) if fault.kind() == Some(FaultKind::Unknown) => {
                    // Of one that was erased, what it cost is all there is to show.
                    let rehearsed = front.rehearsed(run).await?;
                    rehearsals
                        .extend(rehearsed.map(|Rehearsed { goal, .. }| SpentPlan { run, goal }));
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(Spent {
            since_s,
            total,
            spending,
            runs,
            rehearsals,
            today: today(&front, &caller).await?,
        })
    }
}

fn spent(view: RunView) -> SpentRun {
    SpentRun {
        run: view.run,
        goal: view.goal,
        state: view.state,
        budget: view.budget,
        usage: view.usage,
        calls: view.tool_calls,
        agents: view.agents,
    }
}

/// Whose runs, their limits of a day, and what counts as theirs.
type DayOf<'a> = (&'a str, &'a Day, &'a (dyn Fn(&Spending) -> bool + Sync));

/// How far the limits of today are used. What others spent is told as a sum, and to those alone whom it limits.
async fn today(front: &Front, caller: &Caller) -> Result<Vec<Today>, Fault> {
    let budgets = &front.config.budgets;
    let own = |one: &Spending| one.operator == caller.uid;
    let all = |_: &Spending| true;
    let limits: [DayOf<'_>; 2] = [
        ("your runs", &budgets.operator, &own),
        ("all runs", &budgets.day, &all),
    ];
    if limits.iter().all(|(_, day, _)| !day.is_set()) {
        return Ok(Vec::new());
    }
    let now = front.clock.now().micros();
    let midnight = Timestamp::from_micros(now - now % DAY_MICROS);
    let spending = front.history.spending(None, midnight).await?;
    let lines = limits.into_iter().filter(|(_, day, _)| day.is_set());
    let line = |(of, day, counts): DayOf<'_>| {
        let counted = spending.iter().filter(|one| counts(one));
        Today {
            of: of.to_owned(),
            used: counted.map(|one| one.usage).sum(),
            tokens: day.tokens.as_ref().map(|tokens| tokens.value),
            cost: day.cost.as_ref().map(|cost| cost.value),
        }
    };
    Ok(lines.map(line).collect())
}
