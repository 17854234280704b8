//! Where tokens and money went, by what the journal says: of one run by agent and model, of all runs by role and model.
//!
//! Refuses: to estimate. What is told adds up to what the runs say that they cost; a request that nobody waited for
//! counts at its worst case, as it does there.

use crate::{purse::operator_of, recover, shared::Shared};
use aaos_core::{
    event::{Event, Kind, Seq, StopReason},
    id::{AgentId, RoleName, RunId, SubtaskId},
    model::{ModelRef, Usage},
    time::Timestamp,
};
use aaos_ports::{Filter, JournalError, history::Spending};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, btree_map::Entry},
};

/// Rows of an answer about all runs; the cheapest are left out beyond it. A row takes some hundred bytes.
const ROWS_MAX: usize = 100_000;

/// What is known of an agent.
#[derive(Clone, Default)]
struct Agent {
    role: Option<RoleName>,
    subtask: Option<SubtaskId>,
    stop: Option<StopReason>,
}

/// Whose spending a row is: agents apart in one run, together by role in many.
type Whose = (RunId, Option<AgentId>, Option<RoleName>, String, String);

/// The sums so far.
#[derive(Default)]
struct Sums {
    rows: BTreeMap<Whose, Spending>,
    agents: BTreeMap<(RunId, AgentId), Agent>,
    /// Keeps agents apart, and remembers those that have stopped.
    by_agent: bool,
}

/// Where the money of one run went, agent by agent, or of all runs since a moment, role by role; the dearest first.
///
/// # Errors
/// The journal cannot be read.
pub(crate) async fn spending(
    shared: &Shared,
    run: Option<RunId>,
    since: Timestamp,
) -> Result<Vec<Spending>, JournalError> {
    let mut sums = Sums {
        by_agent: run.is_some(),
        ..Sums::default()
    };
    let kinds = [
        "agent_spawned",
        "agent_stopped",
        "usage_reported",
        "model_abandoned",
    ];
    let filter = Filter {
        run,
        kinds: kinds.map(str::to_owned).to_vec(),
        // An agent's role is told at its beginning, which may be earlier.
        since: run.is_none().then_some(since),
        ..Filter::default()
    };
    recover::each(shared, &filter, |event| sums.take_up(event, since)).await?;
    sums.complete(shared).await
}

impl Sums {
    fn take_up(&mut self, event: &Event, since: Timestamp) {
        let (Some(run), agent) = (event.subject.run, event.subject.agent) else {
            return;
        };
        match &event.kind {
            Kind::AgentSpawned {
                role,
                subtask,
                parent,
                ..
            } => {
                let Some(agent) = agent else { return };
                let above = parent.and_then(|parent| self.agents.get(&(run, parent)));
                let inherited = || above.and_then(|above| above.subtask.clone());
                let known = Agent {
                    role: Some(role.clone()),
                    subtask: subtask.clone().or_else(inherited),
                    stop: None,
                };
                self.agents.insert((run, agent), known);
            }
            Kind::AgentStopped { stop } => {
                let Some(agent) = agent else { return };
                if self.by_agent {
                    self.agents.entry((run, agent)).or_default().stop = Some(stop.clone());
                } else {
                    self.agents.remove(&(run, agent));
                }
            }
            Kind::UsageReported { model, usage } if event.time >= since => {
                let row = self.row(run, agent, model);
                row.requests = row.requests.saturating_add(1);
                row.usage = row.usage.plus(*usage);
            }
            Kind::ModelAbandoned {
                model,
                tokens,
                cost,
            } if event.time >= since => {
                let row = self.row(run, agent, model);
                row.abandoned = row.abandoned.saturating_add(1);
                row.usage = row.usage.plus(Usage::worst(*tokens, *cost));
            }
            _ => {}
        }
    }

    fn row(&mut self, run: RunId, agent: Option<AgentId>, model: &ModelRef) -> &mut Spending {
        self.shed();
        let known = agent.and_then(|agent| self.agents.get(&(run, agent)));
        let role = known.and_then(|known| known.role.clone());
        // An agent whose beginning has not been read stands apart until its role is looked up.
        let agent = agent.filter(|_| self.by_agent || role.is_none());
        let whose = (
            run,
            agent,
            role.clone(),
            model.provider.clone(),
            model.model.clone(),
        );
        self.rows.entry(whose).or_insert_with(|| Spending {
            run,
            operator: UNKNOWN,
            agent,
            role,
            subtask: None,
            model: model.clone(),
            requests: 0,
            abandoned: 0,
            usage: Usage::default(),
            stop: None,
        })
    }

    /// Keeps the dearer half when there are too many rows.
    fn shed(&mut self) {
        if self.by_agent || self.rows.len() < ROWS_MAX {
            return;
        }
        let mut costs: Vec<_> = self.rows.values().map(dearness).collect();
        let middle = costs.len() / 2;
        let (_, least, _) = costs.select_nth_unstable(middle);
        let least = *least;
        self.rows.retain(|_, row| dearness(row) < least);
    }

    /// Adds what is told elsewhere: operators, and the roles of agents that began before the time asked about.
    async fn complete(mut self, shared: &Shared) -> Result<Vec<Spending>, JournalError> {
        let mut operators: BTreeMap<RunId, u32> = BTreeMap::new();
        let mut rows: Vec<Spending> = Vec::with_capacity(self.rows.len());
        for mut row in std::mem::take(&mut self.rows).into_values() {
            row.operator = match operators.entry(row.run) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    let operator = operator_of(shared, row.run).await?;
                    *new.insert(operator.unwrap_or(UNKNOWN))
                }
            };
            if let Some(agent) = row.agent {
                self.describe(shared, &mut row, agent).await?;
            }
            rows.push(row);
        }
        if !self.by_agent {
            rows = merged(rows);
        }
        rows.sort_by_key(dearness);
        Ok(rows)
    }

    async fn describe(
        &self,
        shared: &Shared,
        row: &mut Spending,
        agent: AgentId,
    ) -> Result<(), JournalError> {
        if self.by_agent {
            let known = self.agents.get(&(row.run, agent)).cloned();
            let Agent {
                role,
                subtask,
                stop,
            } = known.unwrap_or_default();
            (row.role, row.subtask, row.stop) = (role, subtask, stop);
            return Ok(());
        }
        let filter = Filter {
            run: Some(row.run),
            agent: Some(agent),
            kinds: vec!["agent_spawned".to_owned()],
            ..Filter::default()
        };
        let born = shared.deps.journal.read(&filter, Seq(0), 1).await?;
        row.agent = None;
        row.role = born.first().and_then(|event| match &event.kind {
            Kind::AgentSpawned { role, .. } => Some(role.clone()),
            _ => None,
        });
        Ok(())
    }
}

/// The number of an operator that is not recorded.
const UNKNOWN: u32 = u32::MAX;

fn dearness(row: &Spending) -> Reverse<(u64, u64)> {
    Reverse((row.usage.cost.0, row.usage.tokens()))
}

/// Rows of the same run, role and model together.
fn merged(rows: Vec<Spending>) -> Vec<Spending> {
    let mut by_role: BTreeMap<Whose, Spending> = BTreeMap::new();
    for row in rows {
        let ModelRef { provider, model } = row.model.clone();
        match by_role.entry((row.run, None, row.role.clone(), provider, model)) {
            Entry::Vacant(new) => {
                new.insert(row);
            }
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.requests = known.requests.saturating_add(row.requests);
                known.abandoned = known.abandoned.saturating_add(row.abandoned);
                known.usage = known.usage.plus(row.usage);
            }
        }
    }
    by_role.into_values().collect()
}
