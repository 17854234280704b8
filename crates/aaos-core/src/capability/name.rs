//! Name scopes: which tools, roles, peers or memory scopes a capability reaches.

use super::{Excess, quote};
use std::{collections::BTreeSet, fmt};

/// Most names in one scope.
pub const NAMES_MAX: usize = 256;

/// One entry of a name scope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamePattern {
    /// This very name.
    Exact(String),
    /// Every name that begins so; the empty beginning is every name there is.
    Prefix(String),
}

impl NamePattern {
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(held), Self::Exact(wanted)) => held == wanted,
            (Self::Exact(_), Self::Prefix(_)) => false,
            (Self::Prefix(held), Self::Exact(wanted) | Self::Prefix(wanted)) => {
                wanted.starts_with(held.as_str())
            }
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => quote::write_word(out, name),
            Self::Prefix(beginning) if beginning.is_empty() => out.write_str("*"),
            Self::Prefix(beginning) => {
                quote::write_word(out, beginning)?;
                out.write_str("*")
            }
        }
    }
}

/// Names a capability reaches: `*`, one name, names with a beginning such as `mcp.github.*`, or a list of these.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameScope {
    patterns: BTreeSet<NamePattern>,
}

impl NameScope {
    /// Every name there is.
    #[must_use]
    pub fn any() -> Self {
        Self::list([NamePattern::Prefix(String::new())])
    }

    /// This one name. The text is data: every character in it is literal.
    #[must_use]
    pub fn exact(name: impl Into<String>) -> Self {
        Self::list([NamePattern::Exact(name.into())])
    }

    /// Every name that begins so. The text is data.
    #[must_use]
    pub fn prefix(beginning: impl Into<String>) -> Self {
        Self::list([NamePattern::Prefix(beginning.into())])
    }

    /// Names by any of these patterns, the first [`NAMES_MAX`] of them; none at all reaches nothing.
    #[must_use]
    pub fn list(patterns: impl IntoIterator<Item = NamePattern>) -> Self {
        Self {
            patterns: patterns.into_iter().take(NAMES_MAX).collect(),
        }
    }

    /// The entries, in order.
    pub fn patterns(&self) -> impl Iterator<Item = &NamePattern> {
        self.patterns.iter()
    }

    /// Whether every name `other` reaches, `self` reaches too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other
            .patterns
            .iter()
            .all(|wanted| self.patterns.iter().any(|held| held.covers(wanted)))
    }

    /// Whether the scope reaches this name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| match pattern {
            NamePattern::Exact(held) => held == name,
            NamePattern::Prefix(beginning) => name.starts_with(beginning.as_str()),
        })
    }

    pub(super) fn excess(&self, wanted: &Self) -> Option<Excess> {
        (!self.covers(wanted)).then(|| Excess::Name {
            held: self.to_string(),
            wanted: wanted.to_string(),
        })
    }
}

impl fmt::Display for NameScope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (1, Some(only)) = (self.patterns.len(), self.patterns.first()) {
            return only.fmt(out);
        }
        out.write_str("[")?;
        quote::write_list(out, &self.patterns, |out, pattern| pattern.fmt(out))?;
        out.write_str("]")
    }
}

super::text_form!(NameScope, super::grammar::parse_names);
