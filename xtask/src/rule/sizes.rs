//! Ratchets on length: files, functions, ports. A limit may be exceeded by what the plan excuses with a
//! reason, and an excuse's number may only fall.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::finding::{Error, Finding};
use crate::plan::{Limit, Ratchet};
use crate::rule::House;
use crate::source::{Purpose, Source, is_for_tests, lines_of};

/// The crate whose traits are ports.
const PORTS: &str = "aaos-ports";

/// One thing that was measured.
pub struct Measure {
    /// The name an exception uses.
    pub at: String,
    /// Its number.
    pub is: usize,
}

/// Compares measures with a limit and the exceptions to it.
pub fn judge(
    ratchet: &Ratchet,
    limit: Limit,
    most: usize,
    unit: &str,
    measures: &[Measure],
) -> Vec<Finding> {
    let mut found = Vec::new();
    for measure in measures {
        let excused = ratchet
            .exception
            .iter()
            .find(|exception| exception.limit == limit && exception.at == measure.at);
        match excused {
            None if measure.is > most => found.push(Finding::new(&measure.at, format!(
                "{} {unit}, the limit is {most}; split it, or add a [[ratchet.exception]] with a reason to house.toml",
                measure.is
            ))),
            Some(excuse) if measure.is <= most => found.push(Finding::new(&measure.at, format!(
                "{} {unit}, within the limit of {most} again; remove its exception (is = {}) from house.toml",
                measure.is, excuse.is
            ))),
            Some(excuse) if measure.is != excuse.is => found.push(Finding::new(&measure.at, format!(
                "{} {unit}, its exception says {}; {}",
                measure.is,
                excuse.is,
                if measure.is > excuse.is { "it may only fall: split it" } else { "lower it in house.toml" }
            ))),
            _ => {}
        }
    }
    found.extend(idle(ratchet, limit, measures));
    found
}

/// Exceptions for things that do not exist, or that give no reason.
fn idle(ratchet: &Ratchet, limit: Limit, measures: &[Measure]) -> Vec<Finding> {
    let mut found = Vec::new();
    for exception in ratchet
        .exception
        .iter()
        .filter(|exception| exception.limit == limit)
    {
        if !measures.iter().any(|measure| measure.at == exception.at) {
            let advice = format!(
                "excuses `{}`, which does not exist; remove it",
                exception.at
            );
            found.push(Finding::new("house.toml", advice));
        }
        if exception.reason.trim().is_empty() {
            let advice = format!("excuses `{}` without a reason; give one", exception.at);
            found.push(Finding::new("house.toml", advice));
        }
    }
    found
}

/// Files and functions stay short.
///
/// # Errors
/// A file does not parse.
pub fn lengths(house: &House) -> Result<Vec<Finding>, Error> {
    let ratchet = &house.plan.ratchet;
    let (mut files, mut functions) = (Vec::new(), Vec::new());
    for source in house.sources()? {
        if source.purpose == Purpose::Test {
            continue;
        }
        files.push(Measure {
            at: source.path.clone(),
            is: file_lines(&source),
        });
        functions.extend(function_measures(&source));
    }
    let mut found = judge(
        ratchet,
        Limit::FileLines,
        ratchet.file_lines,
        "lines of code",
        &files,
    );
    let unit = "lines of code in one function";
    found.extend(judge(
        ratchet,
        Limit::FunctionLines,
        ratchet.function_lines,
        unit,
        &functions,
    ));
    Ok(found)
}

/// Lines of production code in a file.
fn file_lines(source: &Source) -> usize {
    source.code_lines().count()
}

/// Lines of code of each production function.
pub fn function_measures(source: &Source) -> Vec<Measure> {
    let mut finder = FunctionFinder {
        source,
        found: Vec::new(),
    };
    finder.visit_file(&source.syntax);
    finder.found
}

struct FunctionFinder<'a> {
    source: &'a Source,
    found: Vec<Measure>,
}

impl FunctionFinder<'_> {
    fn note(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (first, last) = (signature.span().start().line, *lines_of(block).end());
        let counted = self
            .source
            .scan
            .code
            .iter()
            .take(last)
            .skip(first.saturating_sub(1));
        let is = counted.filter(|line| !line.trim().is_empty()).count();
        if !self.source.is_test_line(first) {
            self.found.push(Measure {
                at: format!("{}::{}", self.source.path, signature.ident),
                is,
            });
        }
    }
}

impl<'ast> Visit<'ast> for FunctionFinder<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.note(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.note(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

/// A port has few methods.
///
/// # Errors
/// A file does not parse.
pub fn ports(house: &House) -> Result<Vec<Finding>, Error> {
    let ratchet = &house.plan.ratchet;
    let mut measures = Vec::new();
    for source in house
        .sources()?
        .iter()
        .filter(|source| source.package == PORTS)
    {
        measures.extend(source.syntax.items.iter().filter_map(port_measure));
    }
    Ok(judge(
        ratchet,
        Limit::PortMethods,
        ratchet.port_methods,
        "methods",
        &measures,
    ))
}

fn port_measure(item: &syn::Item) -> Option<Measure> {
    let syn::Item::Trait(port) = item else {
        return None;
    };
    let methods = port
        .items
        .iter()
        .filter(|item| matches!(item, syn::TraitItem::Fn(_)));
    let shipped = !is_for_tests(&port.attrs);
    shipped.then(|| Measure {
        at: port.ident.to_string(),
        is: methods.count(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::{Measure, function_measures, judge};
    use crate::plan::{Exception, Limit, Ratchet};
    use crate::source::{Purpose, Source};

    fn ratchet(is: Option<usize>) -> Ratchet {
        let exception = is.map(|is| Exception {
            limit: Limit::FileLines,
            at: "a.rs".into(),
            is,
            reason: "a table".into(),
        });
        Ratchet {
            file_lines: 600,
            function_lines: 70,
            port_methods: 5,
            repetition_percent: 3,
            exception: exception.into_iter().collect(),
        }
    }

    fn advice(excused: Option<usize>, is: usize) -> Option<String> {
        let measures = [Measure {
            at: "a.rs".into(),
            is,
        }];
        let found = judge(&ratchet(excused), Limit::FileLines, 600, "lines", &measures);
        found.into_iter().next().map(|finding| finding.advice)
    }

    #[test]
    fn an_exception_may_only_fall() {
        assert_eq!(advice(None, 600), None);
        assert!(advice(None, 601).unwrap().contains("split it"));
        assert_eq!(advice(Some(650), 650), None);
        assert!(advice(Some(650), 651).unwrap().contains("may only fall"));
        assert!(advice(Some(650), 640).unwrap().contains("lower it"));
        assert!(
            advice(Some(650), 600)
                .unwrap()
                .contains("remove its exception")
        );
    }

    #[test]
    fn a_function_is_measured_without_blank_lines_comments_and_tests() {
        let text = "impl A {\n    /// Doc.\n    fn one() {\n\n        // why\n        two();\n    }\n}\n#[test]\nfn t() {}\n";
        let source = Source::parse("a.rs", Purpose::Production, text).unwrap();
        let found: Vec<_> = function_measures(&source)
            .into_iter()
            .map(|m| (m.at, m.is))
            .collect();
        assert_eq!(found, [("a.rs::one".to_owned(), 3)]);
    }
}
