//! Events: what happened, in order. Everything else that is known of a run is computed from them.

mod fold;
mod kind;
mod waiting;
mod worktime;

pub use fold::{AgentView, RunState, RunView, SubtaskState, SubtaskView};
pub use kind::{
    BackendName, Fork, GrantUse, Kind, Mode, ModeSource, Outcome, Severity, StopReason,
};
pub use waiting::{Ahead, Parked, Waiting, WaitsFor};
pub use worktime::WorkTimes;

use crate::{
    id::{AgentId, CallId, RunId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// An event's place in the journal, counting from one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

/// Whom and what an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Subject {
    /// The run it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The agent that did it or to which it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// The tool call it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// The event that led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Seq>,
}

/// An event before it has a place in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// When it happened.
    pub time: Timestamp,
    /// Whom and what it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// What happened.
    #[serde(flatten)]
    pub kind: Kind,
}

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place.
    pub seq: Seq,
    /// When it happened.
    pub time: Timestamp,
    /// Whom and what it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// What happened.
    #[serde(flatten)]
    pub kind: Kind,
}
