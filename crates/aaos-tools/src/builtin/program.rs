//! What the tools that start programs have in common: bounds on what they are asked, and outputs as text.
//!
//! A program that ends with another code than zero has run, and its tool has done what it was asked: the code is part
//! of the answer.

use aaos_core::{approval::Preview, capability::Need};
use aaos_ports::{
    ToolError,
    power::{Captured, Command, Ended, Finished},
};
use serde::Serialize;

/// Most bytes kept of each output: a long build's beginning and end, about eight thousand tokens.
pub(super) const OUTPUT_BYTES_MAX: usize = 32 * 1024;
/// Most words of a command.
const WORDS_MAX: usize = 512;
/// Longest command, in bytes. Source: `MAX_ARG_STRLEN`, linux/binfmts.h, which holds for each word; less one page.
const COMMAND_BYTES_MAX: usize = 124 * 1024;

/// How a program ended, and what it wrote.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
    truncated: bool,
}

impl Report {
    /// Whether it ended with code zero.
    pub(super) const fn success(&self) -> bool {
        self.success
    }

    /// The code it ended with; none if a signal ended it.
    pub(super) const fn exit_code(&self) -> Option<i32> {
        self.exit_code
    }
}

impl From<Finished> for Report {
    fn from(finished: Finished) -> Self {
        let (exit_code, signal) = match finished.ended {
            Ended::Code(code) => (Some(code), None),
            Ended::Signal(signal) => (None, Some(signal)),
        };
        Self {
            success: exit_code == Some(0),
            exit_code,
            signal,
            truncated: finished.stdout.dropped > 0 || finished.stderr.dropped > 0,
            stdout: text(&finished.stdout),
            stderr: text(&finished.stderr),
        }
    }
}

/// An output as text, with its gap named.
fn text(captured: &Captured) -> String {
    let head = String::from_utf8_lossy(&captured.head);
    if captured.dropped == 0 {
        return head.into_owned();
    }
    let tail = String::from_utf8_lossy(&captured.tail);
    format!("{head}\n… {} bytes left out …\n{tail}", captured.dropped)
}

/// What starting a command needs.
pub(super) fn need(command: &Command) -> Need {
    Need::Exec {
        program: command.program.clone(),
        args: command.args.clone(),
        workspace: command.directory.clone(),
    }
}

/// A command without input and variables, in a directory.
pub(super) fn command(program: &str, args: Vec<String>, directory: &str) -> Command {
    Command {
        program: program.to_owned(),
        args,
        directory: directory.to_owned(),
        env: Vec::new(),
        stdin: Vec::new(),
        output_bytes_max: OUTPUT_BYTES_MAX,
    }
}

/// A command, for a person to judge.
pub(super) fn preview(command: &Command) -> Preview {
    let program = std::iter::once(command.program.clone());
    Preview::Program {
        directory: command.directory.clone(),
        stdin: String::from_utf8_lossy(&command.stdin).into_owned(),
        argv: program.chain(command.args.iter().cloned()).collect(),
    }
}

/// Refuses a command no system would start.
pub(super) fn check(tool: &str, command: &Command) -> Result<(), ToolError> {
    let wrong = |problem: String| ToolError::Input {
        tool: tool.to_owned(),
        problem,
    };
    let words = || std::iter::once(&command.program).chain(&command.args);
    let bytes = words().fold(0_usize, |sum, word| sum.saturating_add(word.len() + 1));
    if words().count() > WORDS_MAX || bytes > COMMAND_BYTES_MAX {
        return Err(wrong(format!(
            "at most {WORDS_MAX} words and {COMMAND_BYTES_MAX} bytes; write what is longer to a file first"
        )));
    }
    if words().any(|word| word.contains('\0')) {
        return Err(wrong("no word can hold a NUL byte".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_gap_is_named_and_bytes_that_are_no_text_are_shown_as_such() {
        let long = Captured {
            head: b"begin\xff".to_vec(),
            dropped: 7,
            tail: b"end".to_vec(),
        };
        let report = Report::from(Finished {
            ended: Ended::Signal(9),
            stdout: long,
            stderr: Captured::default(),
        });
        assert_eq!(report.stdout, "begin\u{fffd}\n… 7 bytes left out …\nend");
        assert!(report.truncated && !report.success() && report.exit_code().is_none());
        let json = serde_json::to_value(&report).unwrap();
        assert!(json.get("exit_code").is_none() && json["signal"] == 9);
    }

    #[test]
    fn a_command_no_system_would_start_is_refused() {
        let with = |args| check("t", &command("p", args, "."));
        assert!(with(vec!["a".to_owned()]).is_ok());
        assert!(with(vec!["a\0b".to_owned()]).is_err());
        assert!(with(vec!["a".to_owned(); WORDS_MAX]).is_err());
        assert!(with(vec!["a".repeat(COMMAND_BYTES_MAX)]).is_err());
    }
}
