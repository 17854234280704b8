//! The workspace's Rust files, parsed, with test code told from production code.
//!
//! Test code is: files under `tests/`, `benches/` and `examples/`, every file of a workshop, what stands
//! under `#[cfg(test)]`, and the files such a module is kept in.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use proc_macro2::TokenStream;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::finding::Error;
use crate::plan::Plan;
use crate::scan::{Scan, scan};
use crate::tree::Tree;

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It ships.
    Production,
    /// It only ever tests.
    Test,
}

/// A parsed file.
pub struct Source {
    /// Relative to the checkout.
    pub path: String,
    /// The crate it belongs to.
    pub package: String,
    /// Whether it ships.
    pub purpose: Purpose,
    /// Its syntax tree.
    pub syntax: syn::File,
    /// Its comments and its code.
    pub scan: Scan,
    /// Lines under `#[cfg(test)]`, counted from one.
    tests: Vec<RangeInclusive<usize>>,
}

impl Source {
    /// Parses one file as though it were at `path`.
    ///
    /// # Errors
    /// The text is not Rust.
    pub fn parse(path: &str, purpose: Purpose, text: &str) -> Result<Self, Error> {
        let syntax = syn::parse_file(text).map_err(|source| Error::Syntax {
            path: path.to_owned(),
            source,
        })?;
        let mut finder = TestFinder::default();
        finder.visit_file(&syntax);
        Ok(Self {
            path: path.to_owned(),
            package: package_of(path).to_owned(),
            purpose,
            syntax,
            scan: scan(text),
            tests: finder.ranges,
        })
    }

    /// Whether a line, counted from one, only ever tests.
    pub fn is_test_line(&self, line: usize) -> bool {
        self.purpose == Purpose::Test || self.tests.iter().any(|range| range.contains(&line))
    }

    /// Production lines that hold code, with their numbers.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.scan
            .code
            .iter()
            .enumerate()
            .map(|(index, line)| (index + 1, line.trim()))
            .filter(|(number, line)| !line.is_empty() && !self.is_test_line(*number))
    }
}

/// Parses every Rust file of the workspace's crates.
///
/// # Errors
/// A file cannot be read or does not parse.
pub fn read_all(tree: &Tree, plan: &Plan) -> Result<Vec<Source>, Error> {
    let mut sources = Vec::new();
    for path in tree.files("rs")? {
        if path.starts_with("crates/") || path.starts_with("xtask/") {
            let purpose = purpose_of(&path, plan);
            sources.push(Source::parse(&path, purpose, &tree.read(&path)?)?);
        }
    }
    mark_test_files(&mut sources);
    Ok(sources)
}

/// The crate a path lies in: `crates/NAME/…` or the first folder.
fn package_of(path: &str) -> &str {
    let inside = path.strip_prefix("crates/").unwrap_or(path);
    inside.split('/').next().unwrap_or(inside)
}

fn purpose_of(path: &str, plan: &Plan) -> Purpose {
    let test_folder = path
        .split('/')
        .any(|part| ["tests", "benches", "examples"].contains(&part));
    if test_folder || plan.workshop.contains_key(package_of(path)) {
        Purpose::Test
    } else {
        Purpose::Production
    }
}

/// Marks the files of modules declared as `#[cfg(test)] mod name;`.
fn mark_test_files(sources: &mut [Source]) {
    let mut paths = BTreeSet::new();
    for source in sources.iter() {
        let folder = module_folder(&source.path);
        for item in &source.syntax.items {
            if let syn::Item::Mod(module) = item
                && module.content.is_none()
                && is_for_tests(&module.attrs)
            {
                paths.insert(format!("{folder}/{}.rs", module.ident));
                paths.insert(format!("{folder}/{}/mod.rs", module.ident));
            }
        }
    }
    for source in sources
        .iter_mut()
        .filter(|source| paths.contains(&source.path))
    {
        source.purpose = Purpose::Test;
    }
}

/// The folder in which a file's child modules lie.
fn module_folder(path: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    match file {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        _ => format!("{folder}/{}", file.trim_end_matches(".rs")),
    }
}

/// Whether attributes say that an item is compiled for tests only.
pub fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        path.is_ident("test")
            || (path.is_ident("cfg")
                && attribute
                    .meta
                    .require_list()
                    .is_ok_and(|list| says_test(&list.tokens)))
            || path
                .segments
                .last()
                .is_some_and(|segment| segment.ident == "test")
    })
}

fn says_test(tokens: &TokenStream) -> bool {
    let text = tokens.to_string();
    let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.any(|word| word == "test") && !text.trim_start().starts_with("not")
}

#[derive(Default)]
struct TestFinder {
    ranges: Vec<RangeInclusive<usize>>,
}

impl TestFinder {
    fn note(&mut self, attributes: &[syn::Attribute], item: &impl Spanned) -> bool {
        let found = is_for_tests(attributes);
        if found {
            self.ranges.push(lines_of(item));
        }
        found
    }
}

/// The lines an item covers, counted from one.
pub fn lines_of(item: &impl Spanned) -> RangeInclusive<usize> {
    let span = item.span();
    span.start().line..=span.end().line
}

impl<'ast> Visit<'ast> for TestFinder {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !self.note(&item.attrs, item) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.note(&item.attrs, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !self.note(&item.attrs, item) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note(&item.attrs, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note(&item.attrs, item);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::{Purpose, Source};

    #[test]
    fn code_under_cfg_test_is_not_production() {
        let text = "//! Doc.\nfn kept() {}\n\n#[cfg(test)]\nmod tests {\n    fn gone() {}\n}\n";
        let source = Source::parse("crates/a/src/lib.rs", Purpose::Production, text).unwrap();
        let lines: Vec<_> = source.code_lines().collect();
        assert_eq!(lines, [(2, "fn kept() {}")]);
        assert_eq!(source.package, "a");
    }

    #[test]
    fn code_for_builds_without_tests_is_production() {
        let text = "#[cfg(not(test))]\nfn kept() {}\n";
        let source = Source::parse("crates/a/src/lib.rs", Purpose::Production, text).unwrap();
        assert_eq!(source.code_lines().count(), 2);
    }
}
