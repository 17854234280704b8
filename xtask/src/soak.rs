//! The soak: the fault harness with ten times the kills of CI, its progress on the screen.
//!
//! It builds the programs that are killed and runs the one test that kills them; what is drawn follows from the seed,
//! which is printed.

use std::io::Write;
use std::process::Command;

use crate::finding::Error;
use crate::rule::House;

/// Kills unless asked otherwise.
const KILLS: &str = "10000";
/// The test, in `crates/agentd/tests/faults`.
const TEST: &str = "a_thousand_kills_lose_no_run_and_repeat_no_effect";
/// The packages whose programs are killed.
const PROGRAMS: [&str; 3] = ["agentd", "aaos-agent-worker", "aaos-egress"];

/// Runs it: `--kills N` and `--seed S`, and `--release` for optimised programs.
///
/// # Errors
/// An argument is not known, or cargo could not be started.
pub fn run(house: &House, arguments: &[String], out: &mut dyn Write) -> Result<bool, Error> {
    let asked = Asked::read(arguments)?;
    let release: &[&str] = if asked.release { &["--release"] } else { &[] };
    let mut build = Command::new("cargo");
    build.arg("build").args(release);
    for program in PROGRAMS {
        build.args(["-p", program]);
    }
    if !succeeds(build.current_dir(house.tree.root()))? {
        return Ok(false);
    }
    crate::say(out, &format!("{} kills", asked.kills))?;
    let mut test = Command::new("cargo");
    test.arg("test")
        .args(release)
        .args(["-p", "agentd", "--test", "faults", "--"])
        .args(["--exact", TEST, "--nocapture"])
        .env("AAOS_FAULT_KILLS", &asked.kills)
        .current_dir(house.tree.root());
    if let Some(seed) = &asked.seed {
        test.env("AAOS_FAULT_SEED", seed);
    }
    succeeds(&mut test)
}

struct Asked {
    kills: String,
    seed: Option<String>,
    release: bool,
}

impl Asked {
    fn read(arguments: &[String]) -> Result<Self, Error> {
        let mut asked = Self {
            kills: KILLS.to_owned(),
            seed: None,
            release: false,
        };
        let mut left = arguments.iter();
        while let Some(argument) = left.next() {
            match argument.as_str() {
                "--kills" => asked.kills = a_number(argument, left.next())?,
                "--seed" => asked.seed = Some(a_number(argument, left.next())?),
                "--release" => asked.release = true,
                other => return Err(unknown("argument", other)),
            }
        }
        Ok(asked)
    }
}

fn a_number(name: &str, text: Option<&String>) -> Result<String, Error> {
    let number = text.and_then(|text| text.parse::<u64>().ok());
    let given = text.map_or("", String::as_str);
    number
        .map(|number| number.to_string())
        .ok_or_else(|| unknown("number", &format!("{name} {given}")))
}

fn unknown(what: &'static str, name: &str) -> Error {
    Error::Unknown {
        what,
        name: name.to_owned(),
        known: "--kills N, --seed S, --release".to_owned(),
    }
}

fn succeeds(command: &mut Command) -> Result<bool, Error> {
    let status = command.status();
    status
        .map(|status| status.success())
        .map_err(|source| Error::Start {
            program: "cargo".to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn read(words: &[&str]) -> Result<Asked, Error> {
        Asked::read(
            &words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn the_soak_takes_kills_and_a_seed_and_nothing_else() {
        let asked = read(&["--kills", "50", "--seed", "7"]).unwrap();
        assert_eq!(
            (asked.kills.as_str(), asked.seed.as_deref()),
            ("50", Some("7"))
        );
        assert_eq!(read(&[]).unwrap().kills, KILLS);
        assert!(read(&["--kills", "many"]).is_err());
        assert!(read(&["--fast"]).is_err());
    }
}
