//! Events: every kind is emitted by code that ships and asserted by a test.
//!
//! An emission is a `Kind::Variant` in an expression outside the core's event module; a pattern is none.
//! A test asserts a kind by naming the variant, or its text form in a literal. Macro arguments are read
//! as words: `matches!` looks, every other macro makes.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::finding::{Error, Finding};
use crate::rule::House;
use crate::source::Source;

/// Where the kinds are declared.
pub const KINDS_FILE: &str = "crates/aaos-core/src/event/kind.rs";

/// The folder whose code defines and folds kinds without emitting them.
const EVENT_FOLDER: &str = "crates/aaos-core/src/event";

/// The names under which the enum is known.
const ENUM_NAMES: &[&str] = &["Kind", "EventKind"];

/// Macros that look at a value and make none.
const LOOKING_MACROS: &[&str] = &["matches", "assert_matches", "debug_assert_matches"];

/// One event kind, as declared.
#[derive(Debug)]
pub struct EventKind {
    /// The variant.
    pub name: String,
    /// Its text form: `tag` in the journal and in streams.
    pub tag: String,
    /// Its documentation's first paragraph.
    pub summary: String,
    /// Its fields: name and first line of documentation.
    pub fields: Vec<(String, String)>,
}

/// Every event kind is emitted and asserted.
///
/// # Errors
/// A file does not parse, or there is no such enum.
pub fn events(house: &House) -> Result<Vec<Finding>, Error> {
    let sources = house.sources()?;
    let kinds = declared(&sources)?;
    let mut seen = Seen::default();
    for source in &sources {
        seen.read(source);
    }
    let mut found = Vec::new();
    for kind in &kinds {
        let emitted = seen.emitted.contains(&kind.name);
        let asserted = seen.asserted.contains(&kind.name) || seen.literals.contains(&kind.tag);
        let advice = match (emitted, asserted) {
            (true, true) => continue,
            (true, false) => "no test asserts it; write a test that makes it happen",
            (false, true) => {
                "nothing that ships emits it; emit it where it happens, or remove the variant"
            }
            (false, false) => {
                "nothing emits it and no test asserts it; emit it and test that, or remove the variant"
            }
        };
        found.push(Finding::new(format!("event kind {}", kind.name), advice));
    }
    Ok(found)
}

/// The kinds, in the order they are declared.
///
/// # Errors
/// There is no such enum.
pub fn declared(sources: &[Source]) -> Result<Vec<EventKind>, Error> {
    let missing = Error::Missing {
        file: KINDS_FILE,
        what: "the enum `Kind`",
    };
    let source = sources
        .iter()
        .find(|source| source.path == KINDS_FILE)
        .ok_or(missing)?;
    let items = source.syntax.items.iter();
    let kinds = items.filter_map(|item| match item {
        syn::Item::Enum(item) if ENUM_NAMES.iter().any(|name| item.ident == name) => Some(item),
        _ => None,
    });
    let kinds = kinds
        .flat_map(|item| &item.variants)
        .map(event_kind)
        .collect::<Vec<_>>();
    if kinds.is_empty() {
        return Err(Error::Missing {
            file: KINDS_FILE,
            what: "the enum `Kind`",
        });
    }
    Ok(kinds)
}

fn event_kind(variant: &syn::Variant) -> EventKind {
    let name = variant.ident.to_string();
    let fields = variant.fields.iter().filter_map(|field| {
        let name = field.ident.as_ref()?.to_string();
        Some((name, documentation(&field.attrs)))
    });
    EventKind {
        tag: renamed(&variant.attrs).unwrap_or_else(|| snake_case(&name)),
        summary: documentation(&variant.attrs),
        fields: fields.collect(),
        name,
    }
}

/// The first paragraph of an item's documentation, on one line.
fn documentation(attributes: &[syn::Attribute]) -> String {
    let lines = attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => literal(&pair.value),
            _ => None,
        });
    let paragraph = lines
        .map(|line| line.trim().to_owned())
        .take_while(|line| !line.is_empty());
    paragraph.collect::<Vec<_>>().join(" ")
}

fn literal(expression: &syn::Expr) -> Option<String> {
    match expression {
        syn::Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(text),
            ..
        }) => Some(text.value()),
        _ => None,
    }
}

/// The text form a `#[serde(rename = "…")]` gives.
fn renamed(attributes: &[syn::Attribute]) -> Option<String> {
    let mut found = None;
    for attribute in attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("serde"))
    {
        // Other serde arguments may not parse as name and value; what was read before them stands.
        let _ = attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("rename") {
                found = Some(meta.value()?.parse::<syn::LitStr>()?.value());
            }
            Ok(())
        });
    }
    found
}

fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// What the tree says about kinds.
#[derive(Debug, Default)]
pub struct Seen {
    /// Variants made by code that ships.
    pub emitted: BTreeSet<String>,
    /// Variants named by tests.
    pub asserted: BTreeSet<String>,
    /// Texts of the literals in tests.
    pub literals: BTreeSet<String>,
}

impl Seen {
    /// Takes note of one file.
    pub fn read(&mut self, source: &Source) {
        let mut reader = Reader { source, seen: self };
        reader.visit_file(&source.syntax);
    }
}

struct Reader<'a> {
    source: &'a Source,
    seen: &'a mut Seen,
}

/// Whether a mention makes a value or looks at one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mention {
    Makes,
    Looks,
}

impl Reader<'_> {
    fn path(&mut self, path: &syn::Path, mention: Mention) {
        let names: Vec<String> = path
            .segments
            .iter()
            .rev()
            .take(2)
            .map(|s| s.ident.to_string())
            .collect();
        let line = path
            .segments
            .first()
            .map_or(0, |segment| segment.ident.span().start().line);
        if let [variant, owner] = names.as_slice() {
            self.note(owner, variant, line, mention);
        }
    }

    fn note(&mut self, owner: &str, variant: &str, line: usize, mention: Mention) {
        if !ENUM_NAMES.contains(&owner) {
            return;
        }
        if self.source.is_test_line(line) {
            self.seen.asserted.insert(variant.to_owned());
        } else if mention == Mention::Makes && !self.source.path.starts_with(EVENT_FOLDER) {
            self.seen.emitted.insert(variant.to_owned());
        }
    }

    fn tokens(&mut self, tokens: TokenStream, mention: Mention) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        for window in trees.windows(4) {
            if let [
                TokenTree::Ident(owner),
                TokenTree::Punct(a),
                TokenTree::Punct(b),
                TokenTree::Ident(variant),
            ] = window
                && a.as_char() == ':'
                && b.as_char() == ':'
            {
                self.note(
                    &owner.to_string(),
                    &variant.to_string(),
                    owner.span().start().line,
                    mention,
                );
            }
        }
        for tree in trees {
            match tree {
                TokenTree::Group(group) => self.tokens(group.stream(), mention),
                TokenTree::Literal(literal) => {
                    self.text(&literal.to_string(), literal.span().start().line)
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }

    fn text(&mut self, text: &str, line: usize) {
        if self.source.is_test_line(line) {
            let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            self.seen
                .literals
                .extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        self.path(&path.path, Mention::Makes);
    }

    fn visit_expr_struct(&mut self, made: &'ast syn::ExprStruct) {
        self.path(&made.path, Mention::Makes);
        visit::visit_expr_struct(self, made);
    }

    fn visit_pat(&mut self, pattern: &'ast syn::Pat) {
        match pattern {
            syn::Pat::Path(path) => self.path(&path.path, Mention::Looks),
            syn::Pat::Struct(parts) => self.path(&parts.path, Mention::Looks),
            syn::Pat::TupleStruct(parts) => self.path(&parts.path, Mention::Looks),
            _ => {}
        }
        if !matches!(pattern, syn::Pat::Path(_)) {
            visit::visit_pat(self, pattern);
        }
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.text(&text.value(), text.span().start().line);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let name = call
            .path
            .segments
            .last()
            .map(|segment| segment.ident.to_string())
            .unwrap_or_default();
        let looks = LOOKING_MACROS.contains(&name.as_str());
        let mention = if looks {
            Mention::Looks
        } else {
            Mention::Makes
        };
        self.tokens(call.tokens.clone(), mention);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::{Seen, declared, event_kind, snake_case};
    use crate::source::{Purpose, Source};

    fn seen(path: &str, text: &str) -> Seen {
        let mut seen = Seen::default();
        seen.read(&Source::parse(path, Purpose::Production, text).unwrap());
        seen
    }

    #[test]
    fn making_a_kind_emits_it_and_matching_on_it_does_not() {
        let text = "fn f(k: Kind) { match k { Kind::A { .. } => {} Kind::B => {} _ => {} }\n\
                    emit(Kind::C { x: 1 }); emit(Kind::D); let v = vec![event::Kind::E];\n\
                    if matches!(k, Kind::F) {} }";
        let found = seen("crates/aaos-runtime/src/a.rs", text).emitted;
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["C", "D", "E"]);
    }

    #[test]
    fn the_event_module_itself_emits_nothing() {
        assert!(
            seen(
                "crates/aaos-core/src/event/fold.rs",
                "fn f() { g(Kind::A); }"
            )
            .emitted
            .is_empty()
        );
    }

    #[test]
    fn a_test_asserts_by_variant_or_by_text() {
        let text = "#[cfg(test)]\nmod tests {\n#[test]\nfn t() { assert!(matches!(k, Kind::A)); has(\"b_two\"); }\n}";
        let found = seen("crates/aaos-runtime/src/a.rs", text);
        assert!(found.emitted.is_empty());
        assert!(found.asserted.contains("A") && found.literals.contains("b_two"));
    }

    #[test]
    fn a_declared_kind_carries_its_tag_its_sentence_and_its_fields() {
        let variant = syn::parse_str("/// A run begins.\n///\n/// More.\nRunSubmitted { /// What was asked.\n goal: String }").unwrap();
        let kind = event_kind(&variant);
        assert_eq!(
            (kind.tag.as_str(), kind.summary.as_str()),
            ("run_submitted", "A run begins.")
        );
        assert_eq!(
            kind.fields,
            [("goal".to_owned(), "What was asked.".to_owned())]
        );
        assert_eq!(snake_case("GrantRefused"), "grant_refused");
        assert!(declared(&[]).is_err());
    }
}
