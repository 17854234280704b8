//! Configuration: one [`Config`], read once at the start from defaults, the file, the environment and flags, in that
//! order, each value with where it came from. It refuses what it does not know and what does not parse; it never falls
//! back to a default in silence. Nothing else in the program knows a key's or a variable's name.

pub(crate) mod amount;
mod assemble;
mod budgets;
mod confinement;
pub(crate) mod env;
pub(crate) mod file;
mod paths;
mod policy;
mod secrets;
mod show;

pub(crate) use assemble::{load, provider_name_problem, secret_variables};
pub(crate) use budgets::{AtLimit, Budgets, Day};
pub(crate) use confinement::Confinement;
pub(crate) use env::Environment;
pub(crate) use paths::{Installation, Paths};
pub(crate) use policy::Policy;
pub(crate) use show::Entry;

use aaos_core::{
    model::{ModelClass, ModelRef},
    secret::Secret,
    time::Span,
};
use std::{collections::BTreeMap, fmt, num::NonZeroUsize, path::PathBuf};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Built in.
    Default,
    /// A line of a file, counting from one.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// The keys file or a credential of systemd's.
    Credential(PathBuf),
    /// A variable of the environment.
    Variable(&'static str),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File { path, line } => write!(out, "{}:{line}", path.display()),
            Self::Credential(path) => write!(out, "{}", path.display()),
            Self::Variable(name) => write!(out, "${name}"),
            Self::Flag(name) => write!(out, "--{name}"),
        }
    }
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it came from.
    pub(crate) origin: Origin,
}

impl<T> Setting<T> {
    /// A built-in value.
    pub(crate) const fn default(value: T) -> Self {
        Self {
            value,
            origin: Origin::Default,
        }
    }

    /// A value from somewhere.
    pub(crate) const fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
}

/// One provider, as configured.
#[derive(Debug, Clone)]
pub(crate) struct ProviderConfig {
    /// Protocol or preset.
    pub(crate) kind: Setting<String>,
    /// Its address; the kind's own if none.
    pub(crate) base_url: Option<Setting<String>>,
    /// The model used if none is named; the kind's own if none.
    pub(crate) model: Option<Setting<String>>,
    /// The file of replies of a scripted provider.
    pub(crate) file: Option<Setting<PathBuf>>,
    /// Its key.
    pub(crate) key: Option<Setting<Secret<String>>>,
    /// How long it is asked again while it cannot answer; the kind's own time if none.
    pub(crate) patience: Option<Setting<Span>>,
}

/// What runs under a profile may do, as the operator wrote it; relative paths start from each run's base directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Profile {
    /// What is granted.
    pub(crate) grants: Vec<String>,
    /// What is taken away again.
    pub(crate) deny: Vec<String>,
}

/// Where events are copied to.
#[derive(Debug, Clone)]
pub(crate) struct Sinks {
    /// Whether to the daemon's standard output.
    pub(crate) stdout: Setting<bool>,
    /// To which file, if any.
    pub(crate) file: Option<Setting<PathBuf>>,
    /// Whether to the system's own journal.
    pub(crate) journald: Setting<bool>,
}

/// Everything configured.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where things are.
    pub(crate) paths: Paths,
    /// How agents' tools run.
    pub(crate) backend: Setting<String>,
    /// Providers by name; empty if nothing is configured.
    pub(crate) providers: BTreeMap<String, ProviderConfig>,
    /// Which of them serves the classes that `models` does not name.
    pub(crate) provider_first: Option<Setting<String>>,
    /// Models by class, where named.
    pub(crate) models: BTreeMap<ModelClass, Setting<ModelRef>>,
    /// Profiles by name, the built-in ones among them.
    pub(crate) profiles: BTreeMap<String, Setting<Profile>>,
    /// Limits: of a run, of a role in a run, of a day.
    pub(crate) budgets: Budgets,
    /// What a person is asked about, what is signed, how long content is kept.
    pub(crate) policy: Policy,
    /// Seconds without runs and connections after which a per-user daemon ends.
    pub(crate) idle_exit_s: Setting<u64>,
    /// Model requests at the same time.
    pub(crate) slots: Setting<NonZeroUsize>,
    /// Agents with a worker at the same time, per run.
    pub(crate) workers_max: Setting<NonZeroUsize>,
    /// How workers are confined.
    pub(crate) confinement: Confinement,
    /// Values that `using NAME` in a grant stands for.
    pub(crate) secrets: BTreeMap<String, Setting<Secret<String>>>,
    /// Where events are copied to.
    pub(crate) sinks: Sinks,
    /// The text of the operator's price file, `prices.toml` beside the configuration, if there is one.
    pub(crate) prices: Option<Setting<String>>,
    /// Tells the files of this program and of those it starts from others of the same version.
    pub(crate) programs: String,
}

/// The profile used if none is named.
pub(crate) const PROFILE_DEFAULT: &str = "default";

/// Flags that change the configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides {
    /// `--system`.
    pub(crate) installation: Installation,
    /// `--config`.
    pub(crate) config: Option<PathBuf>,
    /// `--state-dir`.
    pub(crate) state_dir: Option<PathBuf>,
    /// `--socket`.
    pub(crate) socket: Option<PathBuf>,
}

/// Where in the configuration something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A line and column of a file, counting from one.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// A file or directory as a whole.
    Path(PathBuf),
    /// A variable.
    Variable(String),
    /// A value, wherever it came from.
    Value(Origin),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(out, "{}:{line}:{column}", path.display()),
            Self::Path(path) => write!(out, "{}", path.display()),
            Self::Variable(name) => write!(out, "${name}"),
            Self::Value(origin) => write!(out, "{origin}"),
        }
    }
}

/// What is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}. {next_step}")]
pub(crate) struct ConfigError {
    /// Where.
    pub(crate) place: Place,
    /// What.
    pub(crate) problem: String,
    /// What the operator can do.
    pub(crate) next_step: String,
    /// The line, with a mark beneath the column.
    pub(crate) excerpt: Option<String>,
}
