//! The keys file: keys of providers, and the values that `using NAME` in a grant stands for. A complaint never shows a
//! line of it.

use super::{
    ConfigError,
    file::{Privacy, Source, read},
};
use aaos_core::{capability::is_secret_name, secret::Secret};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use std::{collections::BTreeMap, fmt, path::Path};
use toml::Spanned;

/// The table of the file that holds secrets; no provider can have this name.
pub(super) const TABLE: &str = "secrets";
/// Shortest value: what is scrubbed from answers must not be a common word.
const VALUE_BYTES_MIN: usize = 8;
/// Longest value: a signed token with its claims. Servers refuse longer header lines.
const VALUE_BYTES_MAX: usize = 8 * 1024;

/// What the file holds.
#[derive(Default)]
pub(super) struct Credentials {
    /// Keys, by the provider's name.
    pub(super) keys: BTreeMap<String, Secret<String>>,
    /// Secrets by name.
    pub(super) secrets: BTreeMap<String, Secret<String>>,
}

/// The file's shape: a key to a line, and one table.
#[derive(Default)]
struct Shape {
    keys: BTreeMap<String, Secret<String>>,
    secrets: BTreeMap<Spanned<String>, Spanned<Secret<String>>>,
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("`provider = \"key\"` lines and a table of secrets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut shape = Shape::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == TABLE {
                shape.secrets = map.next_value()?;
            } else {
                shape.keys.insert(name, map.next_value()?);
            }
        }
        Ok(shape)
    }
}

/// Reads the keys file; nothing if there is none.
///
/// # Errors
/// Others can read it, or a line of it is not what it should be.
pub(super) fn credentials(path: &Path) -> Result<Credentials, ConfigError> {
    let Some(text) = read(path, Privacy::OwnerOnly)? else {
        return Ok(Credentials::default());
    };
    let source = Source { path, text: &text };
    let wrong = |at: usize, problem: String, next_step: &str| ConfigError {
        excerpt: None,
        ..source.problem(at, problem, next_step)
    };
    let shape: Shape = toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let wanted = "it is not a list of `provider = \"key\"` lines and a [secrets] table of `name = \"value\"` lines";
        wrong(at, wanted.to_owned(), "Correct it, or run `agentd configure` for a key")
    })?;
    let mut secrets = BTreeMap::new();
    for (name, value) in shape.secrets {
        if let Some(problem) = fault(name.get_ref(), value.get_ref().expose()) {
            let next_step = "Correct it, or remove the line";
            return Err(wrong(name.span().start, problem, next_step));
        }
        secrets.insert(name.into_inner(), value.into_inner());
    }
    Ok(Credentials {
        keys: shape.keys,
        secrets,
    })
}

/// What is wrong with a secret, without its value.
fn fault(name: &str, value: &str) -> Option<String> {
    let shown = aaos_core::text::preview(name, 64);
    if !is_secret_name(name) {
        return Some(format!(
            "`{shown}` is no name of a secret: it begins with a small letter, and has small letters, digits and `_`"
        ));
    }
    if !(VALUE_BYTES_MIN..=VALUE_BYTES_MAX).contains(&value.len()) {
        return Some(format!(
            "the value of `{shown}` has {} bytes; it must have {VALUE_BYTES_MIN} to {VALUE_BYTES_MAX}",
            value.len()
        ));
    }
    let odd = |byte: u8| !(b' '..=b'~').contains(&byte);
    let bare = value.trim() == value && !value.bytes().any(odd);
    (!bare).then(|| {
        format!("the value of `{shown}` is no header value: only printable ASCII, and no space at its ends")
    })
}
