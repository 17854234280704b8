//! `agentd audit verify`: is the journal whole, and the one that was signed? Needs no daemon.

use super::{CliError, Desk};
use crate::cli::{Code, words};
use aaos_store::audit::{Against, HeadCheck, Report};
use clap::Args;
use std::path::PathBuf;

/// Hexadecimal digits of an Ed25519 public key: 32 bytes.
const KEY_DIGITS: usize = 64;

/// Its arguments.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The state directory; the configured one if not given.
    dir: Option<PathBuf>,
    /// A signed head kept elsewhere: a copy of `head.signed`, or lines of JSON that a sink or an export wrote.
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// The public key kept elsewhere, as `agentd audit key` prints it; every head must be signed by it.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

impl Verify {
    /// Does it.
    pub(super) fn perform(self, desk: &Desk) -> Result<(), CliError> {
        if let Some(key) = &self.key {
            check(key)?;
        }
        let dir = super::state(desk, self.dir)?;
        let against = Against {
            head: self.head,
            key: self.key,
        };
        let report = aaos_store::audit::verify_against(&dir, &against).map_err(|error| {
            let (problem, _) = crate::report::storage_parts(&error);
            CliError::failed(
                "verify the journal",
                problem,
                "Name a state directory with a journal, and a file with a signed head",
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

/// A mistyped key is no sign of a journal that was written anew.
fn check(key: &str) -> Result<(), CliError> {
    if key.len() == KEY_DIGITS && key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    let problem = format!("`{}` is no public key", words::one_line(key, 80));
    Err(CliError::usage(
        "read the key",
        &problem,
        "Give the 64 hexadecimal digits that `agentd audit key` prints",
    ))
}

fn print(desk: &Desk, report: &Report) -> Result<(), CliError> {
    let paint = desk.paint();
    let verdict = if report.whole() {
        paint.good("whole")
    } else {
        paint.bad("damaged")
    };
    let fact = |name: &str, said: String| desk.say(format!("{name:<11}{said}"));
    fact("journal", verdict)?;
    fact("events", format!("{} hold", report.events))?;
    let head = report.head.as_deref();
    let head = head.unwrap_or("none: the journal is empty");
    fact("head", head.to_owned())?;
    let (blobs, bytes) = (report.blobs, report.blob_bytes);
    fact("bodies", format!("{blobs} stored, {bytes} bytes"))?;
    if report.events_erased > 0 {
        let events = words::plural(report.events_erased, "event");
        fact("erased", format!("the content of {events}"))?;
    }
    fact("signed", words::plural(report.heads_signed, "head"))?;
    if let Some(key) = &report.key {
        fact("key", words::clean(key))?;
    }
    events(desk, report)?;
    heads(desk, report)?;
    bodies(desk, report)?;
    if !report.whole() {
        desk.say("next: keep a copy of the state directory before anything else; compare the head with one noted elsewhere")?;
    }
    Ok(())
}

fn events(desk: &Desk, report: &Report) -> Result<(), CliError> {
    let paint = desk.paint();
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
        .try_for_each(|problem| desk.say(paint.bad(&words::clean(problem))))
}

/// What signed heads say, where they say that something is wrong, and what those outside say.
fn heads(desk: &Desk, report: &Report) -> Result<(), CliError> {
    let paint = desk.paint();
    if let Some(bad) = &report.first_bad_head {
        desk.say(paint.bad(&format!(
            "the signed head in event {} does not hold: {}",
            bad.seq,
            words::clean(&bad.message)
        )))?;
    }
    let signers = match (report.keys_other, report.keys.len()) {
        (0, 0 | 1) => None,
        (0, _) => Some("heads are signed by several keys, one after the other:".to_owned()),
        _ => Some(paint.bad("heads are signed by another key than the one that is trusted:")),
    };
    if let Some(signers) = signers {
        desk.say(signers)?;
        report
            .keys
            .iter()
            .try_for_each(|key| desk.say(format!("  {}", words::clean(key))))?;
    }
    let outside = [
        ("the signed head beside the journal", &report.head_beside),
        ("the signed head kept elsewhere", &report.head_kept),
        ("what the disk had confirmed", &report.confirmed),
    ];
    for (name, check) in outside {
        let said = match check {
            HeadCheck::None => continue,
            HeadCheck::Holds { seq } => {
                desk.say(format!("{name} holds: it covers event {seq}"))?;
                continue;
            }
            HeadCheck::Cut { seq } => {
                format!("covers event {seq}, which is missing: events were cut off at the end")
            }
            HeadCheck::Differs { seq } => {
                format!("has another event {seq}: this is another history")
            }
            HeadCheck::Forged { seq } => {
                format!("that covers event {seq} has a signature that does not hold")
            }
            HeadCheck::OtherKey { seq, key } => {
                format!(
                    "that covers event {seq} is signed by another key, {}",
                    words::clean(key)
                )
            }
            HeadCheck::Unreadable { message } => {
                format!("cannot be read: {}", words::clean(message))
            }
        };
        desk.say(paint.bad(&format!("{name} {said}")))?;
    }
    Ok(())
}

fn bodies(desk: &Desk, report: &Report) -> Result<(), CliError> {
    let paint = desk.paint();
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
    report.blob_problems.iter().try_for_each(|problem| {
        let text = serde_json::to_string(problem).unwrap_or_default();
        desk.say(format!("  {}", words::clean(&text)))
    })
}
