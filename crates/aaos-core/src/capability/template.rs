//! Capability templates: the grants a role file asks for, with places for its parameters.
//!
//! The same grammar, in which a path, an address or a name may be `{param}`, each of a list `{param.*}`, or `{run}` (the
//! run's own directory), and one kind more: `inherit: KIND`, every capability of that kind the run holds. A template is
//! read once, into typed fields; values are put into those fields and never read as grammar.

use super::{
    Capability, GrammarError, HostError, Limits, PathError,
    form::{Form, Hole, Lookup, RENDERED_MAX},
    grammar::Line,
    reader::{Holes, Reader},
};
use serde::{Deserialize, Serialize, de};
use std::{fmt, str::FromStr};

/// One line of a role's grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapabilityTemplate {
    forms: Vec<Form>,
    limits: Limits,
}

/// What a template becomes when its values are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rendered {
    /// This capability is asked for.
    Capability(Capability),
    /// Every capability of this kind the run holds is asked for.
    Inherit(String),
}

/// Why a template's values cannot be put in their places.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A parameter has no value. If it is optional, the grant is left out.
    #[error("the parameter `{param}` is not set")]
    Unset {
        /// The parameter.
        param: String,
    },
    /// A place for one value was given another number of them.
    #[error(
        "the parameter `{param}` takes one value, found {found}; write `{{{param}.*}}` in the role for each of a list"
    )]
    Count {
        /// The parameter.
        param: String,
        /// Values found.
        found: usize,
    },
    /// More values than one line may stand for.
    #[error(
        "the parameter `{param}` has {found} values, more than the {RENDERED_MAX} a line of grants stands for, or more names than fit in one"
    )]
    TooMany {
        /// The parameter.
        param: String,
        /// Values found.
        found: usize,
    },
    /// The value is not a path that can be granted.
    #[error("`{param}`: {source}")]
    Path {
        /// The parameter.
        param: String,
        /// What is wrong with it.
        source: PathError,
    },
    /// The value is not an address that can be granted.
    #[error("`{param}`: `{value}` is not an http or https address without credentials")]
    Url {
        /// The parameter.
        param: String,
        /// The value, cut short.
        value: String,
    },
    /// The value's host cannot be granted.
    #[error("`{param}`: {source}")]
    Host {
        /// The parameter.
        param: String,
        /// What is wrong with it.
        source: HostError,
    },
    /// The value is empty or too long for a name.
    #[error("`{param}`: a name of {found} bytes cannot be granted")]
    Name {
        /// The parameter.
        param: String,
        /// Bytes found.
        found: usize,
    },
}

impl CapabilityTemplate {
    /// Puts values in their places.
    ///
    /// `params` gives a parameter's values, one for a single value, or nothing if it is unset; `run_dir` is the run's own
    /// directory. Law: every value is taken literally, whatever characters it holds.
    ///
    /// # Errors
    /// A parameter is unset, or its value cannot stand where the template puts it.
    pub fn render(
        &self,
        params: &dyn Fn(&str) -> Option<Vec<String>>,
        run_dir: &str,
    ) -> Result<Vec<Rendered>, TemplateError> {
        let lookup = Lookup::new(params, run_dir);
        let mut rendered = Vec::new();
        for form in &self.forms {
            if let Form::Inherit(kind) = form {
                rendered.push(Rendered::Inherit(kind.clone()));
            }
            let limited = |resource| {
                Rendered::Capability(Capability {
                    resource,
                    limits: self.limits,
                })
            };
            rendered.extend(form.render(&lookup)?.into_iter().map(limited));
        }
        Ok(rendered)
    }

    /// The parameters it takes, each once, without `run`.
    #[must_use]
    pub fn params(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for hole in self.forms.iter().flat_map(Form::holes) {
            if hole.param != Hole::RUN && !names.contains(&hole.param.as_str()) {
                names.push(&hole.param);
            }
        }
        names
    }
}

impl FromStr for CapabilityTemplate {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let mut reader = Reader::new(text, Holes::Allowed, None)?;
        let (forms, limits) = reader.line()?;
        // What has no holes is checked now rather than when a run needs it.
        for form in forms.iter().filter(|form| form.holes().is_empty()) {
            form.render(&Lookup::NONE)
                .map_err(|error| reader.wrong_value(&error))?;
        }
        Ok(Self { forms, limits })
    }
}

impl fmt::Display for CapabilityTemplate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.forms.as_slice() {
            [only] => only.fmt(out)?,
            several => {
                out.write_str("network: ")?;
                super::quote::write_list(out, several, |out, form| {
                    let text = form.to_string();
                    out.write_str(text.strip_prefix("http: GET ").unwrap_or(&text))
                })?;
            }
        }
        if self.limits == Limits::NONE {
            Ok(())
        } else {
            write!(out, " {{{}}}", self.limits)
        }
    }
}

impl Serialize for CapabilityTemplate {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CapabilityTemplate {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Line::deserialize(from)?
            .0
            .parse()
            .map_err(de::Error::custom)
    }
}
