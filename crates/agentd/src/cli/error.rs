//! What the command line says when it could not do what it was asked: what it was doing, what stood in the way, what
//! to do next; and the exit code.

use super::words::clean;
use crate::{
    config::ConfigError,
    rpc::{Fault, FaultKind},
};
use std::{
    io::{self, Write},
    process::ExitCode,
};

/// Exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// It was done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The command was used wrongly, or the configuration is wrong.
    Usage = 2,
    /// The daemon cannot be reached, or the connection broke.
    Unreachable = 3,
    /// Ctrl-C twice within two seconds.
    Interrupted = 4,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command ends without having done what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CliError {
    /// The exit code.
    pub(crate) code: Code,
    /// What was being done; empty if everything has been said already.
    pub(crate) doing: String,
    /// What stood in the way.
    pub(crate) problem: String,
    /// Lines that show it: a piece of a file, the end of a log, candidates.
    pub(crate) shown: Vec<String>,
    /// What to do.
    pub(crate) next_step: String,
}

impl CliError {
    /// An error of this code.
    pub(crate) fn new(
        code: Code,
        doing: &str,
        problem: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        Self {
            code,
            doing: doing.to_owned(),
            problem: problem.into(),
            shown: Vec::new(),
            next_step: next_step.into(),
        }
    }

    /// Wrong use.
    pub(crate) fn usage(doing: &str, problem: &str, next_step: &str) -> Self {
        Self::new(Code::Usage, doing, problem, next_step)
    }

    /// It failed.
    pub(crate) fn failed(
        doing: &str,
        problem: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        Self::new(Code::Failed, doing, problem, next_step)
    }

    /// Ends with a code; everything has been said.
    pub(crate) fn quiet(code: Code) -> Self {
        Self::new(code, "", "", "")
    }

    /// A refusal of the daemon's.
    pub(crate) fn from_fault(doing: &str, fault: Fault) -> Self {
        let code = match fault.kind() {
            Some(FaultKind::Failed | FaultKind::Ended) => Code::Failed,
            Some(FaultKind::Unknown | FaultKind::Refused | FaultKind::Params) => Code::Usage,
            _ => Code::Unreachable,
        };
        Self {
            shown: fault.candidates,
            ..Self::new(code, doing, fault.problem, fault.next_step)
        }
    }

    /// Prints it: for people on standard error, as JSON on standard output.
    pub(crate) fn print(&self, json: bool) {
        if self.doing.is_empty() {
            return;
        }
        let (problem, next_step) = (clean(&self.problem), clean(&self.next_step));
        let shown: Vec<String> = self.shown.iter().map(|text| clean(text)).collect();
        if json {
            let error = serde_json::json!({ "error": {
                "doing": self.doing, "problem": problem, "shown": shown, "next_step": next_step,
                "exit_code": self.code as u8,
            }});
            let _ = writeln!(io::stdout().lock(), "{error}");
            return;
        }
        let mut out = io::stderr().lock();
        let _ = writeln!(out, "error: could not {}", self.doing);
        for line in problem.lines() {
            let _ = writeln!(out, "  {line}");
        }
        for line in shown.iter().flat_map(|text| text.lines()) {
            let _ = writeln!(out, "    {line}");
        }
        for (at, line) in next_step.lines().enumerate() {
            let _ = writeln!(
                out,
                "{}{line}",
                if at == 0 { "  next: " } else { "        " }
            );
        }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        let problem = format!("{}: {}", error.place, error.problem);
        Self {
            shown: error.excerpt.into_iter().collect(),
            ..Self::new(
                Code::Usage,
                "read the configuration",
                problem,
                error.next_step,
            )
        }
    }
}

impl From<io::Error> for CliError {
    /// Standard output failed: whoever read it has enough, or the disk is full.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::quiet(Code::Done);
        }
        Self::failed(
            "write to standard output",
            error.to_string(),
            "Make room, or write elsewhere",
        )
    }
}
