//! A role: a kind of agent, declared in a file.

use crate::{
    approval,
    capability::CapabilityTemplate,
    id::RoleName,
    model::{ModelClass, ModelRef},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A kind of agent. The shape of a role file; unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Its name; the file's name without its ending.
    pub name: RoleName,
    /// One sentence for planners and people: what it is good for.
    pub summary: String,
    /// The class of model it uses, unless `model` pins one.
    #[serde(default = "worker")]
    pub class: ModelClass,
    /// A model pinned by name, as `provider/model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Classes tried in turn when a subtask fails for a reason in `escalate_on`; starts after `class`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ladder: Vec<ModelClass>,
    /// What moves a subtask up the ladder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalate_on: Vec<Signal>,
    /// What a plan must and may say.
    #[serde(default)]
    pub parameters: BTreeMap<String, Parameter>,
    /// What its agents may do, within what the run may do.
    #[serde(default)]
    pub capabilities: Vec<CapabilityTemplate>,
    /// Acts of its agents that wait for a person's approval.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approve: Vec<approval::Rule>,
    /// Standing instructions to the model.
    pub prompt: String,
    /// What it delivers.
    #[serde(default)]
    pub output: OutputKind,
    /// The fixed procedure that carries it out without a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaffold: Option<String>,
    /// Limits of one agent.
    #[serde(default)]
    pub limits: RoleLimits,
}

const fn worker() -> ModelClass {
    ModelClass::Worker
}

/// What moves a subtask up its role's ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// The subtask failed and the plan was made again.
    ReplanRetry,
    /// The model ran into its output limit, or used all its turns.
    MaxTokens,
    /// The same tool call came again and again.
    ToolRepeatGuard,
}

/// One parameter of a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// What kind of thing it is.
    #[serde(rename = "type")]
    pub kind: ParameterKind,
    /// Whether a plan must give it.
    #[serde(default)]
    pub required: bool,
    /// One sentence for planners and people.
    #[serde(default)]
    pub description: String,
}

/// What kind of thing a parameter is. Only a list kind takes several items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterKind {
    /// Words.
    String,
    /// Several pieces of text.
    StringList,
    /// A file or directory; relative ones start from the run's base directory.
    Path,
    /// Several files or directories.
    PathList,
    /// An `http` or `https` address.
    Url,
    /// Files, or other subtasks' outputs.
    Inputs,
}

/// What a role delivers. An agent succeeds only if this exists and parses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputKind {
    /// Its last words.
    #[default]
    Text,
    /// Its last words, which must be a JSON document.
    Json,
    /// The file that this path parameter names; its last words if the parameter is not given.
    File(String),
}

/// Limits of one agent of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoleLimits {
    /// Most model requests.
    pub turns_max: u32,
    /// Most tokens in one reply.
    pub output_tokens_max: u32,
    /// How often it is reminded that its output is missing.
    pub nudges_max: u32,
    /// Longest time, in seconds.
    pub wall_clock_s: u32,
    /// Tokens of conversation before earlier messages are summarised.
    pub context_tokens_max: u32,
}

impl Default for RoleLimits {
    /// Generous for a subtask of some minutes; a role file says otherwise where it matters.
    fn default() -> Self {
        Self {
            turns_max: 50,
            output_tokens_max: 8_192,
            nudges_max: 2,
            wall_clock_s: 600,
            context_tokens_max: 100_000,
        }
    }
}

impl ParameterKind {
    /// Whether it takes several items.
    #[must_use]
    pub const fn is_list(self) -> bool {
        matches!(self, Self::StringList | Self::PathList | Self::Inputs)
    }

    /// Whether its items are words, which may also be numbers.
    #[must_use]
    pub const fn is_words(self) -> bool {
        matches!(self, Self::String | Self::StringList)
    }

    /// Whether its items are paths.
    #[must_use]
    pub const fn is_path(self) -> bool {
        matches!(self, Self::Path | Self::PathList)
    }

    /// One item of it, in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::String | Self::StringList => "text",
            Self::Path | Self::PathList => "path",
            Self::Url => "URL",
            Self::Inputs => "file or output of a subtask",
        }
    }
}

/// Longest standing instructions, in bytes: they are sent with every request.
pub const PROMPT_BYTES_MAX: usize = 64 << 10;
/// Longest summary, in bytes: every planner reads every role's.
pub const SUMMARY_BYTES_MAX: usize = 1 << 10;
/// Most parameters of one role.
pub const PARAMETERS_MAX: usize = 64;
/// Most grants one role asks for.
pub const CAPABILITIES_MAX: usize = 256;
/// Most rungs of a ladder.
pub const LADDER_MAX: usize = 8;
/// Bounds of what a role may set a limit to: least and most of each.
const TURNS: (u32, u32) = (1, 10_000);
const OUTPUT_TOKENS: (u32, u32) = (1, 1_000_000);
const NUDGES: (u32, u32) = (0, 100);
const WALL_CLOCK_S: (u32, u32) = (1, 30 * 24 * 3_600);
const CONTEXT_TOKENS: (u32, u32) = (256, 10_000_000);

impl Role {
    /// Everything that keeps it from being used, in words its author can act on; empty for a good role.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.text_problems();
        problems.extend(self.parameter_problems());
        problems.extend(self.template_problems());
        problems.extend(self.approval_problem());
        problems.extend(self.output_problem());
        problems.extend(self.ladder_problems());
        problems.extend(self.limits.problems());
        problems
    }

    fn text_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (key, text, bytes_max) in [
            ("summary", &self.summary, SUMMARY_BYTES_MAX),
            ("prompt", &self.prompt, PROMPT_BYTES_MAX),
        ] {
            if text.trim().is_empty() {
                problems.push(format!("`{key}` is empty"));
            }
            if text.len() > bytes_max {
                problems.push(format!(
                    "`{key}` has {} bytes; at most {bytes_max} are accepted",
                    text.len()
                ));
            }
        }
        let pinned = self.model.as_deref();
        if let Some(model) = pinned.filter(|model| ModelRef::parse(model).is_none()) {
            let model = crate::text::preview(model, 64);
            problems.push(format!("`model` is `{model}`; write it as provider/model, or leave it out and name a `class`"));
        }
        if self
            .scaffold
            .as_deref()
            .is_some_and(|scaffold| scaffold.trim().is_empty())
        {
            problems.push("`scaffold` is empty; leave it out if there is none".to_owned());
        }
        problems
    }

    fn parameter_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.parameters.len() > PARAMETERS_MAX {
            problems.push(format!(
                "there are {} parameters; at most {PARAMETERS_MAX} are accepted",
                self.parameters.len()
            ));
        }
        for name in self.parameters.keys() {
            let clean = name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
            if name.is_empty() || name.len() > crate::id::NAME_BYTES_MAX || !clean {
                let name = crate::text::preview(name, 64);
                problems.push(format!(
                    "the parameter `{name}` must have a name of letters, digits, `_` and `-`"
                ));
            }
            if name == "run" {
                problems.push(
                    "a parameter cannot be called `run`: `{run}` is the run's own directory"
                        .to_owned(),
                );
            }
        }
        problems
    }

    fn template_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.capabilities.len() > CAPABILITIES_MAX {
            let found = self.capabilities.len();
            problems.push(format!(
                "there are {found} capabilities; at most {CAPABILITIES_MAX} are accepted"
            ));
        }
        for template in &self.capabilities {
            for name in template
                .params()
                .into_iter()
                .filter(|name| !self.parameters.contains_key(*name))
            {
                problems.push(format!(
                    "the capability `{template}` names `{name}`, which is no parameter of this role"
                ));
            }
        }
        problems
    }

    fn approval_problem(&self) -> Option<String> {
        let (found, most) = (self.approve.len(), approval::RULES_MAX);
        if found > most {
            return Some(format!(
                "`approve` has {found} rules; at most {most} are accepted"
            ));
        }
        let mut problems = self.approve.iter().map(|rule| (rule, rule.problem()));
        problems.find_map(|(rule, problem)| Some(format!("`approve`: `{rule}`: {}", problem?)))
    }

    fn output_problem(&self) -> Option<String> {
        let OutputKind::File(name) = &self.output else {
            return None;
        };
        match self.parameters.get(name) {
            Some(parameter) if parameter.kind == ParameterKind::Path => None,
            Some(_) => Some(format!(
                "`output` names the parameter `{name}`, which is not of type `path`"
            )),
            None => Some(format!(
                "`output` names `{}`, which is no parameter of this role",
                crate::text::preview(name, 64)
            )),
        }
    }

    fn ladder_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.ladder.len() > LADDER_MAX {
            problems.push(format!(
                "`ladder` has {} rungs; at most {LADDER_MAX} are accepted",
                self.ladder.len()
            ));
        }
        let rungs = std::iter::once(&self.class).chain(&self.ladder);
        if rungs
            .clone()
            .zip(self.ladder.iter())
            .any(|(below, above)| below == above)
        {
            problems.push("`ladder` repeats a class; it starts after `class` and each rung must differ from the last".to_owned());
        }
        if !self.escalate_on.is_empty() && self.ladder.is_empty() {
            problems.push("`escalate_on` has no effect without a `ladder`".to_owned());
        }
        if !self.ladder.is_empty() && self.escalate_on.is_empty() {
            problems.push("`ladder` has no effect without `escalate_on`".to_owned());
        }
        if !self.ladder.is_empty() && self.model.is_some() {
            problems.push("`ladder` has no effect beside a pinned `model`".to_owned());
        }
        problems
    }
}

impl RoleLimits {
    fn problems(&self) -> Vec<String> {
        let all = [
            ("turns_max", self.turns_max, TURNS),
            ("output_tokens_max", self.output_tokens_max, OUTPUT_TOKENS),
            ("nudges_max", self.nudges_max, NUDGES),
            ("wall_clock_s", self.wall_clock_s, WALL_CLOCK_S),
            (
                "context_tokens_max",
                self.context_tokens_max,
                CONTEXT_TOKENS,
            ),
        ];
        let wrong = all
            .into_iter()
            .filter(|(_, value, (least, most))| !(least..=most).contains(&value));
        wrong
            .map(|(key, value, (least, most))| {
                format!("`limits.{key}` is {value}; it must be {least} to {most}")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use serde_json::{Value, json};

    fn role(more: Value) -> Role {
        let mut whole = json!({"name": "writer", "summary": "writes", "prompt": "Write.",
            "parameters": {"output": {"type": "path"}, "inputs": {"type": "inputs"}}});
        whole
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    #[track_caller]
    fn refused(more: Value, words: &str) {
        let problems = role(more).problems();
        assert!(
            problems.len() == 1 && problems[0].contains(words),
            "{problems:?}"
        );
    }

    #[test]
    fn a_good_role_has_no_problems() {
        let good = role(json!({
            "output": {"file": "output"}, "capabilities": ["file_write: {output}", "file_read: {inputs.*}", "tool: file_write"],
            "ladder": ["reasoner"], "escalate_on": ["max_tokens"],
        }));
        assert_eq!(good.problems(), Vec::<String>::new());
    }

    #[test]
    fn each_flaw_is_named() {
        refused(json!({"prompt": " "}), "`prompt` is empty");
        refused(
            json!({"summary": "x".repeat(2000)}),
            "`summary` has 2000 bytes",
        );
        refused(json!({"model": "opus"}), "provider/model");
        refused(json!({"scaffold": ""}), "`scaffold` is empty");
        refused(
            json!({"approve": vec!["effect: read"; 257]}),
            "`approve` has 257 rules",
        );
        refused(
            json!({"approve": ["tool: echo {uses=2}"]}),
            "a rule has no limits",
        );
        refused(
            json!({"parameters": {"a b": {"type": "string"}}}),
            "letters, digits",
        );
        refused(
            json!({"parameters": {"run": {"type": "path"}}}),
            "cannot be called `run`",
        );
        refused(
            json!({"capabilities": ["file_write: {workspace}/*"]}),
            "names `workspace`",
        );
        refused(json!({"output": {"file": "report"}}), "names `report`");
        refused(json!({"output": {"file": "inputs"}}), "not of type `path`");
        refused(
            json!({"ladder": ["worker"], "escalate_on": ["max_tokens"]}),
            "repeats a class",
        );
        refused(
            json!({"ladder": ["reasoner"]}),
            "no effect without `escalate_on`",
        );
        refused(
            json!({"escalate_on": ["max_tokens"]}),
            "no effect without a `ladder`",
        );
        refused(
            json!({"limits": {"turns_max": 0}}),
            "`limits.turns_max` is 0; it must be 1 to 10000",
        );
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let extra = json!({"name": "w", "summary": "s", "prompt": "p", "priority": 128});
        assert!(serde_json::from_value::<Role>(extra).is_err());
    }
}
