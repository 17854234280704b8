//! The gate: every step in order, each with its time, and one verdict.
//!
//! A step needs a program. Where the program is missing there may be a lesser way; in CI, which is told by
//! the variable `CI`, a missing program is a failure, because a gate with a hole proves nothing.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::docs::{Reach, stale};
use crate::finding::Error;
use crate::rule::House;

/// One step of the gate.
pub struct Step {
    /// The name `cargo xtask check NAME` takes.
    pub name: &'static str,
    /// How it is judged.
    pub way: Way,
}

/// How a step is judged.
pub enum Way {
    /// `cargo` with these arguments and variables.
    Cargo(Call),
    /// `cargo` with a subcommand that is installed by itself.
    Tool {
        /// The program, as it is installed.
        program: &'static str,
        /// What to run where it is there.
        call: Call,
        /// What to run where it is not.
        lesser: Option<Call>,
    },
    /// Every generated page against its source.
    Documents,
}

/// Arguments and variables of one `cargo` call.
pub struct Call {
    /// The arguments.
    pub arguments: &'static [&'static str],
    /// Variables set for it.
    pub variables: &'static [(&'static str, &'static str)],
}

const fn call(arguments: &'static [&'static str]) -> Call {
    Call {
        arguments,
        variables: &[],
    }
}

/// Every step, in order.
pub static STEPS: &[Step] = &[
    Step {
        name: "format",
        way: Way::Cargo(call(&["fmt", "--all", "--check"])),
    },
    Step {
        name: "lints",
        way: Way::Cargo(call(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ])),
    },
    Step {
        name: "tests",
        way: Way::Tool {
            program: "cargo-nextest",
            call: call(&["nextest", "run", "--workspace", "--locked"]),
            lesser: Some(call(&["test", "--workspace", "--tests", "--locked"])),
        },
    },
    Step {
        name: "examples",
        way: Way::Cargo(call(&["test", "--doc", "--workspace", "--locked"])),
    },
    Step {
        name: "rustdoc",
        way: Way::Cargo(Call {
            arguments: &[
                "doc",
                "--workspace",
                "--no-deps",
                "--document-private-items",
                "--locked",
            ],
            variables: &[("RUSTDOCFLAGS", "-D warnings")],
        }),
    },
    Step {
        name: "documents",
        way: Way::Documents,
    },
    Step {
        name: "dependencies",
        way: Way::Tool {
            program: "cargo-deny",
            call: call(&["deny", "--locked", "check", "bans", "licenses", "sources"]),
            lesser: None,
        },
    },
];

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It holds as far as the lesser way sees.
    PassedLesser(String),
    /// It was not judged, and why.
    NotRun(String),
    /// It does not hold, and why if that was not printed.
    Failed(String),
}

/// Whether a missing program is forgiven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// On a person's machine.
    Forgiving,
    /// In CI.
    Strict,
}

impl Strictness {
    /// What the variable `CI` asks for.
    pub fn from_environment() -> Self {
        if std::env::var_os("CI").is_some_and(|value| !value.is_empty()) {
            Self::Strict
        } else {
            Self::Forgiving
        }
    }
}

/// Runs the named steps, or all; writes each with its time to `out`; tells whether all passed.
///
/// # Errors
/// A program could not be started, or the report could not be written.
pub fn run(
    house: &House,
    names: &[String],
    strictness: Strictness,
    out: &mut dyn Write,
) -> Result<bool, Error> {
    let mut ended: Vec<(&str, Outcome, Duration)> = Vec::new();
    for step in STEPS
        .iter()
        .filter(|step| names.is_empty() || names.iter().any(|name| name == step.name))
    {
        print(out, &format!("── {}", step.name))?;
        let start = Instant::now();
        let outcome = judge(house, step, strictness)?;
        print(out, &line(step.name, &outcome, start.elapsed()))?;
        ended.push((step.name, outcome, start.elapsed()));
    }
    print(out, "── result")?;
    for (name, outcome, time) in &ended {
        print(out, &line(name, outcome, *time))?;
    }
    Ok(!ended.is_empty()
        && !ended
            .iter()
            .any(|(_, outcome, _)| matches!(outcome, Outcome::Failed(_))))
}

fn print(out: &mut dyn Write, text: &str) -> Result<(), Error> {
    writeln!(out, "{text}").map_err(|source| Error::File {
        path: "standard output".into(),
        source,
    })
}

fn line(name: &str, outcome: &Outcome, time: Duration) -> String {
    let (word, note) = match outcome {
        Outcome::Passed => ("passed", ""),
        Outcome::PassedLesser(note) => ("passed", note.as_str()),
        Outcome::NotRun(note) => ("not run", note.as_str()),
        Outcome::Failed(note) => ("FAILED", note.as_str()),
    };
    format!("{word:<8}{name:<14}{:>7.1} s  {note}", time.as_secs_f64())
        .trim_end()
        .to_owned()
}

fn judge(house: &House, step: &Step, strictness: Strictness) -> Result<Outcome, Error> {
    match &step.way {
        Way::Cargo(call) => cargo(house, call),
        Way::Tool {
            program,
            call,
            lesser,
        } => {
            if installed(program) {
                cargo(house, call)
            } else {
                without(house, program, lesser.as_ref(), strictness)
            }
        }
        Way::Documents => documents(house),
    }
}

fn documents(house: &House) -> Result<Outcome, Error> {
    let found = stale(house, Reach::Programs)?;
    if found.is_empty() {
        return Ok(Outcome::Passed);
    }
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    Ok(Outcome::Failed(lines.join("; ")))
}

/// What happens where a step's program is missing.
fn without(
    house: &House,
    program: &str,
    lesser: Option<&Call>,
    strictness: Strictness,
) -> Result<Outcome, Error> {
    let note = format!("{program} is not installed; `cargo install {program} --locked`");
    match (strictness, lesser) {
        (Strictness::Strict, _) => Ok(Outcome::Failed(note)),
        (Strictness::Forgiving, None) => Ok(Outcome::NotRun(note)),
        (Strictness::Forgiving, Some(call)) => Ok(match cargo(house, call)? {
            Outcome::Passed => {
                Outcome::PassedLesser(format!("by cargo {}: {note}", call.arguments[0]))
            }
            other => other,
        }),
    }
}

fn cargo(house: &House, call: &Call) -> Result<Outcome, Error> {
    let status = Command::new("cargo")
        .args(call.arguments)
        .envs(call.variables.iter().copied())
        .current_dir(house.tree.root())
        .status()
        .map_err(|source| Error::Start {
            program: "cargo".into(),
            source,
        })?;
    let passed = if status.success() {
        Outcome::Passed
    } else {
        Outcome::Failed(format!("{status}, see above"))
    };
    Ok(passed)
}

fn installed(program: &str) -> bool {
    let asked = Command::new(program).arg("--version").output();
    asked.is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::{Outcome, Strictness, line, without};
    use crate::rule::House;
    use std::time::Duration;

    #[test]
    fn a_missing_program_fails_ci_and_is_named_elsewhere() {
        let house = House::here().unwrap();
        let strict = without(&house, "cargo-deny", None, Strictness::Strict).unwrap();
        assert!(
            matches!(strict, Outcome::Failed(note) if note.contains("cargo install cargo-deny"))
        );
        let forgiving = without(&house, "cargo-deny", None, Strictness::Forgiving).unwrap();
        assert!(matches!(forgiving, Outcome::NotRun(_)));
    }

    #[test]
    fn each_step_is_reported_with_its_time() {
        assert_eq!(
            line("lints", &Outcome::Passed, Duration::from_millis(1500)),
            "passed  lints             1.5 s"
        );
    }
}
