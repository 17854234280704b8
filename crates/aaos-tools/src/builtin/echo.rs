//! `echo`: what it was given.

use aaos_core::{
    capability::Need,
    tool::{Effect, Recovery},
};
use aaos_ports::{Powers, Tool, ToolError, tool::About};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Gives back what it was given.
pub(super) struct Echo;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// Text to give back.
    message: String,
}

#[derive(Serialize)]
pub(super) struct Output {
    message: String,
}

#[async_trait]
impl Tool for Echo {
    type Input = Input;
    type Output = Output;
    const ABOUT: About = About {
        name: "echo",
        summary: "Give back a text unchanged.",
        powers: &[],
        effect: Effect::Pure,
        recovery: Recovery::ByEffect,
        deadline: aaos_ports::tool::DEADLINE,
    };

    fn needs(&self, _input: &Input) -> Vec<Need> {
        Vec::new()
    }

    async fn run(&self, input: Input, _powers: &Powers) -> Result<Output, ToolError> {
        Ok(Output {
            message: input.message,
        })
    }
}
