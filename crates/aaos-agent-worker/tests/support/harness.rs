//! A program of tests that is also something else: it is listed and run as by the usual harness, on one thread.

use std::process::ExitCode;

/// A test and its name.
pub(crate) type Test = (&'static str, fn());

/// Does what these arguments ask of these tests: lists them, or runs those that are named, all if none is.
pub(crate) fn main(tests: &[Test], args: &[String]) -> ExitCode {
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    if has("--list") {
        for (name, _) in tests.iter().filter(|_| !has("--ignored")) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    for (name, test) in tests {
        let named = |wanted: &&String| {
            wanted.as_str() == *name || !has("--exact") && name.contains(wanted.as_str())
        };
        if wanted.is_empty() || wanted.iter().any(named) {
            test();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}
