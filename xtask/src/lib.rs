//! The gate, the generated documents and the rules of the house. Never shipped.
//!
//! It reads the checkout and runs cargo; it knows nothing of what the product does.
#![forbid(unsafe_code)]

pub mod ambient;
pub mod bench;
pub mod check;
pub mod docs;
pub mod finding;
pub mod plan;
pub mod rule;
pub mod scan;
pub mod soak;
pub mod source;
pub mod tree;
pub mod workspace;

use std::io::Write;

use check::Strictness;
use docs::Reach;
use finding::{Error, Finding};
use rule::{House, RULES};

/// One command of `cargo xtask`.
pub struct Command {
    /// What is typed.
    pub name: &'static str,
    /// One line for the list of commands.
    pub summary: &'static str,
    /// Runs it with the arguments that follow its name; tells whether all is well.
    pub run: fn(&House, &[String], &mut dyn Write) -> Result<bool, Error>,
}

/// Every command.
pub static COMMANDS: &[Command] = &[
    Command {
        name: "check",
        summary: "the whole gate, or the steps named; exactly what CI runs",
        run: |house, names, out| check::run(house, names, Strictness::from_environment(), out),
    },
    Command {
        name: "house",
        summary: "the rules of the house alone, or those named",
        run: house,
    },
    Command {
        name: "docs",
        summary: "write the generated documents; --check compares",
        run: docs,
    },
    Command {
        name: "bench",
        summary: "measure the product: all benchmarks or those named; --write puts the figures into docs/promises.md",
        run: bench::run,
    },
    Command {
        name: "soak",
        summary: "kill daemons, workers and brokers at drawn moments: 10000 times, or --kills N; --seed S draws the same again",
        run: soak::run,
    },
    Command {
        name: "clippy-config",
        summary: "write every clippy.toml from house.toml",
        run: |house, _, out| {
            let written = ambient::write(&house.tree, &house.plan)?;
            written
                .iter()
                .try_for_each(|path| say(out, path))
                .map(|()| true)
        },
    },
];

fn house(house: &House, names: &[String], out: &mut dyn Write) -> Result<bool, Error> {
    let mut holds = true;
    for rule in RULES
        .iter()
        .filter(|rule| names.is_empty() || names.iter().any(|name| name == rule.name))
    {
        match (rule.judge)(house) {
            Ok(found) if found.is_empty() => say(out, &format!("holds   {}", rule.name))?,
            Ok(found) => {
                holds = false;
                say(out, &format!("BROKEN  {}: {}", rule.name, rule.promise))?;
                list(out, &found)?;
            }
            Err(error) => {
                holds = false;
                say(out, &format!("BROKEN  {}: {error}", rule.name))?;
            }
        }
    }
    Ok(holds)
}

fn docs(house: &House, arguments: &[String], out: &mut dyn Write) -> Result<bool, Error> {
    if arguments.iter().any(|argument| argument == "--check") {
        let found = docs::stale(house, Reach::Programs)?;
        list(out, &found)?;
        return Ok(found.is_empty());
    }
    docs::write(house)?
        .iter()
        .try_for_each(|page| say(out, page))
        .map(|()| true)
}

fn list(out: &mut dyn Write, found: &[Finding]) -> Result<(), Error> {
    found
        .iter()
        .try_for_each(|finding| say(out, &format!("        {finding}")))
}

fn say(out: &mut dyn Write, text: &str) -> Result<(), Error> {
    writeln!(out, "{text}").map_err(|source| Error::File {
        path: "standard output".into(),
        source,
    })
}
