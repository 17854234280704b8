//! The grammar of grants: text ⇄ capability. The only parser there is, for manifests, flags, roles and the wire.
//!
//! ```text
//! file_read: /data/*                        file_write: /out/report.md
//! http: GET,HEAD https://api.example.com/v1 http: GET *           network: example.com      web_search
//! http: GET https://api.example.com using github_token
//! exec: cargo [check, test] in /ws/*        cargo_run: /ws        git_commit: /ws
//! tool: mcp.github.*                        spawn: [fetcher, writer]      message: *
//! memory_read: notes                        memory_write: notes           custom.deploy: stage=test
//! ```
//!
//! Any of them may end in limits: ` {uses=3, rate=10/60s, until=2030-01-01T00:00:00Z, bytes=1MiB, money=0.50usd}`.
//! What does not parse is an error with its position, never a grant of some other meaning.

use super::{
    Capability, ExecScope, HttpScope, NameScope, PathScope, Resource,
    form::{Form, Lookup},
    reader::{Holes, Reader},
};
use serde::{Deserialize, de};
use std::fmt;

/// Longest text of one grant, in bytes; twice the longest list of names, escapes included.
pub const GRANT_BYTES_MAX: usize = 65_536;

/// Where a text stops being a grant, and what would have been understood there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: expected {expected}, found {found}")]
pub struct GrammarError {
    /// Bytes before the place.
    pub at: usize,
    /// What would have been understood.
    pub expected: String,
    /// What is there, cut short.
    pub found: String,
}

/// Reads one capability.
///
/// # Errors
/// The text is not one capability, with the position where it stops being one.
pub fn parse(text: &str) -> Result<Capability, GrammarError> {
    only(text, read(text, None)?)
}

/// Reads one capability whose paths may be relative to a directory. The directory is data; `..` is resolved lexically.
///
/// # Errors
/// The text is not one capability, with the position where it stops being one.
pub fn parse_in(text: &str, base: &str) -> Result<Capability, GrammarError> {
    only(text, read(text, Some(base))?)
}

fn read(text: &str, base: Option<&str>) -> Result<Vec<Capability>, GrammarError> {
    let mut reader = Reader::new(text, Holes::Refused, base)?;
    let (forms, limits) = reader.line()?;
    let mut capabilities = Vec::with_capacity(forms.len());
    for form in &forms {
        let resources = form
            .render(&Lookup::NONE)
            .map_err(|error| reader.wrong_value(&error))?;
        capabilities.extend(
            resources
                .into_iter()
                .map(|resource| Capability { resource, limits }),
        );
    }
    Ok(capabilities)
}

fn only(text: &str, mut capabilities: Vec<Capability>) -> Result<Capability, GrammarError> {
    match (capabilities.pop(), capabilities.is_empty()) {
        (Some(capability), true) => Ok(capability),
        _ => Err(GrammarError {
            at: 0,
            expected: "one capability; write one line for each host".to_owned(),
            found: format!("`{}`", super::quote::cut(text)),
        }),
    }
}

fn resource(form: &Form, reader: &Reader<'_>) -> Result<Option<Resource>, GrammarError> {
    Ok(form
        .render(&Lookup::NONE)
        .map_err(|error| reader.wrong_value(&error))?
        .pop())
}

/// Reads a path scope by itself.
pub(super) fn parse_path(text: &str) -> Result<PathScope, GrammarError> {
    let mut reader = Reader::new(text, Holes::Refused, None)?;
    let path = reader.path()?;
    reader.end()?;
    path.build(&Lookup::NONE)
        .map_err(|error| reader.wrong_value(&error))
}

/// Reads an HTTP scope by itself: what follows `http:`.
pub(super) fn parse_http(text: &str) -> Result<HttpScope, GrammarError> {
    let mut reader = Reader::new(text, Holes::Refused, None)?;
    let form = reader.http()?;
    reader.end()?;
    match resource(&form, &reader)? {
        Some(Resource::Http(scope)) => Ok(scope),
        _ => Err(reader.expected("methods and an address")),
    }
}

/// Reads an exec scope by itself: what follows `exec:`.
pub(super) fn parse_exec(text: &str) -> Result<ExecScope, GrammarError> {
    let mut reader = Reader::new(text, Holes::Refused, None)?;
    let form = reader.exec()?;
    reader.end()?;
    match resource(&form, &reader)? {
        Some(Resource::Exec(scope)) => Ok(scope),
        _ => Err(reader.expected("a program and a directory")),
    }
}

/// Reads a name scope by itself.
pub(super) fn parse_names(text: &str) -> Result<NameScope, GrammarError> {
    let mut reader = Reader::new(text, Holes::Refused, None)?;
    let form = Form::Tool(reader.names()?);
    reader.end()?;
    match resource(&form, &reader)? {
        Some(Resource::Tool(scope)) => Ok(scope),
        _ => Err(reader.expected("names")),
    }
}

/// One line of a manifest's grants: a text, or the map of one entry that YAML makes of an unquoted `kind: scope`.
pub(crate) struct Line(pub(crate) String);

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(LineVisitor)
    }
}

struct LineVisitor;

impl<'de> de::Visitor<'de> for LineVisitor {
    type Value = Line;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a grant such as \"file_read: /data/*\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Line, E> {
        Ok(Line(text.to_owned()))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut from: A) -> Result<Line, A::Error> {
        let Some((kind, Body(body))) = from.next_entry::<String, Body>()? else {
            return Err(de::Error::custom(
                "expected a grant such as `file_read: /data/*`, found an empty map",
            ));
        };
        if from.next_key::<String>()?.is_some() {
            return Err(de::Error::custom(
                "expected one grant, found a map of several; begin each with its own `- `",
            ));
        }
        if kind.contains(':') {
            return Err(de::Error::custom(
                "expected the kind of a grant before the first `:`; put the line in quotes",
            ));
        }
        Ok(Line(format!("{kind}: {body}")))
    }
}

/// What follows the kind in the map form.
struct Body(String);

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(BodyVisitor)
    }
}

struct BodyVisitor;

impl<'de> de::Visitor<'de> for BodyVisitor {
    type Value = Body;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("what the grant is for, as text; put the whole line in quotes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Body, E> {
        Ok(Body(text.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Body, E> {
        Ok(Body(String::new()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut from: A) -> Result<Body, A::Error> {
        let mut names: Vec<String> = Vec::new();
        while let Some(name) = from.next_element::<String>()? {
            if name.contains([',', '[', ']']) || names.len() >= super::NAMES_MAX {
                return Err(de::Error::custom(
                    "expected a short list of plain names; put the whole line in quotes",
                ));
            }
            names.push(name);
        }
        Ok(Body(format!("[{}]", names.join(", "))))
    }
}
