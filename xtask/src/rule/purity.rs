//! Purity: what the core may not hold, who may write unsafe code, who reads the environment.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::finding::{Error, Finding};
use crate::plan::Plan;
use crate::rule::House;
use crate::source::{Purpose, Source};
use crate::workspace::{Doors, Workspace};

/// The crate that decides and never acts.
const CORE: &str = "aaos-core";

/// The one file that may allow unsafe code.
const UNSAFE_FILE: &str = "crates/aaos-sandbox/src/sys.rs";

/// The crate that file belongs to.
const UNSAFE_CRATE: &str = "aaos-sandbox";

/// The core has no async function, depends on a few crates only, and brings none that reach the world.
///
/// # Errors
/// `cargo metadata` failed or a file does not parse.
pub fn core(house: &House) -> Result<Vec<Finding>, Error> {
    let mut found = core_dependencies(&house.workspace()?, &house.plan);
    for source in house
        .sources()?
        .iter()
        .filter(|source| source.package == CORE)
    {
        let mut finder = AsyncFinder {
            source,
            found: &mut found,
        };
        finder.visit_file(&source.syntax);
    }
    Ok(found)
}

fn core_dependencies(workspace: &Workspace, plan: &Plan) -> Vec<Finding> {
    let mut found = Vec::new();
    for package in workspace
        .members()
        .into_iter()
        .filter(|package| package.name.as_str() == CORE)
    {
        for name in Workspace::dependencies(package, Doors::Shipped) {
            if !plan.core.depends_on.contains(name) {
                found.push(Finding::new(CORE, format!(
                    "depends on {name}; do without, or write a decision and add it to [core] in house.toml"
                )));
            }
        }
    }
    for (name, asks) in workspace.closure(CORE) {
        if plan.core.closure_refuses.contains(name) {
            let advice =
                format!("brings {name} through {asks}; leave out the feature that asks for it");
            found.push(Finding::new(CORE, advice));
        }
    }
    found
}

/// What a room refuses to have beneath it is not there, however far down.
///
/// # Errors
/// `cargo metadata` failed.
pub fn closures(house: &House) -> Result<Vec<Finding>, Error> {
    let workspace = house.workspace()?;
    let mut found = Vec::new();
    for (room, plan) in house.plan.room.iter().chain(&house.plan.binary) {
        let refused = &plan.closure_refuses;
        for (name, asks) in workspace.closure(room) {
            if refused.contains(name) {
                let advice = format!(
                    "brings {name} through {asks}, which [closure_refuses] in house.toml keeps out; take another way"
                );
                found.push(Finding::new(room, advice));
            }
        }
    }
    Ok(found)
}

struct AsyncFinder<'a> {
    source: &'a Source,
    found: &'a mut Vec<Finding>,
}

impl AsyncFinder<'_> {
    fn note(&mut self, asyncness: &impl Spanned) {
        let line = asyncness.span().start().line;
        let advice = "the core has no `async`; return an effect and let the runtime perform it";
        self.found
            .push(Finding::at_line(&self.source.path, line, advice));
    }
}

impl<'ast> Visit<'ast> for AsyncFinder<'_> {
    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if let Some(asyncness) = &signature.asyncness {
            self.note(asyncness);
        }
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, block: &'ast syn::ExprAsync) {
        self.note(&block.async_token);
        visit::visit_expr_async(self, block);
    }
}

/// Every crate root forbids unsafe code, and only the sandbox's system module may allow it.
///
/// # Errors
/// A file does not parse.
pub fn unsafe_code(house: &House) -> Result<Vec<Finding>, Error> {
    let mut found = Vec::new();
    let module_exists = house.tree.holds(UNSAFE_FILE);
    for source in house.sources()? {
        let exempt = module_exists && source.package == UNSAFE_CRATE;
        if is_root(&source.path) && !exempt && !says(&source, "forbid") {
            let advice = "begin the crate root with `#![forbid(unsafe_code)]`";
            found.push(Finding::new(&source.path, advice));
        }
        if says(&source, "allow") && source.path != UNSAFE_FILE {
            let advice = format!("allows unsafe code; only {UNSAFE_FILE} may");
            found.push(Finding::new(&source.path, advice));
        }
    }
    Ok(found)
}

/// Whether a path is the root of a library or a program.
fn is_root(path: &str) -> bool {
    let inside = path
        .strip_prefix("crates/")
        .and_then(|rest| rest.split_once('/'))
        .map(|(_, rest)| rest);
    let inside = inside.or_else(|| path.strip_prefix("xtask/"));
    matches!(inside, Some("src/lib.rs" | "src/main.rs"))
        || inside.is_some_and(|rest| rest.starts_with("src/bin/"))
}

/// Whether a file sets `unsafe_code` to a level, anywhere.
fn says(source: &Source, level: &str) -> bool {
    let text: String = source
        .scan
        .code
        .iter()
        .flat_map(|line| line.split_whitespace())
        .collect();
    text.contains(&format!("{level}(unsafe_code"))
}

/// One place reads the environment.
///
/// # Errors
/// A file does not parse.
pub fn environment(house: &House) -> Result<Vec<Finding>, Error> {
    let place = &house.plan.environment.read_in;
    let mut found = Vec::new();
    for source in house.sources()? {
        if source.purpose == Purpose::Test || source.path.starts_with(place.as_str()) {
            continue;
        }
        for (line, code) in source.code_lines() {
            if ["env::var", "env = \""]
                .iter()
                .any(|call| code.contains(call))
            {
                let advice = format!(
                    "reads the environment; only {place} does, take the value as an argument"
                );
                found.push(Finding::at_line(&source.path, line, advice));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::{AsyncFinder, is_root, says};
    use crate::source::{Purpose, Source};
    use syn::visit::Visit;

    fn parse(text: &str) -> Source {
        Source::parse("crates/aaos-core/src/lib.rs", Purpose::Production, text).unwrap()
    }

    #[test]
    fn async_functions_and_blocks_are_seen() {
        let source =
            parse("async fn a() {}\nfn b() { let _ = async { 1 }; }\ntrait T { async fn c(); }");
        let mut found = Vec::new();
        AsyncFinder {
            source: &source,
            found: &mut found,
        }
        .visit_file(&source.syntax);
        let places: Vec<_> = found.iter().map(|finding| finding.place.as_str()).collect();
        let at = |line| format!("crates/aaos-core/src/lib.rs:{line}");
        assert_eq!(places, [at(1), at(2), at(3)]);
    }

    #[test]
    fn a_comment_that_mentions_the_attribute_does_not_set_it() {
        assert!(says(&parse("#![forbid(\n    unsafe_code\n)]"), "forbid"));
        assert!(!says(
            &parse("// #![forbid(unsafe_code)]\nfn f() {}"),
            "forbid"
        ));
    }

    #[test]
    fn roots_are_libraries_and_programs() {
        assert!(is_root("crates/a/src/lib.rs") && is_root("xtask/src/main.rs"));
        assert!(!is_root("crates/a/src/b/main.rs") && !is_root("crates/a/tests/lib.rs"));
    }
}
