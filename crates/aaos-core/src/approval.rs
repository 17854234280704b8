//! Approvals: which acts a person is asked about before they happen, and the answer.
//!
//! A rule names a tool, a class of effect, or a capability; an act that fits any rule in force waits for an answer that
//! is bound to exactly its arguments, used once, and ends by itself.

use crate::{
    capability::{Capability, Need, Resource, grammar::Line},
    id::ToolName,
    time::Span,
    tool::Effect,
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// How long a request for approval waits unless the operator says otherwise: a day, so that one asked in the evening is
/// there in the morning.
pub const EXPIRES_AFTER: Span = Span::from_secs(24 * 3_600);
/// Most rules of one run, its roles' and the operator's together.
pub const RULES_MAX: usize = 256;

/// Which acts need a person's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Acts whose tool declares this effect.
    Effect(Effect),
    /// Acts that need what this capability allows: `tool: git_commit`, `http: POST *`, `exec: git`, `file_write: /etc/**`.
    Capability(Box<Capability>),
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{problem}. Write `effect: irreversible`, `tool: git_commit`, or any capability, as `http: POST *`"
)]
pub struct RuleError {
    /// What is wrong.
    pub problem: String,
}

/// What a text that names an effect begins with.
const EFFECT: &str = "effect:";

impl Rule {
    /// Whether an act needs approval by this rule.
    #[must_use]
    pub fn applies(&self, tool: &ToolName, effect: Effect, needs: &[Need]) -> bool {
        match self {
            Self::Effect(named) => *named == effect,
            Self::Capability(capability) => match &capability.resource {
                Resource::Tool(_) => capability.allows(&Need::Tool(tool.clone())),
                _ => needs.iter().any(|need| touches(capability, need)),
            },
        }
    }

    /// Whether a further need of an act, one that its arguments do not tell, needs approval by this rule.
    #[must_use]
    pub fn applies_to(&self, need: &Need) -> bool {
        match self {
            Self::Effect(_) => false,
            Self::Capability(capability) => touches(capability, need),
        }
    }
}

/// Whether an act with this need may do something of what a capability allows. A tree that holds what the capability
/// names is enough: what the tool takes of it is not known beforehand.
fn touches(capability: &Capability, need: &Need) -> bool {
    if capability.allows(need) {
        return true;
    }
    let (
        Need::FileTree { right, path },
        Resource::Files {
            right: named,
            scope,
        },
    ) = (need, &capability.resource)
    else {
        return false;
    };
    let root = scope.root();
    let beneath = |tree: &str| {
        let rest = root.strip_prefix(tree.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    right == named && beneath(path)
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        if let Some(name) = text.trim().strip_prefix(EFFECT) {
            let name = name.trim();
            return Effect::ALL
                .into_iter()
                .find(|effect| effect.as_str() == name)
                .map(Self::Effect)
                .ok_or_else(|| RuleError {
                    problem: format!("there is no effect `{}`", crate::text::preview(name, 64)),
                });
        }
        let capability: Capability = text.parse().map_err(|error| RuleError {
            problem: format!("{error}"),
        })?;
        Ok(Self::Capability(Box::new(capability)))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Effect(effect) => write!(out, "{EFFECT} {}", effect.as_str()),
            Self::Capability(capability) => write!(out, "{capability}"),
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Line(text) = Line::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What an act would do, for a person to judge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "snake_case")]
pub enum Preview {
    /// A change to a text file, as a unified diff.
    Diff {
        /// The file.
        path: String,
        /// The diff; empty if nothing would change.
        diff: String,
    },
    /// A program to start.
    Program {
        /// The directory it starts in.
        directory: String,
        /// The program and its arguments, one by one.
        argv: Vec<String>,
    },
    /// A request to send.
    Request {
        /// Method and address.
        line: String,
        /// Names of its headers, without values.
        headers: Vec<String>,
        /// The beginning of its body.
        body: String,
    },
    /// The arguments themselves, where a tool has nothing better to show.
    Arguments {
        /// As JSON.
        json: String,
    },
}

impl Preview {
    /// The first line of what it shows, for lists.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::Diff { path, .. } => format!("change {path}"),
            Self::Program { argv, .. } => format!("run {}", argv.join(" ")),
            Self::Request { line, .. } => line.clone(),
            Self::Arguments { json } => json.clone(),
        }
    }
}

/// A person's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Answer {
    /// It may happen, once, with exactly these arguments.
    Approve {
        /// Further calls of the same tool by the same run need no answer for so long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        always: Option<Span>,
    },
    /// It may not. The agent is told, with the reason.
    Deny {
        /// In the person's words; may be empty.
        reason: String,
    },
}

/// How an act in doubt was settled: one whose intent is recorded and whose end is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    /// It happened; it is not done again.
    Done,
    /// It did not happen, or may happen again; it is done now, under the same identity.
    Repeat,
    /// Nobody knows and it is not to be tried again; the agent is told that it failed.
    GiveUp,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn rule(text: &str) -> Rule {
        text.parse().unwrap()
    }

    #[test]
    fn a_rule_names_a_tool_an_effect_or_a_capability() {
        let commit: ToolName = "git_commit".parse().unwrap();
        let echo: ToolName = "echo".parse().unwrap();
        let applies = |text: &str, tool: &ToolName, effect| rule(text).applies(tool, effect, &[]);
        assert!(applies("tool: git_*", &commit, Effect::Reversible));
        assert!(!applies("tool: git_*", &echo, Effect::Pure));
        assert!(applies("effect: irreversible", &echo, Effect::Irreversible));
        assert!(!applies("effect: irreversible", &echo, Effect::Reversible));
        let write = Need::File {
            right: crate::capability::FileRight::Write,
            path: "/etc/passwd".to_owned(),
        };
        assert!(rule("file_write: /etc/**").applies(
            &echo,
            Effect::Pure,
            std::slice::from_ref(&write)
        ));
        assert!(!rule("file_read: /etc/**").applies(&echo, Effect::Pure, &[write]));
    }

    #[test]
    fn a_tree_that_holds_what_a_rule_names_needs_approval() {
        let write = |path: &str| Need::FileTree {
            right: crate::capability::FileRight::Write,
            path: path.to_owned(),
        };
        let rule = rule("file_write: /home/op/kept/**");
        for (path, applies) in [
            ("/home/op", true),
            ("/", true),
            ("/home/op/kept/deep", true),
            ("/home/opus", false),
            ("/home/op/other", false),
        ] {
            assert_eq!(rule.applies_to(&write(path)), applies, "{path}");
        }
    }

    #[test]
    fn a_rule_may_be_written_as_yaml_writes_a_map() {
        let map = serde_json::json!([{ "effect": "irreversible" }, "tool: git_commit"]);
        let rules: Vec<Rule> = serde_json::from_value(map).unwrap();
        assert_eq!(
            rules,
            [rule("effect: irreversible"), rule("tool: git_commit")]
        );
    }

    #[test]
    fn what_is_written_reads_back_and_nonsense_says_why() {
        for text in ["effect: reversible", "tool: git_commit"] {
            assert_eq!(rule(&rule(text).to_string()), rule(text));
        }
        let error = "effect: huge".parse::<Rule>().unwrap_err().to_string();
        assert!(
            error.contains("huge") && error.contains("effect: irreversible"),
            "{error}"
        );
        assert!("".parse::<Rule>().is_err());
    }
}
