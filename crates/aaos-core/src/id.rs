//! Identities: one type per kind of thing, each with a text form that carries its kind.
//!
//! An identity is made from a drawn number or by parsing, never invented here: the core has no randomness.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Digits of the text form: Crockford's base 32, lower case (no i, l, o, u, so that it can be read aloud).
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Digits that carry 64 bits, five to a digit.
const DIGITS_PER_ID: usize = 13;

/// Why a text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The prefix that names the kind is missing or another's.
    #[error("expected an id that begins with `{expected}-`, found `{found}`")]
    Prefix {
        /// The kind's prefix.
        expected: &'static str,
        /// The text given, cut to 64 bytes.
        found: String,
    },
    /// The part after the prefix is not thirteen base-32 digits.
    #[error("`{0}` is not a whole id; commands accept any unique beginning of one")]
    Digits(String),
}

fn encode(value: u64, prefix: &str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(out, "{prefix}-")?;
    for position in (0..DIGITS_PER_ID).rev() {
        let digit = (value >> (position * 5)) & 31;
        let byte = DIGITS.get(digit as usize).copied().unwrap_or(b'0');
        write!(out, "{}", char::from(byte))?;
    }
    Ok(())
}

fn decode(text: &str, prefix: &'static str) -> Result<u64, Error> {
    let digits = text
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('-'))
        .ok_or_else(|| Error::Prefix {
            expected: prefix,
            found: text.chars().take(64).collect(),
        })?;
    let bad = || Error::Digits(digits.chars().take(64).collect());
    if digits.len() != DIGITS_PER_ID {
        return Err(bad());
    }
    digits.bytes().try_fold(0_u64, |value, byte| {
        let digit = DIGITS
            .iter()
            .position(|known| *known == byte)
            .ok_or_else(bad)? as u64;
        value
            .checked_mul(32)
            .map(|shifted| shifted | digit)
            .ok_or_else(bad)
    })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// What the text form begins with, before the dash.
            pub const PREFIX: &'static str = $prefix;

            /// Makes an identity from a drawn number.
            #[must_use]
            pub const fn from_drawn(number: u64) -> Self {
                Self(number)
            }

            /// The number it was drawn as.
            #[must_use]
            pub const fn number(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                encode(self.0, $prefix, out)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                encode(self.0, $prefix, out)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                decode(text, $prefix).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// One goal, from submit to its final event.
    RunId, "run"
);
id!(
    /// One agent: an execution of a role within a run.
    AgentId, "agent"
);
id!(
    /// One tool call.
    CallId, "call"
);
id!(
    /// One grant: an agent's opaque handle for a capability it holds.
    GrantId, "grant"
);

/// Longest name of a subtask, role or tool, in bytes.
pub const NAME_BYTES_MAX: usize = 96;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a name: use 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` or `.`")]
pub struct NameError {
    /// The text given, cut to 64 characters.
    pub found: String,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let fits = !text.is_empty() && text.len() <= NAME_BYTES_MAX;
                let clean = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
                if fits && text.bytes().all(clean) {
                    Ok(Self(text.into()))
                } else {
                    Err(NameError { found: text.chars().take(64).collect() })
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// Names a subtask within its plan.
    SubtaskId
);
name!(
    /// Names a role.
    RoleName
);
name!(
    /// Names a tool, as models call it.
    ToolName
);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn an_id_survives_its_text_form() {
        for number in [0, 1, 31, 32, u64::MAX, 0x0123_4567_89ab_cdef] {
            let id = RunId::from_drawn(number);
            assert_eq!(id.to_string().parse::<RunId>(), Ok(id));
        }
    }

    #[test]
    fn a_run_id_is_not_taken_for_an_agents() {
        let text = RunId::from_drawn(7).to_string();
        assert!(matches!(
            text.parse::<AgentId>(),
            Err(Error::Prefix {
                expected: "agent",
                ..
            })
        ));
    }

    #[test]
    fn more_than_sixty_four_bits_are_refused() {
        assert!("run-zzzzzzzzzzzzz".parse::<RunId>().is_err());
    }

    #[test]
    fn a_name_holds_no_path_no_space_and_no_newline() {
        for bad in [
            "",
            "a/b",
            "a b",
            "a\nb",
            "é",
            &"x".repeat(NAME_BYTES_MAX + 1),
        ] {
            assert!(bad.parse::<RoleName>().is_err(), "{bad:?}");
        }
    }
}
