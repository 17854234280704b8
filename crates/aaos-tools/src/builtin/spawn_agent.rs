//! `spawn_agent`: one further agent, run to its end.
//!
//! The child's role, not this call, says what it may do; its capabilities are attenuated from the caller's.

use aaos_core::{
    capability::Need,
    id::RoleName,
    plan::{Item, Param},
    tool::{Effect, Power, Recovery},
    value::Value,
};
use aaos_ports::{PowerError, Powers, Tool, ToolError, power::Child, tool::About};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest task, in bytes.
const TASK_BYTES_MAX: usize = 32 * 1024;
/// Most parameters, and most items of one.
const PARAMS_MAX: usize = 64;

/// Runs one child agent.
pub(super) struct SpawnAgent;

/// A child as a model asks for it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// Name of the role the agent is to play.
    role: String,
    /// What it is to do, in a sentence or a few.
    task: String,
    /// The role's parameters by name, each a text or a list of texts.
    #[serde(default)]
    params: BTreeMap<String, Given>,
}

/// A parameter's value.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Given {
    /// One text.
    One(String),
    /// Several.
    Many(Vec<String>),
}

#[derive(Serialize)]
pub(super) struct Output {
    role: String,
    output: Value,
}

#[async_trait]
impl Tool for SpawnAgent {
    type Input = Input;
    type Output = Output;
    const ABOUT: About = About {
        name: "spawn_agent",
        summary: "Start one agent of a role on a task and wait for its output. It can do no more than you can.",
        powers: &[Power::Spawn],
        effect: Effect::Irreversible,
        recovery: Recovery::GoesOn,
        deadline: aaos_ports::tool::DEADLINE,
    };

    fn needs(&self, input: &Input) -> Vec<Need> {
        input.need().into_iter().collect()
    }

    async fn run(&self, input: Input, powers: &Powers) -> Result<Output, ToolError> {
        let child = input.child(Self::ABOUT.name)?;
        Ok(run(child, powers).await?)
    }
}

/// Runs a child to its end.
pub(super) async fn run(child: Child, powers: &Powers) -> Result<Output, PowerError> {
    let role = child.role.to_string();
    let output = powers.spawn()?.spawn(child).await?;
    Ok(Output { role, output })
}

impl Input {
    /// What starting this child needs; nothing if its role is no name, which the call then refuses.
    pub(super) fn need(&self) -> Option<Need> {
        self.role.parse::<RoleName>().ok().map(Need::Spawn)
    }

    /// The role asked for, as it was written.
    pub(super) fn role(&self) -> &str {
        &self.role
    }

    /// The child this asks for.
    ///
    /// # Errors
    /// It does not fit.
    pub(super) fn child(self, tool: &str) -> Result<Child, ToolError> {
        let wrong = |problem: String| ToolError::Input {
            tool: tool.to_owned(),
            problem,
        };
        let role: RoleName = self
            .role
            .parse()
            .map_err(|error| wrong(format!("role: {error}")))?;
        if self.task.trim().is_empty() || self.task.len() > TASK_BYTES_MAX {
            return Err(wrong(format!(
                "task has 1 to {TASK_BYTES_MAX} bytes, not {}",
                self.task.len()
            )));
        }
        let items = self
            .params
            .values()
            .map(Given::len)
            .max()
            .unwrap_or(0)
            .max(self.params.len());
        if items > PARAMS_MAX {
            return Err(wrong(format!(
                "params has at most {PARAMS_MAX} names, each at most {PARAMS_MAX} items"
            )));
        }
        let params = self
            .params
            .into_iter()
            .map(|(name, given)| (name, given.into_param()))
            .collect();
        Ok(Child {
            role,
            task: self.task,
            params,
        })
    }
}

impl Given {
    const fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(items) => items.len(),
        }
    }

    fn into_param(self) -> Param {
        match self {
            Self::One(text) => Param::One(Item::Text(text)),
            Self::Many(items) => Param::Many(items.into_iter().map(Item::Text).collect()),
        }
    }
}
