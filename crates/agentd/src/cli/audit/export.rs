//! `agentd audit export`: events with their hashes as lines of JSON. Reads only, beside a running daemon or without one.

use super::{CliError, Desk};
use crate::{
    cli::{
        approvals,
        start::{self, Absent},
        words,
    },
    rpc::{RunStatus, wire::RunParams},
    world::SystemClock,
};
use aaos_core::{id::RunId, time::Timestamp};
use aaos_ports::Clock;
use aaos_store::audit::{self, ExportError, ExportFilter};
use clap::Args;
use std::{
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

const DOING: &str = "export the journal";

/// Its arguments.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// Only this run's events: its id, or the beginning of it.
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Only what happened then or later: `7d` ago, `2026-03-01`, or `2026-03-01T12:00:00Z`.
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only what happened before then, in the same forms.
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only events of this kind, as `tool_invoked`; may be repeated.
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// The file, which must not be there yet; standard output if not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The state directory; the configured one if not given.
    dir: Option<PathBuf>,
}

impl Export {
    /// Does it.
    pub(super) fn perform(self, desk: &Desk) -> Result<(), CliError> {
        let filter = ExportFilter {
            run: self
                .run
                .as_deref()
                .map(|run| whole(desk, run))
                .transpose()?,
            kinds: self.kind,
            since: self.since.as_deref().map(when).transpose()?,
            until: self.until.as_deref().map(when).transpose()?,
        };
        let dir = super::state(desk, self.dir)?;
        let Some(file) = self.out else {
            let out = BufWriter::new(io::stdout().lock());
            let events = written(audit::export(&dir, &filter, out), "standard output")?;
            tell_if_none(desk, events);
            return Ok(());
        };
        let events = written(to_file(&dir, &filter, &file), &file.display().to_string())?;
        tell_if_none(desk, events);
        if desk.json() {
            return desk.say_json(&serde_json::json!({ "file": file, "events": events }));
        }
        desk.say(format!(
            "wrote {} to {}",
            words::plural(events, "event"),
            file.display()
        ))
    }
}

/// A filter that fits nothing looks like a journal in which nothing happened.
fn tell_if_none(desk: &Desk, events: u64) {
    if events == 0 {
        desk.note("no event fits: kinds are written as `tool_invoked`, and an erased run is named in full");
    }
}

/// Writes a file that only its owner can read: it holds what was said in runs.
fn to_file(dir: &Path, filter: &ExportFilter, file: &Path) -> Result<u64, ExportError> {
    let opened = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    let mut out = BufWriter::new(opened);
    let events = audit::export(dir, filter, &mut out)?;
    out.flush()?;
    out.get_ref().sync_all()?;
    Ok(events)
}

fn written(result: Result<u64, ExportError>, place: &str) -> Result<u64, CliError> {
    result.map_err(|error| match error {
        ExportError::Out(error) if error.kind() == io::ErrorKind::BrokenPipe => error.into(),
        ExportError::Out(error) => CliError::failed(
            DOING,
            format!("{place}: {error}"),
            "Make room, or name a file that is not there yet",
        ),
        ExportError::Journal(error) => {
            let (problem, next_step) = crate::report::storage_parts(&error);
            CliError::failed(DOING, problem, next_step)
        }
    })
}

/// A run's whole id; a daemon is asked for a beginning.
fn whole(desk: &Desk, run: &str) -> Result<RunId, CliError> {
    if let Ok(run) = run.parse() {
        return Ok(run);
    }
    let params = RunParams {
        run: run.to_owned(),
    };
    let detail = start::ask::<RunStatus>(desk, Absent::Start, "find the run", &params)?;
    Ok(detail.view.run)
}

/// A moment: so long ago, a day in UTC, or a whole time.
fn when(text: &str) -> Result<Timestamp, CliError> {
    if let Ok(seconds) = approvals::seconds(text) {
        let back = seconds.saturating_mul(1_000_000);
        return Ok(Timestamp::from_micros(
            SystemClock.now().micros().saturating_sub(back),
        ));
    }
    let day = || {
        let date: jiff::civil::Date = text.parse().ok()?;
        Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    let moment = text.parse::<jiff::Timestamp>().ok().or_else(day);
    let micros = moment.and_then(|moment| u64::try_from(moment.as_microsecond()).ok());
    micros.map(Timestamp::from_micros).ok_or_else(|| {
        let problem = format!("`{}` is no moment", words::one_line(text, 64));
        CliError::usage(
            "read the time",
            &problem,
            "Write `7d`, `2026-03-01` or `2026-03-01T12:00:00Z`",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_ago_a_day_or_a_whole_time() {
        let day = Timestamp::from_micros(1_772_323_200_000_000);
        assert_eq!(when("2026-03-01"), Ok(day));
        assert_eq!(when("2026-03-01T00:00:00Z"), Ok(day));
        assert!(when("1d").is_ok_and(|then| then > day));
        for bad in ["", "yesterday", "2026-13-01", "1969-01-01"] {
            assert!(when(bad).is_err(), "{bad}");
        }
    }
}
