//! The terms of a goal as flags: shared by `submit` and `plan`.

use super::CliError;
use crate::{
    config::amount::{Amount, FORMS},
    rpc::wire::{Orchestration, SubmitParams},
};
use aaos_core::approval::Rule;
use clap::Args;
use std::path::PathBuf;

/// A goal and its terms.
#[derive(Debug, Args)]
pub(crate) struct Terms {
    /// What you want, in words.
    #[arg(value_name = "GOAL", required = true, num_args = 1..)]
    goal: Vec<String>,
    /// Grant something more, as `file_read: /data/**` or `http: GET example.com`; may be repeated.
    #[arg(long, value_name = "GRANT")]
    grant: Vec<String>,
    /// Take something out of the grants, in the same form; may be repeated.
    #[arg(long, value_name = "GRANT")]
    deny: Vec<String>,
    /// The profile the grants come from.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// A limit: `2usd`, `100ktokens`, `10m`, `500calls`, `20agents`; may be repeated.
    #[arg(long, value_name = "AMOUNT")]
    budget: Vec<String>,
    /// The model for everything, as `provider/model`.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Whether a planner takes the goal apart or one agent gets it whole; decided by the goal if not given.
    #[arg(long, value_enum, value_name = "HOW")]
    orchestration: Option<Orchestration>,
    /// Acts to wait for your approval, as `tool: git_commit`, `effect: irreversible` or `http: POST *`; may be repeated.
    #[arg(long, value_name = "RULE")]
    ask: Vec<String>,
    /// Wait at a limit of the budget for `agentd resume` rather than fail.
    #[arg(long)]
    park: bool,
    /// The directory that relative paths start from; the current one if not given.
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
}

impl Terms {
    /// What is sent to the daemon. Relative paths start from where the command was given.
    pub(crate) fn params(self) -> Result<SubmitParams, CliError> {
        let base = base(self.base)?;
        Ok(SubmitParams {
            goal: self.goal.join(" "),
            profile: self.profile,
            grants: grants("--grant", &self.grant, &base)?,
            deny: grants("--deny", &self.deny, &base)?,
            budget: amounts(&self.budget)?,
            orchestration: self.orchestration,
            model: self.model,
            ask: rules(&self.ask, &base)?,
            park: self.park,
            base,
        })
    }
}

/// Grants or denials. Their relative paths start from `base`.
pub(super) fn grants(flag: &str, lines: &[String], base: &str) -> Result<Vec<String>, CliError> {
    let read = |line: &String| {
        let read = aaos_core::capability::parse_in(line, base);
        read.map(|grant| grant.to_string()).map_err(|error| {
            let problem = format!("{flag} `{}`: {error}", super::words::one_line(line, 120));
            CliError::usage("read the grants", &problem, "Write it as `file_read: ./**` or `http: GET example.com`; `agentd docs capabilities` has all forms")
        })
    };
    lines.iter().map(read).collect()
}

/// Amounts of a budget.
pub(super) fn amounts(texts: &[String]) -> Result<Vec<Amount>, CliError> {
    let wrong =
        |problem: String| CliError::usage("read the budget", &format!("--budget {problem}"), FORMS);
    let amount = |text: &String| text.parse().map_err(wrong);
    texts.iter().map(amount).collect()
}

/// Rules for approval. A capability's relative paths start from where the command was given.
fn rules(lines: &[String], base: &str) -> Result<Vec<String>, CliError> {
    let read = |line: &String| -> Result<String, CliError> {
        let relative = aaos_core::capability::parse_in(line, base);
        let rule: Result<Rule, _> = match relative {
            Ok(capability) if !line.trim().starts_with("effect:") => {
                Ok(Rule::Capability(Box::new(capability)))
            }
            _ => line.parse(),
        };
        let rule = rule.map_err(|error| error.problem);
        let sound = rule.and_then(|rule| match rule.problem() {
            Some(problem) => Err(problem.to_owned()),
            None => Ok(rule.to_string()),
        });
        sound.map_err(|problem| {
            let shown = super::words::one_line(line, 120);
            let problem = format!("--ask `{shown}`: {problem}");
            let next_step = "Write `effect: irreversible`, `tool: git_commit`, or any capability, as `http: POST *`";
            CliError::usage("read the rules for approval", &problem, next_step)
        })
    };
    lines.iter().map(read).collect()
}

/// The base directory, absolute and free of links, so that grants mean what is really there.
pub(super) fn base(given: Option<PathBuf>) -> Result<String, CliError> {
    let path = given.unwrap_or_else(|| PathBuf::from("."));
    let trouble = |problem: String| {
        CliError::usage(
            "find the base directory",
            &problem,
            "Name a directory that is there with --base",
        )
    };
    let real = std::fs::canonicalize(&path)
        .map_err(|error| trouble(format!("{}: {error}", path.display())))?;
    if !real.is_dir() {
        return Err(trouble(format!("{} is not a directory", real.display())));
    }
    real.into_os_string()
        .into_string()
        .map_err(|path| trouble(format!("{} is not UTF-8", path.display())))
}
