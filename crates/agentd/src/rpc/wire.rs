//! What travels on the socket beside the core's own types. Wire types stop at the method that takes them.

use crate::config::amount::Amount;
use aaos_core::{
    budget::Budget,
    capability::Capability,
    event::{Event, Mode, Parked, RunState, RunView},
    id::{GrantId, RunId},
    model::Usage,
    plan::Plan,
    time::Timestamp,
};
use aaos_ports::{LiveGrant, RoleProblem, WatchItem};
use serde::{Deserialize, Serialize};

/// No parameters.
#[derive(Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// How a goal is to be carried out.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Orchestration {
    /// Taken apart by a planner.
    Plan,
    /// Given whole to one agent.
    Direct,
}

impl From<Orchestration> for Mode {
    fn from(orchestration: Orchestration) -> Self {
        match orchestration {
            Orchestration::Plan => Self::Plan,
            Orchestration::Direct => Self::Direct,
        }
    }
}

/// A goal and its terms.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubmitParams {
    /// The goal, in words.
    pub(crate) goal: String,
    /// The absolute directory that relative paths start from.
    pub(crate) base: String,
    /// The profile its grants come from; `default` if none.
    #[serde(default)]
    pub(crate) profile: Option<String>,
    /// Further grants, in the grammar of grants.
    #[serde(default)]
    pub(crate) grants: Vec<String>,
    /// What is taken out of the grants again, in the same grammar.
    #[serde(default)]
    pub(crate) deny: Vec<String>,
    /// Limits in place of the configured ones.
    #[serde(default)]
    pub(crate) budget: Vec<Amount>,
    /// How it is to be carried out; decided by the daemon if none.
    #[serde(default)]
    pub(crate) orchestration: Option<Orchestration>,
    /// A model for everything, as `provider/model`.
    #[serde(default)]
    pub(crate) model: Option<String>,
    /// Acts that wait for a person's approval, beside those of the configuration and of roles.
    #[serde(default)]
    pub(crate) ask: Vec<String>,
    /// Whether the run waits at a limit of its budget rather than fail.
    #[serde(default)]
    pub(crate) park: bool,
}

/// A run that was accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Submitted {
    /// Its id.
    pub(crate) run: RunId,
    /// Where its tools run.
    pub(crate) backend: String,
    /// The models that serve it, for people.
    pub(crate) model: String,
    /// Its own directory.
    pub(crate) folder: String,
    /// The profile its grants come from.
    pub(crate) profile: String,
    /// What it may do.
    pub(crate) envelope: Vec<Capability>,
    /// What it may use.
    #[serde(default)]
    pub(crate) budget: Budget,
    /// Which of its acts wait for a person's approval.
    #[serde(default)]
    pub(crate) approve: Vec<String>,
}

impl Submitted {
    /// A run of which all this is known.
    pub(crate) fn of(view: RunView, envelope: Vec<Capability>, approve: Vec<String>) -> Self {
        Self {
            run: view.run,
            backend: view.backend,
            model: view.model,
            folder: view.folder,
            profile: view.profile,
            envelope,
            budget: view.budget,
            approve,
        }
    }
}

/// Names a run.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunParams {
    /// A run's id, or the beginning of one that no other run shares.
    pub(crate) run: String,
}

/// Which runs.
#[derive(Debug, Default, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    /// At most so many, newest first; 50 if none, 1000 at most.
    #[serde(default)]
    pub(crate) limit: Option<usize>,
}

/// What of a run to send.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WatchParams {
    /// A run's id, or the beginning of one that no other run shares.
    pub(crate) run: String,
    /// Only events after this place in the journal.
    #[serde(default)]
    pub(crate) after: u64,
    /// Whether to go on until the run ends; past events only if not.
    #[serde(default)]
    pub(crate) follow: bool,
}

/// One run in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunSummary {
    /// Its id.
    pub(crate) run: RunId,
    /// Its goal.
    pub(crate) goal: String,
    /// Where it stands.
    pub(crate) state: RunState,
    /// When it was submitted.
    pub(crate) submitted: Timestamp,
    /// When it ended.
    pub(crate) finished: Option<Timestamp>,
    /// Where its tools run.
    pub(crate) backend: String,
    /// Tokens and money.
    pub(crate) usage: Usage,
    /// The operator's user number.
    pub(crate) operator: u32,
    /// Acts that wait for the operator.
    #[serde(default)]
    pub(crate) waiting: usize,
    /// The limit at which it waits, if it does.
    #[serde(default)]
    pub(crate) parked: Option<Parked>,
    /// How often the daemon ended while it went on.
    #[serde(default)]
    pub(crate) recoveries: u64,
}

/// A run in full.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunDetail {
    /// The fold of its events.
    pub(crate) view: RunView,
    /// What the operator granted it.
    pub(crate) envelope: Vec<Capability>,
    /// What it and its agents may still do, while it goes on.
    pub(crate) live: Vec<LiveGrant>,
    /// Which of its acts wait for a person's approval.
    #[serde(default)]
    pub(crate) approve: Vec<String>,
}

/// Names a grant of a run.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeParams {
    /// A run's id, or the beginning of one that no other run shares.
    pub(crate) run: String,
    /// The id of one of its live grants, or the beginning of one that no other shares.
    pub(crate) grant: String,
}

/// A grant that was revoked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RevokedAnswer {
    /// The run.
    pub(crate) run: RunId,
    /// The grant.
    pub(crate) grant: GrantId,
    /// Grants made from it that ended with it.
    pub(crate) descendants: u32,
    /// Calls in flight that ended with it.
    pub(crate) calls: u32,
}

/// How a watch ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Watched {
    /// The run.
    pub(crate) run: RunId,
    /// Where it stands.
    pub(crate) state: RunState,
    /// The last place in the journal that was sent.
    pub(crate) last: u64,
    /// The run in full, if it has ended.
    pub(crate) detail: Option<RunDetail>,
}

/// What a `run.event` notification carries.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Piece {
    /// The next event.
    Event(Box<Event>),
    /// The watcher was too slow for the live feed; what it missed comes next, from the journal.
    Gap {
        /// First place that the live feed skipped.
        from: u64,
        /// Last place that the live feed skipped.
        to: u64,
    },
}

impl From<WatchItem> for Piece {
    fn from(item: WatchItem) -> Self {
        match item {
            WatchItem::Event(event) => Self::Event(Box::new(event)),
            WatchItem::Gap { from, to } => Self::Gap {
                from: from.0,
                to: to.0,
            },
        }
    }
}

/// The plan of a goal that is not carried out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Planned {
    /// How it would be carried out.
    pub(crate) mode: Mode,
    /// The plan.
    pub(crate) plan: Plan,
    /// What the run would hold.
    pub(crate) envelope: Vec<Capability>,
    /// Per subtask, what its agent would hold.
    pub(crate) grants: Vec<(aaos_core::id::SubtaskId, Vec<Capability>)>,
    /// The models that would serve it.
    pub(crate) model: String,
    /// Which of its acts would wait for a person's approval.
    #[serde(default)]
    pub(crate) approve: Vec<String>,
}

/// The daemon, as it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DaemonStatusAnswer {
    /// Its version.
    pub(crate) version: String,
    /// Its process number.
    pub(crate) pid: u32,
    /// The user number it runs as.
    pub(crate) uid: u32,
    /// Seconds since it was ready.
    pub(crate) uptime_s: u64,
    /// `per_user` or `system`.
    pub(crate) installation: String,
    /// Its state directory.
    pub(crate) state_dir: String,
    /// Its socket.
    pub(crate) socket: String,
    /// How agents' tools run.
    pub(crate) backend: String,
    /// What confines them, in words.
    pub(crate) confinement: String,
    /// The models that serve it, for people.
    pub(crate) model: String,
    /// A digest of its settings.
    pub(crate) fingerprint: String,
    /// Runs that have not ended.
    pub(crate) runs_active: usize,
    /// Open connections.
    pub(crate) connections: usize,
    /// Whether it is going away.
    pub(crate) stopping: bool,
    /// Why it takes no goals, if its disk or journal is the reason.
    #[serde(default)]
    pub(crate) trouble: Option<Trouble>,
}

/// What stands in the way, and what to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Trouble {
    /// What.
    pub(crate) problem: String,
    /// What to do.
    pub(crate) next_step: String,
}

/// When to stop.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum When {
    /// Now; runs are given some seconds to reach a safe point.
    #[default]
    Now,
    /// Only if no run is active.
    Idle,
}

/// When the daemon is to stop.
#[derive(Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StopParams {
    /// `now` or `idle`; `now` if none.
    #[serde(default)]
    pub(crate) when: When,
}

/// Whether the daemon stops.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stopping {
    /// Whether it does.
    pub(crate) stopping: bool,
    /// Runs that have not ended.
    pub(crate) runs_active: usize,
    /// Its process number.
    pub(crate) pid: u32,
}

/// Names a role.
#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleParams {
    /// The role's name.
    pub(crate) name: String,
}

/// Roles, and role files that were refused.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Roles {
    /// Every good role, by name.
    pub(crate) roles: Vec<aaos_core::role::Role>,
    /// Files that were refused; the roles are unaffected.
    pub(crate) problems: Vec<RoleProblem>,
}

/// Every tool.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Tools {
    /// By name.
    pub(crate) tools: Vec<aaos_core::tool::ToolSpec>,
}

/// Whether models are to be asked.
#[derive(Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelParams {
    /// Whether each is probed: reachable, authorised, known.
    #[serde(default)]
    pub(crate) probe: bool,
}

/// Which models serve.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Models {
    /// What people are told of them.
    pub(crate) label: String,
    /// One per class.
    pub(crate) models: Vec<ModelLine>,
}

/// The model of one class.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ModelLine {
    /// The class.
    pub(crate) class: aaos_core::model::ModelClass,
    /// The model, as `provider/model`.
    pub(crate) model: String,
    /// What the probe found: none if it was not made, `ok`, or what is wrong and what to do.
    pub(crate) probe: Option<String>,
}

/// The daemon's configuration.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Configuration {
    /// Every value with its origin, keys as `…`.
    pub(crate) entries: Vec<crate::config::Entry>,
    /// A digest of all that changes what the daemon does.
    pub(crate) fingerprint: String,
}
