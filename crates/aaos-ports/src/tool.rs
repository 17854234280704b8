//! Tools: what they declare and how they are called.

use crate::power::{PowerError, Powers};
use aaos_core::{
    approval::Preview,
    capability::Need,
    id::ToolName,
    time::Span,
    tool::{Effect, Power, Recovery, ToolSpec},
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What a tool gave back.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolOutput {
    /// A JSON document for the model.
    pub json: serde_json::Value,
}

/// Why a tool did not do what it was asked, or why nobody knows whether it did. [`ToolError::is_certain`] tells the two
/// apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum ToolError {
    /// The input does not fit the schema. Certain: nothing was begun.
    #[error("{tool}: {problem}")]
    Input {
        /// The tool.
        tool: String,
        /// What does not fit, and what would.
        problem: String,
    },
    /// A power refused or failed. As certain as [`PowerError::is_certain`] says.
    #[error(transparent)]
    Power(#[from] PowerError),
    /// The tool understood and could not do it; the text says why and what to do. Certain: a tool that does not know
    /// says `InDoubt`.
    #[error("{0}")]
    Failed(String),
    /// No answer in time. Uncertain: it was stopped in the middle of its act, or just behind it.
    #[error("{tool} did not finish within {limit_ms} ms; it was stopped")]
    TimedOut {
        /// The tool.
        tool: String,
        /// The deadline, in milliseconds.
        limit_ms: u64,
    },
    /// The worker is gone, and the call with it. Uncertain: the call was with it.
    #[error("the worker was lost during {tool}: {reason}")]
    WorkerLost {
        /// The tool.
        tool: String,
        /// What is known.
        reason: String,
    },
    /// No such tool here. Certain.
    #[error("there is no tool `{0}`")]
    Unknown(String),
    /// No worker took the call: the last one is gone and another could not be started. Certain: nothing was begun.
    #[error("no worker took the call of {tool}: {reason}")]
    NoWorker {
        /// The tool.
        tool: String,
        /// What is known.
        reason: String,
    },
    /// The act was begun, and nobody knows whether it happened. Uncertain.
    #[error("whether {tool} happened is not known: {reason}")]
    InDoubt {
        /// The tool.
        tool: String,
        /// What is known.
        reason: String,
    },
}

impl ToolError {
    /// Whether the act certainly did not happen. If not, it may have: whoever wants it done again has to find out
    /// first, unless doing it twice is the same as doing it once.
    #[must_use]
    pub const fn is_certain(&self) -> bool {
        match self {
            Self::Input { .. } | Self::Failed(_) | Self::Unknown(_) | Self::NoWorker { .. } => true,
            Self::Power(power) => power.is_certain(),
            Self::TimedOut { .. } | Self::WorkerLost { .. } | Self::InDoubt { .. } => false,
        }
    }
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

    /// Looks, before the act, at what tells later whether it happened: digests, a commit, nothing. Changes nothing.
    ///
    /// # Errors
    /// As [`Tool::run`]; the act is then not tried.
    async fn evidence(
        &self,
        _input: &Self::Input,
        _powers: &Powers,
    ) -> Result<Option<serde_json::Value>, ToolError> {
        Ok(None)
    }

    /// Looks whether an act happened that was cut off. Changes nothing. A tool whose `About` says `Looks` answers it.
    ///
    /// # Errors
    /// As [`Tool::run`]; the act is then in doubt.
    async fn happened(
        &self,
        _input: &Self::Input,
        _evidence: &serde_json::Value,
        _powers: &Powers,
    ) -> Result<Happened, ToolError> {
        Ok(Happened::Unknown {
            why: "this tool cannot look".to_owned(),
        })
    }

    /// What a person who is asked for approval is shown. Changes nothing.
    ///
    /// # Errors
    /// As [`Tool::run`]; the arguments are then shown instead.
    async fn preview(
        &self,
        _input: &Self::Input,
        _powers: &Powers,
    ) -> Result<Option<Preview>, ToolError> {
        Ok(None)
    }
}

/// What a tool found when it looked whether its act happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "happened", rename_all = "snake_case")]
pub enum Happened {
    /// It did; this is what it would have given back.
    Yes {
        /// The output.
        output: serde_json::Value,
    },
    /// It did not, and may be done now.
    No,
    /// It cannot tell.
    Unknown {
        /// Why not, in words for the operator.
        why: String,
    },
}

/// What a tool is asked beside being called; it changes nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "question", rename_all = "snake_case")]
pub enum Question {
    /// What tells later whether it happened? Answered with JSON, `null` for nothing.
    Evidence,
    /// Did it happen? Answered with a [`Happened`].
    Happened {
        /// What was seen before the act.
        evidence: serde_json::Value,
    },
    /// What would it do? Answered with a [`Preview`], `null` for none.
    Preview,
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
    /// How a call of it is settled that was cut off.
    pub recovery: Recovery,
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

    /// Answers a question about a call with this input, as JSON. Changes nothing. A tool that has nothing to say
    /// answers `null`.
    ///
    /// # Errors
    /// As [`Tool::run`].
    async fn consider(
        &self,
        _question: Question,
        _input: serde_json::Value,
        _powers: &Powers,
    ) -> Result<ToolOutput, ToolError> {
        Ok(ToolOutput {
            json: serde_json::Value::Null,
        })
    }
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
            recovery: about.recovery,
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
        as_output(&output)
    }

    async fn consider(
        &self,
        question: Question,
        input: serde_json::Value,
        powers: &Powers,
    ) -> Result<ToolOutput, ToolError> {
        let input = self.parse(&input)?;
        match question {
            Question::Evidence => as_output(&self.tool.evidence(&input, powers).await?),
            Question::Happened { evidence } => {
                as_output(&self.tool.happened(&input, &evidence, powers).await?)
            }
            Question::Preview => as_output(&self.tool.preview(&input, powers).await?),
        }
    }
}

fn as_output(output: &impl Serialize) -> Result<ToolOutput, ToolError> {
    let json =
        serde_json::to_value(output).map_err(|error| ToolError::Failed(error.to_string()))?;
    Ok(ToolOutput { json })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_says_whether_the_act_certainly_did_not_happen() {
        let text = || "t".to_owned();
        let io = |lost: bool| {
            let (what, message) = (text(), text());
            ToolError::Power(match lost {
                true => PowerError::Lost { what, message },
                false => PowerError::Io { what, message },
            })
        };
        let unserved = PowerError::Unserved { what: text() };
        let (tool, problem, reason) = (text(), text(), text());
        let certain = [
            ToolError::Input { tool, problem },
            ToolError::Power(PowerError::NotFound(text())),
            ToolError::Power(unserved),
            io(false),
            ToolError::Failed(text()),
            ToolError::Unknown(text()),
            ToolError::NoWorker {
                tool: text(),
                reason,
            },
        ];
        for error in certain {
            assert!(error.is_certain(), "{error}");
        }
        let (tool, reason) = (text(), text());
        let uncertain = [
            io(true),
            ToolError::TimedOut {
                tool: text(),
                limit_ms: 1,
            },
            ToolError::WorkerLost { tool, reason },
            ToolError::InDoubt {
                tool: text(),
                reason: text(),
            },
        ];
        for error in uncertain {
            assert!(!error.is_certain(), "{error}");
        }
    }
}
