//! Tools: what they declare and how they are called.

use crate::power::{PowerError, Powers};
use aaos_core::{
    capability::Need,
    id::ToolName,
    time::Span,
    tool::{Effect, Power, ToolSpec},
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What a tool gave back.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolOutput {
    /// A JSON document for the model.
    pub json: serde_json::Value,
}

/// Why a tool did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum ToolError {
    /// The input does not fit the schema.
    #[error("{tool}: {problem}")]
    Input {
        /// The tool.
        tool: String,
        /// What does not fit, and what would.
        problem: String,
    },
    /// A power refused or failed.
    #[error(transparent)]
    Power(#[from] PowerError),
    /// The tool understood and could not do it; the text says why and what to do.
    #[error("{0}")]
    Failed(String),
    /// No answer in time.
    #[error("{tool} did not finish within {limit_ms} ms; it was stopped")]
    TimedOut {
        /// The tool.
        tool: String,
        /// The deadline, in milliseconds.
        limit_ms: u64,
    },
    /// The worker is gone, and the call with it.
    #[error("the worker was lost during {tool}: {reason}")]
    WorkerLost {
        /// The tool.
        tool: String,
        /// What is known.
        reason: String,
    },
    /// No such tool here.
    #[error("there is no tool `{0}`")]
    Unknown(String),
}

/// A tool as its author writes it: it holds nothing, checks nothing, and reaches nothing it was not handed.
#[async_trait]
pub trait Tool: Send + Sync + 'static {
    /// What it is given.
    type Input: DeserializeOwned + schemars::JsonSchema + Send;
    /// What it gives back.
    type Output: Serialize;
    /// Its name, summary, powers and effect.
    const ABOUT: About;

    /// What this call needs, so that it can be authorised before anything happens.
    fn needs(&self, input: &Self::Input) -> Vec<Need>;

    /// Does it. May be dropped at its deadline.
    ///
    /// # Errors
    /// In words a model can act on.
    async fn run(&self, input: Self::Input, powers: &Powers) -> Result<Self::Output, ToolError>;
}

/// A tool's declaration, before its schema is derived.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// Name, as models call it.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// What it asks to be handed.
    pub powers: &'static [Power],
    /// What it does to the world.
    pub effect: Effect,
    /// Longest time one call may take.
    pub deadline: Span,
}

/// Longest time a call takes that starts no program: enough for a slow server or a search over a large tree.
pub const DEADLINE: Span = Span::from_secs(120);

/// A tool as the runtime holds it. Implemented for every [`Tool`]; tools known only at run time implement it.
#[async_trait]
pub trait AnyTool: Send + Sync {
    /// What models and operators are told.
    fn spec(&self) -> &ToolSpec;

    /// What a call with this input needs.
    ///
    /// # Errors
    /// The input does not fit.
    fn needs(&self, input: &serde_json::Value) -> Result<Vec<Need>, ToolError>;

    /// Calls it.
    ///
    /// # Errors
    /// As [`Tool::run`].
    async fn call(
        &self,
        input: serde_json::Value,
        powers: &Powers,
    ) -> Result<ToolOutput, ToolError>;
}

/// A [`Tool`] with its derived specification.
pub struct Described<T> {
    tool: T,
    spec: ToolSpec,
}

impl<T: Tool> Described<T> {
    /// Derives the specification once.
    ///
    /// # Errors
    /// The declared name is not a tool name.
    pub fn new(tool: T) -> Result<Self, aaos_core::id::NameError> {
        let about = T::ABOUT;
        let schema = schemars::generate::SchemaSettings::draft2020_12()
            .with(|settings| {
                settings.meta_schema = None;
                settings.inline_subschemas = true;
            })
            .into_generator()
            .into_root_schema_for::<T::Input>();
        let spec = ToolSpec {
            name: about.name.parse::<ToolName>()?,
            summary: about.summary.to_owned(),
            input_schema: schema.to_value(),
            powers: about.powers.to_vec(),
            effect: about.effect,
            deadline: about.deadline,
        };
        Ok(Self { tool, spec })
    }

    fn parse(&self, input: &serde_json::Value) -> Result<T::Input, ToolError> {
        T::Input::deserialize(input).map_err(|error| ToolError::Input {
            tool: self.spec.name.to_string(),
            problem: error.to_string(),
        })
    }
}

#[async_trait]
impl<T: Tool> AnyTool for Described<T> {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn needs(&self, input: &serde_json::Value) -> Result<Vec<Need>, ToolError> {
        Ok(self.tool.needs(&self.parse(input)?))
    }

    async fn call(
        &self,
        input: serde_json::Value,
        powers: &Powers,
    ) -> Result<ToolOutput, ToolError> {
        let input = self.parse(&input)?;
        let output = self.tool.run(input, powers).await?;
        let json =
            serde_json::to_value(output).map_err(|error| ToolError::Failed(error.to_string()))?;
        Ok(ToolOutput { json })
    }
}
