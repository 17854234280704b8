//! Approvals: which acts a person is asked about before they happen, and the answer.
//!
//! A rule names a tool, a class of effect, or a capability; an act that fits any rule in force waits for an answer that
//! is bound to exactly its arguments, used once, and ends by itself.

use crate::{
    capability::{Capability, Limits, NamePattern, Need, Resource, grammar::Line},
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

    /// What this rule says and does not hold, if it does; one that an operator gives is refused for it.
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        let Self::Capability(capability) = self else {
            return None;
        };
        if capability.limits != Limits::NONE {
            return Some("a rule has no limits: every act that fits it is asked about");
        }
        match capability.resource {
            Resource::Custom { .. } => {
                Some("no act needs a custom capability, so none is asked about")
            }
            Resource::Http(ref scope) if !scope.secrets.is_empty() => {
                Some("a rule names no secrets: every request to the address is asked about")
            }
            _ => None,
        }
    }

    /// A tool that this rule names by its whole name and that is none of these: about it nobody is ever asked. A pattern
    /// may stand for tools to come.
    #[must_use]
    pub fn missing_tool<'a>(
        &self,
        known: impl Iterator<Item = &'a ToolName> + Clone,
    ) -> Option<&str> {
        let Self::Capability(capability) = self else {
            return None;
        };
        let Resource::Tool(named) = &capability.resource else {
            return None;
        };
        named.patterns().find_map(|pattern| match pattern {
            NamePattern::Exact(name) => {
                let is_known = known.clone().any(|tool| tool.as_str() == name);
                (!is_known).then_some(name.as_str())
            }
            NamePattern::Prefix(_) => None,
        })
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

/// Whether an act with this need may do something of what a capability names. Where a grant is compared, doubt means no;
/// here it means yes: a tree that holds what is named, an address that a server may read otherwise, a tunnel, a
/// program by another path.
fn touches(capability: &Capability, need: &Need) -> bool {
    match (&capability.resource, need) {
        (
            Resource::Files {
                right: named,
                scope,
            },
            Need::FileTree { right, path },
        ) => named == right && scope.meets(path),
        (Resource::Http(scope), Need::Http { method, url }) => scope.touches(method, url),
        (
            Resource::Exec(scope),
            Need::Exec {
                program,
                args,
                workspace,
            },
        ) => scope.touches(program, args, workspace),
        _ => capability.allows(need),
    }
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
        /// Digest of what stands there now, if it was read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<String>,
    },
    /// A program to start.
    Program {
        /// The directory it starts in.
        directory: String,
        /// The program and its arguments, one by one.
        argv: Vec<String>,
        /// What it reads from its standard input.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        stdin: String,
    },
    /// A request to send.
    Request {
        /// Method and address.
        line: String,
        /// Its headers, each with its value; a secret stands there by its name.
        headers: Vec<String>,
        /// Its body.
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
            Self::Program { argv, stdin, .. } if stdin.is_empty() => {
                format!("run {}", argv.join(" "))
            }
            Self::Program { argv, stdin, .. } => {
                format!("give {} bytes to {}", stdin.len(), argv.join(" "))
            }
            Self::Request { line, .. } => line.clone(),
            Self::Arguments { json } => json.clone(),
        }
    }

    /// Whether an act of which `now` is told later still does what was shown: the same arguments to the same content of
    /// the same file. How a difference is written may differ, and matters only where the content is not known.
    #[must_use]
    pub fn still_holds(&self, now: &Self) -> bool {
        match (self, now) {
            (
                Self::Diff {
                    path,
                    before: Some(before),
                    ..
                },
                Self::Diff {
                    path: path_now,
                    before: Some(before_now),
                    ..
                },
            ) => path == path_now && before == before_now,
            _ => self == now,
        }
    }
}

/// A person's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Answer {
    /// It may happen, once, with exactly these arguments.
    Approve {
        /// Further calls of the same tool by the same run, as far as the same rule asks about them, need no answer for so
        /// long.
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

    fn touched(rule_text: &str, need: Need) -> bool {
        let by_way = rule(rule_text).applies_to(&need);
        let declared = rule(rule_text).applies(
            &"echo".parse().unwrap(),
            Effect::Pure,
            std::slice::from_ref(&need),
        );
        assert_eq!(by_way, declared, "{rule_text} {need}");
        declared
    }

    #[test]
    fn a_tree_that_may_hold_what_a_pattern_names_needs_approval() {
        let tree = |path: &str| Need::read_tree(path);
        for (named, path, touches) in [
            ("/w/*/secret", "/w/a", true),
            ("/w/*/secret", "/w/a/secret/deep", false),
            ("/w/**/secret.txt", "/w/a/b", true),
            ("/w/**/secret.txt", "/w2", false),
            ("/w/a*/b", "/w/b", false),
            ("/w/a*/b", "/w/ax", true),
            ("/w/kept", "/w/./x/..", true),
            ("/**", "/anything", true),
        ] {
            let rule = format!("file_read: {named}");
            assert_eq!(touched(&rule, tree(path)), touches, "{named} {path}");
        }
    }

    #[test]
    fn a_request_needs_approval_however_its_address_is_written() {
        let post = |url: &str| Need::Http {
            method: "POST".to_owned(),
            url: url.parse().unwrap(),
        };
        for url in [
            "http://127.0.0.1:8080/pay",
            "http://localhost/pay",
            "http://[::1]/",
            "http://10.0.0.5/",
            "https://api.example/",
        ] {
            assert!(touched("http: POST *", post(url)), "{url}");
        }
        let paying = "http: POST https://api.example/v1/pay";
        for url in [
            "https://api.example/v1/pay",
            "https://API.example./v1/pay/7?x=1",
            "https://api.example//v1//pay",
            "https://api.example/v1/p%61y",
            "https://api.example/v1/PAY",
            "https://api.example/v1/pay;a=b",
            "https://api.example/v1/pay/a%2fb",
            "https://api.example/x/..%2fv1/pay",
            "https://api.example/x%5c..%5cv1/pay",
        ] {
            assert!(touched(paying, post(url)), "{url}");
        }
        for url in [
            "https://api.example/v1/list",
            "https://api.example/",
            "https://other.example/v1/pay",
            "https://api.example:8443/v1/pay",
        ] {
            assert!(!touched(paying, post(url)), "{url}");
        }
        assert!(!touched(
            paying,
            Need::get("https://api.example/v1/pay".parse().unwrap())
        ));
    }

    #[test]
    fn a_tunnel_may_carry_what_a_rule_names() {
        let tunnel = |url: &str| Need::Http {
            method: "CONNECT".to_owned(),
            url: url.parse().unwrap(),
        };
        let rule = "http: POST https://api.example/v1/pay";
        assert!(touched(rule, tunnel("https://api.example:443/")));
        assert!(!touched(rule, tunnel("https://other.example:443/")));
    }

    #[test]
    fn a_program_needs_approval_by_any_path_and_with_other_words_between() {
        let start = |program: &str, args: &[&str], workspace: &str| Need::Exec {
            program: program.to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            workspace: workspace.to_owned(),
        };
        let pushing = "exec: git [push] in /w/kept/*";
        for (program, args, workspace, touches) in [
            ("git", &["push"][..], "/w/kept", true),
            ("/usr/bin/git", &["push"], "/w/kept/deep", true),
            ("git", &["-C", ".", "push", "origin"], "/w/kept", true),
            ("git", &["-C", "kept", "push"], "/w", true),
            ("git", &["log"], "/w/kept", false),
            ("gitk", &["push"], "/w/kept", false),
            ("git", &["push"], "/other", false),
        ] {
            let need = start(program, args, workspace);
            assert_eq!(
                touched(pushing, need),
                touches,
                "{program} {args:?} {workspace}"
            );
        }
    }

    #[test]
    fn a_rule_that_says_more_than_it_holds_is_a_problem() {
        for text in [
            "tool: git_commit {uses=3}",
            "http: POST * {bytes=9}",
            "http: POST https://a.example using key",
            "custom.deploy",
        ] {
            assert!(rule(text).problem().is_some(), "{text}");
        }
        for text in ["effect: pure", "tool: *", "http: POST *", "file_write: /**"] {
            assert_eq!(rule(text).problem(), None, "{text}");
        }
    }

    #[test]
    fn a_rule_that_names_no_tool_there_is_says_which() {
        let known: Vec<ToolName> = vec!["git_commit".parse().unwrap()];
        for (text, missing) in [
            ("tool: git_comit", Some("git_comit")),
            ("tool: [git_commit, git_push]", Some("git_push")),
            ("tool: git_commit", None),
            ("tool: mcp_*", None),
            ("effect: pure", None),
        ] {
            assert_eq!(rule(text).missing_tool(known.iter()), missing, "{text}");
        }
    }

    #[test]
    fn what_was_shown_holds_as_long_as_the_file_is_what_it_was() {
        let diff = |diff: &str, before: Option<&str>| Preview::Diff {
            path: "/w/a".to_owned(),
            diff: diff.to_owned(),
            before: before.map(str::to_owned),
        };
        let shown = diff("-a\n+b\n", Some("1"));
        assert!(shown.still_holds(&diff("written otherwise", Some("1"))));
        assert!(!shown.still_holds(&diff("-a\n+b\n", Some("2"))));
        assert!(!shown.still_holds(&diff("-a\n+b\n", None)));
        let unread = diff("(3 bytes become 4)", None);
        assert!(unread.still_holds(&unread));
        assert!(!unread.still_holds(&diff("(9 bytes become 4)", None)));
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
