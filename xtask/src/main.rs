//! `cargo xtask`: see [`xtask::COMMANDS`].
#![forbid(unsafe_code)]

use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use xtask::COMMANDS;
use xtask::rule::House;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        // Nothing is left to tell it to when standard error is gone.
        let _ = writeln!(stderr(), "cargo xtask COMMAND, one of:\n{}", listed());
        return ExitCode::from(2);
    };
    match House::here().and_then(|house| (command.run)(&house, &rest, &mut stdout())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(stderr(), "cargo xtask {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn listed() -> String {
    let lines = COMMANDS
        .iter()
        .map(|command| format!("  {:<16}{}", command.name, command.summary));
    lines.collect::<Vec<_>>().join("\n")
}
