//! Exec scopes: which programs a capability may start, with which arguments, where.

use super::{Excess, PathScope, quote};
use std::{collections::BTreeSet, fmt};

/// Most alternatives of arguments in one scope.
pub const ARGUMENT_ALTERNATIVES_MAX: usize = 64;

/// Which arguments a program may be given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArgScope {
    /// Any arguments.
    Any,
    /// Arguments that begin with the words of one of these alternatives; with no alternative at all, no arguments.
    OneOf(BTreeSet<Vec<String>>),
}

impl ArgScope {
    /// Whether all arguments `other` lets through, `self` lets through too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::OneOf(_), Self::Any) => false,
            (Self::OneOf(held), Self::OneOf(wanted)) if wanted.is_empty() => {
                held.is_empty() || self.matches(&[])
            }
            (Self::OneOf(held), Self::OneOf(wanted)) => wanted
                .iter()
                .all(|words| held.iter().any(|beginning| words.starts_with(beginning))),
        }
    }

    /// Whether these arguments are let through.
    #[must_use]
    pub fn matches(&self, args: &[String]) -> bool {
        self.fits(args, |words| args.starts_with(words))
    }

    /// Whether the words of an alternative occur among these, in their order.
    fn occurs_in(&self, args: &[String]) -> bool {
        self.fits(args, |words| {
            let mut rest = args.iter();
            words.iter().all(|word| rest.any(|arg| arg == word))
        })
    }

    /// Whether an alternative is found in these; with none, whether there are no arguments.
    fn fits(&self, args: &[String], found: impl Fn(&[String]) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(all) if all.is_empty() => args.is_empty(),
            Self::OneOf(all) => all.iter().any(|words| found(words)),
        }
    }
}

/// A program's name without its directory.
fn base_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

impl fmt::Display for ArgScope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => out.write_str("any arguments"),
            Self::OneOf(alternatives) => {
                out.write_str("[")?;
                quote::write_list(out, alternatives, |out, words| write_words(out, words))?;
                out.write_str("]")
            }
        }
    }
}

fn write_words(out: &mut fmt::Formatter<'_>, words: &[String]) -> fmt::Result {
    for (position, word) in words.iter().enumerate() {
        if position > 0 {
            out.write_str(" ")?;
        }
        quote::write_word(out, word)?;
    }
    Ok(())
}

/// A program, the arguments it may be given and the directories it may be started in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecScope {
    /// The program as it is called: a bare name, or an absolute path.
    pub program: String,
    /// Its arguments.
    pub args: ArgScope,
    /// Where it may be started.
    pub workspace: PathScope,
}

impl ExecScope {
    /// Whether every start `other` allows, `self` allows too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.program == other.program
            && self.args.covers(&other.args)
            && self.workspace.covers(&other.workspace)
    }

    /// Whether this start is allowed.
    #[must_use]
    pub fn matches(&self, program: &str, args: &[String], workspace: &str) -> bool {
        self.program == program && self.args.matches(args) && self.workspace.matches(workspace)
    }

    /// Whether this start may be one of those the scope names, for whoever asks a person about them: the program may be
    /// called by any path, other words may stand between the named ones, and a directory above may do as well.
    #[must_use]
    pub fn touches(&self, program: &str, args: &[String], workspace: &str) -> bool {
        base_name(&self.program) == base_name(program)
            && self.args.occurs_in(args)
            && self.workspace.meets(workspace)
    }

    pub(super) fn excess(&self, wanted: &Self) -> Option<Excess> {
        if self.program != wanted.program {
            return Some(Excess::Program {
                held: self.program.clone(),
                wanted: wanted.program.clone(),
            });
        }
        if !self.args.covers(&wanted.args) {
            return Some(Excess::Arguments {
                held: self.args.to_string(),
                wanted: wanted.args.to_string(),
            });
        }
        let reached = self.workspace.covers(&wanted.workspace);
        (!reached).then(|| Excess::Scope {
            held: self.workspace.to_string(),
            wanted: wanted.workspace.to_string(),
        })
    }
}

impl fmt::Display for ExecScope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        quote::write_word(out, &self.program)?;
        if self.args != ArgScope::Any {
            write!(out, " {}", self.args)?;
        }
        write!(out, " in {}", self.workspace)
    }
}

super::text_form!(ExecScope, super::grammar::parse_exec);
