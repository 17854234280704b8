//! The axis on which one capability asks for more than another gives.

use serde::{Deserialize, Serialize};
use std::fmt;

/// On which axis a wanted capability exceeds the one held, with both sides as the grammar writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "axis", rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "every variant carries the same two texts: what is held and what was wanted"
)]
pub enum Excess {
    /// Another kind of resource.
    Kind { held: String, wanted: String },
    /// Another right on it.
    Right { held: String, wanted: String },
    /// Paths beyond.
    Scope { held: String, wanted: String },
    /// Another scheme.
    Scheme { held: String, wanted: String },
    /// Another host.
    Host { held: String, wanted: String },
    /// Another port.
    Port { held: String, wanted: String },
    /// Another method.
    Method { held: String, wanted: String },
    /// A path outside the prefix.
    PathPrefix { held: String, wanted: String },
    /// Secrets that are not named.
    Secrets { held: String, wanted: String },
    /// Another program.
    Program { held: String, wanted: String },
    /// Other arguments.
    Arguments { held: String, wanted: String },
    /// Other names.
    Name { held: String, wanted: String },
    /// Another or no value of a custom parameter.
    Params { held: String, wanted: String },
    /// More uses.
    Uses { held: String, wanted: String },
    /// Faster use.
    Rate { held: String, wanted: String },
    /// Use for longer.
    Expiry { held: String, wanted: String },
    /// More bytes.
    Bytes { held: String, wanted: String },
    /// More money.
    Money { held: String, wanted: String },
}

impl Excess {
    /// Closeness of the last axis on which two HTTP resources are compared, their secrets.
    pub(super) const CLOSENESS_HTTP: u8 = 7;
    /// Closeness of the last axis on which two resources of any other kind are compared: scope, name or parameters.
    pub(super) const CLOSENESS_OTHER: u8 = 4;

    /// The axis, in one word.
    #[must_use]
    pub const fn axis(&self) -> &'static str {
        self.parts().0
    }

    /// What is held, on that axis.
    #[must_use]
    pub fn held(&self) -> &str {
        self.parts().2
    }

    /// What was wanted, on that axis.
    #[must_use]
    pub fn wanted(&self) -> &str {
        self.parts().3
    }

    /// How far the comparison came before it failed; the furthest of several is the most useful to report.
    pub(super) const fn closeness(&self) -> u8 {
        self.parts().1
    }

    const fn parts(&self) -> (&'static str, u8, &String, &String) {
        match self {
            Self::Kind { held, wanted } => ("kind", 0, held, wanted),
            Self::Right { held, wanted } => ("right", 1, held, wanted),
            Self::Scheme { held, wanted } => ("scheme", 2, held, wanted),
            Self::Host { held, wanted } => ("host", 3, held, wanted),
            Self::Port { held, wanted } => ("port", 4, held, wanted),
            Self::Method { held, wanted } => ("method", 5, held, wanted),
            Self::PathPrefix { held, wanted } => ("path_prefix", 6, held, wanted),
            Self::Program { held, wanted } => ("program", 2, held, wanted),
            Self::Arguments { held, wanted } => ("arguments", 3, held, wanted),
            Self::Scope { held, wanted } => ("scope", Self::CLOSENESS_OTHER, held, wanted),
            Self::Name { held, wanted } => ("name", Self::CLOSENESS_OTHER, held, wanted),
            Self::Params { held, wanted } => ("params", Self::CLOSENESS_OTHER, held, wanted),
            Self::Secrets { held, wanted } => ("secrets", Self::CLOSENESS_HTTP, held, wanted),
            Self::Uses { held, wanted } => ("uses", 8, held, wanted),
            Self::Rate { held, wanted } => ("rate", 9, held, wanted),
            Self::Expiry { held, wanted } => ("expiry", 10, held, wanted),
            Self::Bytes { held, wanted } => ("bytes", 11, held, wanted),
            Self::Money { held, wanted } => ("money", 12, held, wanted),
        }
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, _, held, wanted) = self.parts();
        match self {
            Self::Kind { .. } => write!(out, "what is held is {held}, not {wanted}"),
            Self::Right { .. } => write!(out, "what is held allows to {held}, not to {wanted}"),
            Self::Scope { .. } => write!(out, "what is held reaches {held}, not {wanted}"),
            Self::Scheme { .. } => write!(out, "what is held is for {held}, not {wanted}"),
            Self::Host { .. } => write!(out, "what is held reaches the host {held}, not {wanted}"),
            Self::Port { .. } => write!(out, "what is held reaches {held}, not {wanted}, as port"),
            Self::Method { .. } => {
                write!(out, "what is held allows the methods {held}, not {wanted}")
            }
            Self::PathPrefix { .. } => write!(
                out,
                "what is held reaches addresses beneath {held}, not {wanted}"
            ),
            Self::Secrets { .. } => {
                write!(out, "what is held comes with {held}, not with {wanted}")
            }
            Self::Program { .. } => {
                write!(out, "what is held starts the program {held}, not {wanted}")
            }
            Self::Arguments { .. } => write!(
                out,
                "what is held allows the arguments {held}, not {wanted}"
            ),
            Self::Name { .. } => write!(out, "what is held names {held}, not {wanted}"),
            Self::Params { .. } => write!(out, "what is held has {held}, not {wanted}"),
            Self::Uses { .. }
            | Self::Rate { .. }
            | Self::Expiry { .. }
            | Self::Bytes { .. }
            | Self::Money { .. } => {
                write!(
                    out,
                    "what is held is limited to {held}; asked for was {wanted}"
                )
            }
        }
    }
}
