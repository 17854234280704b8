//! Resources: what a capability is for, one kind to a variant, and how two of the same kind compare.

use super::{Excess, ExecScope, HttpScope, NameScope, Need, PathScope};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Most parameters of a custom resource.
pub const CUSTOM_PARAMS_MAX: usize = 32;

/// What may be done with files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileRight {
    /// Read a file, list a directory.
    Read,
    /// Create, change or remove; does not include reading.
    Write,
}

impl fmt::Display for FileRight {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

/// What may be done with remembered records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryRight {
    /// Ask for records.
    Read,
    /// Store, replace or remove; does not include asking.
    Write,
}

impl fmt::Display for MemoryRight {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

/// What a capability is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Files and directories.
    Files {
        /// Read or write.
        right: FileRight,
        /// Which.
        scope: PathScope,
    },
    /// HTTP requests.
    Http(HttpScope),
    /// Starts of a program.
    Exec(ExecScope),
    /// Tools, by name.
    Tool(NameScope),
    /// Agents, by role.
    Spawn(NameScope),
    /// Peers that may be sent messages.
    Message(NameScope),
    /// Remembered records.
    Memory {
        /// Read or write.
        right: MemoryRight,
        /// Which, by the scope's name.
        scope: NameScope,
    },
    /// Something only the operator's own tools know. Allows no act by itself; held and compared.
    Custom {
        /// Its name.
        name: String,
        /// What it is held for; one with more parameters is weaker.
        params: BTreeMap<String, String>,
    },
}

impl Resource {
    /// The kind's name, as the grammar spells it; every custom resource is `custom`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Files {
                right: FileRight::Read,
                ..
            } => "file_read",
            Self::Files {
                right: FileRight::Write,
                ..
            } => "file_write",
            Self::Http(_) => "http",
            Self::Exec(_) => "exec",
            Self::Tool(_) => "tool",
            Self::Spawn(_) => "spawn",
            Self::Message(_) => "message",
            Self::Memory {
                right: MemoryRight::Read,
                ..
            } => "memory_read",
            Self::Memory {
                right: MemoryRight::Write,
                ..
            } => "memory_write",
            Self::Custom { .. } => "custom",
        }
    }

    /// Whether every act `other` allows, `self` allows too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Files { right: held, scope },
                Self::Files {
                    right: wanted,
                    scope: reach,
                },
            ) => held == wanted && scope.covers(reach),
            (
                Self::Memory { right: held, scope },
                Self::Memory {
                    right: wanted,
                    scope: reach,
                },
            ) => held == wanted && scope.covers(reach),
            (Self::Http(held), Self::Http(wanted)) => held.covers(wanted),
            (Self::Exec(held), Self::Exec(wanted)) => held.covers(wanted),
            (Self::Tool(held), Self::Tool(wanted))
            | (Self::Spawn(held), Self::Spawn(wanted))
            | (Self::Message(held), Self::Message(wanted)) => held.covers(wanted),
            (
                Self::Custom { name: held, params },
                Self::Custom {
                    name: wanted,
                    params: more,
                },
            ) => {
                held == wanted
                    && params
                        .iter()
                        .all(|(key, value)| more.get(key) == Some(value))
            }
            _ => false,
        }
    }

    /// Whether every act `other` allows, `self` allows too; the secrets that go with them aside. What is denied is denied
    /// whatever it would carry.
    #[must_use]
    pub fn reaches(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Http(held), Self::Http(wanted)) => held.reaches(wanted),
            _ => self.covers(other),
        }
    }

    /// Whether this act is allowed. A custom resource allows none.
    #[must_use]
    pub fn allows(&self, need: &Need) -> bool {
        match (self, need) {
            (Self::Files { right: held, scope }, Need::File { right, path }) => {
                held == right && scope.matches(path)
            }
            (Self::Files { right: held, scope }, Need::FileTree { right, path }) => {
                let tree = || super::path::normalise(path).and_then(|path| PathScope::tree(&path));
                held == right && tree().is_ok_and(|tree| scope.covers(&tree))
            }
            (Self::Http(scope), Need::Http { method, url }) => scope.matches(method, url),
            (
                Self::Exec(scope),
                Need::Exec {
                    program,
                    args,
                    workspace,
                },
            ) => scope.matches(program, args, workspace),
            (Self::Tool(scope), Need::Tool(name)) => scope.matches(name.as_str()),
            (Self::Spawn(scope), Need::Spawn(role)) => scope.matches(role.as_str()),
            (Self::Message(scope), Need::Message(peer)) => scope.matches(peer),
            (
                Self::Memory { right: held, scope },
                Need::Memory {
                    right,
                    scope: wanted,
                },
            ) => held == right && scope.matches(wanted),
            _ => false,
        }
    }

    /// How close anything held can come to `self` and still fall short: the closeness of the last axis on which
    /// [`Resource::excess`] compares its kind.
    pub(super) const fn closeness_max(&self) -> u8 {
        match self {
            Self::Http(_) => Excess::CLOSENESS_HTTP,
            _ => Excess::CLOSENESS_OTHER,
        }
    }

    /// The first axis on which `wanted` exceeds `self`.
    pub(super) fn excess(&self, wanted: &Self) -> Option<Excess> {
        match (self, wanted) {
            (
                Self::Files { right: held, scope },
                Self::Files {
                    right,
                    scope: reach,
                },
            ) => right_excess(held == right, held, right).or_else(|| scope_excess(scope, reach)),
            (
                Self::Memory { right: held, scope },
                Self::Memory {
                    right,
                    scope: reach,
                },
            ) => right_excess(held == right, held, right).or_else(|| scope.excess(reach)),
            (Self::Http(held), Self::Http(wanted)) => held.excess(wanted),
            (Self::Exec(held), Self::Exec(wanted)) => held.excess(wanted),
            (Self::Tool(held), Self::Tool(wanted))
            | (Self::Spawn(held), Self::Spawn(wanted))
            | (Self::Message(held), Self::Message(wanted)) => held.excess(wanted),
            (Self::Custom { name: held, .. }, Self::Custom { name, .. }) if held != name => {
                Some(Excess::Kind {
                    held: format!("custom.{held}"),
                    wanted: format!("custom.{name}"),
                })
            }
            (Self::Custom { params, .. }, Self::Custom { params: more, .. }) => {
                params_excess(params, more)
            }
            _ => Some(Excess::Kind {
                held: self.kind().to_owned(),
                wanted: wanted.kind().to_owned(),
            }),
        }
    }
}

fn right_excess(
    same: bool,
    held: &impl fmt::Display,
    wanted: &impl fmt::Display,
) -> Option<Excess> {
    (!same).then(|| Excess::Right {
        held: held.to_string(),
        wanted: wanted.to_string(),
    })
}

fn scope_excess(held: &PathScope, wanted: &PathScope) -> Option<Excess> {
    (!held.covers(wanted)).then(|| Excess::Scope {
        held: held.to_string(),
        wanted: wanted.to_string(),
    })
}

fn params_excess(
    held: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> Option<Excess> {
    let (key, value) = held
        .iter()
        .find(|(key, value)| wanted.get(*key) != Some(value))?;
    let found = wanted
        .get(key)
        .map_or_else(|| format!("{key} unset"), |found| format!("{key}={found}"));
    Some(Excess::Params {
        held: format!("{key}={value}"),
        wanted: found,
    })
}

impl fmt::Display for Resource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files { scope, .. } => write!(out, "{}: {scope}", self.kind()),
            Self::Http(scope) => write!(out, "http: {scope}"),
            Self::Exec(scope) => write!(out, "exec: {scope}"),
            Self::Tool(scope)
            | Self::Spawn(scope)
            | Self::Message(scope)
            | Self::Memory { scope, .. } => {
                write!(out, "{}: {scope}", self.kind())
            }
            Self::Custom { name, params } => {
                write!(out, "custom.{name}")?;
                if params.is_empty() {
                    return Ok(());
                }
                out.write_str(": ")?;
                super::quote::write_list(out, params, |out, (key, value)| {
                    if key.contains('=') {
                        super::quote::write_quoted(out, key)?
                    } else {
                        super::quote::write_word(out, key)?
                    }
                    out.write_str("=")?;
                    super::quote::write_word(out, value)
                })
            }
        }
    }
}
