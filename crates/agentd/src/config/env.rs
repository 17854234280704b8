//! The environment, read once, here and nowhere else. Empty variables count as unset; a value that is not UTF-8 is
//! refused by name.

use super::{ConfigError, Place};
use std::collections::BTreeMap;

/// One variable the program reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variable {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it sets, in one sentence.
    pub(crate) meaning: &'static str,
}

const fn variable(name: &'static str, meaning: &'static str) -> Variable {
    Variable { name, meaning }
}

/// Every variable the program reads.
pub(crate) const VARIABLES: &[Variable] = &[
    variable("AAOS_CONFIG", "The configuration file."),
    variable(
        "AAOS_STATE_DIR",
        "Where the journal, the runs' folders and the daemon's log are.",
    ),
    variable("AAOS_SOCKET", "The daemon's socket."),
    variable(
        "AAOS_ROLES_DIR",
        "A directory of role files; a role there replaces a bundled one of the same name.",
    ),
    variable(
        "ANTHROPIC_API_KEY",
        "Key of the provider `anthropic`, which it configures.",
    ),
    variable("ANTHROPIC_BASE_URL", "Address of the provider `anthropic`."),
    variable("ANTHROPIC_MODEL", "Model of the provider `anthropic`."),
    variable(
        "OPENAI_API_KEY",
        "Key of the provider `openai`, which it configures.",
    ),
    variable(
        "OPENAI_BASE_URL",
        "Address of the provider `openai`, which it configures: any compatible service.",
    ),
    variable("OPENAI_MODEL", "Model of the provider `openai`."),
    variable(
        "DEEPSEEK_API_KEY",
        "Key of the provider `deepseek`, which it configures.",
    ),
    variable(
        "CREDENTIALS_DIRECTORY",
        "Set by systemd: a directory with a file `PROVIDER.key` per key.",
    ),
    variable(
        "PATH",
        "Where programs that a grant names are looked for; `/usr/local/bin:/usr/bin:/bin` if unset.",
    ),
    variable(
        "CARGO_HOME",
        "Where cargo keeps its registry, for agents that may start it; `~/.cargo` if unset.",
    ),
    variable(
        "RUSTUP_HOME",
        "Where rustup keeps its toolchains, for agents that may start them; `~/.rustup` if unset.",
    ),
    variable("NO_COLOR", "No colours, whatever the terminal."),
    variable(
        "TERM",
        "Output is plain, as when piped, on a terminal of kind `dumb`.",
    ),
    variable(
        "HOME",
        "Where the directories below are if their variables are unset.",
    ),
    variable("XDG_CONFIG_HOME", "`aaos/config.toml` is looked for here."),
    variable("XDG_STATE_HOME", "`aaos` here is the state directory."),
    variable(
        "XDG_RUNTIME_DIR",
        "`aaos/agentd.sock` here is the daemon's socket.",
    ),
];

/// What the environment said when the program started.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    values: BTreeMap<&'static str, String>,
}

impl Environment {
    /// Reads every variable of the table.
    ///
    /// # Errors
    /// A value is not UTF-8.
    pub(crate) fn read() -> Result<Self, ConfigError> {
        let mut values = BTreeMap::new();
        for variable in VARIABLES {
            if let Some(value) = value_of(variable.name)? {
                values.insert(variable.name, value);
            }
        }
        Ok(Self { values })
    }

    /// A variable's value, if it is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }
}

/// A variable the operator names, as `configure --key-from-env` does.
///
/// # Errors
/// The value is not UTF-8.
pub(crate) fn value_of(name: &str) -> Result<Option<String>, ConfigError> {
    let Some(value) = std::env::var_os(name) else {
        return Ok(None);
    };
    match value.into_string() {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(ConfigError {
            place: Place::Variable(name.to_owned()),
            problem: "the value is not UTF-8".to_owned(),
            next_step: format!("Set ${name} again, or unset it"),
            excerpt: None,
        }),
    }
}
