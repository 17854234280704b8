//! `shell`: one command, by the shell or by itself.
//!
//! The shell is a program like any other and starts only what is granted beside it. A command that ends with another
//! code than zero is an answer, not an error. What a command cut off in the middle has done nobody can look up: the
//! operator is asked.

use super::program::{self, Report};
use aaos_core::{
    approval::Preview,
    capability::Need,
    time::Span,
    tool::{Effect, Power, Recovery},
};
use aaos_ports::{Powers, Tool, ToolError, power::Command, tool::About};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

/// Longest time of one call: a test suite or a build by another tool than cargo.
const DEADLINE: Span = Span::from_secs(600);
/// Most bytes a command is given as input.
const STDIN_BYTES_MAX: usize = 1024 * 1024;

/// Runs one command.
pub(super) struct Shell;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// What to run. Without `args`, a line for `sh -c`; with `args`, a program's name or absolute path.
    command: String,
    /// The program's arguments, one to an entry; given, even if empty, no shell is started.
    args: Option<Vec<String>>,
    /// Directory to run it in: an absolute path, or one relative to the base directory.
    #[serde(default = "here")]
    directory: String,
    /// What it reads from its standard input, at most 1 MiB.
    #[serde(default)]
    stdin: String,
}

fn here() -> String {
    ".".to_owned()
}

#[async_trait]
impl Tool for Shell {
    type Input = Input;
    type Output = Report;
    const ABOUT: About = About {
        name: "shell",
        summary: "Run one command to its end, by `sh -c` or as a program with arguments; answers with exit code and output. Only granted programs start.",
        powers: &[Power::Exec],
        effect: Effect::Irreversible,
        recovery: Recovery::ByEffect,
        deadline: DEADLINE,
    };

    fn needs(&self, input: &Input) -> Vec<Need> {
        vec![program::need(&command(input))]
    }

    async fn run(&self, input: Input, powers: &Powers) -> Result<Report, ToolError> {
        let exec = powers.exec()?;
        let command = checked(&input)?;
        Ok(Report::from(exec.run(command)?))
    }

    async fn preview(&self, input: &Input, _powers: &Powers) -> Result<Option<Preview>, ToolError> {
        Ok(Some(program::preview(&checked(input)?)))
    }
}

/// The command, if a system would start it.
fn checked(input: &Input) -> Result<Command, ToolError> {
    let wrong = |problem: String| ToolError::Input {
        tool: Shell::ABOUT.name.to_owned(),
        problem,
    };
    if input.command.trim().is_empty() {
        return Err(wrong("command: it is empty".to_owned()));
    }
    if input.stdin.len() > STDIN_BYTES_MAX {
        return Err(wrong(format!(
            "stdin: at most {STDIN_BYTES_MAX} bytes; write what is longer to a file first"
        )));
    }
    let command = command(input);
    program::check(Shell::ABOUT.name, &command)?;
    Ok(command)
}

fn command(input: &Input) -> Command {
    let (program, args) = match &input.args {
        Some(args) => (input.command.as_str(), args.clone()),
        None => ("sh", vec!["-c".to_owned(), input.command.clone()]),
    };
    Command {
        stdin: input.stdin.clone().into_bytes(),
        ..program::command(program, args, &input.directory)
    }
}
