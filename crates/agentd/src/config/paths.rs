//! Where things are: per user beneath the XDG directories, or system-wide.

use super::{ConfigError, Environment, Origin, Overrides, Place, Setting};
use std::path::{Path, PathBuf};

/// For whom the daemon works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Installation {
    /// One person: started on demand, ends when idle.
    #[default]
    PerUser,
    /// The machine: started by its service manager.
    System,
}

impl Installation {
    /// The one that `--system`, given or not, chooses.
    pub(crate) const fn by_flag(system: bool) -> Self {
        if system { Self::System } else { Self::PerUser }
    }
}

/// Every path of an installation; all absolute.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// For whom.
    pub(crate) installation: Installation,
    /// The configuration file.
    pub(crate) config: Setting<PathBuf>,
    /// The keys file, beside it.
    pub(crate) credentials: PathBuf,
    /// Journal, runs' folders, log.
    pub(crate) state: Setting<PathBuf>,
    /// The daemon's socket.
    pub(crate) socket: Setting<PathBuf>,
    /// Role files of the operator's own.
    pub(crate) roles: Option<Setting<PathBuf>>,
}

impl Paths {
    /// Works out every path.
    ///
    /// # Errors
    /// There is nothing to work it out from: no `HOME`, or the current directory is gone.
    pub(crate) fn find(
        environment: &Environment,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let installation = overrides.installation;
        let config = chosen(
            environment,
            overrides.config.as_deref(),
            ("config", "AAOS_CONFIG"),
            || match installation {
                Installation::System => Ok(PathBuf::from("/etc/aaos/config.toml")),
                Installation::PerUser => {
                    Ok(xdg(environment, "XDG_CONFIG_HOME", ".config")?.join("aaos/config.toml"))
                }
            },
        )?;
        let state = chosen(
            environment,
            overrides.state_dir.as_deref(),
            ("state-dir", "AAOS_STATE_DIR"),
            || match installation {
                Installation::System => Ok(PathBuf::from("/var/lib/aaos")),
                Installation::PerUser => {
                    Ok(xdg(environment, "XDG_STATE_HOME", ".local/state")?.join("aaos"))
                }
            },
        )?;
        let socket = chosen(
            environment,
            overrides.socket.as_deref(),
            ("socket", "AAOS_SOCKET"),
            || Ok(usual_socket(installation, environment, &state)),
        )?;
        let roles = match environment.get("AAOS_ROLES_DIR") {
            Some(path) => Some(Setting::new(
                absolute(Path::new(path))?,
                Origin::Variable("AAOS_ROLES_DIR"),
            )),
            None => None,
        };
        let credentials = config.value.with_file_name("credentials.toml");
        Ok(Self {
            installation,
            config,
            credentials,
            state,
            socket,
            roles,
        })
    }

    /// Directory in which each run gets its own.
    pub(crate) fn runs(&self) -> PathBuf {
        self.state.value.join("runs")
    }

    /// The log of a daemon started on demand.
    pub(crate) fn log(&self) -> PathBuf {
        self.state.value.join("agentd.log")
    }
}

/// Where the socket is if nobody says otherwise.
fn usual_socket(
    installation: Installation,
    environment: &Environment,
    state: &Setting<PathBuf>,
) -> PathBuf {
    let runtime = absolute_variable(environment, "XDG_RUNTIME_DIR");
    match (installation, runtime) {
        (Installation::System, _) => PathBuf::from("/run/agentd/agentd.sock"),
        // A daemon belongs to its state directory: one that is named brings its own socket.
        (Installation::PerUser, Some(runtime)) if state.origin == Origin::Default => {
            runtime.join("aaos/agentd.sock")
        }
        (Installation::PerUser, _) => state.value.join("agentd.sock"),
    }
}

/// A flag's path, or a variable's, or the default.
fn chosen(
    environment: &Environment,
    flag: Option<&Path>,
    names: (&'static str, &'static str),
    default: impl FnOnce() -> Result<PathBuf, ConfigError>,
) -> Result<Setting<PathBuf>, ConfigError> {
    if let Some(path) = flag {
        return Ok(Setting::new(absolute(path)?, Origin::Flag(names.0)));
    }
    match environment.get(names.1) {
        Some(path) => Ok(Setting::new(
            absolute(Path::new(path))?,
            Origin::Variable(names.1),
        )),
        None => Ok(Setting::default(default()?)),
    }
}

/// The path, made absolute by the current directory.
fn absolute(path: &Path) -> Result<PathBuf, ConfigError> {
    std::path::absolute(path).map_err(|error| ConfigError {
        place: Place::Path(path.to_owned()),
        problem: format!("it cannot be made absolute: {error}"),
        next_step: "Give the whole path".to_owned(),
        excerpt: None,
    })
}

/// A variable that holds an absolute path; the XDG specification has relative ones ignored.
pub(super) fn absolute_variable(environment: &Environment, name: &str) -> Option<PathBuf> {
    environment
        .get(name)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

/// An XDG directory, or its default beneath the home directory.
fn xdg(environment: &Environment, name: &str, beneath_home: &str) -> Result<PathBuf, ConfigError> {
    if let Some(path) = absolute_variable(environment, name) {
        return Ok(path);
    }
    let home = absolute_variable(environment, "HOME").ok_or_else(|| ConfigError {
        place: Place::Variable("HOME".to_owned()),
        problem:
            "it is not set to an absolute path, so there is no place for configuration and state"
                .to_owned(),
        next_step: "Set $HOME, or give --config and --state-dir".to_owned(),
        excerpt: None,
    })?;
    Ok(home.join(beneath_home))
}
