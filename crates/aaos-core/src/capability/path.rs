//! Path scopes: which files and directories a capability reaches.
//!
//! A scope is a pattern over the components of an absolute path. Everything here is lexical: no file is looked at,
//! no link followed; the room that opens files does so beneath a directory handle and asks again with what it opened.
//! Relative paths, `..` and NUL are refused.

use super::quote;
use std::{collections::BTreeSet, fmt};

/// Longest path or pattern, in bytes. Source: Linux, `PATH_MAX`.
pub const PATH_BYTES_MAX: usize = 4096;
/// Longest component, in bytes. Source: Linux, `NAME_MAX`.
pub const COMPONENT_BYTES_MAX: usize = 255;
/// Most wildcards in one pattern; bounds the work of a comparison.
pub const WILDCARDS_MAX: usize = 16;

/// Why a text is not a path scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path does not begin at the root.
    #[error("`{}` is relative; write an absolute path", quote::cut(.0))]
    Relative(String),
    /// The path climbs with `..`.
    #[error("`{}` climbs with `..`; write the path without it", quote::cut(.0))]
    Climbs(String),
    /// The path holds a NUL character, which no file name can.
    #[error("a path cannot hold a NUL character")]
    Nul,
    /// The path, or one component of it, is longer than the kernel allows.
    #[error(
        "a path has at most {PATH_BYTES_MAX} bytes and each name in it at most {COMPONENT_BYTES_MAX}; this has {found}"
    )]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// The pattern has more wildcards than are compared.
    #[error("a path pattern has at most {WILDCARDS_MAX} wildcards; this has {found}")]
    Wildcards {
        /// Wildcards found.
        found: usize,
    },
    /// A value that must be one file name is not.
    #[error("`{}` is not a single file name", quote::cut(.0))]
    Name(String),
}

/// A piece of a component.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Piece {
    /// These characters.
    Text(String),
    /// Any characters, none included.
    Star,
}

/// One step of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    /// A component with this very name.
    Literal(Box<str>),
    /// A component of this form; holds at least one star.
    Glob(Box<[Piece]>),
    /// Any number of components, none included.
    Deep,
}

impl Part {
    /// Makes a step from the pieces of one component.
    pub(super) fn of(pieces: Vec<Piece>) -> Self {
        let mut joined: Vec<Piece> = Vec::with_capacity(pieces.len());
        for piece in pieces {
            match (joined.last_mut(), piece) {
                (_, Piece::Text(more)) if more.is_empty() => {}
                (Some(Piece::Text(text)), Piece::Text(more)) => text.push_str(&more),
                (Some(Piece::Star), Piece::Star) => {}
                (_, piece) => joined.push(piece),
            }
        }
        match joined.as_slice() {
            [] => Self::Literal("".into()),
            [Piece::Text(text)] => Self::Literal(text.as_str().into()),
            _ => Self::Glob(joined.into()),
        }
    }

    fn is_any_name(&self) -> bool {
        matches!(self, Self::Glob(pieces) if matches!(**pieces, [Piece::Star]))
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Deep, _) => true,
            (_, Self::Deep) => false,
            (Self::Literal(held), Self::Literal(wanted)) => held == wanted,
            (Self::Literal(_), Self::Glob(_)) => false,
            (Self::Glob(held), Self::Literal(wanted)) => sequence_covers(
                &glyphs(held),
                &wanted.chars().map(Glyph::Char).collect::<Vec<_>>(),
            ),
            (Self::Glob(held), Self::Glob(wanted)) => {
                sequence_covers(&glyphs(held), &glyphs(wanted))
            }
        }
    }

    /// Checks one component's own bounds.
    fn check(&self) -> Result<(), PathError> {
        let texts: &mut dyn Iterator<Item = &str> = match self {
            Self::Deep => return Ok(()),
            Self::Literal(name) => &mut std::iter::once(&**name),
            Self::Glob(pieces) => &mut pieces.iter().filter_map(|piece| match piece {
                Piece::Text(text) => Some(text.as_str()),
                Piece::Star => None,
            }),
        };
        let mut bytes = 0_usize;
        for text in texts {
            bytes = bytes.saturating_add(text.len());
            if text.contains('\0') {
                return Err(PathError::Nul);
            }
            if text.contains('/')
                || (text.is_empty() || text == ".") && matches!(self, Self::Literal(_))
            {
                return Err(PathError::Name(text.to_owned()));
            }
            if text == ".." && matches!(self, Self::Literal(_)) {
                return Err(PathError::Climbs(text.to_owned()));
            }
        }
        if bytes > COMPONENT_BYTES_MAX {
            Err(PathError::TooLong { found: bytes })
        } else {
            Ok(())
        }
    }

    fn wildcards(&self) -> usize {
        match self {
            Self::Literal(_) => 0,
            Self::Glob(pieces) => pieces
                .iter()
                .filter(|piece| matches!(piece, Piece::Star))
                .count(),
            Self::Deep => 1,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Literal(name) => name.len(),
            Self::Glob(pieces) => pieces
                .iter()
                .map(|piece| {
                    if let Piece::Text(text) = piece {
                        text.len()
                    } else {
                        1
                    }
                })
                .sum(),
            Self::Deep => 2,
        }
    }
}

/// A symbol of a component pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Glyph {
    Char(char),
    Star,
}

fn glyphs(pieces: &[Piece]) -> Vec<Glyph> {
    let mut all = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => all.extend(text.chars().map(Glyph::Char)),
            Piece::Star => all.push(Glyph::Star),
        }
    }
    all
}

/// A symbol of a pattern in which some symbols stand for one thing and some for any number of any things.
trait Symbol {
    /// Whether it stands for any number of any things, none included.
    fn many(&self) -> bool;
    /// Whether it stands for exactly one thing, whatever that is.
    fn any_one(&self) -> bool;
    /// Whether this, standing for one thing, includes `other`, standing for one thing.
    fn includes(&self, other: &Self) -> bool;
}

impl Symbol for Glyph {
    fn many(&self) -> bool {
        *self == Self::Star
    }
    fn any_one(&self) -> bool {
        false
    }
    fn includes(&self, other: &Self) -> bool {
        self == other
    }
}

impl Symbol for Part {
    fn many(&self) -> bool {
        matches!(self, Self::Deep)
    }
    fn any_one(&self) -> bool {
        self.is_any_name()
    }
    fn includes(&self, other: &Self) -> bool {
        self.covers(other)
    }
}

/// Whether everything `wanted` matches, `held` matches too.
///
/// Works from the ends of both patterns back to their beginnings, one row at a time. `row[j]` says whether the rest of
/// `held` from the current symbol on covers the rest of `wanted` from `j` on. Each rule below is sound: it never says
/// yes where a counterexample exists.
fn sequence_covers<S: Symbol>(held: &[S], wanted: &[S]) -> bool {
    let width = wanted.len() + 1;
    // Nothing left in `held`: it covers only nothing left in `wanted`.
    let mut below = vec![false; width];
    if let Some(last) = below.last_mut() {
        *last = true;
    }
    for symbol in held.iter().rev() {
        let mut row = vec![false; width];
        for column in (0..width).rev() {
            let skip_held = below.get(column).copied().unwrap_or(false);
            let Some(want) = wanted.get(column) else {
                if let Some(cell) = row.get_mut(column) {
                    *cell = symbol.many() && skip_held;
                }
                continue;
            };
            let skip_wanted = row.get(column + 1).copied().unwrap_or(false);
            let skip_both = below.get(column + 1).copied().unwrap_or(false);
            let covered = if symbol.many() {
                skip_held || skip_wanted
            } else if want.many() {
                // None of it, or one thing of it and then the same again.
                skip_wanted && symbol.any_one() && skip_held
            } else {
                skip_both && symbol.includes(want)
            };
            if let Some(cell) = row.get_mut(column) {
                *cell = covered;
            }
        }
        below = row;
    }
    below.first().copied().unwrap_or(false)
}

/// Which paths a capability reaches: an absolute, normalised pattern of components.
///
/// A trailing `/*` or `/**` covers everything beneath a directory and the directory itself, so `/*` covers everything.
/// Elsewhere `*` stays within one component and `**` crosses components. As text, a backslash takes the next character
/// literally.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathScope {
    parts: Vec<Part>,
}

impl PathScope {
    /// Makes a scope from its steps, in normal form.
    pub(super) fn of(mut parts: Vec<Part>) -> Result<Self, PathError> {
        if parts.last().is_some_and(Part::is_any_name) {
            parts.pop();
            parts.push(Part::Deep);
        }
        let mut normal: Vec<Part> = Vec::with_capacity(parts.len());
        for part in parts {
            part.check()?;
            if normal.last() != Some(&Part::Deep) {
                normal.push(part);
            } else if part.is_any_name() {
                // `**/*` and `*/**` match the same; with the star first, comparing needs no second look.
                normal.insert(normal.len() - 1, part);
            } else if part != Part::Deep {
                normal.push(part);
            }
        }
        let bytes: usize = normal.iter().map(|part| part.bytes() + 1).sum();
        if bytes > PATH_BYTES_MAX {
            return Err(PathError::TooLong { found: bytes });
        }
        let found = normal.iter().map(Part::wildcards).sum();
        if found > WILDCARDS_MAX {
            return Err(PathError::Wildcards { found });
        }
        Ok(Self { parts: normal })
    }

    /// The scope of exactly this path. The text is data: every character in it is literal.
    ///
    /// # Errors
    /// The path is relative, climbs with `..`, holds NUL or is too long.
    pub fn exact(path: &str) -> Result<Self, PathError> {
        Self::of(literal_parts(path)?)
    }

    /// The scope of a directory and everything beneath it. The text is data: every character in it is literal.
    ///
    /// # Errors
    /// The path is relative, climbs with `..`, holds NUL or is too long.
    pub fn tree(directory: &str) -> Result<Self, PathError> {
        let mut parts = literal_parts(directory)?;
        parts.push(Part::Deep);
        Self::of(parts)
    }

    /// Whether every path `other` matches, `self` matches too. Sound for all patterns; complete where both are literal
    /// or a literal directory's tree.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let shared = self.parts.iter().zip(&other.parts);
        let same = shared
            .take_while(|(held, wanted)| held == wanted && matches!(held, Part::Literal(_)))
            .count();
        let (held, wanted) = (
            self.parts.get(same..).unwrap_or_default(),
            other.parts.get(same..).unwrap_or_default(),
        );
        match (held, wanted) {
            ([Part::Deep], _) => true,
            ([], rest) => rest.is_empty(),
            ([Part::Literal(_), ..], [] | [Part::Literal(_), ..]) => false,
            _ => sequence_covers(held, wanted),
        }
    }

    /// Whether the scope reaches this path. `.` and `..` are resolved lexically; a relative path, or one that climbs
    /// above the root, is never reached.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let Ok(names) = components(path) else {
            return false;
        };
        let mut names = names.as_slice();
        let mut parts = self.parts.as_slice();
        while let [Part::Literal(held), more @ ..] = parts {
            match names.split_first() {
                Some((name, rest)) if **held == **name => (parts, names) = (more, rest),
                _ => return false,
            }
        }
        match parts {
            [] => names.is_empty(),
            [Part::Deep] => true,
            _ => {
                let wanted: Vec<Part> = names
                    .iter()
                    .map(|name| Part::Literal((*name).into()))
                    .collect();
                sequence_covers(parts, &wanted)
            }
        }
    }

    /// Whether the scope may reach a directory or anything beneath it. In doubt, as for a path that is none, yes.
    #[must_use]
    pub fn meets(&self, directory: &str) -> bool {
        let Ok(names) = components(directory) else {
            return true;
        };
        // The places in the pattern that the names so far can have led to.
        let mut places = BTreeSet::from([0]);
        for name in names {
            let name = Part::Literal(name.into());
            let mut next = BTreeSet::new();
            for mut place in places {
                while let Some(Part::Deep) = self.parts.get(place) {
                    next.insert(place);
                    place += 1;
                }
                if self.parts.get(place).is_some_and(|part| part.covers(&name)) {
                    next.insert(place + 1);
                }
            }
            places = next;
        }
        !places.is_empty()
    }

    /// The longest beginning without wildcards, as a path: a literal scope's own path, else the directory that holds
    /// everything the scope reaches.
    #[must_use]
    pub fn root(&self) -> String {
        let mut path = String::new();
        for part in &self.parts {
            let Part::Literal(name) = part else { break };
            path.push('/');
            path.push_str(name);
        }
        if path.is_empty() {
            "/".to_owned()
        } else {
            path
        }
    }

    /// Whether the scope is a single path, without wildcards.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.parts
            .iter()
            .all(|part| matches!(part, Part::Literal(_)))
    }

    /// Whether the scope is one literal directory with everything beneath it.
    #[must_use]
    pub fn is_tree(&self) -> bool {
        matches!(self.parts.split_last(), Some((Part::Deep, rest)) if rest.iter().all(|part| matches!(part, Part::Literal(_))))
    }
}

/// Resolves `.`, `..` and repeated slashes of an absolute path, lexically.
///
/// # Errors
/// The path is relative, climbs above the root, holds NUL or is too long.
pub fn normalise(path: &str) -> Result<String, PathError> {
    let names = components(path)?;
    if names.is_empty() {
        return Ok("/".to_owned());
    }
    Ok(names.iter().flat_map(|name| ["/", name]).collect())
}

/// The components of an absolute path after lexical normalisation.
fn components(path: &str) -> Result<Vec<&str>, PathError> {
    let names = absolute(path)?;
    let mut kept: Vec<&str> = Vec::with_capacity(8);
    for name in names {
        match name {
            "" | "." => {}
            ".." => {
                if kept.pop().is_none() {
                    return Err(PathError::Climbs(path.to_owned()));
                }
            }
            _ if name.len() > COMPONENT_BYTES_MAX => {
                return Err(PathError::TooLong { found: name.len() });
            }
            _ => kept.push(name),
        }
    }
    Ok(kept)
}

fn absolute(path: &str) -> Result<std::str::Split<'_, char>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::Relative(path.to_owned()));
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(PathError::TooLong { found: path.len() });
    }
    if path.contains('\0') {
        return Err(PathError::Nul);
    }
    Ok(path.split('/'))
}

/// The steps of a literal absolute path; `..` is refused.
pub(super) fn literal_parts(path: &str) -> Result<Vec<Part>, PathError> {
    let names = absolute(path)?.filter(|name| !matches!(*name, "" | "."));
    names.map(|name| literal_part(name, path)).collect()
}

/// The steps of a literal relative path: data that names something beneath a directory.
pub(super) fn relative_parts(path: &str) -> Result<Vec<Part>, PathError> {
    if path.starts_with('/') || path.is_empty() {
        return Err(PathError::Name(path.to_owned()));
    }
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    names.map(|name| literal_part(name, path)).collect()
}

fn literal_part(name: &str, path: &str) -> Result<Part, PathError> {
    if name == ".." {
        Err(PathError::Climbs(path.to_owned()))
    } else {
        Ok(Part::Literal(name.into()))
    }
}

impl fmt::Display for PathScope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(last) = self.parts.len().checked_sub(1) else {
            return out.write_str("/");
        };
        for (position, part) in self.parts.iter().enumerate() {
            out.write_str("/")?;
            match part {
                Part::Literal(name) => quote::write_path(out, name, position == last)?,
                Part::Glob(pieces) => write_pieces(out, pieces, position == last)?,
                Part::Deep if position == last => out.write_str("*")?,
                Part::Deep => out.write_str("**")?,
            }
        }
        Ok(())
    }
}

fn write_pieces(out: &mut fmt::Formatter<'_>, pieces: &[Piece], last: bool) -> fmt::Result {
    for (position, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Text(text) => {
                quote::write_path(out, text, last && position + 1 == pieces.len())?
            }
            Piece::Star => out.write_str("*")?,
        }
    }
    Ok(())
}

impl fmt::Debug for PathScope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PathScope({self})")
    }
}

super::text_form!(PathScope, super::grammar::parse_path);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn scope(text: &str) -> PathScope {
        text.parse().unwrap()
    }

    #[test]
    fn a_trailing_star_covers_the_directory_and_everything_beneath() {
        for tree in ["/data/*", "/data/**", "/data/**/*"] {
            for path in [
                "/data",
                "/data/",
                "/data/x",
                "/data/x/y/z",
                "/data/./x/../y",
            ] {
                assert!(scope(tree).matches(path), "{tree} {path}");
            }
            for path in [
                "/data-foo/x",
                "/dat",
                "/",
                "/data/../etc/shadow",
                "data/x",
                "/../data/x",
                "/data\0",
            ] {
                assert!(!scope(tree).matches(path), "{tree} {path}");
            }
        }
    }

    #[test]
    fn the_root_star_covers_everything() {
        for path in ["/", "/etc/shadow", "/a/b/c"] {
            assert!(scope("/*").matches(path));
        }
        assert!(scope("/*").covers(&scope("/a/**/b*")));
    }

    #[test]
    fn an_inner_star_stays_within_its_component_and_two_cross() {
        assert!(scope("/logs/app*.log").matches("/logs/app-1.log"));
        assert!(!scope("/logs/app*.log").matches("/logs/app/1.log"));
        assert!(scope("/a/*/c").matches("/a/b/c"));
        assert!(!scope("/a/*/c").matches("/a/b/b/c"));
        assert!(scope("/a/**/c").matches("/a/c") && scope("/a/**/c").matches("/a/b/b/c"));
    }

    #[test]
    fn a_path_given_as_data_has_no_wildcards() {
        let odd = PathScope::exact("/a/*/{x} \\\n\"").unwrap();
        assert!(odd.matches("/a/*/{x} \\\n\"") && !odd.matches("/a/b/{x} \\\n\""));
        assert_eq!(scope(&odd.to_string()), odd);
        assert!(PathScope::tree("/a/**").unwrap().matches("/a/**/x"));
        assert!(!PathScope::tree("/a/**").unwrap().matches("/a/b"));
    }

    #[test]
    fn data_that_climbs_or_is_relative_is_refused() {
        assert!(matches!(
            PathScope::exact("/a/../b"),
            Err(PathError::Climbs(_))
        ));
        assert!(matches!(PathScope::tree("a"), Err(PathError::Relative(_))));
        assert!(matches!(PathScope::exact("/a\0"), Err(PathError::Nul)));
        assert!(matches!(
            PathScope::exact(&format!("/{}", "x".repeat(256))),
            Err(PathError::TooLong { found: 256 })
        ));
    }

    #[test]
    fn coverage_sees_through_equal_forms() {
        assert!(
            scope("/a/*/**/x").covers(&scope("/a/**/*/x"))
                && scope("/a/**/*/x").covers(&scope("/a/*/**/x"))
        );
        assert!(
            scope("/a/x*").covers(&scope("/a/x*y*")) && !scope("/a/x*y*").covers(&scope("/a/x*"))
        );
        assert!(
            !scope("/a/*/b").covers(&scope("/a/**/b")) && scope("/a/**/b").covers(&scope("/a/*/b"))
        );
    }

    #[test]
    fn the_root_is_the_path_itself_or_the_directory_above_the_first_wildcard() {
        for (text, root) in [
            ("/a/b.txt", "/a/b.txt"),
            ("/a/*", "/a"),
            ("/logs/app*.log", "/logs"),
            ("/*", "/"),
            ("/", "/"),
        ] {
            assert_eq!(scope(text).root(), root);
        }
        assert!(scope("/a").is_literal() && scope("/a/*").is_tree() && !scope("/a/*/b").is_tree());
    }
}
