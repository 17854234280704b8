//! `cargo_run`: one of cargo's everyday subcommands, in one directory, offline unless asked otherwise.
//!
//! Arguments that lead cargo to another directory or another configuration are refused, so that a grant's directory
//! means what it says. Build scripts, tests and what `run` starts are programs like cargo itself, and as confined.
//!
//! What only builds, formats, reads or tests may be done again after it was cut off: the result is the same. What `run`
//! starts may do anything, and the operator is asked.

use super::program::{self, Report};
use aaos_core::{
    approval::Preview,
    capability::Need,
    text,
    time::Span,
    tool::{Effect, Power, Recovery},
};
use aaos_ports::{Happened, Powers, Tool, ToolError, power::Command, tool::About};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Longest time of one call: a workspace of a few hundred crates built from nothing.
const DEADLINE: Span = Span::from_secs(900);
/// Where cargo keeps what it downloads: the operator's registry is not its to change. Private to the worker, and gone
/// with it.
const OWN_HOME: &str = "/tmp/cargo";
/// Most diagnostics listed by themselves; all are in the output.
const DIAGNOSTICS_MAX: usize = 50;
/// Most bytes of a diagnostic's message.
const MESSAGE_BYTES_MAX: usize = 400;
/// Options that would make cargo act on something else than the directory, or read another configuration.
/// Source: cargo(1), common options.
const ELSEWHERE: [&str; 6] = [
    "--manifest-path",
    "--config",
    "--target-dir",
    "--lockfile-path",
    "--artifact-dir",
    "--out-dir",
];
/// Short options of the same sort; their value may follow without a space.
const ELSEWHERE_SHORT: [&str; 2] = ["-C", "-Z"];

/// Runs cargo.
pub(super) struct CargoRun;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// What cargo is to do: bench, build, check, clippy, doc, fmt, metadata, run, test or tree.
    subcommand: Subcommand,
    /// Further arguments, one to an entry, such as `--workspace` or a test's name; none that lead to another directory.
    #[serde(default)]
    args: Vec<String>,
    /// The package's or workspace's directory: an absolute path, or one relative to the base directory.
    directory: String,
    /// Let cargo download what the operator's registry does not hold, into one of its own; needs grants for the registry's hosts.
    #[serde(default)]
    online: bool,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Subcommand {
    Bench,
    Build,
    Check,
    Clippy,
    Doc,
    Fmt,
    Metadata,
    Run,
    Test,
    Tree,
}

impl Subcommand {
    const fn word(self) -> &'static str {
        match self {
            Self::Bench => "bench",
            Self::Build => "build",
            Self::Check => "check",
            Self::Clippy => "clippy",
            Self::Doc => "doc",
            Self::Fmt => "fmt",
            Self::Metadata => "metadata",
            Self::Run => "run",
            Self::Test => "test",
            Self::Tree => "tree",
        }
    }
}

#[derive(Serialize)]
pub(super) struct Output {
    #[serde(flatten)]
    report: Report,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    diagnostics: Vec<Diagnostic>,
}

/// An error or a warning with its place.
#[derive(Debug, PartialEq, Serialize)]
struct Diagnostic {
    level: &'static str,
    message: String,
    at: String,
}

#[async_trait]
impl Tool for CargoRun {
    type Input = Input;
    type Output = Output;
    const ABOUT: About = About {
        name: "cargo_run",
        summary: "Run cargo in a directory: check, build, test, clippy, fmt and the like, offline unless asked otherwise. A failed build or test is an answer, with its exit code.",
        powers: &[Power::Exec],
        effect: Effect::Reversible,
        recovery: Recovery::Looks,
        deadline: DEADLINE,
    };

    fn needs(&self, input: &Input) -> Vec<Need> {
        vec![program::need(&command(input))]
    }

    async fn run(&self, input: Input, powers: &Powers) -> Result<Output, ToolError> {
        let exec = powers.exec()?;
        let command = checked(&input)?;
        let report = Report::from(exec.run(command)?);
        Ok(Output {
            diagnostics: diagnostics(&report.stderr),
            report,
        })
    }

    async fn evidence(&self, input: &Input, _powers: &Powers) -> Result<Option<Value>, ToolError> {
        checked(input)?;
        Ok(Some(json!({ "subcommand": input.subcommand.word() })))
    }

    async fn happened(
        &self,
        input: &Input,
        _evidence: &Value,
        _powers: &Powers,
    ) -> Result<Happened, ToolError> {
        Ok(match input.subcommand {
            Subcommand::Run => Happened::Unknown {
                why: "what the program does that `cargo run` starts is not known to this tool"
                    .to_owned(),
            },
            _ => Happened::No,
        })
    }

    async fn preview(&self, input: &Input, _powers: &Powers) -> Result<Option<Preview>, ToolError> {
        Ok(Some(program::preview(&checked(input)?)))
    }
}

/// The command, if it stays where it is put.
fn checked(input: &Input) -> Result<Command, ToolError> {
    stay(&input.args)?;
    let command = command(input);
    program::check(CargoRun::ABOUT.name, &command)?;
    Ok(command)
}

fn command(input: &Input) -> Command {
    let first = std::iter::once(input.subcommand.word().to_owned());
    let args = first.chain(input.args.iter().cloned()).collect();
    let mut env = vec![
        ("CARGO_TERM_COLOR", "never"),
        ("CARGO_TERM_PROGRESS_WHEN", "never"),
    ];
    if input.online {
        env.push(("CARGO_HOME", OWN_HOME));
    } else {
        env.push(("CARGO_NET_OFFLINE", "true"));
    }
    let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    Command {
        env: env.into_iter().map(own).collect(),
        ..program::command("cargo", args, &input.directory)
    }
}

/// Refuses arguments that lead elsewhere. What follows `--` is for the program that cargo starts.
fn stay(args: &[String]) -> Result<(), ToolError> {
    let leads_away = |arg: &&String| {
        let name = arg.split('=').next().unwrap_or_default();
        ELSEWHERE.contains(&name) || ELSEWHERE_SHORT.iter().any(|short| arg.starts_with(short))
    };
    let mut own = args.iter().take_while(|arg| *arg != "--");
    match own.find(leads_away) {
        None => Ok(()),
        Some(arg) => Err(ToolError::Input {
            tool: CargoRun::ABOUT.name.to_owned(),
            problem: format!(
                "args: `{}` would make cargo act elsewhere; name the place in `directory`",
                text::preview(arg, 128)
            ),
        }),
    }
}

/// Errors and warnings with their places, in order, as the compiler writes them for people.
fn diagnostics(stderr: &str) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut last: Option<(&'static str, &str)> = None;
    for line in stderr.lines() {
        if let Some(level) = ["error", "warning"]
            .into_iter()
            .find(|level| line.starts_with(level))
        {
            last = line.split_once(": ").map(|(_, message)| (level, message));
        } else if let Some(at) = line.trim_start().strip_prefix("--> ") {
            if let Some((level, message)) = last.take() {
                found.push(Diagnostic {
                    level,
                    message: text::head(message, MESSAGE_BYTES_MAX).to_owned(),
                    at: text::head(at.trim_end(), MESSAGE_BYTES_MAX).to_owned(),
                });
            }
            if found.len() == DIAGNOSTICS_MAX {
                break;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_lead_elsewhere_are_refused_before_the_double_dash() {
        let refused = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            stay(&args).is_err()
        };
        for args in [
            &["--manifest-path", "/other/Cargo.toml"][..],
            &["--config=build.rustc='x'"],
            &["--lib", "--target-dir=/x"],
            &["-C/other"],
            &["-Zunstable-options"],
        ] {
            assert!(refused(args), "{args:?}");
        }
        for args in [
            &["--workspace", "--all-targets"][..],
            &["name", "--", "--config", "-C"],
            &["-p", "x", "-j2"],
            &["--configuration"],
        ] {
            assert!(!refused(args), "{args:?}");
        }
    }

    #[test]
    fn errors_and_warnings_are_listed_with_their_places() {
        let stderr = "   Compiling p v0.1.0\nwarning: unused variable: `x`\n --> src/lib.rs:2:5\n  |\nerror[E0308]: mismatched types\n   --> src/lib.rs:9:1\n   ::: src/m.rs:1:1\nwarning: `p` (lib) generated 1 warning\nerror: could not compile `p`\n";
        let found = diagnostics(stderr);
        let short: Vec<(&str, &str, &str)> = found
            .iter()
            .map(|one| (one.level, one.message.as_str(), one.at.as_str()))
            .collect();
        assert_eq!(
            short,
            [
                ("warning", "unused variable: `x`", "src/lib.rs:2:5"),
                ("error", "mismatched types", "src/lib.rs:9:1"),
            ]
        );
        let many = "error: a\n --> b:1:1\n".repeat(DIAGNOSTICS_MAX + 5);
        assert_eq!(diagnostics(&many).len(), DIAGNOSTICS_MAX);
    }
}
