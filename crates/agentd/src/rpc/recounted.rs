//! What travels when something is made of the record: a fork, a replay, where the money went.

use crate::config::amount::Amount;
use aaos_core::{budget::Budget, event::RunState, id::RunId, model::Usage, money::MicroDollars};
use aaos_ports::Spending;
use serde::{Deserialize, Serialize};

/// A run to be continued from one of its steps under other terms.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForkParams {
    /// A run's id, or the beginning of one that no other run shares.
    pub(crate) run: String,
    /// The subtask from which on it goes its own way.
    pub(crate) at: String,
    /// Model requests of that subtask's agent that are kept, with the calls they led to.
    #[serde(default)]
    pub(crate) turns_kept: u32,
    /// A model for everything, as `provider/model`; what it was if none.
    #[serde(default)]
    pub(crate) model: Option<String>,
    /// What the run was granted and its profile does not grant any longer, in the grammar of grants.
    #[serde(default)]
    pub(crate) grants: Vec<String>,
    /// Limits in place of the run's own, which count as far as the configuration's allow as much.
    #[serde(default)]
    pub(crate) budget: Vec<Amount>,
}

/// Of which run, and since when.
#[derive(Debug, Default, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BudgetParams {
    /// A run's id, or the beginning of one that no other run shares; all runs if none.
    #[serde(default)]
    pub(crate) run: Option<String>,
    /// Only what was spent in so many seconds before now; of a day if neither this nor a run is given.
    #[serde(default)]
    pub(crate) since_s: Option<u64>,
}

/// Where tokens and money went.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spent {
    /// Seconds looked back; none if all of one run is told.
    pub(crate) since_s: Option<u64>,
    /// All of it together.
    pub(crate) total: Usage,
    /// By agent and model, the dearest first.
    pub(crate) spending: Vec<Spending>,
    /// The runs it belongs to.
    pub(crate) runs: Vec<SpentRun>,
    /// Plans that were rehearsed, which it belongs to as well.
    #[serde(default)]
    pub(crate) rehearsals: Vec<SpentPlan>,
    /// How far limits of today are used, where there are any.
    #[serde(default)]
    pub(crate) today: Vec<Today>,
}

/// A limit of a day, and how far it is used.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Today {
    /// Whose runs: `your runs` or `all runs`.
    pub(crate) of: String,
    /// What they used since midnight in UTC.
    pub(crate) used: Usage,
    /// Most tokens.
    pub(crate) tokens: Option<u64>,
    /// Most money.
    pub(crate) cost: Option<MicroDollars>,
}

/// A rehearsed plan for which something was spent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SpentPlan {
    /// Its id.
    pub(crate) run: RunId,
    /// Its goal.
    pub(crate) goal: String,
}

/// A run of which something was spent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SpentRun {
    /// Its id.
    pub(crate) run: RunId,
    /// Its goal.
    pub(crate) goal: String,
    /// Where it stands.
    pub(crate) state: RunState,
    /// What it may use.
    pub(crate) budget: Budget,
    /// What it used, over its whole time.
    pub(crate) usage: Usage,
    /// Tool calls, over its whole time.
    pub(crate) calls: u64,
    /// Agents, over its whole time.
    pub(crate) agents: u64,
}
