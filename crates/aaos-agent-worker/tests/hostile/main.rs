//! Workers and launchers that lie, flood, fall silent or vanish are contained: the daemon goes on, what they did is
//! noted, and nothing of them is left.
//!
//! This program is its own hostile worker: started by a backend, with a socket as its standard input, it is one; started
//! by whoever runs tests, it runs them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and makes the world it acts in"
)]

mod fake;
mod rows;
#[path = "../support/mod.rs"]
mod support;

use rustix::fs::{FileType, fstat};
use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let stdin = std::io::stdin();
    let is_socket =
        fstat(&stdin).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Socket);
    if is_socket && Path::new(&program).is_symlink() {
        use std::os::fd::AsFd;
        let line = stdin.as_fd().try_clone_to_owned().unwrap();
        let way = Path::new(&program)
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        fake::main(line, &way, arguments.next().as_deref());
        return ExitCode::SUCCESS;
    }
    tests(&arguments.collect::<Vec<_>>())
}

/// Lists or runs the rows, as test runners ask for it.
fn tests(arguments: &[String]) -> ExitCode {
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let is_name = |argument: &&String| !argument.starts_with('-') && *argument != "terse";
    let wanted: Vec<&String> = arguments.iter().filter(is_name).collect();
    let rows = rows::ROWS.iter().filter(|(name, _)| {
        wanted.is_empty()
            || wanted.iter().any(|wanted| match has("--exact") {
                true => name == wanted,
                false => name.contains(wanted.as_str()),
            })
    });
    if has("--list") {
        // None is ignored.
        for (name, _) in rows.filter(|_| !has("--ignored")) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    for (name, row) in rows {
        println!("test {name}");
        row();
    }
    ExitCode::SUCCESS
}
