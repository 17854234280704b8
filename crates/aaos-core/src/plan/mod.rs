//! A plan: subtasks, what each needs, and which one's output answers the goal.

pub mod check;
pub mod escalate;
mod graph;
pub mod placeholder;
mod reply;
mod schema;
pub mod walk;

use crate::{
    id::{RoleName, SubtaskId},
    time::Span,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A goal taken apart: a directed acyclic graph of subtasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Its nodes, in no particular order.
    pub subtasks: Vec<Subtask>,
    /// The subtask whose output answers the goal.
    pub result: SubtaskId,
}

/// One node of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subtask {
    /// Its name within the plan.
    pub id: SubtaskId,
    /// What is to be done, in a sentence.
    pub task: String,
    /// The role of the agent that does it.
    pub role: RoleName,
    /// The role's parameters.
    #[serde(default)]
    pub params: BTreeMap<String, Param>,
    /// Subtasks that must succeed first, beside those that its parameters name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub depends_on: BTreeSet<SubtaskId>,
    /// Its own limits, within the run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Ttl>,
}

impl Subtask {
    /// Every subtask that must succeed first: the declared ones and those its parameters name.
    #[must_use]
    pub fn needs(&self) -> BTreeSet<SubtaskId> {
        let named = self
            .params
            .values()
            .flat_map(Param::items)
            .filter_map(Item::source);
        self.depends_on.iter().chain(named).cloned().collect()
    }
}

/// A parameter: one item or a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Param {
    /// One.
    One(Item),
    /// Several, in order.
    Many(Vec<Item>),
}

impl Param {
    /// Its items, in order.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        match self {
            Self::One(item) => std::slice::from_ref(item),
            Self::Many(items) => items,
        }
    }

    /// A parameter that is one text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::One(Item::Text(text.into()))
    }
}

/// One item of a parameter. Always data: never parsed again as a grant, a template or a document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Item {
    /// Words, a path or a URL, as the role's parameter says.
    Text(String),
    /// Another subtask's output.
    From {
        /// The subtask.
        from: SubtaskId,
    },
    /// A number; a role sees its decimal text.
    Number(serde_json::Number),
}

impl Item {
    /// The subtask it names, if any.
    #[must_use]
    pub const fn source(&self) -> Option<&SubtaskId> {
        match self {
            Self::From { from } => Some(from),
            _ => None,
        }
    }
}

/// A subtask's own limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ttl {
    /// Most subtasks that may lie between a root of the plan and this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hops_max: Option<u32>,
    /// Longest time from its start, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_clock_s: Option<u32>,
}

impl Ttl {
    /// Longest time from the subtask's start.
    #[must_use]
    pub fn wall_clock(&self) -> Option<Span> {
        self.wall_clock_s
            .map(|secs| Span::from_secs(u64::from(secs)))
    }
}
