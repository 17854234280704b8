//! Capabilities: authority to do something to a resource, as a value.
//!
//! One comparison, [`Capability::covers`], from which the rest follows. It is a partial order up to equivalence. There
//! is no operation that makes a capability stronger, and text becomes one only through the grammar.

mod excess;
mod exec;
mod form;
pub mod grammar;
mod http;
mod limits;
mod moment;
mod name;
mod need;
mod path;
mod quote;
mod reader;
mod refusal;
mod resource;
mod table;
pub mod template;

pub use excess::Excess;
pub use exec::{ARGUMENT_ALTERNATIVES_MAX, ArgScope, ExecScope};
pub use form::RENDERED_MAX;
pub use grammar::{GRANT_BYTES_MAX, GrammarError, parse, parse_in};
pub use http::{
    HostError, HostScope, HttpScope, METHOD_BYTES_MAX, METHODS_MAX, PATH_PREFIX_MAX, Reach,
    SECRET_NAME_BYTES_MAX, SECRETS_MAX, Schemes, is_localhost, is_secret_name, normal_segment,
};
pub use limits::{Limits, RATE_COUNT_MAX, Rate};
pub use name::{NAMES_MAX, NamePattern, NameScope};
pub use need::Need;
pub use path::{
    COMPONENT_BYTES_MAX, PATH_BYTES_MAX, PathError, PathScope, WILDCARDS_MAX, normalise,
};
pub use refusal::Refusal;
pub use resource::{CUSTOM_PARAMS_MAX, FileRight, MemoryRight, Resource};
pub use table::{Charge, DEPTH_MAX, GRANTS_MAX, HOLDER_GRANTS_MAX, Table};
pub use template::{CapabilityTemplate, Rendered, TemplateError};

use serde::{Deserialize, Serialize, de};
use std::{fmt, str::FromStr};

/// Gives a scope its text form: read by the grammar, written by `Display`, and serialised as that text.
macro_rules! text_form {
    ($scope:ident, $parse:path) => {
        impl std::str::FromStr for $scope {
            type Err = super::GrammarError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $parse(text)
            }
        }

        impl serde::Serialize for $scope {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $scope {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                $parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}
use text_form;

/// Authority to do something to a resource, within limits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability {
    /// What it is for.
    pub resource: Resource,
    /// How often, how fast, until when, how much.
    pub limits: Limits,
}

impl Capability {
    /// A capability without limits.
    #[must_use]
    pub const fn of(resource: Resource) -> Self {
        Self {
            resource,
            limits: Limits::NONE,
        }
    }

    /// Whether every course of acts `other` allows, `self` allows too.
    ///
    /// Laws: reflexive; transitive; two that cover each other allow the same.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.resource.covers(&other.resource) && self.limits.covers(&other.limits)
    }

    /// The first axis on which `wanted` exceeds `self`; `None` exactly when `self` covers `wanted`.
    #[must_use]
    pub fn excess(&self, wanted: &Self) -> Option<Excess> {
        self.resource
            .excess(&wanted.resource)
            .or_else(|| self.limits.excess(&wanted.limits))
    }

    /// Makes a weaker capability from this one. There is no operation that makes a stronger one.
    ///
    /// Limits `wanted` does not set are taken over from `self`. Law: `self` covers the result.
    ///
    /// # Errors
    /// The first axis on which `wanted` exceeds `self`.
    pub fn attenuate(&self, wanted: Self) -> Result<Self, Excess> {
        let wanted = Self {
            limits: wanted.limits.or(&self.limits),
            ..wanted
        };
        match self.excess(&wanted) {
            None => Ok(wanted),
            Some(excess) => Err(excess),
        }
    }

    /// Names of the secrets that what it allows may carry; none unless it is for HTTP and names some.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let scope = match &self.resource {
            Resource::Http(scope) => Some(scope),
            _ => None,
        };
        scope
            .into_iter()
            .flat_map(|scope| scope.secrets.iter().map(String::as_str))
    }

    /// Whether the resource allows this act. Limits are counted by the grant [`Table`], not here.
    ///
    /// Law: what covers `self` allows everything `self` allows.
    #[must_use]
    pub fn allows(&self, need: &Need) -> bool {
        self.resource.allows(need)
    }
}

impl From<Resource> for Capability {
    fn from(resource: Resource) -> Self {
        Self::of(resource)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.resource.fmt(out)?;
        if self.limits == Limits::NONE {
            Ok(())
        } else {
            write!(out, " {{{}}}", self.limits)
        }
    }
}

impl fmt::Debug for Capability {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Capability({self})")
    }
}

impl FromStr for Capability {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        parse(text)
    }
}

impl Serialize for Capability {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Capability {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // Only formats made for people have the map form, and only they tell what comes.
        let line = if from.is_human_readable() {
            grammar::Line::deserialize(from)?.0
        } else {
            String::deserialize(from)?
        };
        parse(&line).map_err(de::Error::custom)
    }
}
