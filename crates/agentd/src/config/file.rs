//! The configuration file's shape, and how files are read. Unknown keys are refused; every complaint has a line and a
//! column and shows the line. A keys file that others may read is refused whole.

use super::{
    ConfigError, Place,
    amount::{Amount, FORMS},
};
use aaos_core::text::is_deceptive;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    io::Read,
    num::NonZeroUsize,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};
use toml::Spanned;

/// Largest configuration or keys file, in bytes; a generous one has a hundredth of this.
pub(crate) const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Mode bits that let others than the owner read or change a file.
const OTHERS: u32 = 0o077;

/// The shape of `config.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileConfig {
    /// How agents' tools run.
    pub(super) backend: Option<Spanned<String>>,
    /// A directory of role files.
    pub(super) roles_dir: Option<Spanned<String>>,
    /// Providers by name.
    pub(super) providers: BTreeMap<String, FileProvider>,
    /// Models by class.
    pub(super) models: FileModels,
    /// Profiles by name.
    pub(super) profiles: BTreeMap<String, Spanned<FileProfile>>,
    /// Limits of a run.
    pub(super) budget: FileBudget,
    /// The daemon.
    pub(super) daemon: FileDaemon,
    /// Where events are copied to.
    pub(super) sinks: FileSinks,
    /// How workers are confined.
    pub(super) confinement: FileConfinement,
    /// What a person is asked about.
    pub(super) approvals: FileApprovals,
    /// What is known of effects elsewhere.
    pub(super) effects: FileEffects,
    /// How long content is kept.
    pub(super) retention: FileRetention,
    /// How often the journal's head is signed.
    pub(super) audit: FileAudit,
}

/// One provider.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileProvider {
    /// Which protocol or preset.
    pub(super) kind: Spanned<String>,
    /// Its address.
    pub(super) base_url: Option<Spanned<String>>,
    /// The model used if none is named.
    pub(super) model: Option<Spanned<String>>,
    /// The file of replies, for `scripted`.
    pub(super) file: Option<Spanned<String>>,
    /// How long it is asked again while it cannot answer.
    pub(super) patience: Option<Spanned<String>>,
}

/// Models by class, as `provider/model`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileModels {
    pub(super) planner: Option<Spanned<String>>,
    pub(super) worker: Option<Spanned<String>>,
    pub(super) reasoner: Option<Spanned<String>>,
}

/// What runs under a profile may do.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileProfile {
    pub(super) grants: Vec<Spanned<String>>,
    pub(super) deny: Vec<Spanned<String>>,
}

/// Limits of a run.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileBudget {
    pub(super) tokens: Option<Spanned<u64>>,
    pub(super) cost: Option<Spanned<String>>,
    pub(super) wall_clock: Option<Spanned<String>>,
    pub(super) calls: Option<Spanned<u64>>,
    pub(super) agents: Option<Spanned<u64>>,
    pub(super) depth: Option<Spanned<u32>>,
    pub(super) fan_out: Option<Spanned<u32>>,
    /// What becomes of a run at a limit.
    pub(super) at_limit: Option<Spanned<String>>,
    /// Limits of all agents of a role together, by role.
    pub(super) roles: BTreeMap<Spanned<String>, FileRoleBudget>,
    /// Limits of each operator's runs together, per day.
    pub(super) operator: FileDay,
    /// Limits of all runs together, per day.
    pub(super) day: FileDay,
}

/// Limits of all agents of a role, in one run.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileRoleBudget {
    pub(super) tokens: Option<Spanned<u64>>,
    pub(super) cost: Option<Spanned<String>>,
    pub(super) calls: Option<Spanned<u64>>,
    pub(super) agents: Option<Spanned<u64>>,
}

/// Limits per day.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileDay {
    pub(super) tokens: Option<Spanned<u64>>,
    pub(super) cost: Option<Spanned<String>>,
}

/// What a person is asked about.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileApprovals {
    pub(super) ask: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) expire: Option<Spanned<String>>,
    pub(super) notify: Option<Spanned<Vec<Spanned<String>>>>,
}

/// What is known of effects elsewhere.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileEffects {
    pub(super) keyed: Option<Spanned<Vec<Spanned<String>>>>,
}

/// How long content is kept.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileRetention {
    pub(super) days: Option<Spanned<u32>>,
}

/// How often the journal's head is signed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileAudit {
    pub(super) sign_every_events: Option<Spanned<u64>>,
    pub(super) sign_every_s: Option<Spanned<u64>>,
}

/// The daemon.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileDaemon {
    pub(super) idle_exit_s: Option<Spanned<u64>>,
    pub(super) slots: Option<Spanned<NonZeroUsize>>,
    pub(super) workers_max: Option<Spanned<NonZeroUsize>>,
}

/// Where events are copied to.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileSinks {
    pub(super) stdout: Option<Spanned<bool>>,
    pub(super) file: Option<Spanned<String>>,
    pub(super) journald: Option<Spanned<bool>>,
}

/// How workers are confined.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileConfinement {
    pub(super) require: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) worker: Option<Spanned<String>>,
    pub(super) egress: Option<Spanned<String>>,
    pub(super) pool: Option<Spanned<usize>>,
    pub(super) toolchain: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) drill: Option<Spanned<String>>,
}

/// A file's text, with what is needed to point into it.
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// The line of a byte position, counting from one.
    pub(super) fn line(&self, at: usize) -> usize {
        self.text
            .bytes()
            .take(at)
            .filter(|byte| *byte == b'\n')
            .count()
            + 1
    }

    /// A complaint about the bytes from `at` on.
    pub(super) fn problem(
        &self,
        at: usize,
        problem: impl Into<String>,
        next_step: impl Into<String>,
    ) -> ConfigError {
        let before = aaos_core::text::head(self.text, at);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(start..).map_or(0, |text| text.chars().count()) + 1;
        let line_text = self
            .text
            .get(start..)
            .and_then(|rest| rest.lines().next())
            .unwrap_or_default();
        ConfigError {
            place: Place::File {
                path: self.path.to_owned(),
                line: self.line(at),
                column,
            },
            problem: problem.into(),
            next_step: next_step.into(),
            excerpt: Some(excerpt(self.line(at), column, line_text)),
        }
    }

    /// Reads the text as TOML of the shape `T`.
    pub(super) fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            self.problem(
                at,
                error.message().trim(),
                format!("Correct {}", self.path.display()),
            )
        })
    }

    /// Reads one limit of a budget.
    pub(super) fn amount(&self, text: &Spanned<String>) -> Result<Amount, ConfigError> {
        let parsed: Result<Amount, String> = text.get_ref().parse();
        parsed.map_err(|problem| self.problem(text.span().start, problem, FORMS))
    }
}

/// Most characters of a line that an excerpt shows.
const EXCERPT_CHARS_MAX: usize = 100;

/// A line with its number and a mark beneath the column. What could make it read otherwise than it is becomes spaces.
pub(crate) fn excerpt(line: usize, column: usize, text: &str) -> String {
    let shown: String = text
        .chars()
        .take(EXCERPT_CHARS_MAX)
        .map(|c| if is_deceptive(c) { ' ' } else { c })
        .collect();
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    let mark_at = column.saturating_sub(1).min(EXCERPT_CHARS_MAX);
    format!("{number} | {shown}\n{margin} | {}^", " ".repeat(mark_at))
}

/// Who may be able to read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privacy {
    /// Anyone.
    Open,
    /// Only its owner.
    OwnerOnly,
}

/// A small text file; none if there is nothing at the path. Never waits on a FIFO or device.
pub(crate) fn read(path: &Path, privacy: Privacy) -> Result<Option<String>, ConfigError> {
    let trouble = |problem: String, next_step: &str| ConfigError {
        place: Place::Path(path.to_owned()),
        problem,
        next_step: next_step.to_owned(),
        excerpt: None,
    };
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path);
    let file = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let problem = format!("it cannot be opened: {error}");
            return Err(trouble(problem, "Make it readable, or remove it"));
        }
        Ok(file) => file,
    };
    let about = file
        .metadata()
        .map_err(|error| trouble(error.to_string(), "Try again"))?;
    if !about.is_file() {
        let problem = "it is not a regular file".to_owned();
        return Err(trouble(problem, "Put a file in its place"));
    }
    if privacy == Privacy::OwnerOnly && about.mode() & OTHERS != 0 {
        let problem = format!(
            "it holds keys and others can read it (mode {:04o})",
            about.mode() & 0o7777
        );
        let next_step = format!("Run `chmod 600 {}`", path.display());
        return Err(trouble(problem, &next_step));
    }
    let mut bytes = Vec::new();
    let limited = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    limited.map_err(|error| trouble(format!("it cannot be read: {error}"), "Make it readable"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let problem = format!("it is larger than {FILE_BYTES_MAX} bytes");
        return Err(trouble(problem, "Make it smaller"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        trouble(format!("byte {at} is not UTF-8"), "Save it as UTF-8")
    })?;
    Ok(Some(text))
}
