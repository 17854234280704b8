//! `spawn_agents`: several further agents at once, each with its output or its own error.

use super::spawn_agent;
use aaos_core::{
    capability::Need,
    tool::{Effect, Power, Recovery},
};
use aaos_ports::{Powers, Tool, ToolError, tool::About};
use async_trait::async_trait;
use futures::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most children of one call.
const CHILDREN_MAX: usize = 16;

/// Runs several child agents.
pub(super) struct SpawnAgents;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The agents to start, 1 to 16; they run at the same time.
    #[schemars(length(min = 1, max = 16))]
    children: Vec<spawn_agent::Input>,
}

#[derive(Serialize)]
pub(super) struct Output {
    count: usize,
    children: Vec<One>,
}

/// One child's outcome.
#[derive(Serialize)]
#[serde(untagged)]
enum One {
    Done(spawn_agent::Output),
    Failed { role: String, error: String },
}

#[async_trait]
impl Tool for SpawnAgents {
    type Input = Input;
    type Output = Output;
    const ABOUT: About = About {
        name: "spawn_agents",
        summary: "Start up to 16 agents at once and wait for all; one that fails does not affect the others.",
        powers: &[Power::Spawn],
        effect: Effect::Irreversible,
        recovery: Recovery::GoesOn,
        deadline: aaos_ports::tool::DEADLINE,
    };

    fn needs(&self, input: &Input) -> Vec<Need> {
        input
            .children
            .iter()
            .take(CHILDREN_MAX)
            .filter_map(spawn_agent::Input::need)
            .collect()
    }

    async fn run(&self, input: Input, powers: &Powers) -> Result<Output, ToolError> {
        if input.children.is_empty() || input.children.len() > CHILDREN_MAX {
            let problem = format!(
                "children holds 1 to {CHILDREN_MAX} agents, not {}",
                input.children.len()
            );
            return Err(ToolError::Input {
                tool: Self::ABOUT.name.to_owned(),
                problem,
            });
        }
        let children = join_all(input.children.into_iter().map(|child| one(child, powers))).await;
        Ok(Output {
            count: children.len(),
            children,
        })
    }
}

async fn one(input: spawn_agent::Input, powers: &Powers) -> One {
    let role = input.role().to_owned();
    let outcome = match input.child(SpawnAgents::ABOUT.name) {
        Ok(child) => spawn_agent::run(child, powers)
            .await
            .map_err(ToolError::from),
        Err(error) => Err(error),
    };
    outcome.map_or_else(
        |error| One::Failed {
            role,
            error: error.to_string(),
        },
        One::Done,
    )
}
