//! `agentd audit verify`: is the journal whole? Needs no daemon.

use super::{Act, CliError, Code, Desk, words};
use crate::config::Installation;
use aaos_store::audit::Report;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    which: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// Check the journal's chain and every stored body.
    Verify {
        /// The state directory; the configured one if not given.
        dir: Option<PathBuf>,
    },
}

impl Act for Audit {
    const NAME: &'static str = "audit";
    const ABOUT: &'static str = "Check that the journal is what was written";

    fn act(self, desk: &Desk) -> Result<(), CliError> {
        let Which::Verify { dir } = self.which;
        let dir = match dir {
            Some(dir) => dir,
            None => desk.config(Installation::PerUser)?.paths.state.value,
        };
        let report = aaos_store::audit::verify(&dir).map_err(|error| {
            CliError::failed(
                "verify the journal",
                error.to_string(),
                "Name a state directory with a journal",
            )
        })?;
        if desk.json() {
            desk.say_json(&serde_json::json!({ "whole": report.whole(), "report": report }))?;
        } else {
            print(desk, &report)?;
        }
        if report.whole() {
            Ok(())
        } else {
            Err(CliError::quiet(Code::Failed))
        }
    }
}

fn print(desk: &Desk, report: &Report) -> Result<(), CliError> {
    let paint = desk.paint();
    let verdict = if report.whole() {
        paint.good("whole")
    } else {
        paint.bad("damaged")
    };
    desk.say(format!("journal    {verdict}"))?;
    desk.say(format!("events     {} hold", report.events))?;
    desk.say(format!(
        "head       {}",
        report
            .head
            .as_deref()
            .unwrap_or("none: the journal is empty")
    ))?;
    desk.say(format!(
        "bodies     {} stored, {} bytes",
        report.blobs, report.blob_bytes
    ))?;
    if let Some(broken) = &report.first_broken {
        desk.say(paint.bad(&format!(
            "event {} does not hold: {}",
            broken.seq,
            words::clean(&broken.message)
        )))?;
    }
    report
        .structure
        .iter()
        .try_for_each(|problem| desk.say(paint.bad(&words::clean(problem))))?;
    if report.blobs_missing > 0 {
        desk.say(paint.bad(&format!(
            "{} missing",
            words::plural(report.blobs_missing, "body reference")
        )))?;
    }
    if report.blobs_damaged > 0 {
        desk.say(paint.bad(&format!(
            "{} damaged",
            words::plural(report.blobs_damaged, "stored body")
        )))?;
    }
    for problem in &report.blob_problems {
        let text = serde_json::to_string(problem).unwrap_or_default();
        desk.say(format!("  {}", words::clean(&text)))?;
    }
    if !report.whole() {
        desk.say("next: keep a copy of the state directory before anything else; compare the head with one noted elsewhere")?;
    }
    Ok(())
}
